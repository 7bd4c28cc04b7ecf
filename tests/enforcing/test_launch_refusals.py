"""What can't be launched safely is not launched: the status, one line in the log that says why, and no process."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.delegation import CGROUP
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

MARKER = Path("/tmp/it-ran")
ALICE = site.context_of("alice")
SCRIPT = f"#!/bin/sh\ntouch {MARKER}\nprintf 'Content-Type: text/plain\\n\\nran\\n'\n"


@contextmanager
def mapped(context: str) -> Iterator[Selcgi]:
    """selcgi with one rule: alice gets this context."""
    path = site.write(site.MAP.with_name("other.map"), f"alice {context}\n")
    with site.serving(f"--map={path}", "--no-preflight") as running:
        yield running


def refused(selcgi: Selcgi, script: Path, status: int, context: str = ALICE) -> dict[str, Any]:
    """Ask, and return the one line of the log, which names step, context, cause and cure; nothing ran."""
    MARKER.unlink(missing_ok=True)
    assert run_as(selcgi, script, "alice").status == status
    entry = selcgi.entry()
    assert len(selcgi.entries()) == 1
    assert (entry["exit"], entry["context"]) == ("", context)
    assert all((entry["step"], entry["reason"], entry["fix"]))
    assert not MARKER.exists()
    return entry


@pytest.mark.parametrize(
    ("context", "step", "words"),
    [
        ("nosuch_webapp_t:s0", "context", "nosuch_webapp_t"),
        ("user_webapp_t:s0:c1024", "context", "c1024"),
        ("selcgi_t:s0", "context", "selcgi_t"),
        ("selcgi_t:s0:c1", "context", "selcgi_t"),
        ("user_webapp_t:s0:c2-s0:c1", "context", "s0:c2-s0:c1"),
    ],
)
def test_a_context_that_cannot_be_used(context: str, step: str, words: str) -> None:
    script = site.script("marker.cgi", SCRIPT)
    with mapped(context) as selcgi:
        entry = refused(selcgi, script, 500, f"system_u:system_r:{context}")
        assert entry["step"] == step
        assert words in entry["reason"]
        assert "other.map:1" in selcgi.log().split("is ready")[0], "the preflight names the rule"


def test_a_context_that_the_policy_does_not_let_selcgi_enter(avcs: Claims) -> None:
    script = site.script("marker.cgi", SCRIPT)
    with mapped("httpd_t:s0") as selcgi:
        entry = refused(selcgi, script, 500, "system_u:system_r:httpd_t:s0")
    assert entry["step"] == "exec"
    assert "selcgi_t -> httpd_t : process { transition }" in entry["reason"]
    assert entry["fix"].startswith("name the domain of a web application")
    avcs.expect("selcgi_t", "httpd_t", "process", "transition")


@pytest.mark.parametrize(
    ("context", "step", "words"),
    [
        ("staff_u:system_r:user_webapp_t:s0", "context", "staff_u"),
        ("unconfined_u:system_r:user_webapp_t:s0", "exec", "process { transition }"),
    ],
    ids=["that does not go together", "that selcgi may not give"],
)
def test_a_user_and_role(avcs: Claims, context: str, step: str, words: str) -> None:
    """The first is no context of the policy, and known when the exec context is set; the second is refused at exec."""
    script = site.script("marker.cgi", SCRIPT)
    with mapped(context) as selcgi:
        entry = refused(selcgi, script, 500, context)
    assert entry["step"] == step
    assert words in entry["reason"]
    assert "(allow" not in entry["fix"]
    avcs.claim_all_of("selcgi_t")


def test_a_script_whose_label_is_no_entrypoint(selcgi: Selcgi, avcs: Claims) -> None:
    script = site.script("marker.cgi", SCRIPT, "shell_exec_t:s0")
    entry = refused(selcgi, script, 500)
    site.run("restorecon", "-F", script)
    assert entry["step"] == "exec"
    assert "user_webapp_t -> shell_exec_t : file { entrypoint }" in entry["reason"]
    avcs.expect("user_webapp_t", "shell_exec_t", "file", "entrypoint")


def test_a_script_whose_label_selcgi_may_not_look_at(selcgi: Selcgi, avcs: Claims) -> None:
    script = site.script("marker.cgi", SCRIPT, "user_webapp_rw_t:s0")
    entry = refused(selcgi, script, 403)
    assert run_as(selcgi, script, "carol").status == 403
    wait_until("the second line", lambda: len(selcgi.entries()) == 2)
    assert selcgi.entry()["step"] == "mapping", "whom no rule lets in learns nothing of scripts"
    site.run("restorecon", "-F", script)
    assert (entry["step"], entry["rule"], entry["context"]) == ("script", "site.map:1", site.context_of("alice"))
    assert f"may not look at {script} (label unknown, that of its folder is " in entry["reason"]
    assert "selcgi_script_exec_t:s0): the policy lacks getattr" in entry["reason"]
    assert entry["fix"].startswith(f"restorecon -F {script}")
    avcs.expect("selcgi_t", "user_webapp_rw_t", "file", "getattr")


@pytest.mark.parametrize(
    ("place", "label", "words", "denied"),
    [
        ("", "etc_t", "may not execute {}/marker.cgi (mode 0755, label ", ("etc_t", "file", "execute")),
        ("", "shadow_t", "may not look at {}/marker.cgi (label unknown", ("shadow_t", "file", "getattr")),
        ("sub", "etc_t", "may not execute {}/marker.cgi (mode 0755, label ", ("etc_t", "file", "execute")),
    ],
)
def test_a_script_with_a_wrong_label(
    selcgi: Selcgi, avcs: Claims, place: str, label: str, words: str, denied: tuple[str, str, str]
) -> None:
    """Its mode would let selcgi, so that chmod is no cure, and is not offered as one."""
    script = site.script(f"{place}/marker.cgi".lstrip("/"), SCRIPT, f"{label}:s0")
    entry = refused(selcgi, script, 403)
    site.run("restorecon", "-F", script)
    assert (entry["step"], entry["rule"], entry["context"]) == ("script", "site.map:1", site.context_of("alice"))
    assert words.format(script.parent) in entry["reason"]
    assert f"{{ {denied[2]} }}" in entry["reason"] or "lacks getattr" in entry["reason"]
    assert entry["fix"].startswith(f"restorecon -F {script}")
    avcs.expect("selcgi_t", *denied)


def test_a_folder_with_a_wrong_label(selcgi: Selcgi, avcs: Claims) -> None:
    script = site.script("sub/marker.cgi", SCRIPT)
    site.chcon(script.parent, "shadow_t:s0")
    entry = refused(selcgi, script, 403)
    site.run("restorecon", "-RF", script.parent)
    assert (entry["step"], entry["rule"]) == ("script", "site.map:1")
    assert f"may not look at {script.parent} (label unknown" in entry["reason"]
    avcs.expect("selcgi_t", "shadow_t", "dir", "getattr")


def test_a_mistake_in_the_mapping_stops_the_load() -> None:
    path = site.write(site.MAP.with_name("other.map"), "alice user_webapp_t:s0:c1\nbob user_webapp_t timout=3\n")
    words = [*site.as_service(), "serve", "--listen=unix:/run/selcgi/x.sock", f"--map={path}", "--cgroup=none"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 3
    assert f"{path}:2: " in done.stderr
    assert "timeout" in done.stderr


def test_a_domain_made_permissive_is_refused_while_it_is(selcgi: Selcgi) -> None:
    script = site.script("marker.cgi", SCRIPT)
    module = site.write(Path("/run/permissive.cil"), "(typepermissive user_webapp_t)")
    site.run("semodule", "-i", module)
    try:
        entry = refused(selcgi, script, 500)
    finally:
        site.run("semodule", "-r", "permissive")
    assert entry["step"] == "context"
    assert "permissive" in entry["reason"]
    assert run_as(selcgi, script, "alice").status == 200
    MARKER.unlink(missing_ok=True)


LOST = '''#!/opt/selcgi/bin/python
"""A launcher in selcgi_t that does not set the exec context, or sets its own."""
import contextlib, os, select, sys
from pathlib import Path
from selcgi.errors import SelcgiError
from selcgi.launch.cold import Launcher
from selcgi.plan import Limits, Plan
from selcgi.system.leaves import Leaves
from selcgi.system.roots import open_roots
from selcgi.system.scripts import open_script
from selcgi.system.selinux import KernelLabels, open_labels

labels = open_labels("required")
own = labels.own
if sys.argv[2] == "nothing":
    KernelLabels.exec_context = lambda self, context: contextlib.nullcontext()
else:
    real = KernelLabels.exec_context
    KernelLabels.exec_context = lambda self, context: real(self, own)
located = open_script((os.fsencode(sys.argv[1]),), open_roots([Path("/srv/cgi")]), labels.file_label)
plan = Plan(located.script, (located.script.path,), {}, own, Limits(), empty_body=True)
launcher = Launcher(labels, Leaves(Path(sys.argv[3])) if len(sys.argv) > 3 else None)
try:
    running = launcher.launch(plan)
    while not running.confirmed:  # a guard tells later what became of the launch
        select.select([running.wake], [], [])
        running.poll()
    print("LAUNCHED")
except SelcgiError as error:
    print(type(error).__name__, error.step, error.reason)
'''


@pytest.mark.parametrize("left_out", ["nothing", "own"])
@pytest.mark.parametrize("binary", [False, True])
def test_a_launch_that_loses_its_exec_context_runs_nothing(avcs: Claims, way: str, left_out: str, binary: bool) -> None:
    """The policy alone refuses: selcgi_t may execute no script in its own domain, spawned by a guard or into a leaf."""
    program = site.write(Path("/opt/selcgi/bin/lost"), LOST, 0o755, "selcgi_exec_t:s0")
    script = site.script("marker.cgi", SCRIPT)
    if binary:
        script = site.CGI / "marker.bin"
        script.write_bytes(Path("/usr/bin/touch").read_bytes())
        script.chmod(0o755)
        site.run("restorecon", "-F", script)
    MARKER.unlink(missing_ok=True)
    service = site.as_service()[:-1]
    leaves = [str(CGROUP / "worker-0")] if way == "cgroup" else []
    python_path = [] if Path("/opt/tree").exists() else ["PYTHONPATH=/mnt/src"]
    line = [*service, *python_path, str(program), str(script), left_out, *leaves]
    done = subprocess.run(line, capture_output=True, text=True)
    program.unlink()
    assert done.stdout.startswith("LaunchFailed exec "), done.stdout + done.stderr
    assert not MARKER.exists()
    avcs.expect("selcgi_t", "selcgi_script_exec_t", "file", "execute_no_trans")
