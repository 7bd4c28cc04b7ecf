"""Scripts, their interpreters and their root, taken away or exchanged: before, between and during requests.

Between the check and the exec of a script lies the wait for a body of unknown length: the client holds that body back
until the test has changed the file, so that the change always falls into the gap.
"""

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from selcgi.wire.records import Kind, encode_pairs, encode_record, encode_stream
from tests.e2e.conftest import Place, Serve
from tests.e2e.faults import last_entry, leaving_nothing, open_files
from tests.e2e.test_ending import begin
from tests.e2e.test_service import until_end
from tests.stack import Ask, Selcgi, ask, to_answer, wait_until

HEAD = "printf 'Content-Type: text/plain\\n\\n'\n"
OLD = f"#!/bin/sh\n{HEAD}echo old\n"
NEW = f"#!/bin/sh\n{HEAD}echo new\n"
WAITS = f"#!/bin/sh\n{HEAD}touch $CGI_MARKS/runs\nuntil [ -e $CGI_MARKS/go ]; do sleep 0.05; done\necho old\n"
PROGRAM = '#include <stdio.h>\nint main(void) { puts("Content-Type: text/plain\\n\\nold"); return 0; }\n'


CANNOT = {
    "names an interpreter that is missing": (
        "#!/no/such/interpreter\n",
        0o755,
        403,
        "script",
        "the interpreter of",
        "install it",
    ),
    "is not executable": (OLD, 0o644, 403, "script", "selcgi may not execute", "chmod a+x"),
    "has no #! line": (HEAD, 0o755, 500, "exec", "neither a #! line nor a binary format", "absolute path"),
    "has lines that end in CR LF": (OLD.replace("\n", "\r\n"), 0o755, 403, "script", "No such file", "save it with LF"),
    "names no absolute path of an interpreter": (
        "#!sh\n",
        0o755,
        403,
        "script",
        "names no interpreter",
        "#!/usr/bin/env",
    ),
    "is a broken binary": ("\x7fELF", 0o755, 500, "exec", "neither a #! line nor a binary format", "absolute path"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_script_that_cannot_run(serve: Serve, place: Place, way: str, name: str) -> None:
    text, mode, status, step, reason, fix = CANNOT[name]
    selcgi = serve(way)
    with leaving_nothing(selcgi, place, way):
        path = place.cgi / "fault.cgi"
        path.write_text(text, newline="")
        path.chmod(mode)
        assert ask(selcgi.socket, Ask(str(path), "alice")).status == status
        entry = last_entry(selcgi)
        assert (entry["status"], entry["step"], entry["exit"]) == (status, step, "")
        assert (reason in entry["reason"], fix in entry["fix"]) == (True, True), entry


def replace(path: Path) -> None:
    """By another file, as an editor or a package does it."""
    fresh = path.with_name("fresh.cgi")
    fresh.write_text(NEW)
    fresh.chmod(0o755)
    fresh.rename(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/bin/sh")


GAP: dict[str, tuple[Callable[[Path], object], str]] = {
    "replaced": (replace, "another file or another version"),
    "rewritten": (lambda path: path.write_text(NEW), "another file or another version"),
    "made unreadable": (lambda path: path.chmod(0), "another file or another version"),
    "removed": (Path.unlink, "No such file or directory"),
    "made a link": (link, "another file or another version"),
    "moved with its folder": (
        lambda path: path.parent.rename(path.parent.parent / "away"),
        "No such file or directory",
    ),
}


class Held:
    """A request whose script is checked and not yet started: its body has not ended."""

    def __init__(self, selcgi: Selcgi, path: str) -> None:
        pairs = Ask(path, "alice", method="POST", params={"CONTENT_LENGTH": ""}).pairs()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(selcgi.socket))
        begin_request = encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, *[0] * 6)))
        self.sock.sendall(begin_request + encode_stream(Kind.PARAMS, 1, encode_pairs(pairs)))
        self.sock.sendall(encode_record(Kind.PARAMS, 1, b"") + encode_stream(Kind.STDIN, 1, b"x"))
        (worker,) = selcgi.workers()
        wait_until("the script is open", lambda: path in open_files(worker))

    def answer(self) -> tuple[int, str]:
        with self.sock:
            self.sock.sendall(encode_record(Kind.STDIN, 1, b""))
            answer = to_answer(until_end(self.sock), b"", True)
            return answer.status, answer.text


