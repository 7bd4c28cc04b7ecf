"""A flood is passed on in part: the first of each process, then fewer, and never at the cost of another context."""

from selcgi.listener import portion
from selcgi.listener.portion import OF_CONTEXT, OF_PROCESS, Portion


def test_the_first_of_a_process_pass_then_powers_of_two_say_how_many_there_were() -> None:
    shares = Portion()
    found = [shares.take(1, "a", 0.0) for _ in range(1000)]
    assert found[:OF_PROCESS] == [0] * OF_PROCESS
    passed = [number for number, one in enumerate(found, 1) if one is not None]
    assert passed[OF_PROCESS:] == [32, 64, 128, 256, 512]
    assert sum(one for one in found if one is not None) + len(passed) == 512


def test_many_processes_of_a_context_have_one_share() -> None:
    shares = Portion()
    found = [shares.take(pid, "a", 0.0) for pid in range(10 * OF_CONTEXT)]
    assert sum(one is not None for one in found) == OF_CONTEXT + 3
    assert shares.take(7, "b", 0.0) == 0


def test_a_second_later_it_begins_anew() -> None:
    shares = Portion()
    assert [shares.take(1, "a", 0.0) for _ in range(100)].count(None) == 100 - OF_PROCESS - 2
    assert shares.take(1, "a", 1.0) == 36
    assert shares.take(1, "a", 1.1) == 0


def test_it_remembers_only_so_many() -> None:
    shares = Portion()
    for pid in range(portion._REMEMBERED + 100):
        for _ in range(OF_PROCESS + 1):
            shares.take(pid, str(pid), 0.0)
    assert len(shares._processes._counts) == portion._REMEMBERED
    assert len(shares._contexts._counts) == portion._REMEMBERED
    assert len(shares._skipped) == portion._REMEMBERED
