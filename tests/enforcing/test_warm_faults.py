"""What can't be warm is not started in another way: the status, one line in the log that says why, and nothing ran.

One module has all the faulty applications, since loading one takes long; the mapping names one of them at a time.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.enforcing import faults, site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import DOMAIN, load
from tests.enforcing.test_doctor_system import labelled
from tests.enforcing.test_switches import switched_on
from tests.enforcing.warm import BOOLEAN, serving
from tests.stack import wait_until

pytestmark = pytest.mark.enforcing

PROGRAM = Path("/opt/selcgi/bin/selcgi-zygote")
MARKER = Path("/tmp/it-ran")
SCRIPT = f"#!/usr/bin/python3\nopen({str(MARKER)!r}, 'w')\nprint('Content-Type: text/plain\\n\\nran')\n"
ZYGOTE = f"{DOMAIN.format('{0}_webapp_t')}(type {{0}}_zygote_t)(call selcgi_zygote_domain ({{0}}_zygote_t))"
WARM = ZYGOTE + "(call selcgi_zygote_enters ({0}_zygote_t {0}_webapp_t))"
MODULE = "\n".join([
    DOMAIN.format("alone_webapp_t"),
    ZYGOTE.format("stuck") + "(allow selcgi_t stuck_zygote_t (process (transition)))",
    WARM.format("loose") + "(typepermissive loose_zygote_t)",
    WARM.format("barred") + "(deny selcgi_t barred_zygote_t (process (transition)))",
    WARM.format("fixed") + "(deny fixed_zygote_t self (process (setcurrent)))",
    WARM.format("unborn") + "(deny unborn_zygote_t cgroup_t (file (write)))",
    WARM.format("blind"),
    "(type odd_script_t)(roletype object_r odd_script_t)(typeattributeset file_type odd_script_t)"
    "(typeattributeset selcgi_script odd_script_t)(call selcgi_webapp_runs (blind_webapp_t odd_script_t))",
    faults.place_of("/srv/faults(/.*)?", "selcgi_script_exec_t"),
    faults.place_of("/srv/faults/odd\\.py", "odd_script_t"),
])  # fmt: skip
# domain -> status, step, words of the reason, words of the fix, the denial
FAULTS: dict[str, tuple[int, str, str, str, tuple[str, str, str, str] | None]] = {
    "alone": (503, "zygote", "the type alone_zygote_t is unknown", "semodule", None),
    "stuck": (500, "enter_context", "can't move itself into system_u:system_r:stuck_webapp_t:s0:c1",
              "setsebool -P selcgi_webapp_warm on", ("stuck_zygote_t", "stuck_webapp_t", "process", "dyntransition")),
    "loose": (503, "zygote", "the domain loose_zygote_t is permissive", "semanage permissive -d loose_zygote_t", None),
    "barred": (503, "zygote", "selcgi_t -> barred_zygote_t : process { transition }",
               "(call selcgi_zygote_enters (barred_zygote_t barred_webapp_t))",
               ("selcgi_t", "barred_zygote_t", "process", "transition")),
    "fixed": (500, "enter_context", "fixed_zygote_t:s0, can't move itself", "process setcurrent",
              ("fixed_zygote_t", "fixed_zygote_t", "process", "setcurrent")),
    "unborn": (500, "zygote", "can't fork: Permission denied", "contrib/selinux/selcgi.cil",
               ("unborn_zygote_t", "cgroup_t", "file", "write")),
    "blind": (503, "zygote", "blind_zygote_t -> odd_script_t : file { open }",
              "(allow blind_zygote_t odd_script_t (file (open)))", None),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """It goes with the guest, which is this file's alone."""
    load("warmfaults", MODULE)
    faults.ROOT.mkdir(parents=True)
    site.run("restorecon", "-F", faults.ROOT)


def refused(text: str, script: Path, status: int) -> dict[str, Any]:
    MARKER.unlink(missing_ok=True)
    with serving("--no-preflight", text=text) as selcgi:
        answer = run_as(selcgi, script, "alice")
        assert answer.status == status, selcgi.log()
        assert "zygote" not in answer.text
        (entry,) = selcgi.entries() or [selcgi.entry()]
        assert entry["context"].endswith("_webapp_t:s0:c1")
    assert not MARKER.exists()
    return entry


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_of_the_policy(name: str, avcs: Claims) -> None:
    status, step, reason, fix, denial = FAULTS[name]
    script = site.script("marker.py", SCRIPT, "odd_script_t:s0" if name == "blind" else "")
    entry = refused(f"alice {name}_webapp_t:s0:c1 warm=yes\n", script, status)
    assert entry["step"] == step
    assert reason in entry["reason"]
    assert fix in entry["fix"]
    if denial is not None:
        avcs.expect(*denial)


