"""The stdin of a script without a body is the null device, which its process opens for itself, however it is made."""

import os
from dataclasses import replace

import pytest

from selcgi.errors import LaunchFailed, SelcgiError
from selcgi.plan import Limits
from tests.launch.conftest import Bench, complete

WAYS = pytest.mark.parametrize("limits", [Limits(), Limits(nice=5)])  # posix_spawn(3), and a fork


@WAYS
def test_it_reads_its_end_at_once(bench: Bench, limits: Limits) -> None:
    plan = replace(bench.plan("readlink /proc/$$/fd/0; cat; echo read"), limits=limits)
    assert complete(bench.launcher(), plan).stdout == b"/dev/null\nread\n"


@WAYS
def test_one_that_is_missing_is_no_fault_of_the_script(
    bench: Bench, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, plan = bench.launcher(), replace(bench.plan("exit 0"), limits=limits)
    monkeypatch.setattr(os, "devnull", "/no/such/device")
    try:
        found: SelcgiError | None = complete(launcher, plan).error
    except LaunchFailed as error:
        found = error
    assert found is not None
    assert found.step in ("make_streams", "guard")
