"""What becomes of a request that ended with an error which nobody could answer."""

import asyncio
from typing import Any, cast

import pytest

from selcgi.serve.exchange import Exchange
from selcgi.serve.worker import Worker
from selcgi.settings import ListenerSettings, Settings


class Ended:
    """An exchange, and its body."""

    listener = ListenerSettings("unix:/run/x")

    def __init__(self, body_fails: bool) -> None:
        self.body = self
        self.calls: list[str] = []
        self._body_fails = body_fails

    def close(self) -> None:
        self.calls.append("close")
        if self._body_fails:
            raise MemoryError

    def break_off(self) -> None:
        self.calls.append("break off")


@pytest.mark.parametrize("body_fails", [False, True])
def test_its_client_is_told_though_nothing_can_be_logged(monkeypatch: pytest.MonkeyPatch, body_fails: bool) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    async def run() -> list[str]:
        worker = Worker.__new__(Worker)
        worker.settings = Settings()
        worker._tasks, worker._served, worker._draining = set(), 1, False
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        exchange = Ended(body_fails)
        with pytest.raises(MemoryError):
            worker._done(cast(Exchange, exchange), task)
        return exchange.calls

    async def fail() -> Any:
        raise MemoryError

    monkeypatch.setattr(Worker, "failed", no_memory)
    assert asyncio.run(run()) == ["close", "break off"]
