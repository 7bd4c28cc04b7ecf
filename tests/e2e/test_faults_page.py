"""contrib/FAULTS.md says what the tests of faults assert: `python -m tests.e2e.test_faults_page` writes it anew."""

from tests.e2e.test_faults_files import CANNOT, GAP
from tests.e2e.test_faults_scripts import DEATHS, FAULTS, Fault
from tests.stack import TREE

PAGE = TREE / "contrib" / "FAULTS.md"
HEADS = """# What happens when a script misbehaves

Each row is provoked by a test (`tests/e2e/test_faults_*.py`), with a cgroup and with a guard. The test makes sure,
too, that nothing is left behind: no process, no descriptor, no spool or socket file, no member of a cgroup. "Broken
off": a part was sent already, and the client sees that it is not all. The other columns are of the line in the log; of
its reason and fix, some words. Other faults (no descriptors, no processes, no memory, a full log, a lost mapping, a
peer that breaks the rules of FastCGI) have their tables in the tests.

"""


def answer(fault: Fault) -> str:
    return str(fault.status) if fault.complete else f"{fault.status}, broken off"


def rows() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [("a script that", "client", "step", "exit", "reason", "fix")]
    deaths = {name: fault for name, fault in DEATHS.items() if "SIGSEGV" in name}  # the others are the same
    for name, fault in (FAULTS | deaths).items():
        found.append(
            (name, answer(fault), fault.said.get("step", ""), fault.said.get("exit", ""), fault.reason, fault.fix)
        )
    for name, (_, _, status, step, reason, fix) in CANNOT.items():
        found.append((name, str(status), step, "", reason, fix))
    for name, (_, reason) in GAP.items():
        found.append((f"is {name} between its check and its start", "500", "check_script", "", reason, "rename(2)"))
    return found


def table(found: list[tuple[str, ...]]) -> str:
    first, *others = (f"| {' | '.join(row)} |" for row in found)
    return "\n".join([first, "|---" * len(found[0]) + "|", *others]) + "\n"


def test_the_page_is_what_the_tests_assert() -> None:
    assert PAGE.read_text() == HEADS + table(rows())


if __name__ == "__main__":
    PAGE.write_text(HEADS + table(rows()))
