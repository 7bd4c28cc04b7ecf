"""The levels of a user's folder: all of it and nothing outside, whatever a script does to it meanwhile."""

import os
from collections import Counter
from pathlib import Path

import pytest

from selcgi.errors import RegistryFailed
from selcgi.system import userfiles
from selcgi.system.userfiles import Odd, lasting, odd_levels, relabelled, set_level, type_of

LEVEL = "s0:c512,c513"
XATTR = "security.selinux"


def chcon(path: Path, level: str = "s0") -> None:
    os.setxattr(path, XATTR, f"system_u:object_r:user_webapp_rw_t:{level}\0".encode(), follow_symlinks=False)


def label(path: Path) -> str:
    return os.getxattr(path, XATTR, follow_symlinks=False).decode().rstrip("\0")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").touch()
    for one in (path, path / "file"):
        chcon(one)
    return path


@pytest.fixture
def folder(tmp_path: Path, outside: Path) -> Path:
    path = tmp_path / "alice"
    (path / "a" / "b").mkdir(parents=True)
    for name in ("x", "a/y", "a/b/z ü"):
        (path / name).touch()
    (path / "out").symlink_to(outside)
    (path / "a" / "out").symlink_to(outside / "file")
    os.mkfifo(path / "fifo")
    for one in (path, *path.rglob("*")):
        chcon(one)
    return path


def test_all_beneath_gets_the_level_and_nothing_outside(folder: Path, outside: Path) -> None:
    assert set_level(folder, LEVEL) == 9
    assert {label(one) for one in (folder, *folder.rglob("*"))} == {f"system_u:object_r:user_webapp_rw_t:{LEVEL}"}
    assert {label(one) for one in (outside, outside / "file")} == {"system_u:object_r:user_webapp_rw_t:s0"}
    assert set_level(folder, LEVEL) == 0
    assert list(odd_levels(folder, LEVEL)) == []


def test_a_file_with_a_name_outside_is_nobodys_own(folder: Path, outside: Path) -> None:
    (folder / "a" / "mine").hardlink_to(outside / "file")
    with pytest.raises(RegistryFailed, match="a/mine has another name outside of the folder"):
        set_level(folder, LEVEL)
    assert {label(one) for one in (outside / "file", folder, *folder.rglob("*"))} == {
        "system_u:object_r:user_webapp_rw_t:s0"
    }


def test_a_file_with_two_names_inside_is(folder: Path) -> None:
    (folder / "a" / "again").hardlink_to(folder / "x")
    assert set_level(folder, LEVEL) == 9
    assert label(folder / "a" / "again").endswith(LEVEL)


