"""Listeners: what --listen may say, and real sockets with their mode, their owner and their end."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.errors import StartRefused
from selcgi.settings import ListenerSettings
from selcgi.system.sockets import close_listener, open_listener, parse_listener

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")

PARSED = {
    "unix:/run/s": ListenerSettings("unix:/run/s"),
    "tcp:127.0.0.1:9000": ListenerSettings("tcp:127.0.0.1:9000"),
    "tcp:localhost:0": ListenerSettings("tcp:localhost:0"),
    "tcp:[::1]:65535,peer-net=::1/128": ListenerSettings("tcp:[::1]:65535", peer_nets=("::1/128",)),
    "fd:0,identity=none": ListenerSettings("fd:0"),
    "systemd,identity=proof:/etc/p": ListenerSettings("systemd", "proof", Path("/etc/p")),
    "unix:/s,identity=auth-type,mode=600": ListenerSettings("unix:/s", "auth-type", mode=0o600),
    "unix:/s,owner=0:daemon": ListenerSettings("unix:/s", owner="0:1"),
    "unix:/s,map-param=A,map-param=B_C": ListenerSettings("unix:/s", map_params=("A", "B_C")),
    "unix:/s,peer-uid=root,peer-uid=33": ListenerSettings("unix:/s", peer_uids=(0, 33)),
    "fd:3,peer-type=a_t,peer-net=10.0.0.0/8,peer-type=b_t": ListenerSettings(
        "fd:3", peer_types=("a_t", "b_t"), peer_nets=("10.0.0.0/8",)
    ),
}


@pytest.mark.parametrize("text", PARSED)
def test_a_listener_is_parsed(text: str) -> None:
    assert parse_listener(text) == PARSED[text]


MISTAKES = {
    "": "is no address (unix:PATH, tcp:HOST:PORT, fd:N or systemd)",
    "/run/s": "did you mean unix:/run/s?",
    "unx:/run/s": "did you mean unix?",
    "systemd:3": "is no address",
    "fd:x": "write fd:3",
    "unix:run/s": "absolute",
    "unix:/" + "n" * 107: "at most 107 bytes",
    "unix:/\0": "no path of a socket",
    "tcp:9000": "write 127.0.0.1:9000",
    "tcp:127.0.0.1:65536": "is no HOST:PORT",
    "tcp:::1:9000": "write 127.0.0.1:9000 or [::1]:9000",
    "tcp:www.example.org:9000": "names are not looked up",
    "unix:/s,identiy=none": "did you mean identity?",
    "unix:/s,": "'' is no option of --listen",
    "unix:/s,identity=remoteuser": "did you mean remote-user?",
    "unix:/s,identity=proof:p": "did you mean proof:/FILE?",
    "unix:/s,identity=proof:/FILE,identity=none": "identity stands there twice",
    "unix:/s,mode=0660,mode=0666": "mode stands there twice",
    "unix:/s,mode=1777": "write 0660",
    "unix:/s,owner=root": "no group ''",
    "unix:/s,owner=no-such:0": "no user 'no-such'",
    "unix:/s,peer-uid=4294967295": "no user",
    "unix:/s,peer-type=httpd t": "no SELinux type",
    "unix:/s,peer-net=::/0": "peer-net means nothing for a unix address",
    "tcp:127.0.0.1:1,peer-net=10.0.0.1/8": "has host bits set",
    "unix:/s,map_param=X": "did you mean map-param?",
    "tcp:127.0.0.1:1,mode=0600": "mode means nothing for a tcp address",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_sentence_that_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(MISTAKES[text])):
        parse_listener(text)


@given(st.lists(st.sampled_from([*PARSED, *MISTAKES, "=", ":", "mode=", "peer-uid="]), max_size=4).map(",".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert text.startswith(parse_listener(text).address)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(stack: ExitStack, text: str) -> socket.socket:
    (sock,) = open_listener(parse_listener(text))
    stack.callback(close_listener, sock)
    return sock


def assert_serves(sock: socket.socket) -> None:
    assert not sock.get_inheritable()
    assert not sock.getblocking()
    with socket.socket(sock.family) as client:
        client.connect(sock.getsockname())
        peer, _ = sock.accept()
        peer.close()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_and_owner_under_any_umask(tmp_path: Path, opened: ExitStack, mode: int) -> None:
    opened.callback(os.umask, os.umask(0))
    sock = listen(opened, f"unix:{tmp_path}/s,mode={mode:04o},owner=daemon:daemon")
    assert os.umask(0) == 0
    status = (tmp_path / "s").stat()
    assert stat.S_IMODE(status.st_mode) == mode
    assert (status.st_uid, status.st_gid) == (1, 1)
    assert_serves(sock)


def test_a_unix_socket_that_may_not_be_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(StartRefused, match="Operation not permitted; selcgi's user may not give it to owner="):
        open_listener(parse_listener(f"unix:{tmp_path}/s,owner=0:1"))
    assert not (tmp_path / "s").exists()


def test_a_unix_socket_is_never_wider_than_its_mode(
    tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: seen.append(stat.S_IMODE(path.lstat().st_mode)))
    listen(opened, f"unix:{tmp_path}/s,mode=0640")
    assert seen == [0o600]


def test_the_file_goes_with_the_socket_unless_it_is_anothers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = open_listener(ListenerSettings(f"unix:{path}"))
    close_listener(one)
    assert not path.exists()
    (two,) = open_listener(ListenerSettings(f"unix:{path}"))
    path.unlink()
    path.write_text("another's")
    close_listener(two)
    close_listener(two)
    assert path.exists()


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path, opened: ExitStack) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    sock = listen(opened, f"unix:{tmp_path}/s")
    with pytest.raises(StartRefused, match="is in use"):
        open_listener(ListenerSettings(f"unix:{tmp_path}/s"))
    assert_serves(sock)


@pytest.mark.parametrize("kind", ["file", "link", "datagram"])
def test_what_is_no_dead_socket_is_left_alone(tmp_path: Path, opened: ExitStack, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(str(path))
    before = path.lstat()
    with pytest.raises(StartRefused, match=r"is there and no socket|is in use"):
        open_listener(ListenerSettings(f"unix:{path}"))
    assert path.lstat().st_ino == before.st_ino


def test_a_folder_where_others_could_exchange_the_socket_is_refused(tmp_path: Path, opened: ExitStack) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StartRefused, match="mode 0777"):
        open_listener(ListenerSettings(f"unix:{tmp_path}/s"))
    tmp_path.chmod(0o1777)
    assert_serves(listen(opened, f"unix:{tmp_path}/s"))


def test_of_many_that_start_at_once_one_gets_the_socket(tmp_path: Path, opened: ExitStack) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    won = list[socket.socket]()

    def start() -> None:
        with suppress(StartRefused):
            won.append(listen(opened, f"unix:{tmp_path}/s"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (sock,) = won
    assert_serves(sock)


@pytest.mark.parametrize("address", ["tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0"])
def test_a_tcp_socket_listens_on_this_machine(opened: ExitStack, address: str) -> None:
    assert_serves(listen(opened, address))


@pytest.mark.parametrize("text", ["tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:127.0.0.1:0,identity=remote-user"])
def test_a_tcp_socket_without_what_it_needs_does_not_open(text: str) -> None:
    with pytest.raises(StartRefused):
        open_listener(parse_listener(text))


def test_an_address_in_use_is_named(opened: ExitStack) -> None:
    port = listen(opened, "tcp:127.0.0.1:0").getsockname()[1]
    with pytest.raises(StartRefused, match=f"tcp:127.0.0.1:{port} can't be opened: Address already in use; is selcgi"):
        open_listener(ListenerSettings(f"tcp:127.0.0.1:{port}"))


def handed_over(kind: int = socket.SOCK_STREAM, listens: bool = True) -> int:
    """The number of an inheritable descriptor, a TCP socket on this machine by default."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if listens:
        sock.listen()
    sock.set_inheritable(True)
    return sock.detach()


