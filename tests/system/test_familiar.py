"""Scripts that are kept open: whatever changes on the way to one, the next request gets what a new look would give."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from selcgi.errors import ScriptRefused, SelcgiError
from selcgi.system import familiar
from selcgi.system.familiar import MOST, Familiar
from selcgi.system.roots import Roots, open_roots
from selcgi.system.scripts import Located, open_script
from tests.stack import TREE

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")
SOMEBODY = 12345


def label_of(descriptor: int) -> str:
    return f"label of {os.fstat(descriptor).st_size} bytes"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """/cgi/sub/deep/x.cgi, where /cgi is the root."""
    path = tmp_path / "cgi" / "sub" / "deep" / "x.cgi"
    path.parent.mkdir(parents=True)
    for folder in path.parents[:3]:
        folder.chmod(0o755)
    path.write_text("#!/bin/sh\necho\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def roots(script: Path) -> Iterator[Roots]:
    with closing(open_roots([script.parents[2]])) as opened:
        yield opened


@pytest.fixture
def kept(roots: Roots, script: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Familiar]:
    """One that keeps `script` by now, however young."""
    monkeypatch.setattr(familiar, "_SETTLED_NS", -(10**10))
    with closing(Familiar(roots, label_of)) as found:
        first, second = take(found, script), take(found, script)
        assert first.script is second.script
        yield found


def take(scripts: Familiar, *candidates: Path | str) -> Located:
    """What is found, given back already."""
    located = scripts.open(tuple(os.fsencode(one) for one in candidates))
    located.close()
    return located


def tick(script: Path) -> None:
    """Until what changes next has another time than what has made the script: the kernel's clock for files is coarse;
    see test_what_changed_just_now_is_not_kept."""
    probe, made = script.parents[3] / "tick", script.stat().st_ctime_ns
    probe.touch()
    while probe.stat().st_ctime_ns <= made:
        probe.touch()


def outcome(look: Callable[[], Located]) -> object:
    try:
        located = look()
    except SelcgiError as error:
        return type(error), error.reason, error.fix
    script = located.script
    return located.path_info, located.named, script.path, script.stamp, script.interpreter, script.label


def _exchange(path: Path) -> None:
    path.rename(path.with_name("old"))
    subprocess.run(["cp", "-a", path.with_name("old"), path], check=True)


def _link_in_place(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "its mode": lambda path: path.chmod(0o775),
    "no longer executable": lambda path: path.chmod(0o644),
    "setuid": lambda path: path.chmod(0o4755),
    "its owner": lambda path: os.chown(path, SOMEBODY, SOMEBODY),
    "its text": lambda path: path.write_text("#!/bin/bash\nlonger than before\n"),
    "no interpreter": lambda path: path.write_text("#!/nowhere\n"),
    "an ACL": lambda path: subprocess.run(["setfacl", "-m", f"u:{SOMEBODY}:rwx", path], check=True),
    "another file": _exchange,
    "a link": _link_in_place,
    "no file": Path.unlink,
    "a folder": _folder_in_place,
    "open folder": lambda path: path.parent.chmod(0o777),
    "open folder above": lambda path: path.parents[1].chmod(0o777),
    "open root": lambda path: path.parents[2].chmod(0o777),
    "owner of its folder": lambda path: os.chown(path.parent, SOMEBODY, 0),
    "another folder": lambda path: _exchange(path.parents[1]),
    "link in place of a folder": lambda path: _link_in_place(path.parent),
    "another root": lambda path: _exchange(path.parents[2]),
    "a neighbour": lambda path: path.with_name("z.cgi").touch(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_once(kept: Familiar, roots: Roots, script: Path, change: str) -> None:
    tick(script)
    before = outcome(lambda: take(kept, script))
    CHANGES[change](script)

    def look() -> Located:
        located = open_script((bytes(script),), roots, label_of)
        located.close()
        return located

    after = outcome(look)
    assert outcome(lambda: take(kept, script)) == after
    assert (after == before) == (change in ("nothing", "a neighbour"))


def test_what_changed_just_now_is_not_kept(roots: Roots, script: Path) -> None:
    """Nothing tells whether it changed once more within the same tick."""
    with closing(Familiar(roots, label_of)) as scripts:
        first = take(scripts, script)
        assert take(scripts, script).script is not first.script


@pytest.mark.parametrize("place", ["script", "folder", "root"])
def test_each_part_of_the_way_must_have_settled(
    roots: Roots, script: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    tick(script)
    changed = {"script": script, "folder": script.parent, "root": script.parents[2]}[place]
    changed.chmod(0o755)
    settled = changed.stat().st_ctime_ns + familiar._SETTLED_NS
    clock = SimpleNamespace(time_ns=lambda: settled)
    monkeypatch.setattr(familiar, "time", clock)
    with closing(Familiar(roots, label_of)) as scripts:
        assert take(scripts, script).script is not take(scripts, script).script
        clock.time_ns = lambda: settled + 1
        assert take(scripts, script).script is take(scripts, script).script


def test_path_info_is_each_requests_own(roots: Roots, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one without any, after the one that was the first to ask for the script."""
    monkeypatch.setattr(familiar, "_SETTLED_NS", -(10**10))
    with closing(Familiar(roots, label_of)) as scripts:
        found = [take(scripts, f"{script}{one}", script) for one in ("/alices", "", "/bobs", "")]
    assert {one.script.path for one in found} == {bytes(script)}
    assert [one.path_info for one in found] == [b"/alices", b"", b"/bobs", b""]


