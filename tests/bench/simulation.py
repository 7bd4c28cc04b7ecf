"""What more processors would do: a closed queueing model of requests that pass nginx, a worker and a script.

Decides what is modelled: each stage takes its measured CPU time, exponentially distributed, on any processor; nginx and
each worker do one thing at a time; a connection stays with its worker. Not modelled: the client, what the processors
share (memory, the kernel's locks), so that it is an upper bound. Pure. Called by growth.py.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Microseconds of CPU time a request."""

    nginx: float
    worker: float
    script: float


@dataclass
class _Connection:
    """Where its request is: the number of its stage."""

    worker: int
    stage: int = 0


class Machine:
    """`cores` processors, one nginx, `workers` workers, and `clients` connections that ask again at once."""

    def __init__(self, cores: int, workers: int, clients: int, costs: Costs, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._cores = cores
        self._busy: set[str] = set()
        self._now = 0.0
        self._events: list[tuple[float, int, _Connection]] = []
        self._ready = deque(_Connection(number % workers) for number in range(clients))
        self._stages = (("nginx", costs.nginx / 2), ("worker", costs.worker / 2), ("", costs.script),
                        ("worker", costs.worker / 2), ("nginx", costs.nginx / 2))  # fmt: skip
        self._started = 0

    def rate(self, requests: int) -> float:
        """Requests a second, over so many of them."""
        done = 0
        self._start()
        while done < requests:
            self._now, _, connection = heapq.heappop(self._events)
            self._cores += 1
            self._busy.discard(self._server(connection))
            connection.stage = (connection.stage + 1) % len(self._stages)
            done += connection.stage == 0
            self._ready.append(connection)
            self._start()
        return done / self._now * 1e6

    def _server(self, connection: _Connection) -> str:
        """Who does its stage, and nothing else meanwhile; empty: anybody."""
        kind = self._stages[connection.stage][0]
        return f"worker {connection.worker}" if kind == "worker" else kind

    def _start(self) -> None:
        """All that have a processor, and whose server is free, in the order of their coming."""
        passed_over = []
        while self._ready and self._cores:
            connection = self._ready.popleft()
            server = self._server(connection)
            if server in self._busy:
                passed_over.append(connection)
                continue
            self._cores -= 1
            if server:
                self._busy.add(server)
            mean = self._stages[connection.stage][1]
            took = self._random.expovariate(1 / mean) if mean > 0 else 0.0
            self._started += 1
            heapq.heappush(self._events, (self._now + took, self._started, connection))
        self._ready.extendleft(reversed(passed_over))
