"""Each target of the fuzzer for a bounded number of inputs, and once more with each planted bug, which it must find.

The inputs are the same in every run (-seed). What a target finds is printed with its bytes; put into a file, it is
tried again by tests/fuzz/run TARGET FILE.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.plants import PLANTS
from tests.stack import TREE

RUNS = 10_000
RUNS_FOR_PLANT = 50_000  # at most; most are found by the first thousand
CASES = [(target, plant) for target, plants in PLANTS.items() for plant in ("", *plants)]
Outcomes = dict[tuple[str, str], subprocess.CompletedProcess[str]]


def fuzz(target: str, plant: str, work: Path) -> subprocess.CompletedProcess[str]:
    bound = [f"--plant={plant}", f"-runs={RUNS_FOR_PLANT}"] if plant else [f"-runs={RUNS}"]
    words = [sys.executable, "-m", "tests.fuzz", target, f"--work={work}", "-seed=1", *bound]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(words, cwd=TREE, env=environ, capture_output=True, text=True, errors="replace", check=False)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Every case, as many at a time as there are processors."""
    folders = [tmp_path_factory.mktemp("fuzz") for _ in CASES]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield dict(zip(CASES, pool.map(fuzz, *zip(*CASES, strict=True), folders), strict=True))


@pytest.mark.parametrize("target", PLANTS)
def test_invariant_holds(outcomes: Outcomes, target: str) -> None:
    done = outcomes[target, ""]
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {RUNS} runs" in done.stderr


@pytest.mark.parametrize(("target", "plant"), [case for case in CASES if case[1]])
def test_planted_bug_is_found_by_more_than_the_seeds(outcomes: Outcomes, target: str, plant: str) -> None:
    done = outcomes[target, plant]
    found = re.search(rf"^{target}: input (\d+) breaks it: AssertionError", done.stderr, re.MULTILINE)
    assert found, done.stderr[-4000:]
    assert done.returncode == 77
    seeds = len(list((TREE / "tests" / "data" / "fuzz" / target).iterdir()))
    assert int(found[1]) > seeds + 1  # libFuzzer tries an empty input too