def test_an_inherited_socket_is_moved_and_its_number_is_dead(opened: ExitStack) -> None:
    number = handed_over()
    opened.callback(os.close, number)
    assert_serves(listen(opened, f"fd:{number}"))
    assert os.path.samestat(os.fstat(number), Path(os.devnull).stat())
    assert not os.get_inheritable(number)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_inherited_socket_must_listen(opened: ExitStack, kind: int) -> None:
    number = handed_over(kind, listens=False)
    opened.callback(os.close, number)
    with pytest.raises(StartRefused, match="is no listening stream socket"):
        open_listener(ListenerSettings(f"fd:{number}"))


def test_an_inherited_socket_must_have_what_its_family_needs(opened: ExitStack) -> None:
    number = handed_over()
    opened.callback(os.close, number)
    with pytest.raises(StartRefused, match="proves nothing on TCP"):
        open_listener(ListenerSettings(f"fd:{number}", "remote-user"))


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(StartRefused, match="Socket operation on non-socket"):
        open_listener(ListenerSettings(f"fd:{file.fileno()}"))
    with pytest.raises(StartRefused, match="Bad file descriptor"):
        open_listener(ListenerSettings("fd:99999"))


PROGRAM = """
import os, sys
from selcgi.system.sockets import open_listener, parse_listener
number, address, away, count = sys.argv[1:]
os.dup2(int(number), 3)
os.close(int(number))
if address == "systemd":
    os.environ.update(LISTEN_PID=str(os.getpid() + int(away)), LISTEN_FDS=count, LISTEN_FDNAMES="x")
found = open_listener(parse_listener(address))
print(len(found), [name for name in os.environ if name.startswith("LISTEN")], os.readlink("/proc/self/fd/0"))
"""


def adopted(address: str, away: str = "", count: str = "") -> subprocess.CompletedProcess[str]:
    """What a fresh process says whose stdin and descriptor 3 are a listening socket."""
    number = handed_over()
    try:
        command = [sys.executable, "-c", PROGRAM, str(number), address, away, count]
        return subprocess.run(command, stdin=number, pass_fds=[number], capture_output=True, text=True, check=False)
    finally:
        os.close(number)


def test_fastcgis_own_descriptor_0_leaves_an_empty_stdin() -> None:
    assert adopted("fd:0").stdout == "1 [] /dev/null\n"


def test_systemd_hands_over_its_sockets_once() -> None:
    assert adopted("systemd", "0", "1").stdout.startswith("1 [] ")


@pytest.mark.parametrize(("away", "count"), [("1", "1"), ("0", "0"), ("0", "x"), ("0", "65"), ("0", "2")])
def test_sockets_that_are_not_for_this_process_are_refused(away: str, count: str) -> None:
    assert "StartRefused" in adopted("systemd", away, count).stderr
