"""What launch/ relies on, asked of FakeLabels everywhere and of the kernel inside the guest."""

import os
import socket
import threading
from pathlib import Path

import pytest

from selcgi.context import ContextSpec
from selcgi.errors import ContextLost, LaunchFailed
from selcgi.system.selinux import Labels, open_labels
from tests.fakes import FakeLabels


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.enforcing)])
def labels(request: pytest.FixtureRequest) -> Labels:
    return FakeLabels() if request.param == "fake" else open_labels("required")


def test_an_enforcing_system_needs_no_note(labels: Labels) -> None:
    assert labels.note == ""
    assert labels.own is not None
    assert labels.own.domain == "selcgi_t"


def test_resolve_takes_open_parts_from_selcgi_itself(labels: Labels) -> None:
    assert labels.own is not None
    context = labels.resolve(ContextSpec("user_webapp_t", "s0:c1"))
    assert (context.user, context.role) == (labels.own.user, labels.own.role)
    assert (context.domain, context.range) == ("user_webapp_t", "s0:c1")
    assert labels.resolve(ContextSpec("user_webapp_t")).range == labels.own.range


def test_resolve_puts_categories_in_order(labels: Labels) -> None:
    assert labels.resolve(ContextSpec("user_webapp_t", "s0:c5,c1")).range == "s0:c1,c5"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (ContextSpec("selcgi_t"), "own domain"),
        (ContextSpec("no_such_t"), "no_such_t"),
        (ContextSpec("user_webapp_t", "s0:c1024"), "s0:c1024"),
        (ContextSpec("user_webapp_t", "s9"), "s9"),
        (ContextSpec("user_webapp_t", "s0", "no_such_u", "system_r"), "no_such_u"),
    ],
)
def test_resolve_names_the_bad_part(labels: Labels, spec: ContextSpec, word: str) -> None:
    with pytest.raises(LaunchFailed, match=word) as raised:
        labels.resolve(spec)
    assert raised.value.step == "context"


def test_exec_context_is_cleared_whatever_happens(labels: Labels) -> None:
    with pytest.raises(ZeroDivisionError), labels.exec_context(labels.resolve(ContextSpec("user_webapp_t"))):
        _ = 1 / 0
    assert exec_attribute(labels) == ""


def test_exec_context_is_set_again_after_it_was_cleared(labels: Labels) -> None:
    context = labels.resolve(ContextSpec("user_webapp_t", "s0:c7"))
    for _ in range(2):
        with labels.exec_context(context):
            assert exec_attribute(labels) == str(context)
    assert exec_attribute(labels) == ""


def test_nothing_is_spawned_without_a_context(labels: Labels) -> None:
    with pytest.raises(LaunchFailed) as raised, labels.exec_context(None):
        pass
    assert raised.value.step == "set_exec_context"


def test_another_thread_does_not_spawn(labels: Labels) -> None:
    context = labels.resolve(ContextSpec("user_webapp_t"))
    seen: list[str] = []

    def enter() -> None:
        try:
            with labels.exec_context(context):
                seen.append("entered")
        except LaunchFailed as error:
            seen.append(error.step)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == ["set_exec_context"]


def test_confirm_does_not_take_selcgi_itself_for_a_script(labels: Labels) -> None:
    with pytest.raises(ContextLost):
        labels.confirm(os.getpid(), labels.resolve(ContextSpec("user_webapp_t")))


def test_peer_of_a_local_socket_is_known(labels: Labels) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert labels.peer_context(ours) == labels.own


def exec_attribute(labels: Labels) -> str:
    if isinstance(labels, FakeLabels):
        return str(labels.current or "")
    return Path("/proc/thread-self/attr/exec").read_text().rstrip("\0\n")
