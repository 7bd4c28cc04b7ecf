"""Which limit a script has met, by what its cgroup counted and by how it ended; and when none is to be named."""

import signal

import pytest

from selcgi.plan import Exit, Limits
from selcgi.serve.met import limit_met

LIMITED = Limits(memory_bytes=1 << 20, cpu_seconds=2, processes=9, file_bytes=100)


def met(how: Exit | None, counted: str = "", limits: Limits = LIMITED) -> str:
    found = limit_met(how, counted, limits, "site.map:3")
    if found is None:
        return ""
    assert found.fix.startswith(f"raise {found.limit}= in site.map:3")
    return f"{found.limit}: {found.reason}"


def ended(signum: int | None, cpu_seconds: float = 0.0) -> Exit:
    return Exit(0 if signum is None else None, signum, cpu_seconds, 0)


@pytest.mark.parametrize(
    ("how", "counted", "wanted"),
    [
        (ended(None), "memory", "memory: the script and all that it started needed more than memory=1048576 "),
        (ended(None), "processes", "processes: a process was refused to the script: there were processes=9 "),
        (ended(signal.SIGXCPU, 2.0), "", "cpu: the script used more than cpu=2 seconds"),
        (ended(signal.SIGKILL, 2.01), "", "cpu: the script used more than cpu=2 seconds"),
        (ended(signal.SIGXFSZ), "", "file-size: the script wrote a file longer than file-size=100 "),
        (ended(signal.SIGKILL, 3.0), "memory", "memory: "),
    ],
)
def test_the_limit_that_was_met(how: Exit, counted: str, wanted: str) -> None:
    assert met(how, counted).startswith(wanted)


@pytest.mark.parametrize("how", [None, ended(None), ended(signal.SIGKILL, 1.99), ended(signal.SIGTERM, 5.0)])
def test_no_limit_was_met(how: Exit | None) -> None:
    assert met(how) == ""


@pytest.mark.parametrize("signum", [signal.SIGXCPU, signal.SIGKILL, signal.SIGXFSZ])
def test_a_limit_that_the_rule_does_not_set_is_not_named(signum: int) -> None:
    assert met(ended(signum, 100.0), limits=Limits()) == ""
