"""What a fault may leave behind: nothing. Looks at a running selcgi from outside, before the fault and after it.

`leaving_nothing` is the whole of it: inside it anything may go wrong; at its end no process, descriptor, file or
member of a cgroup is more than before, the same worker answers a normal request, and selcgi ends in order.
Used by the test_faults files; decides nothing about answers or log lines but their form.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Place
from tests.stack import Answer, Ask, Selcgi, ask, ask_all, wait_until

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
# Ends when as many run as the query says.
MEET = """#!/bin/sh
touch $CGI_MARKS/met.$$
until [ $(ls $CGI_MARKS | grep -c met) -ge $QUERY_STRING ]; do sleep 0.02; done
printf 'Content-Type: text/plain\\n\\nmet\\n'
"""


class Traces:
    """Of one worker and of the scripts of one place, now."""

    def __init__(self, worker: int, place: Place, way: str) -> None:
        self._mark = f"CGI_MARKS={place.marks}".encode()
        self.children = children(worker)
        self.descriptors = descriptors(worker)
        self.scripts = [pid for pid in Path("/proc").glob("[0-9]*") if self._is_script(pid)]
        self.files = sorted(path.name for path in place.folder.iterdir())
        self.members = members(way)

    def _is_script(self, process: Path) -> bool:
        try:
            return self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def within(self, before: "Traces") -> bool:
        """Nothing of `before` has become more."""
        pairs = ((vars(self)[name], vars(before)[name]) for name in ("children", "scripts", "members", "files"))
        return self.descriptors <= before.descriptors and all(set(now) <= set(then) for now, then in pairs)

    def __repr__(self) -> str:
        return str(vars(self))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def connections(selcgi: Selcgi) -> int:
    """Those that selcgi has open at its socket: of /proc/net/unix, where a listening one has a flag."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return sum(fields[3] == "00000000" for fields in lines if fields[-1] == str(selcgi.socket))


def open_files(pid: int) -> list[str]:
    """What each descriptor of a process leads to."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found.append(str(link.readlink()))
    return found


def descriptors(pid: int) -> Counter[str]:
    """How many of which kind are open; a number in a name (of a pipe, of a leaf) tells nothing."""
    return Counter(re.sub(r"\d+", "N", name) for name in open_files(pid))


def members(way: str) -> list[str]:
    """Processes in leaves of the delegated cgroup."""
    base = Path(way.removeprefix("--cgroup="))
    return [pid for leaf in base.glob("worker-*/leaf-*/cgroup.procs") for pid in leaf.read_text().split()]


@contextmanager
def leaving_nothing(selcgi: Selcgi, place: Place, way: str = "--cgroup=none", at_once: int = 1) -> Iterator[int]:
    """Runs selcgi. Gives its worker's pid. `way` is the option that chose how requests are ended. As many leaves of a
    cgroup as requests ever ran `at_once` are kept for others: so many are made first."""
    hello = Ask(place.script("hello.cgi", HELLO))
    meet = Ask(place.script("meet.cgi", MEET), query=str(at_once))
    with selcgi:
        (worker,) = selcgi.workers()
        assert [answer.text for answer in ask_all(selcgi.socket, [meet] * at_once)] == ["met\n"] * at_once
        for mark in place.marks.glob("met.*"):
            mark.unlink()
        wait_until(
            "their ends", lambda: len(selcgi.entries()) == at_once and not (children(worker) or connections(selcgi))
        )
        before = Traces(worker, place, way)
        yield worker
        try:
            wait_until("nothing left", lambda: Traces(worker, place, way).within(before))
        except AssertionError:
            raise AssertionError(f"before: {before}\nafter: {Traces(worker, place, way)}") from None
        assert ask(selcgi.socket, hello).text == "hello\n"
        wait_until("none but the worker below the supervisor", lambda: selcgi.workers() == [worker])
        assert not [line for line in selcgi.log().splitlines() if "Traceback" in line and '"stderr": ' not in line]
    assert selcgi.process is not None
    assert selcgi.process.returncode == 0
    assert not selcgi.socket.exists()
    assert not list(Path(way.removeprefix("--cgroup=")).glob("*/")), "no cgroup is left"


def last_entry(selcgi: Selcgi) -> dict[str, Any]:
    """The line of the one request beside those for `leaving_nothing`."""
    wait_until("its line in the log", lambda: len(selcgi.entries()) > 1)
    return selcgi.entries()[1]


def outcome(answer: Answer) -> tuple[int, bool]:
    """What a client can tell: its status, and whether the answer looks whole."""
    return answer.status, answer.complete
