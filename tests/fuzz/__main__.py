"""One target, fuzzed until it finds something: tests/fuzz/run TARGET [--plant BUG] [--work DIR] [options of libFuzzer].

New inputs are kept in DIR, and what breaks the invariant as DIR/crash-...; give that file as an argument to see it
again. Exit: 0 done (-runs=N, -max_total_time=S), 77 the invariant is broken, 3 it could not be run.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import atheris
except ImportError:
    print("fuzz: this Python has no atheris: run bin/test style once, or set PYTHON", file=sys.stderr)
    sys.exit(3)

with atheris.instrument_imports(include=["selcgi", "flup"]):
    from tests.fuzz import audit, connection, framing, mapping, modselinux, request, response
    from tests.fuzz.plants import PLANTS

DATA = Path(__file__).resolve().parent.parent / "data" / "fuzz"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selcgi" / "fuzz"
Check = Callable[[bytes], None]
TARGETS: dict[str, Check] = {
    module.__name__.rpartition(".")[2]: module.check
    for module in (audit, connection, request, response, mapping, modselinux)
}
# An input is short, of any length from the first one on, and takes a few milliseconds: 30 seconds are a finding.
_LINE = ("-max_len=2048", "-len_control=0", "-timeout=30")


def counted(name: str, check: Check) -> Check:
    """`check`, which says by which input the invariant was broken."""
    tried = 0

    def one(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            check(data)
        except Exception as error:
            print(f"{name}: input {tried} breaks it: {error!r}"[:500], file=sys.stderr, flush=True)
            raise

    return one


def mutate_records(data: bytes, longest: int, seed: int) -> bytes:
    return framing.mutate(data, longest, seed, atheris.Mutate)


def words(name: str, work: Path, options: list[str]) -> list[str]:
    """The line of libFuzzer; a file among the options is one input, to be tried alone."""
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    line = [f"fuzz {name}", *_LINE, f"-artifact_prefix={work}/", *options]
    if any(not option.startswith("-") for option in options):
        return line
    dictionaries = [f"-dict={path}" for path in DATA.glob(f"{name}.dict")]
    return [*line, *dictionaries, str(corpus), str(DATA / name)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--plant", help="a bug of plants.py, which the target must find")
    parser.add_argument("--work", type=Path, help=f"folder for what is found; by default {CACHE}/TARGET")
    values, options = parser.parse_known_args()
    if values.plant:
        PLANTS[values.target][values.plant]()
    line = words(values.target, values.work or CACHE / values.target, options)
    mutator = {"custom_mutator": mutate_records} if values.target == "connection" else {}
    atheris.Setup(line, counted(values.target, TARGETS[values.target]), **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
