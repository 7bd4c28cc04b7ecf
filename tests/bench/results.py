"""The file of figures: every sample, what it was measured on, and by which command.

Decides how a run in pieces becomes one: what is measured again replaces what was there, the rest stays. Called by
tests/bench.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.measure import Sample
from tests.bench.place import BenchFailed


@dataclass
class Results:
    """`rates`: samples by script. `others`: rows of the other parts, by part. `runs`: what made them."""

    machine: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    rates: dict[str, list[Sample]] = field(default_factory=dict)
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def samples(self) -> list[Sample]:
        return [one for samples in self.rates.values() for one in samples]

    def take(self, script: str, samples: list[Sample]) -> None:
        """In place of what there was of this script with these numbers of connections."""
        fresh = {one.connections for one in samples}
        kept = [one for one in self.rates.get(script, []) if one.connections not in fresh]
        self.rates[script] = sorted([*kept, *samples], key=lambda one: (one.connections, one.round))

    def note(self, part: str, words: str, began: float) -> None:
        """By which command this part was measured last, when, and of which tree."""
        self.runs = [run for run in self.runs if (run["part"], run["words"]) != (part, words)]
        ended = time.time()
        run = {"part": part, "words": words, "commit": machine.commit(), "began": round(began)}
        self.runs.append({**run, "seconds": round(ended - began)})

    def text(self) -> str:
        rates = {name: [one.json() for one in samples] for name, samples in self.rates.items()}
        values = {"machine": self.machine, "runs": self.runs, "left_out": self.left_out, "rates": rates}
        return json.dumps({**values, "others": self.others}, indent=1) + "\n"


def read(path: Path) -> Results:
    """Empty without the file. BenchFailed when it is no file of figures."""
    if not path.exists():
        return Results()
    try:
        values = json.loads(path.read_text())
        rates = {name: [Sample(**row) for row in rows] for name, rows in values["rates"].items()}
        return Results(values["machine"], values["runs"], rates, values["others"], values["left_out"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchFailed(f"{path}: no figures of this bench: {error}; remove it, or name another") from error


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
