"""Scripts on a real file system, as root: what is found, what is refused and why, and that no descriptor is left."""

import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from selcgi.errors import Overloaded, ScriptNotFound, ScriptRefused, StartRefused
from selcgi.system.roots import Roots, open_roots
from selcgi.system.scripts import open_script

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")
SOMEBODY = 12345
SHELL = "#!/bin/sh\necho\n"


def label_of(descriptor: int) -> str:
    return f"label of {os.fstat(descriptor).st_size} bytes"


def write(path: Path, text: str = SHELL, mode: int = 0o755) -> Path:
    path.write_bytes(text.encode("latin-1"))
    path.chmod(mode)
    return path


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


@pytest.fixture
def cgi(tmp_path: Path) -> Path:
    """A root with /sub/x.cgi in it, and a second root beside it with /y.cgi."""
    write(folder(tmp_path / "cgi" / "sub") / "x.cgi")
    (tmp_path / "cgi").chmod(0o755)
    write(folder(tmp_path / "other") / "y.cgi")
    return tmp_path / "cgi"


@pytest.fixture
def roots(cgi: Path) -> Iterator[Roots]:
    with closing(open_roots([cgi, cgi.parent / "other"])) as opened:
        yield opened


def locate(roots: Roots, *candidates: Path | str) -> tuple[str, str]:
    """Path and PATH_INFO of what was found; the script is closed again."""
    located = open_script(tuple(os.fsencode(one) for one in candidates), roots, label_of)
    located.script.close()
    return os.fsdecode(located.script.path), os.fsdecode(located.path_info)


def refusal(roots: Roots, *candidates: Path | str) -> ScriptRefused:
    with pytest.raises(ScriptRefused) as caught:
        locate(roots, *candidates)
    return caught.value


@pytest.mark.parametrize("info", ["", "/", "/a", "//a///b/", "/x.cgi"])
@pytest.mark.parametrize("slash", ["/", "//", "///"])
def test_what_follows_the_script_is_path_info_as_it_was_spelled(cgi: Path, roots: Roots, info: str, slash: str) -> None:
    assert locate(roots, f"{cgi}/sub/x.cgi".replace("/", slash) + info) == (f"{cgi}/sub/x.cgi", info)


def test_a_script_is_open_with_its_folder_stamp_and_label(cgi: Path, roots: Roots) -> None:
    path = cgi / "sub" / "x.cgi"
    with closing(open_script((bytes(path),), roots, label_of).script) as script:
        status = path.stat()
        assert script.stamp == (status.st_dev, status.st_ino, status.st_ctime_ns)
        assert os.pread(script.descriptor, 99, 0) == SHELL.encode()
        assert os.path.samestat(os.fstat(script.directory), path.parent.stat())
        assert not os.get_inheritable(script.descriptor) | os.get_inheritable(script.directory)
        assert (script.interpreter, script.label) == (b"/bin/sh", f"label of {len(SHELL)} bytes")


@pytest.mark.parametrize("missing", ["/no.cgi", "/no/x.cgi", "/sub", "/sub/", "", "/" + "n" * 256])
def test_not_found(cgi: Path, roots: Roots, missing: str) -> None:
    with pytest.raises(ScriptNotFound):
        locate(roots, f"{cgi}{missing}")


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o755)


BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "group may write": (lambda path: path.chmod(0o775), "mode 0775, uid 0", "chmod go-w {path}"),
    "others may write": (lambda path: path.chmod(0o757), "mode 0757, uid 0", "chmod go-w {path}"),
    "somebody's": (lambda path: os.chown(path, SOMEBODY, 0), f"uid {SOMEBODY}, not to 0", "chown root {path}"),
    "setgid": (lambda path: path.chmod(0o2755), "setuid or setgid", "chmod ug-s {path}"),
    "not executable": (lambda path: path.chmod(0o644), "may not execute", "chmod a+x {path}"),
    "fifo": (make_fifo, "no regular file", ""),
    "folder": (lambda path: path.parent.chmod(0o777), "sub (mode 0777, uid 0)", "chmod go-w {parent}"),
    "sticky folder": (lambda path: path.parent.chmod(0o1777), "sub (mode 1777", "chmod go-w {parent}"),
    "somebody's folder": (lambda path: os.chown(path.parent, SOMEBODY, 0), f"uid {SOMEBODY}", "chown root {parent}"),
    "root": (lambda path: path.parent.parent.chmod(0o775), "cgi (mode 0775", "chmod go-w {root}"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_script_that_others_could_exchange_is_refused(cgi: Path, roots: Roots, name: str) -> None:
    path = cgi / "sub" / "x.cgi"
    breaks, reason, fix = BROKEN[name]
    breaks(path)
    error = refusal(roots, path)
    assert reason in error.reason
    assert fix.format(path=path, parent=path.parent, root=cgi) in error.fix


def test_an_acl_that_lets_another_write_is_refused_until_the_fix_is_run(cgi: Path, roots: Roots) -> None:
    path = cgi / "sub" / "x.cgi"
    # linux/posix_acl_xattr.h: version 2, then tag, permissions, id: user::rwx user:12345:rw- group:: mask:: other::
    entries = ((1, 7, 0), (2, 6, SOMEBODY), (4, 5, 0), (0x10, 7, 0), (0x20, 5, 0))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", acl)
    subprocess.run(refusal(roots, path).fix, shell=True, check=True)
    assert locate(roots, path) == (str(path), "")


@pytest.mark.parametrize(
    ("name", "reason"), [("", "search {}/sub (mode 0700"), ("/x.cgi", "read {}/sub/x.cgi (mode 0711")]
)
def test_what_selcgi_itself_may_not_reach_is_named(cgi: Path, roots: Roots, name: str, reason: str) -> None:
    (cgi / f"sub{name}").chmod(0o711 if name else 0o700)
    os.seteuid(SOMEBODY)
    try:
        error = refusal(roots, cgi / "sub" / "x.cgi")
    finally:
        os.seteuid(0)
    assert reason.format(cgi) in error.reason
    assert "label of" in error.reason
    assert error.fix.startswith("chmod a+")


def test_a_noexec_mount_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    program = """
import sys; from pathlib import Path; from selcgi.system import roots, scripts; root = Path(sys.argv[1])
root.chmod(0o755); path = root / "x"; path.write_text("#!/bin/sh"); path.chmod(0o755)
scripts.open_script((bytes(path),), roots.open_roots([root]), lambda _: "")
"""
    mount = 'mount -t tmpfs -o noexec,size=64k none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path / "m"), sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ScriptRefused" in done.stderr
    assert "mounted noexec" in done.stderr


def test_without_a_free_descriptor_it_is_overload(cgi: Path, roots: Roots) -> None:
    most, free = resource.getrlimit(resource.RLIMIT_NOFILE), os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, most[1]))
    try:
        with pytest.raises(Overloaded, match="Too many open files"):
            locate(roots, cgi / "sub" / "x.cgi")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


@pytest.mark.parametrize("path", ["{}/sub/../sub/x.cgi", "{}/./sub/x.cgi", "{}/sub/x.cgi/..", "{}/x\0", "x.cgi", ""])
def test_a_path_that_could_be_read_in_two_ways_is_refused(cgi: Path, roots: Roots, path: str) -> None:
    assert "is relative or too long, or has" in refusal(roots, path.format(cgi)).reason


def test_a_name_that_begins_like_a_root_is_outside(cgi: Path, roots: Roots) -> None:
    path = write(folder(cgi.parent / "cgi-private") / "x.cgi")
    assert f"{path} lies beneath no root; add --root" in str(refusal(roots, path))


def test_the_first_candidate_that_exists_wins(cgi: Path, roots: Roots) -> None:
    good, missing, outside = cgi / "sub" / "x.cgi", cgi / "no.cgi", Path("/etc/passwd")
    assert locate(roots, outside, missing, good) == (str(good), "")
    assert "no root" in refusal(roots, outside, missing).reason
    with pytest.raises(ScriptNotFound):
        locate(roots, missing, outside)
    good.chmod(0o777)
    assert "mode 0777" in refusal(roots, missing, good, cgi.parent / "other" / "y.cgi").reason