# domain -> what doctor calls it, words of its fix
DOCTOR = {
    "alone": ("zygote", "(blockinherit selcgi_warm)"),
    "stuck": ("zygote-move", "(call selcgi_zygote_enters (stuck_zygote_t stuck_webapp_t))"),
    "loose": ("zygote", "semanage permissive -d loose_zygote_t"),
    "barred": ("zygote-start", "(call selcgi_zygote_enters (barred_zygote_t barred_webapp_t))"),
    "fixed": ("zygote-move", "(process (setcurrent))"),
    "blind": ("zygote-script", "(call selcgi_zygote_reads (blind_zygote_t odd_script_t))"),
}


@pytest.mark.parametrize("name", DOCTOR)
def test_doctor_finds_it_alone(name: str) -> None:
    check, fix = DOCTOR[name]
    path = faults.script("odd.py" if name == "blind" else "one.py", SCRIPT, "")
    said = faults.examine(f"alice {name}_webapp_t:s0:c1 warm=yes\n")
    assert said.checks == [check], said.faults
    assert fix in said.faults[0]["fix"]
    assert said.faults[0]["severity"] == "fatal"
    assert "faults.map:1" in said.faults[0]["where"]
    assert faults.examine(f"alice {name}_webapp_t:s0:c1\n").checks == [], "fresh, nothing of it matters"
    path.unlink()


def test_doctor_and_the_boolean_and_the_program() -> None:
    faults.script("one.py", SCRIPT, "")
    rules = "alice user_webapp_t:s0:c1 warm=yes\nbob user_webapp_t:s0:c2 warm=yes\n"
    said = faults.examine(rules)
    assert said.checks == ["zygote-start"], said.faults
    assert said.faults[0]["fix"] == "setsebool -P selcgi_webapp_warm on"
    assert {"faults.map:1", "faults.map:2"} <= set(said.faults[0]["where"])
    with switched_on(BOOLEAN):
        assert faults.examine(rules).checks == []
        with labelled(PROGRAM, "bin_t:s0"):
            said = faults.examine(rules)
            assert said.checks == ["drift"], said.faults
            assert said.faults[0]["fix"].startswith(f"restorecon -F {PROGRAM}")


def test_a_start_is_refused_before_the_first_request() -> None:
    rules = site.write(site.MAP.with_name("cold.map"), "alice user_webapp_t:s0:c1 warm=yes\n")
    words = [
        *site.as_service(),
        "serve",
        "--listen=unix:/run/selcgi/selcgi.sock",
        f"--map={rules}",
        f"--root={site.CGI}",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "selcgi_t -> user_zygote_t : process { transition } is denied (cold.map:1)" in done.stderr
    assert "setsebool -P selcgi_webapp_warm on" in done.stderr


def test_without_the_boolean_of_the_shipped_domains_none_is_started(avcs: Claims) -> None:
    script = site.script("marker.py", SCRIPT)
    with serving("--no-preflight", boolean=False) as selcgi:
        assert run_as(selcgi, script, "alice").status == 503
        entry = selcgi.entry()
        with switched_on(BOOLEAN):  # two seconds pass before it is tried again
            wait_until("it runs", lambda: run_as(selcgi, script, "alice").text == "ran\n")
    assert entry["step"] == "zygote"
    assert "the policy lacks selcgi_t -> user_zygote_t : process { transition }" in entry["reason"]
    assert entry["fix"] == "setsebool -P selcgi_webapp_warm on"
    avcs.expect("selcgi_t", "user_zygote_t", "process", "transition")
    MARKER.unlink()


def test_a_program_that_lost_its_label(avcs: Claims) -> None:
    script = site.script("marker.py", SCRIPT)
    with labelled(PROGRAM, "bin_t:s0"):
        entry = refused("alice user_webapp_t:s0:c1 warm=yes\n", script, 503)
    assert entry["step"] == "zygote"
    assert f"user_zygote_t -> bin_t : file {{ entrypoint }} ({PROGRAM})" in entry["reason"]
    assert entry["fix"].startswith(f"restorecon -F {PROGRAM}; where its place has no label")
    avcs.expect("user_zygote_t", "bin_t", "file", "entrypoint")
