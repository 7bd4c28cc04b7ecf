"""A zygote as its worker sees it: what it leaves behind when it is closed."""

import errno
import os
import socket
from typing import cast

import pytest

from selcgi.errors import ZygoteFailed
from selcgi.launch.zygote import Application, Zygote
from selcgi.serve.poller import Poller
from selcgi.system.leaves import Leaf, Leaves
from selcgi.system.selinux import NoLabels
from selcgi.zygote.frames import BORN, FAILED, READY, RETIRING, encode_report


def test_who_gets_the_number_of_its_log_is_heard() -> None:
    """It has ended, and its last lines are not read yet."""
    poller, heard = Poller(), []
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote.watch(poller, zygote.look, zygote.read_log)
    number = zygote.log
    zygote.kill("on purpose")
    zygote.close()
    source, entry = os.pipe()
    os.dup2(source, number)
    poller.add_reader(number, lambda: heard.append(os.read(number, 10)))
    os.write(entry, b"news")
    poller.dispatch()
    assert heard == [b"news"]
    poller.close()
    for descriptor in {source, entry, number}:
        os.close(descriptor)


def test_of_lines_without_end_so_much_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest waits where it is, and who writes it."""
    monkeypatch.setattr("selcgi.launch.zygote._SAID_BYTES", 8192)
    poller, heard = Poller(), []
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote.watch(poller, zygote.look, lambda: heard.extend(zygote.read_log()))
    os.write(zygote._log_end, b"x" * 20_000)
    lengths = []
    for _ in range(4):
        for _ in range(9):
            poller.dispatch()
        lengths.append(len("".join(heard)))
        zygote.hear()
    assert lengths == [8192, 16384, 20_000, 20_000]
    zygote.close()
    poller.close()


class Inhabited:
    """A leaf that has a member until it is killed."""

    killed = False

    def kill(self) -> None:
        self.killed = True

    def populated(self) -> bool:
        return not self.killed


class Home:
    """Where leaves come from."""

    def give_back(self, leaf: Leaf) -> None:
        assert not leaf.populated()


def test_what_is_in_its_cgroup_when_it_has_ended_may_still_be_moved() -> None:
    """A request's process is born there where scripts have a Unix user of their own; what stays is no request's."""
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, Home()))
    leaf = Inhabited()
    zygote.leaf = cast(Leaf, leaf)
    assert not zygote.gone()
    assert not leaf.killed
    assert not zygote.gone()
    assert leaf.killed
    assert zygote.gone()


@pytest.mark.parametrize(
    ("report", "state"), [((FAILED, "x" * 20_000, "y" * 20_000), "ended"), ((RETIRING, "x" * 20_000), "retiring")]
)
def test_what_it_reports_may_be_long(report: tuple[str, ...], state: str) -> None:
    """It is loaded code that reports, and each request that wants it is told why there is none."""
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote._theirs.send(encode_report(READY))
    zygote._theirs.send(encode_report(*report))
    zygote.look()
    assert (zygote.state, zygote.why) == (state, "x" * 1000)
    assert zygote.fix in ("", "y" * 1000)
    zygote.close()


FIRST = encode_report(READY)
UNEXPECTED: list[tuple[list[bytes], str]] = [
    ([FIRST, FIRST], "'ready' out of turn"),
    ([encode_report(RETIRING, "why")], "'retiring' out of turn"),
    ([FIRST, encode_report(RETIRING, "why"), encode_report(RETIRING, "why")], "'retiring' out of turn"),
    ([FIRST, encode_report(RETIRING, "why"), FIRST], "'ready' out of turn"),
    ([encode_report(BORN)], "'born' out of turn"),
    ([encode_report("\n" * 4000)], f"{chr(10) * 40!r} out of turn"),
    ([b"nonsense"], "what is no report"),
    ([encode_report(READY, *"four")], "what is no report"),
    ([b"[" * 60_000], "what is no report"),
]


@pytest.mark.parametrize(("reports", "what"), UNEXPECTED, ids=lambda one: one[:20] if isinstance(one, str) else "")
def test_what_it_may_not_report_now_ends_it(reports: list[bytes], what: str) -> None:
    """And is the last that is read of it: there may be no end to what comes."""
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, Home()))
    leaf = Inhabited()
    zygote.leaf = cast(Leaf, leaf)
    for report in (*reports, b"not read"):
        zygote._theirs.send(report)
    zygote.look()
    assert (zygote.state, zygote.failed, leaf.killed) == ("ended", True, True)
    assert zygote.why == f"it has reported {what}"
    assert zygote.control.recv(99) == b"not read"
    zygote.close()


def test_one_that_is_to_end_before_it_is_ready_may_get_ready() -> None:
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote.retire("its script has changed")
    zygote._theirs.send(FIRST)
    zygote.look()
    assert (zygote.state, zygote.why) == ("retiring", "its script has changed")
    zygote.close()


class Full:
    """The kernel takes no more of a user's descriptors in messages: unix(7), ETOOMANYREFS."""

    def sendmsg(self, *_: object) -> None:
        raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")


def test_what_the_kernel_does_not_take_does_not_make_it_gone() -> None:
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    control, zygote.control = zygote.control, cast(socket.socket, Full())
    with pytest.raises(ZygoteFailed, match="can be sent nothing: Too many references") as raised:
        zygote.lend(())
    zygote.control = control
    zygote.close()
    assert type(raised.value) is ZygoteFailed
    assert "--script-user" in raised.value.fix