LINKS = {  # link, its target, path asked for, path found
    "relative": ("l", "sub/x.cgi", "/l/i", "cgi/sub/x.cgi"),
    "upward": ("sub/l", ".././../other/y.cgi", "/sub/l/i", "other/y.cgi"),
    "absolute": ("l", "{}/other/y.cgi", "/l/i", "other/y.cgi"),
    "folder": ("l", "../other/", "/l/y.cgi/i", "other/y.cgi"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_to_beneath_a_root_is_followed(cgi: Path, roots: Roots, name: str) -> None:
    link, target, asked, found = LINKS[name]
    (cgi / link).symlink_to(target.format(cgi.parent))
    assert locate(roots, f"{cgi}{asked}") == (f"{cgi.parent}/{found}", "/i")
    (cgi.parent / found).parent.chmod(0o777)
    assert "mode 0777" in refusal(roots, f"{cgi}{asked}").reason


@pytest.mark.parametrize(
    "target", ["/bin/true", "../outside/x.cgi", "../../../../../../../bin/true", "sub/../sub/x.cgi"]
)
def test_a_link_to_elsewhere_is_refused_and_named(cgi: Path, roots: Roots, target: str) -> None:
    (cgi / "l").symlink_to(target)
    error = refusal(roots, cgi / "l", cgi / "sub" / "x.cgi")
    assert f"{cgi}/l is a link to " in error.reason
    assert "--root" in error.fix


def test_eight_links_are_followed_and_nine_are_not(cgi: Path, roots: Roots) -> None:
    (cgi / "l1").symlink_to("sub/x.cgi")
    for number in range(2, 10):
        (cgi / f"l{number}").symlink_to(f"l{number - 1}")
    assert locate(roots, cgi / "l8") == (f"{cgi}/sub/x.cgi", "")
    assert "is link number 9" in refusal(roots, cgi / "l9").reason


def test_a_folder_exchanged_for_a_link_never_leads_out(cgi: Path, roots: Roots) -> None:
    write(folder(cgi.parent / "evil") / "x.cgi")
    (cgi / "l").symlink_to("../evil")
    done = threading.Event()

    def exchange() -> None:
        while not done.is_set():
            for one, two in (("sub", "kept"), ("l", "sub"), ("sub", "l"), ("kept", "sub")):
                (cgi / one).rename(cgi / two)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(500):
            with suppress(ScriptNotFound, ScriptRefused):
                assert locate(roots, cgi / "sub" / "x.cgi") == (f"{cgi}/sub/x.cgi", "")
    finally:
        done.set()
        thread.join()


INTERPRETERS = {  # first line: the interpreter, or a word of the reason
    "#!/bin/sh": "/bin/sh",
    "#! \t/usr/bin/env python3\n": "/usr/bin/env",
    "": "",
    "#!/bin/sh\r\n": "ends in CR LF",
    "#!/no/such\n": "No such file",
    "#!python3\n": "names no interpreter",
    "#!\n/bin/sh\n": "names no interpreter",
    "#!" + " " * 250 + "/bin/sh\n": "names no interpreter",
    "#!/" + "n" * 127 + "\n": "names no interpreter",
    "#!/" + "n" * 126 + "\n": "No such file",
}


@pytest.mark.parametrize("line", INTERPRETERS)
def test_the_interpreter_is_the_one_that_the_kernel_takes(cgi: Path, roots: Roots, line: str) -> None:
    path, wanted = write(cgi / "i.cgi", line), INTERPRETERS[line]
    if " " not in wanted:
        with closing(open_script((bytes(path),), roots, label_of).script) as script:
            assert script.interpreter == wanted.encode()
    else:
        assert wanted in str(refusal(roots, path))


def test_without_a_root_selcgi_does_not_start() -> None:
    with pytest.raises(StartRefused, match="--root"):
        open_roots([])


def test_a_users_root_may_hold_that_users_scripts_and_the_deepest_root_counts(cgi: Path, roots: Roots) -> None:
    for path in (cgi / "sub", cgi / "sub" / "x.cgi"):
        os.chown(path, SOMEBODY, 0)
    assert f"uid {SOMEBODY}" in refusal(roots, cgi / "sub" / "x.cgi").reason
    with closing(open_roots([cgi, cgi / "sub"])) as opened:
        assert locate(opened, cgi / "sub" / "x.cgi") == (f"{cgi}/sub/x.cgi", "")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text("/.\0lsubx.cgi%é", max_size=30).map(lambda text: text.encode()))
@example(b"/sub/x.cgi/\xff\n")
def test_any_path_is_found_or_refused_by_name(cgi: Path, roots: Roots, tail: bytes) -> None:
    with suppress(ScriptNotFound, ScriptRefused):
        located = open_script((bytes(cgi) + tail,), roots, label_of)
        located.script.close()
        assert located.script.path == bytes(cgi / "sub" / "x.cgi")
        assert tail.endswith(located.path_info)
        assert located.path_info[:1] in (b"", b"/")
