"""The token of probes: who has it, for how long, and that it is kept nowhere."""

import os
import time

import pytest

from selcgi.errors import ProbeRefused
from selcgi.serve.board import Board
from selcgi.serve.probe import HEADER, SECONDS, LostClient, ProbePage


def page() -> ProbePage:
    return Board(1).probe


def pairs(token: str, question: str = "show") -> tuple[tuple[bytes, bytes], ...]:
    return (b"REQUEST_METHOD", b"GET"), (HEADER, f"{token}.{question}".encode())


def good(one: ProbePage, token: str) -> bool:
    try:
        return one.question(pairs(token)) == "show"
    except ProbeRefused:
        return False


def test_a_token_is_good_for_its_page_in_every_process() -> None:
    one = page()
    token = one.arm()
    child = os.fork()
    if child == 0:
        good = one.question(pairs(token, "head.7")) == "head.7"
        one.lost_client = LostClient.WAITS
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    seen = [one.lost_client]
    one.arm()
    assert [*seen, one.lost_client] == [LostClient.WAITS, LostClient.NONE]


def test_nobody_else_gets_a_probe_answer() -> None:
    one = page()
    for never in ("", "0" * 64, "\0" * 32):
        assert not good(one, never), "nothing is armed yet"
    token = one.arm()
    assert len(token) == 64
    for wrong in ("", token[:-1], token + "0", token.upper() + " ", "\0" * 32):
        assert not good(one, wrong)
    assert one.question(((b"HTTP_X_OTHER", token.encode()),)) is None
    assert one.question(()) is None
    assert one.question(pairs(token)) == "show"


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    one = page()
    first = one.arm()
    second = one.arm()
    assert (good(one, first), good(one, second)) == (False, True), "the next one ends it"
    one.disarm()
    assert not good(one, second)
    third = one.arm()
    later = time.monotonic() + SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not good(one, third)


def test_the_token_itself_is_not_kept() -> None:
    memory = bytearray(ProbePage.BYTES)
    one = ProbePage(memoryview(memory))
    token = one.arm()
    assert token.encode() not in memory
    assert bytes.fromhex(token) not in memory