@pytest.mark.parametrize("change", GAP)
def test_a_script_is_between_its_check_and_its_start(serve: Serve, place: Place, way: str, change: str) -> None:
    do, reason = GAP[change]
    (place.cgi / "sub").mkdir()
    path = place.script("sub/fault.cgi", OLD)
    selcgi = serve(way)
    with leaving_nothing(selcgi, place, way):
        held = Held(selcgi, path)
        do(Path(path))
        assert held.answer()[0] == 500
        entry = last_entry(selcgi)
        assert (entry["step"], entry["exit"]) == ("check_script", "")
        assert f"{path} was changed after it had been checked: {reason}" == entry["reason"]
        assert "rename(2)" in entry["fix"]
        shutil.rmtree(place.folder / "away", ignore_errors=True)


def test_an_interpreter_is_removed_between_the_check_and_the_start(serve: Serve, place: Place, way: str) -> None:
    interpreter = Path(shutil.copy("/bin/sh", place.cgi / "sh"))
    path = place.script("fault.cgi", OLD.replace("/bin/sh", str(interpreter)))
    selcgi = serve(way)
    with leaving_nothing(selcgi, place, way):
        held = Held(selcgi, path)
        interpreter.unlink()
        assert held.answer()[0] == 500
        entry = last_entry(selcgi)
        assert (entry["step"], entry["fix"]) == ("exec", "install it, or correct the script")
        assert f"its interpreter {interpreter} does not exist" in entry["reason"]


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_binary_that_was_checked_is_the_one_that_runs(serve: Serve, place: Place, way: str, change: str) -> None:
    (place.marks / "program.c").write_text(PROGRAM)
    path = place.cgi / "fault.cgi"
    assert os.spawnlp(os.P_WAIT, "cc", "cc", "-o", str(path), str(place.marks / "program.c")) == 0
    selcgi = serve(way)
    with leaving_nothing(selcgi, place, way):
        held = Held(selcgi, str(path))
        GAP[change][0](path)
        assert held.answer() == (200, "old\n")


def swap(root: Path) -> None:
    """Another folder takes the root's name, with a script of the same name in it."""
    root.rename(root.with_name("old-cgi"))
    root.mkdir(mode=0o755)
    (root / "fault.cgi").write_text(NEW)
    (root / "fault.cgi").chmod(0o755)


def run_during(selcgi: Selcgi, place: Place, change: Callable[[], object]) -> str:
    """What a script answers that was running while `change` happened."""
    with begin(selcgi, Ask(place.script("fault.cgi", WAITS), "alice")) as sock:
        wait_until("the script", (place.marks / "runs").exists)
        change()
        (place.marks / "go").touch()
        return to_answer(until_end(sock), b"", True).text


def test_a_script_is_removed_while_it_runs(serve: Serve, place: Place, way: str) -> None:
    selcgi, path = serve(way), place.cgi / "fault.cgi"
    with leaving_nothing(selcgi, place, way):
        assert run_during(selcgi, place, path.unlink) == "old\n"
        assert last_entry(selcgi)["exit"] == "0"
        assert ask(selcgi.socket, Ask(str(path), "alice")).status == 404


@pytest.mark.parametrize("other", ["another folder", "nothing"])
def test_the_root_is_replaced_while_a_script_runs(serve: Serve, place: Place, way: str, other: str) -> None:
    """The old folder is not served any more, the new one not before it was checked."""
    selcgi, path = serve(way), place.cgi / "fault.cgi"
    change = swap if other == "another folder" else lambda root: root.rename(root.with_name("old-cgi"))
    with selcgi:
        assert run_during(selcgi, place, lambda: change(place.cgi)) == "old\n"
        assert ask(selcgi.socket, Ask(str(path), "alice")).status == 403
        wait_until("both lines", lambda: len(selcgi.entries()) == 2)
        entry = selcgi.entry()
        assert (entry["step"], entry["exit"]) == ("script", "")
        assert str(place.cgi) in entry["reason"]
        assert "reload" in entry["fix"]
        selcgi.signal(signal.SIGHUP)
        if other == "nothing":
            wait_until("the refusal", lambda: "reload refused" in selcgi.log())
            assert ask(selcgi.socket, Ask(str(path), "alice")).status == 403
        else:
            wait_until("the reload", lambda: "reloaded" in selcgi.log())
            wait_until("the new root", lambda: ask(selcgi.socket, Ask(str(path), "alice")).text == "new\n")
