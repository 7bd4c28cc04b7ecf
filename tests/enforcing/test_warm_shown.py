"""What an administrator sees of warm interpreters under the loaded policy: rows, memory, and what explain says."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site
from tests.enforcing.delegation import delegated
from tests.enforcing.test_switches import switched_on
from tests.stack import Ask, Selcgi, ask, wait_until

pytestmark = pytest.mark.enforcing

HELLO = "#!/usr/bin/python3\nprint('Content-Type: text/plain\\n\\nhello')\n"
CONTROL = site.RUNTIME / "control.sock"
ENVIRON = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE}
SWITCH = "selcgi_webapp_warm"


@pytest.fixture
def warm() -> Iterator[Selcgi]:
    options = (f"--warm={site.CGI}/*.py", f"--control={CONTROL}")
    with delegated() as cgroup, switched_on(SWITCH), site.serving(cgroup, *options) as selcgi:
        wait_until("the control socket", CONTROL.exists)
        yield selcgi


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
    noes = [(one["question"], one["fix"]) for one in found["answers"] if not one["yes"]]
    assert noes == [
        ("selcgi_t -> user_zygote_t : process { transition }", f"setsebool -P {SWITCH} on"),
        ("user_zygote_t -> user_webapp_t : process { dyntransition }", f"setsebool -P {SWITCH} on"),
    ]


SHOP = Path("/srv/shop")
APPLICATION = """#!/usr/bin/python3
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"shop for {environ['REMOTE_USER']}\\n".encode()]
"""


@pytest.fixture
def shop() -> Iterator[str]:
    """Its script and its policy, as README.md says; the rule that `selcgi policy new` prints."""
    script = site.write(SHOP / "cgi" / "shop.py", APPLICATION, 0o755)
    environ = {"PYTHONPATH": str(site.TREE), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    words = [
        str(site.PROGRAM.parent / "python"),
        "-m",
        "selcgi",
        "policy",
        "new",
        "shop",
        "--warm",
        "--script",
        str(script),
    ]
    said = site.run(*words, cwd=SHOP, env=environ)
    commands = re.findall(r"^ {4}((?:semodule|restorecon) .*)$", said, re.MULTILINE)
    site.run("sh", "-ec", "\n".join(commands), cwd=SHOP)
    yield "".join(
        f"{user} shop.webapp_t:s0:c{number} warm=wsgi:app\n" for number, user in enumerate(("alice", "bob"), 1)
    )
    site.run("semodule", "-r", "shop")
    shutil.rmtree(SHOP)


def test_an_application_of_its_own(shop: str) -> None:
    rules = site.write(site.MAP.with_name("shop.map"), shop)
    options = ("--workers=1", f"--map={rules}", f"--root={SHOP}/cgi", f"--control={CONTROL}")
    with delegated() as cgroup, site.serving(cgroup, *options) as selcgi:
        answers = [ask(selcgi.socket, Ask(f"{SHOP}/cgi/shop.py", user)).text for user in ("alice", "bob", "alice")]
        assert answers == ["shop for alice\n", "shop for bob\n", "shop for alice\n"], selcgi.log()
        wait_until("three lines", lambda: len(selcgi.entries()) == 3)
        contexts = [entry["context"] for entry in selcgi.entries()]
        assert contexts == [f"system_u:system_r:shop.webapp_t:s0:c{number}" for number in (1, 2, 1)]
        (row,) = counted()["zygotes"]
        assert (row["application"], row["domain"], row["requests"]) == ("app", "shop.zygote_t", 3)
        assert "warm: requests x 3, starts x 1" in site.run(*site.as_service(), "status", f"--control={CONTROL}")
