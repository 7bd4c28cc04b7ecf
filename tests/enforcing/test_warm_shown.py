"""What an administrator sees of warm interpreters under the loaded policy: rows, memory, and what explain says."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site
from tests.enforcing.test_ending import CGROUP, delegate, take_back
from tests.enforcing.test_switches import switched_on
from tests.stack import Ask, Selcgi, ask, wait_until

pytestmark = pytest.mark.enforcing

HELLO = "#!/usr/bin/python3\nprint('Content-Type: text/plain\\n\\nhello')\n"
CONTROL = site.RUNTIME / "control.sock"
ENVIRON = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE}
SWITCH = "selcgi_webapp_warm"


@pytest.fixture
def warm() -> Iterator[Selcgi]:
    options = (f"--cgroup={CGROUP}", f"--warm={site.CGI}/*.py", f"--control={CONTROL}")
    delegate()
    try:
        with switched_on(SWITCH), site.serving(*options) as selcgi:
            wait_until("the control socket", CONTROL.exists)
            yield selcgi
    finally:
        take_back()


def counted() -> dict[str, Any]:
    words = [*site.as_service(), "status", f"--control={CONTROL}", "--json"]
    found: dict[str, Any] = json.loads(site.run(*words))
    return found


def test_a_zygote_has_its_row_and_its_memory(warm: Selcgi) -> None:
    script = site.script("shown.py", HELLO)
    answer = ask(warm.socket, Ask(str(script), "alice"))
    assert answer.status == 200, warm.log()
    assert warm.entry()["launch"] == "warm"
    wait_until("it is ready", lambda: counted()["zygotes"][0]["state"] == "ready")
    (row,) = counted()["zygotes"]
    assert (row["script"], row["domain"], row["requests"]) == (str(script), "user_zygote_t", 1)
    context = Path(f"/proc/{row['pid']}/attr/current").read_text().rstrip("\0")
    assert context == "system_u:system_r:user_zygote_t:s0"
    assert row["memory"] > 1 << 20
    os.kill(row["pid"], signal.SIGKILL)
    wait_until("its end", lambda: counted()["zygotes"][0]["state"] == "ended")
    assert counted()["warm"]["zygote_failures"] == 1


def explained(script: Path) -> tuple[int, dict[str, Any]]:
    words = [str(site.PROGRAM), "explain", "--user=alice", f"--warm={site.CGI}/*.py", "--json", script.name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=ENVIRON, cwd="/")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_explain_says_what_the_kernel_does(warm: Selcgi) -> None:
    """Whatever it says yes to is enough: the request above ran by it. With the boolean off, it names that."""
    script = site.script("shown.py", HELLO)
    assert ask(warm.socket, Ask(str(script), "alice")).status == 200, warm.log()
    code, found = explained(script)
    assert [one for one in found["answers"] if not one["yes"]] == []
    assert code == 0
    assert found["warm"] == "a CGI script"
    assert found["zygote"] == "system_u:system_r:user_zygote_t:s0, from /opt/selcgi/bin/selcgi-zygote"


def test_explain_without_the_boolean() -> None:
    code, found = explained(site.script("shown.py", HELLO))
    assert code == 1
    (no,) = [one for one in found["answers"] if not one["yes"]]
    assert no["question"] == "user_zygote_t -> user_webapp_t : process { dyntransition }"