def test_a_link_that_is_made_meanwhile_is_refused(folder: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = userfiles._several_names

    def then_link(one: Path) -> Counter[int]:
        found = looked(one)
        (folder / "late").hardlink_to(outside / "file")
        return found

    monkeypatch.setattr(userfiles, "_several_names", then_link)
    with pytest.raises(RegistryFailed, match="late has another name"):
        set_level(folder, LEVEL)
    assert label(outside / "file").endswith(":s0")


def test_it_is_on_record_before_the_first_change(folder: Path) -> None:
    seen: list[str] = []
    set_level(folder, LEVEL, lambda: seen.extend(map(label, (folder, *folder.rglob("*")))))
    assert set(seen) == {"system_u:object_r:user_webapp_rw_t:s0"}


def test_what_is_refused_is_not_on_record(folder: Path, outside: Path) -> None:
    (folder / "a" / "mine").hardlink_to(outside / "file")
    seen: list[str] = []
    with pytest.raises(RegistryFailed):
        set_level(folder, LEVEL, lambda: seen.append("recorded"))
    assert seen == []


def test_what_is_at_another_level_is_found(folder: Path) -> None:
    set_level(folder, LEVEL)
    chcon(folder / "a" / "b" / "z ü")
    chcon(folder / "fifo", "s0:c512")
    found = set(odd_levels(folder, LEVEL))
    assert found == {
        Odd(folder / "a" / "b" / "z ü", "s0", "is at s0"),
        Odd(folder / "fifo", "s0:c512", "is at s0:c512"),
    }
    chcon(folder)
    assert Odd(folder, "s0", "is at s0") in set(odd_levels(folder, LEVEL))


def test_a_folder_that_a_link_has_taken_the_place_of_is_not_entered(
    folder: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment when its name was read and the one when it is opened."""
    opening = userfiles._open

    def exchange(name: str, descriptor: int, device: int) -> int | None:
        if name == "a" and not (folder / "a").is_symlink():
            (folder / "a").rename(folder.with_name("elsewhere"))
            (folder / "a").symlink_to(outside)
            chcon(folder / "a")
        return opening(name, descriptor, device)

    monkeypatch.setattr(userfiles, "_open", exchange)
    set_level(folder, LEVEL)
    assert label(outside / "file").endswith(":s0")
    assert label(outside).endswith(":s0")


def test_a_folder_too_deep_is_said_not_to_be_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_level(folder, LEVEL)
    monkeypatch.setattr(userfiles, "DEPTH", 2)
    (odd,) = odd_levels(folder, LEVEL)
    assert (odd.path, odd.level) == (folder / "a" / "b", "")
    with pytest.raises(RegistryFailed, match="2 folders deep"):
        set_level(folder, LEVEL)


def test_deeper_than_that(folder: Path) -> None:
    set_level(folder, LEVEL)
    before = len(os.listdir("/proc/self/fd"))
    here = Path.cwd()
    try:
        os.chdir(folder / "a" / "b")
        for _ in range(300):
            Path("d").mkdir()
            os.chdir("d")
            os.setxattr(".", XATTR, f"system_u:object_r:user_webapp_rw_t:{LEVEL}\0".encode())
    finally:
        os.chdir(here)
    (odd,) = odd_levels(folder, LEVEL)
    assert "200 folders deep" in odd.why
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("what", ["none", "file", "link"])
def test_what_is_no_folder_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "file":
        path.touch()
    elif what == "link":
        path.symlink_to(folder)
    with pytest.raises(RegistryFailed, match="is no folder"):
        set_level(path, LEVEL)


def test_a_file_without_a_label_is_refused(folder: Path) -> None:
    (folder / "new").touch()
    with pytest.raises(RegistryFailed, match=r"the label of .*new can't be read"):
        set_level(folder, LEVEL)


def test_a_folder_that_is_gone_is_a_finding(tmp_path: Path) -> None:
    (odd,) = odd_levels(tmp_path / "gone", LEVEL)
    assert odd.why == "is no folder any more"


def test_the_command_that_lasts(folder: Path) -> None:
    assert type_of(folder) == "user_webapp_rw_t"
    strange = folder / "a.b (c)+ [d]"
    strange.mkdir()
    chcon(strange)
    words = lasting(strange, LEVEL)
    assert words[:-1] == ("semanage", "fcontext", "-a", "-t", "user_webapp_rw_t", "-r", LEVEL)
    assert words[-1] == f"{folder}/a\\.b.\\(c\\)\\+.\\[d\\](/.*)?".replace("-", "\\-")


class Relabelling:
    def __init__(self, label: str) -> None:
        self._label = label

    def label(self, path: str) -> str:
        raise AssertionError(path)

    def expected(self, path: str, mode: int) -> str:
        assert mode
        return self._label if path else ""


def test_what_the_next_relabel_would_take_away_is_found(folder: Path) -> None:
    of = "system_u:object_r:user_webapp_rw_t:"
    assert relabelled(folder, LEVEL, Relabelling(of + LEVEL)) is None
    assert relabelled(folder, LEVEL, Relabelling("")) is None
    odd = relabelled(folder, LEVEL, Relabelling(of + "s0:c0.c1023"))
    assert odd is not None
    assert odd.why == "gets s0:c0.c1023 by the next relabel"
