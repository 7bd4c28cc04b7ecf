"""Sockets and mappings that cannot be had, at start and at a reload: refused in one sentence, and nothing changes.

A start that is refused exits with 3 and leaves no socket file. A reload that is refused keeps the table, says so
loudly, and the next good one is taken.
"""

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.faults import HELLO, leaving_nothing
from tests.e2e.test_service import environ, options
from tests.stack import PATIENCE, PROGRAM, Ask, Selcgi, ask, wait_until


def refused(place: Place, *more: str) -> str:
    """The sentence with which selcgi does not start; there is a good listener before whatever `more` says."""
    good = f"--listen=unix:{place.folder}/good.sock,identity=none"
    words = [*PROGRAM, "serve", good, "--cgroup=none", *options(place), *more]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environ())
    assert (done.returncode, done.stdout) == (3, "")
    assert not (place.folder / "good.sock").exists()
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


def test_a_port_in_use(place: Place, taken: int) -> None:
    (place.folder / "proof").write_text("x" * 32)
    (place.folder / "proof").chmod(0o600)
    line = refused(place, f"--listen=tcp:127.0.0.1:{taken},identity=proof:{place.folder}/proof")
    assert "Address already in use; is selcgi already running?" in line


@pytest.mark.parametrize(
    ("make", "path", "reason", "fix"),
    [
        (None, "missing/x.sock", "No such file or directory", "is "),
        (Path.touch, "x.sock", "is there and no socket", "remove it"),
        (Path.mkdir, "x.sock", "is there and no socket", "remove it"),
        (lambda path: path.symlink_to("/nowhere"), "x.sock", "is there and no socket", "remove it"),
        (lambda path: path.parent.chmod(0o777), "x.sock", "is open to more than its owner", "chmod go-w"),
    ],
    ids=["no folder", "a file", "a folder", "a link", "others may write"],
)
def test_a_socket_that_cannot_be_opened(
    place: Place, make: Callable[[Path], object] | None, path: str, reason: str, fix: str
) -> None:
    where = place.marks.parent / "run"
    where.mkdir(mode=0o755)
    if make is not None:
        make(where / path)
    before = [one.name for one in where.iterdir()]
    line = refused(place, f"--listen=unix:{where}/{path},identity=none")
    assert (reason in line, fix in line) == (True, True), line
    assert [one.name for one in where.iterdir()] == before


def test_a_type_of_the_peer_without_selinux(place: Place) -> None:
    line = refused(place, f"--listen=unix:{place.folder}/x.sock,identity=none,peer-type=httpd_t")
    assert line.endswith("without SELinux no peer has a type; leave peer-type= out")


def test_a_socket_path_that_is_too_long_is_a_mistake_of_the_command_line(place: Place) -> None:
    words = [*PROGRAM, "serve", f"--listen=unix:/run/{'long' * 30}.sock,identity=none", *options(place)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environ())
    assert done.returncode == 2
    assert "107 bytes" in done.stderr.splitlines()[-1]


def test_a_stale_socket_is_replaced(serve: Serve, place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.folder / "selcgi.sock"))
    with leaving_nothing(serve(), place):
        assert (place.folder / "selcgi.sock").is_socket()


@pytest.mark.parametrize(
    ("option", "reason", "fix"),
    [
        ("--map=/no/such/map", "can't be looked at: No such file or directory", "is /no/such/map right?"),
        ("--root=/no/such/root", "No such file or directory", "right"),
        ("--script-user=no-such-user", "--script-user", "no-such-user"),
        ("--cgroup=/no/such/cgroup", "is no cgroup v2 directory", "Delegate=yes"),
        ("--pid-file=/no/such/folder/pid", "cannot write /no/such/folder/pid: No such file", "--pid-file"),
        ("--log-file=/no/such/folder/log", "cannot open the log /no/such/folder/log: No such file", "--log-file"),
    ],
)
def test_a_start_without_what_it_needs(place: Place, option: str, reason: str, fix: str) -> None:
    line = refused(place, option)
    assert (reason in line, fix in line) == (True, True), line


def instead(place: Place, make: Callable[[Path], object]) -> None:
    place.map.unlink()
    make(place.map)


RELOADS: dict[str, tuple[Callable[[Place], object], str]] = {
    "vanished": (lambda place: place.map.unlink(), "can't be opened: No such file or directory"),
    "a folder": (lambda place: instead(place, Path.mkdir), "is no regular file"),
    "a link": (lambda place: instead(place, lambda path: path.symlink_to("/etc/hostname")), "is a link"),
    "writable by others": (lambda place: place.map.chmod(0o666), "is open to more than its owner"),
    "another's": (lambda place: shutil.chown(place.map, "news"), "belongs to uid"),
    "not UTF-8": (lambda place: place.map.write_bytes(b"bob user_webapp_t\n\xff deny\n"), "2: the line is not UTF-8"),
    "mistaken": (lambda place: place.rules("alice user_webapp_t timout=3"), "site.map:1: "),
    "in a folder that is open": (lambda place: place.folder.chmod(0o777), "is open to more than its owner"),
}


def reload(selcgi: Selcgi, word: str) -> str:
    """SIGHUP, and the line that tells of it."""
    before = selcgi.log().count(word)
    selcgi.signal(signal.SIGHUP)
    wait_until(word, lambda: selcgi.log().count(word) > before)
    return [line for line in selcgi.log().splitlines() if word in line][-1]


@pytest.mark.parametrize("name", RELOADS)
def test_a_mapping_that_at_a_reload_is(serve: Serve, place: Place, name: str) -> None:
    change, reason = RELOADS[name]
    path = place.script("hello.cgi", HELLO)
    selcgi = serve()
    with leaving_nothing(selcgi, place):
        change(place)
        line = reload(selcgi, "reload refused, the mapping in use stays")
        assert reason in line
        assert '"level": "error"' in line
        assert ask(selcgi.socket, Ask(path, "alice")).status == 200, "the old table stays"
        place.folder.chmod(0o755)


def test_a_good_mapping_is_taken_after_a_refused_one(serve: Serve, place: Place) -> None:
    path = place.script("hello.cgi", HELLO)
    with serve() as selcgi:
        place.map.unlink()
        reload(selcgi, "reload refused")
        place.rules("carol user_webapp_t:s0:c3")
        reload(selcgi, "reloaded: ")
        # The old worker may have taken one more connection before it saw its SIGTERM.
        wait_until("the new mapping", lambda: ask(selcgi.socket, Ask(path, "carol")).status == 200)


def test_a_mapping_that_selcgi_may_not_read_any_more(place: Place) -> None:
    """Root without the capabilities that let it read everything."""
    words = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *PROGRAM)
    selcgi = Selcgi(place.folder, *options(place, f"--env=CGI_MARKS={place.marks}"), program=words)
    with leaving_nothing(selcgi, place):
        place.map.chmod(0)
        assert "can't be opened: Permission denied; " in reload(selcgi, "reload refused")
        assert ask(selcgi.socket, Ask(str(place.cgi / "hello.cgi"), "alice")).status == 200
        place.map.chmod(0o644)
