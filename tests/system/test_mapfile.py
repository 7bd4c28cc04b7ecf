"""Files that selcgi believes: read when only root or selcgi could have written them, refused with a fix otherwise."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.system.mapfile import open_folder, read_mapfile, read_protected, shown

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")
SOMEBODY = 12345


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A mapping file in a folder of its own."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "site.map"
    path.write_text("# é\n* deny\n")
    return changed(path, 0o640)


def changed(path: Path, mode: int, uid: int = 0) -> Path:
    os.chown(path, uid, 0)
    path.chmod(mode)
    return path


def linked(path: Path) -> Path:
    """A link to the folder of the folder of `path`, in there."""
    link = path.parent.parent / "l"
    link.symlink_to(link.parent)
    return link


def link_to(path: Path) -> Path:
    link = path.with_name("link")
    link.symlink_to(path)
    return link


def fifo(path: Path) -> Path:
    os.mkfifo(path.parent / "fifo", 0o600)
    return path.parent / "fifo"


def above(path: Path, mode: int, uid: int = 0) -> Path:
    changed(path.parent, mode, uid)
    return path


def test_the_text_is_read_as_utf8(site: Path) -> None:
    assert read_mapfile(site) == "# é\n* deny\n"


def test_a_relative_path_is_checked_like_any_other(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.parent)
    assert read_mapfile(Path("../etc/site.map")) == read_mapfile(site)
    site.parent.chmod(0o777)
    with pytest.raises(StartRefused, match="mode 0777"):
        read_mapfile(Path("site.map"))


REFUSED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "missing": (lambda path: path.parent / "no", "No such file", "is the path right"),
    "a folder": (lambda path: path.parent, "no regular file", ""),
    "a fifo": (fifo, "no regular file", ""),
    "a link": (link_to, "/link is a link", "/etc/site.map"),
    "beneath a link": (lambda path: linked(path) / "etc" / "site.map", "/l, on the way", "/etc/site.map"),
    "group may write": (lambda path: changed(path, 0o660), "site.map (mode 0660, uid 0)", "chmod go-w"),
    "others may write": (lambda path: changed(path, 0o642), "site.map (mode 0642, uid 0)", "chmod go-w"),
    "somebody's": (lambda path: changed(path, 0o600, SOMEBODY), f"uid {SOMEBODY}, not to 0", "chown root"),
    "open above": (lambda path: above(path, 0o775), "etc (mode 0775, uid 0)", "chmod go-w"),
    "somebody's above": (lambda path: above(path, 0o755, SOMEBODY), f"etc (mode 0755) belongs to uid {SOMEBODY}", ""),
    "sticky, but somebody's": (lambda path: above(path, 0o1777, SOMEBODY), f"uid {SOMEBODY}", "chown root"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_others_could_change_is_refused(site: Path, name: str) -> None:
    breaks, reason, fix = REFUSED[name]
    with pytest.raises(StartRefused) as caught:
        read_mapfile(breaks(site))
    assert reason in caught.value.reason
    assert fix in caught.value.fix


def test_a_sticky_folder_passes_since_nobody_can_exchange_what_is_anothers(site: Path) -> None:
    assert read_mapfile(above(site, 0o1777))


def test_selcgis_own_user_may_own_the_file(site: Path) -> None:
    changed(site, 0o600, SOMEBODY)
    folders = {folder: mode for folder in site.parents if not (mode := folder.stat().st_mode) & 0o001}
    try:
        for folder, mode in folders.items():
            folder.chmod(mode | 0o111)
        os.seteuid(SOMEBODY)
        assert read_mapfile(site)
    finally:
        os.seteuid(0)
        for folder, mode in folders.items():
            folder.chmod(mode)


def test_a_byte_that_is_no_utf8_is_named_by_its_line(site: Path) -> None:
    site.write_bytes(b"# one\n\n\xff\n")
    with pytest.raises(StartRefused, match=f"{site}:3: the line is not UTF-8"):
        read_mapfile(site)


def test_the_bound_counts_what_is_read(site: Path) -> None:
    site.write_bytes(b"x" * 100)
    assert len(read_protected(site, 100)) == 100
    with pytest.raises(StartRefused, match="longer than 99 bytes"):
        read_protected(site, 99)


def test_a_mapping_over_64_mib_is_refused(site: Path) -> None:
    os.truncate(site, (64 << 20) + 1)
    with pytest.raises(StartRefused, match="longer than"):
        read_mapfile(site)


FOLDERS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "relative": (lambda path: Path(os.path.relpath(path.parent)), "not absolute", "/etc"),
    "dots": (lambda path: path.parent / ".." / "etc", "not absolute", "/etc"),
    "missing": (lambda path: path.parent / "no", "No such file", ""),
    "a file": (lambda path: path, "Not a directory", ""),
    "a link": (lambda path: link_to(path.parent), "is a link", "/etc"),
    "beneath a link": (lambda path: linked(path) / "etc", "is a link", "/etc"),
    "open": (lambda path: above(path, 0o777).parent, "mode 0777", "chmod go-w"),
    "sticky": (lambda path: above(path, 0o1777).parent, "mode 1777", "chmod go-w"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_others_could_change_is_refused(site: Path, name: str) -> None:
    breaks, reason, fix = FOLDERS[name]
    with pytest.raises(StartRefused) as caught:
        open_folder(breaks(site))
    assert reason in caught.value.reason
    assert fix in caught.value.fix


def test_a_users_own_folder_adds_that_user_to_who_may_own_what_is_in_it(site: Path) -> None:
    descriptor, owners = open_folder(above(site, 0o755, SOMEBODY).parent)
    try:
        assert owners == {0, SOMEBODY}
        assert os.path.samestat(os.fstat(descriptor), site.parent.stat())
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "text"),
    [(b"/a b", "/a b"), (b"/\xff", "/\\xff"), (b"/\n", "/\\n"), ("/é".encode(), "/é"), (b"x" * 400, "x" * 300 + "...")],
)
def test_a_path_in_a_sentence_is_one_printable_line(path: bytes, text: str) -> None:
    assert shown(path) == text
