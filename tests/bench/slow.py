"""Many slow requests at once: is each answered, when is the last, and how much memory does it take?

Decides who may take part: launchers that are given as many processes or threads as there are requests, when they need
them. The scripts are static and sleep, so that the memory is the launchers'. Called by tests/bench.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.contestants import Contestant, Front
from tests.bench.measure import launcher, pss_kib
from tests.bench.place import Place
from tests.bench.rates import Say
from tests.bench.running import all_running, check
from tests.bench.scripts import SLOW

_PATIENCE = 90.0  # seconds, for all of them
_LOOK = 0.5  # seconds between two looks at the memory


def slow(place: Place, kinds: Sequence[type[Contestant]], requests: int, say: Say) -> list[dict[str, Any]]:
    """A row for each contestant, alone with nginx."""
    return [at_once(one, requests, say) for one in (kind(place, requests) for kind in kinds) if one.takes(SLOW)]


def at_once(one: Contestant, requests: int, say: Say) -> dict[str, Any]:
    """A row for one of them, which is started for it."""
    with all_running([one], one.place) as front:
        check(one, SLOW)
        say(f"{requests} slow requests at once: {one.name}")
        return asyncio.run(_all(one, front, requests))


async def _all(one: Contestant, front: Front, requests: int) -> dict[str, Any]:
    idle, began = await asyncio.to_thread(_pss, one, front), time.monotonic()
    watcher = asyncio.create_task(_watch(one, front))
    answers = await asyncio.gather(*(_ask(one.port) for _ in range(requests)))
    seconds = time.monotonic() - began
    watcher.cancel()
    most = await watcher
    return {
        "contestant": one.name,
        "requests": requests,
        "answered": sum(answers),
        "seconds": seconds,
        "idle_pss_kib": idle,
        "most_pss_kib": max(idle, most),
    }


async def _watch(one: Contestant, front: Front) -> int:
    """The most memory seen until it is cancelled: all in the cgroup, scripts included, and nginx's."""
    most = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(_LOOK)
            most = max(most, await asyncio.to_thread(_pss, one, front))
    return most


def _pss(one: Contestant, front: Front) -> int:
    return pss_kib(launcher(one)) + (0 if one.kind == "direct" else pss_kib(launcher(front)))


async def _ask(port: int) -> bool:
    """Whether one request got its answer, in the time there is."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /{SLOW.name}.cgi HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200 ") and b"hello" in answer
