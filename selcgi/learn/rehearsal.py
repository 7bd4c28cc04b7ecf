"""An application runs twice in twins of its domain: permissive, to see what it lacks, and enforcing, to prove it.

Decides how it runs; what that teaches is learn/lesson.py's. The domain itself is never touched: each twin is a type
that did not exist before, in one module of a fixed name, which is removed at the end whatever happens. A new type each
time, since the kernel reports a refusal of a permissive domain once only. Called by cli/learn.py.
"""

import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from selcgi.context import ContextSpec
from selcgi.errors import StartRefused
from selcgi.learn.lesson import Lesson, Refused, refused_again, sort_out
from selcgi.learn.records import Records
from selcgi.policy.learned import rules
from selcgi.policy.twin import Domain, twin_text
from selcgi.system.policy import Policy
from selcgi.system.semanage import load_module, remove_module

MODULE = "selcgi_learn"
_MAP_FOLDER = Path("/etc/selcgi")  # which selcgi_t may read
_BYTES = 8192  # of what it writes
_TOLD = re.compile(r"^(step|reason): (.*)$", re.MULTILINE)  # of the lines about a request

Load = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Application:
    """`words`: of `selcgi run` but for the mapping and the script. `options` are those of the mapping's rule."""

    program: str
    words: tuple[str, ...]
    requests: tuple[str, ...]  # scripts with their PATH_INFO and query
    spec: ContextSpec
    options: str = ""


def rehearse(app: Application, domain: Domain, policy: Policy, dangerous: bool) -> Lesson:
    """Both runs. PolicyRefused when a twin can't be loaded, StartRefused when the refusals can't be read."""
    with closing(Records()) as records, _module() as load:
        first, second = _new_type(), _new_type()
        load(twin_text(domain, first, (), permissive=True))
        records.of(first)
        ran = _run(app, first, "permissive-ok")
        before, failing = tuple(one.status for one in ran), tuple(filter(None, (one.failure for one in ran)))
        wants, explained = sort_out(records.of(first), first, domain.name, policy)
        found = rules(wants)
        if len(failing) == len(ran):  # a second run would show the same
            return Lesson(tuple(found), tuple(explained), before, (), Refused(), records.lost, failing)
        chosen = [rule for rule in found if dangerous or not rule.danger]
        load(twin_text(domain, second, chosen, permissive=False))
        records.of(second)
        after = tuple(one.status for one in _run(app, second, "required"))
        again, unallowed = sort_out(records.of(second), second, domain.name, policy)
        refused = refused_again(again, unallowed, [rule for rule in found if rule not in chosen])
        return Lesson(tuple(found), tuple(explained), before, after, refused, records.lost, failing)


def _new_type() -> str:
    return f"learn_{secrets.token_hex(6)}_t"


@contextmanager
def _module() -> Iterator[Load]:
    """Loads a text as the module; at the end, SIGINT or not, it is removed."""
    folder = Path(tempfile.mkdtemp(prefix="selcgi-learn-"))

    def load(text: str) -> None:
        path = folder / f"{MODULE}.cil"
        path.write_text(text)
        load_module(path)

    try:
        yield load
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        remove_module(MODULE)


class _Ran(NamedTuple):
    """`failure`: what selcgi says of a request that it refused, or whose script did not answer as it should."""

    status: str
    failure: str


def _run(app: Application, twin: str, selinux: str) -> tuple[_Ran, ...]:
    """Each request by `selcgi run`, whose mapping gives the twin to everybody."""
    spec = ContextSpec(twin, app.spec.range, app.spec.user, app.spec.role)
    with tempfile.NamedTemporaryFile("w", dir=_MAP_FOLDER, prefix=".learn-", suffix=".map") as mapping:
        mapping.write(f"* {spec} {app.options}\n")
        mapping.flush()
        os.fchmod(mapping.fileno(), 0o644)
        line = [app.program, "run", *app.words, f"--map={mapping.name}", f"--selinux={selinux}"]
        return tuple(_ran([*line, "--", request]) for request in app.requests)


def _ran(line: list[str]) -> _Ran:
    """By the first line of the response, and the lines about it. By pipes, which selcgi_t may write to. StartRefused
    when it did not come so far."""
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = _ends(process)
        except BaseException:
            process.terminate()
            raise
    head = out.decode(errors="replace").partition("\n")[0].strip()
    said = err.decode(errors="replace")
    if not head:
        text = said.strip().replace("\n", "; ")
        raise StartRefused(f"selcgi run ended with {process.returncode}, without an answer: {text}")
    told = dict(_TOLD.findall(said))
    return _Ran(head, f"{line[-1]}: {head}: {told.get('reason', '')} (step {told['step']})" if "step" in told else "")


def _ends(process: subprocess.Popen[bytes]) -> list[bytes]:
    """The beginning of its stdout and the end of its stderr; the rest is read and thrown away."""
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    kept = dict.fromkeys(pipes, b"")
    while pipes:
        for pipe in select.select(pipes, [], [])[0]:
            data = os.read(pipe.fileno(), 1 << 16)
            whole = kept[pipe] + data
            kept[pipe] = whole[:_BYTES] if pipe is process.stdout else whole[-_BYTES:]
            if not data:
                pipes.remove(pipe)
    return list(kept.values())
