"""Which deadline passes, by a clock that the test turns; no test waits."""

import weakref
from collections.abc import Callable

import pytest

from selcgi.errors import DeadlineExceeded
from selcgi.plan import Limits
from selcgi.serve.deadlines import Deadlines
from selcgi.settings import Settings


class Clock:
    """The two members of Rounds that deadlines use."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Callable[[], object], Timer]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], object]) -> "Timer":
        timer = Timer()
        self._timers.append((when, call, timer))
        return timer

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((one for one in self._timers if one[0] <= end), key=lambda one: one[0]):
            self._timers.remove(due[0])
            self.now = max(self.now, due[0][0])
            if not due[0][2].cancelled:
                due[0][1]()
        self.now = end


class Timer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


USUAL = Limits(total_seconds=100, first_byte_seconds=30, idle_seconds=10)


class Bench:
    """Of write 20 s."""

    def __init__(self, limits: Limits = USUAL) -> None:
        self.clock = Clock()
        self.missed: list[str] = []
        self.deadlines = Deadlines(self.clock, limits, Settings(write_seconds=20), self._miss)
        self.deadlines.look()

    def _miss(self, error: DeadlineExceeded) -> None:
        self.missed.append(error.step)

    def busy(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.pass_by(1)
            self.deadlines.moved()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_silence_is_idle(bench: Bench) -> None:
    bench.clock.pass_by(9.9)
    assert bench.missed == []
    bench.clock.pass_by(0.2)
    assert bench.missed == ["idle"]


def test_every_byte_moves_the_idle_deadline_and_not_the_first_byte(bench: Bench) -> None:
    bench.busy(29)
    assert bench.missed == []
    bench.busy(2)
    assert bench.missed == ["first-byte"]


def test_after_the_head_only_the_total_counts_for_whoever_keeps_writing(bench: Bench) -> None:
    bench.deadlines.answered()
    bench.busy(99)
    assert bench.missed == []
    bench.busy(2)
    assert bench.missed == ["total"]


def test_a_script_may_idle_while_the_web_server_takes_nothing(bench: Bench) -> None:
    bench.deadlines.answered()
    bench.deadlines.waiting(True)
    bench.clock.pass_by(19)
    assert bench.missed == []
    bench.clock.pass_by(2)
    assert bench.missed == ["write"]


def test_a_web_server_that_takes_a_little_is_not_stalled(bench: Bench) -> None:
    bench.deadlines.answered()
    bench.deadlines.waiting(True)
    for _ in range(4):
        bench.clock.pass_by(19)
        bench.deadlines.taken()
        bench.deadlines.waiting(True)
    assert bench.missed == []


def test_once_all_is_taken_silence_counts_anew(bench: Bench) -> None:
    bench.deadlines.answered()
    bench.deadlines.waiting(True)
    bench.clock.pass_by(15)
    bench.deadlines.waiting(False)
    bench.clock.pass_by(9)
    assert bench.missed == []
    bench.clock.pass_by(2)
    assert bench.missed == ["idle"]


def test_it_calls_once_and_not_after_it_was_stopped(bench: Bench) -> None:
    bench.clock.pass_by(1000)
    assert len(bench.missed) == 1
    other = Bench()
    other.deadlines.stop()
    other.clock.pass_by(1000)
    assert other.missed == []


def test_once_stopped_it_does_not_keep_its_caller(bench: Bench) -> None:
    caller = Bench()
    caller.deadlines, bench.deadlines = bench.deadlines, caller.deadlines
    left = weakref.ref(caller)
    bench.deadlines.stop()
    del caller
    assert left() is None, "without the garbage collector"


def test_a_stall_is_seen_in_time_however_long_the_others_are() -> None:
    bench = Bench(Limits(total_seconds=1000, first_byte_seconds=1000, idle_seconds=1000))
    bench.busy(50)
    bench.deadlines.waiting(True)
    bench.clock.pass_by(19)
    assert bench.missed == []
    bench.clock.pass_by(2)
    assert bench.missed == ["write"]
