"""Who may be whom: the whole table of modes against what a request brings; peers over real sockets."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.context import Context
from selcgi.errors import IdentityNotProven, LaunchFailed, StartRefused
from selcgi.settings import IdentityMode, ListenerSettings
from selcgi.system.identity import check_peer, load_secret, prove, prove_told, validate_listener

SECRET = b"0123456789abcdef"
MODES: tuple[IdentityMode, ...] = ("none", "proof", "auth-type", "remote-user")


def listener(mode: IdentityMode) -> ListenerSettings:
    return ListenerSettings("unix:/run/selcgi/s", mode, Path("/p") if mode == "proof" else None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("user", [None, ""])
@pytest.mark.parametrize("tcp", [False, True])
def test_without_a_name_it_is_nobody(mode: IdentityMode, user: str | None, tcp: bool) -> None:
    for proof in (b"", SECRET):
        assert prove(listener(mode), SECRET, user, "Basic", proof, tcp) is None


# mode, AUTH_TYPE, SELCGI_PROOF, TCP: every combination that proves alice; all others are refused.
PROVEN = {
    *(("proof", auth, SECRET, tcp) for auth in ("", "Basic") for tcp in (False, True)),
    *(("auth-type", "Basic", proof, False) for proof in (b"", b"x", SECRET)),
    *(("remote-user", auth, proof, False) for auth in ("", "Basic") for proof in (b"", b"x", SECRET)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("auth_type", ["", "Basic"])
@pytest.mark.parametrize("proof", [b"", b"x", SECRET])
@pytest.mark.parametrize("tcp", [False, True])
def test_a_name_counts_with_its_proof_only(mode: IdentityMode, auth_type: str, proof: bytes, tcp: bool) -> None:
    if (mode, auth_type, proof, tcp) in PROVEN:
        assert prove(listener(mode), SECRET, "alice", auth_type, proof, tcp) == "alice"
    else:
        with pytest.raises(IdentityNotProven) as caught:
            prove(listener(mode), SECRET, "alice", auth_type, proof, tcp)
        assert caught.value.fix
        assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_who_may_say_a_context_at_all(mode: IdentityMode) -> None:
    telling = replace(listener(mode), map_params=("AUTHENTICATE_UDOMAIN",))
    if mode in ("proof", "auth-type"):
        validate_listener(telling, tcp=False, loopback=False)
    else:
        with pytest.raises(StartRefused, match="anybody could choose a context"):
            validate_listener(telling, tcp=False, loopback=False)


def test_a_context_without_a_proven_user_is_refused() -> None:
    told = (("AUTHENTICATE_UDOMAIN", "user_webapp_t"),)
    with pytest.raises(IdentityNotProven, match="AUTHENTICATE_UDOMAIN, which chooses the context, came without a user"):
        prove_told(told, None)
    prove_told(told, "alice")
    prove_told((), None)


@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize("proof", [SECRET[:-1], SECRET + b"0", b"\xff", SECRET.upper()])
def test_a_wrong_proof_is_refused_even_for_nobody(user: str | None, proof: bytes) -> None:
    with pytest.raises(IdentityNotProven, match="SELCGI_PROOF is not the proof"):
        prove(listener("proof"), SECRET, user, "", proof, False)


@pytest.mark.parametrize("secret", [None, b""])
@pytest.mark.parametrize("proof", [b"", b"x"])
def test_without_a_secret_nothing_is_a_proof(secret: bytes | None, proof: bytes) -> None:
    with pytest.raises(IdentityNotProven):
        prove(listener("proof"), secret, "alice", "Basic", proof, False)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("none", ["identity=proof:FILE", "fastcgi_param SELCGI_PROOF", "ProxyFCGISetEnvIf"]),
        ("proof", ["fastcgi_param SELCGI_PROOF", "ProxyFCGISetEnvIf", "proof file"]),
        ("auth-type", ["AUTH_TYPE"]),
    ],
)
def test_the_fix_says_what_to_add_where(mode: IdentityMode, words: list[str]) -> None:
    with pytest.raises(IdentityNotProven) as caught:
        prove(listener(mode), SECRET, "al\nice", "", b"", False)
    assert r"'al\nice'" in caught.value.reason
    assert all(word in caught.value.fix for word in words)


@given(st.text(min_size=1), st.text(), st.binary())
def test_no_name_is_believed_where_nobody_is_known(user: str, auth_type: str, proof: bytes) -> None:
    with pytest.raises(IdentityNotProven) as caught:
        prove(listener("none"), None, user, auth_type, proof, False)
    assert caught.value.reason.isprintable()


def write(path: Path, data: bytes, mode: int = 0o640) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("data", [SECRET, b" \n" + SECRET + b"\n", b"x" * 1024])
def test_a_secret_is_read_without_the_blanks_around_it(tmp_path: Path, data: bytes) -> None:
    assert load_secret(write(tmp_path / "proof", data)) == data.strip()


@pytest.mark.parametrize("data", [b"", b"\n" * 99, SECRET[1:] + b"\n", b"x" * 1025, b"x" * 5000])
def test_a_secret_too_short_or_too_long_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StartRefused, match="bytes"):
        load_secret(write(tmp_path / "proof", data))


@pytest.mark.parametrize(("mode", "fixed"), [(0o644, "0640"), (0o660, "0640"), (0o602, "0600")])
def test_a_secret_that_others_may_know_is_refused(tmp_path: Path, mode: int, fixed: str) -> None:
    with pytest.raises(StartRefused) as caught:
        load_secret(write(tmp_path / "proof", SECRET, mode))
    assert caught.value.fix == f"chmod {fixed} {tmp_path}/proof"


NET = ("192.0.2.0/24",)
REFUSED = {
    "a proof without its file": (ListenerSettings("unix:/s", "proof"), False, False),
    "auth-type on TCP": (ListenerSettings("tcp:127.0.0.1:1", "auth-type"), True, True),
    "remote-user on TCP": (ListenerSettings("tcp:127.0.0.1:1", "remote-user"), True, True),
    "a uid on TCP": (ListenerSettings("tcp:127.0.0.1:1", peer_uids=(33,)), True, True),
    "reachable, bare": (ListenerSettings("tcp:0.0.0.0:1"), True, False),
    "reachable, no proof": (ListenerSettings("tcp:0.0.0.0:1", peer_nets=NET), True, False),
    "reachable, no net": (ListenerSettings("tcp:0.0.0.0:1", "proof", Path("/p")), True, False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_prove_nothing_do_not_start(name: str) -> None:
    settings, tcp, loopback = REFUSED[name]
    with pytest.raises(StartRefused) as caught:
        validate_listener(settings, tcp, loopback)
    assert settings.address in caught.value.reason
    assert caught.value.fix


def test_settings_that_prove_something_start() -> None:
    validate_listener(ListenerSettings("tcp:0.0.0.0:1", "proof", Path("/p"), peer_nets=NET), True, False)
    validate_listener(ListenerSettings("tcp:127.0.0.1:1"), True, True)
    for mode in MODES:
        validate_listener(listener(mode), False, False)


class Labels:
    """What the kernel would say of every peer, or the error it would give."""

    def __init__(self, answer: Context | Exception | None) -> None:
        self.answer = answer

    def peer_context(self, _sock: socket.socket, /) -> Context | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def peer_over_tcp(stack: ExitStack, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = stack.enter_context(socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::"))
    target = "127.0.0.1" if host == "::" else host
    stack.enter_context(socket.create_connection((target, listening.getsockname()[1])))
    return stack.enter_context(listening.accept()[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
@pytest.mark.parametrize(
    ("nets", "answer"),
    [((), ""), (("127.0.0.0/8", "::1/128"), ""), (NET, "is in none of 192.0.2.0/24"), (("0.0.0.0/32",), "is in none")],
)
def test_a_tcp_peer_must_be_in_a_net_or_on_this_machine(
    stack: ExitStack, host: str, nets: tuple[str, ...], answer: str
) -> None:
    peer = peer_over_tcp(stack, host)
    said = check_peer(peer, ListenerSettings("tcp:x", peer_nets=nets), Labels(None))
    assert answer in said
    assert bool(answer) == bool(said)


@pytest.mark.parametrize(("uids", "answer"), [((), ""), ((7, os.geteuid()), ""), ((7,), "is not one that peer-uid")])
def test_a_unix_peer_must_have_one_of_the_uids(stack: ExitStack, uids: tuple[int, ...], answer: str) -> None:
    one, two = socket.socketpair()
    stack.enter_context(one)
    stack.enter_context(two)
    said = check_peer(one, ListenerSettings("unix:/s", peer_uids=uids), Labels(None))
    assert answer in said
    assert bool(answer) == bool(said)


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        (Context("system_u", "system_r", "httpd_t", "s0"), ""),
        (Context("system_u", "system_r", "user_t", "s0"), "SELinux type user_t is not one"),
        (None, "SELinux type (none) is not one"),
        (OSError(92, "Protocol not available"), "can't be found out: [Errno 92]"),
        (LaunchFailed("context", "no label"), "can't be found out: no label"),
    ],
)
def test_a_peer_must_have_one_of_the_types(stack: ExitStack, label: Context | Exception | None, answer: str) -> None:
    one, two = socket.socketpair()
    stack.enter_context(one)
    stack.enter_context(two)
    said = check_peer(one, ListenerSettings("unix:/s", peer_types=("httpd_t",)), Labels(label))
    assert answer in said
    assert bool(answer) == bool(said)


def test_a_peer_that_has_gone_is_not_let_in(stack: ExitStack) -> None:
    peer = peer_over_tcp(stack, "127.0.0.1")
    peer.close()
    assert "can't be found out" in check_peer(peer, ListenerSettings("tcp:x"), Labels(None))