def test_path_info_is_what_the_first_candidate_has_more(kept: Familiar, roots: Roots, script: Path) -> None:
    for candidates in ((f"{script}/a/b", script), (f"{script}//a/", script), (script, script), (f"{script}x", script)):
        encoded = tuple(os.fsencode(one) for one in candidates)
        wanted = open_script(encoded, roots, label_of)
        wanted.close()
        found = take(kept, *candidates)
        assert (found.path_info, found.named, found.script.path) == (wanted.path_info, wanted.named, wanted.script.path)


def test_a_way_with_dots_is_refused_as_ever(kept: Familiar, script: Path) -> None:
    with pytest.raises(SelcgiError, match=r"'\.\.'"):
        take(kept, f"{script}/../y.cgi", script)


def test_a_file_at_the_first_candidate_counts(kept: Familiar, script: Path) -> None:
    other = script.with_name("first.cgi")
    other.write_bytes(script.read_bytes())
    other.chmod(0o755)
    assert take(kept, other, script).script.path == bytes(other)


def test_it_stays_open_while_it_is_used(kept: Familiar, script: Path) -> None:
    located = kept.open((bytes(script),))
    kept.close()
    assert os.fstat(located.script.descriptor).st_ino == script.stat().st_ino
    located.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(located.script.descriptor)


def test_one_is_forgotten_and_no_other(kept: Familiar, script: Path) -> None:
    other = script.with_name("other.cgi")
    other.write_bytes(script.read_bytes())
    other.chmod(0o755)
    others, first = take(kept, other), take(kept, script)
    kept.forget(first)
    kept.forget(first)
    assert take(kept, script).script is not first.script
    assert take(kept, other).script is others.script


def test_what_nobody_asks_for_is_let_go(kept: Familiar, script: Path) -> None:
    first = take(kept, script)
    kept.age()
    assert take(kept, script).script is first.script
    kept.age()
    kept.age()
    assert take(kept, script).script is not first.script


def test_a_few_are_kept(kept: Familiar, script: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(MOST + 5):
        one = script.with_name(f"{number}.cgi")
        one.write_bytes(script.read_bytes())
        one.chmod(0o755)
    for number in range(MOST + 5):
        take(kept, script.with_name(f"{number}.cgi"))
    assert len(os.listdir("/proc/self/fd")) == before + 2 * (MOST - 1)


def test_an_interpreter_is_checked_in_each_second(
    kept: Familiar, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "sh"
    subprocess.run(["cp", "/bin/sh", shell], check=True)
    script.write_text(f"#!{shell}\n")
    assert take(kept, script).script is take(kept, script).script
    shell.chmod(0o777)
    now = time.monotonic()
    monkeypatch.setattr("selcgi.system.executable.time.monotonic", lambda: now + 1)
    with pytest.raises(ScriptRefused, match="open to more than its owner") as refused:
        take(kept, f"{script}/more", script)
    assert refused.value.script == bytes(script)


# In a mount namespace of its own: what a script that is kept gets once its file system is mounted noexec.
MOUNTED = """
import os, subprocess, sys
from contextlib import closing
from pathlib import Path
from selcgi.errors import ScriptRefused
from selcgi.system import familiar
from selcgi.system.roots import open_roots
familiar._SETTLED_NS = -(10**10)
root, over = Path(sys.argv[1]), sys.argv[2] == "another mount"
folder = root / "inner"
folder.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
root.chmod(0o755)
folder.chmod(0o755)
script = folder / "x.cgi"
script.write_text("print()")
script.chmod(0o755)
with closing(open_roots([root])) as roots, closing(familiar.Familiar(roots, lambda _: "")) as scripts:
    first = scripts.open((bytes(script),))
    print(scripts.open((bytes(script),)).script is first.script)
    if over:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,noexec" if over else "remount,noexec", folder], check=True)
    try:
        scripts.open((bytes(script),))
    except ScriptRefused as error:
        print(error.reason)
"""


@pytest.mark.parametrize("how", ["the same mount", "another mount"])
def test_a_mount_that_lets_nothing_run_any_more(tmp_path: Path, how: str) -> None:
    """A warm interpreter, which executes no file, would run it on; and what is open lies beneath another mount."""
    line = ["unshare", "-m", sys.executable, "-c", MOUNTED, str(tmp_path), how]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    done = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=60, check=True)
    assert done.stdout == f"True\n{tmp_path}/inner/x.cgi lies on a file system that is mounted noexec\n", done.stderr
