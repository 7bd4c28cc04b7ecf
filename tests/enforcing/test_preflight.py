"""`selcgi serve` and the policy: what cannot work is refused at a start and a reload, and loud after a policy load."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import BY_PYTHON, DOMAIN, SCRIPT, load
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

RULES = site.MAP.with_name("preflight.map")
GOOD = DOMAIN.format("fault_flight_t")
BAD = f"{GOOD}(deny selcgi_t fault_flight_t (process (transition)))"


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """A start that is refused before it listens."""
    words = [*site.as_service(), "serve", "--listen=unix:/run/selcgi/selcgi.sock", f"--map={RULES}", *options]
    return subprocess.run([*words, f"--root={site.CGI}"], capture_output=True, text=True, timeout=60)


def logged(selcgi: Selcgi, words: str) -> None:
    wait_until(words, lambda: words in selcgi.log())


def test_from_a_start_to_a_reload_to_another_policy(avcs: Claims) -> None:
    script = site.script("flight.cgi", SCRIPT + "echo ran\n")
    load("flight", GOOD)
    site.write(RULES, "alice no_such_t:s0\n")
    done = start()
    assert done.returncode == 3
    assert "PreflightFailed: preflight: the type no_such_t is unknown" in done.stderr
    assert "--no-preflight" in done.stderr

    site.write(RULES, "alice fault_flight_t:s0:c1\n")
    with site.serving(f"--map={RULES}") as selcgi:
        assert "preflight" not in selcgi.log()
        assert run_as(selcgi, script, "alice").status == 200

        site.write(RULES, "alice user_webapp_t:s0:c1024\n")
        selcgi.signal(signal.SIGHUP)
        logged(selcgi, "reload refused, the mapping in use stays: preflight: the range s0:c1024 is invalid")
        assert run_as(selcgi, script, "alice").status == 200

        load("flight", BAD)
        logged(selcgi, "a policy was loaded")
        assert "selcgi_t -> fault_flight_t : process { transition } is denied (preflight.map:1)" in selcgi.log()
        assert run_as(selcgi, script, "alice").status == 500
        avcs.expect("selcgi_t", "fault_flight_t", "process", "transition")

    site.write(RULES, "alice fault_flight_t:s0:c1\n")
    with site.serving(f"--map={RULES}", "--no-preflight") as selcgi:
        assert "--no-preflight" in selcgi.log()
        assert "process { transition } is denied" in selcgi.log()
        assert run_as(selcgi, script, "alice").status == 500
        avcs.expect("selcgi_t", "fault_flight_t", "process", "transition")


def test_the_isolation_proof_of_the_policy_that_is_loaded() -> None:
    words = [*BY_PYTHON, "audit-map", str(site.MAP)]
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE, "PYTHONPATH": str(site.TREE)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environ, cwd="/")
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["4 contexts, no findings"]), (
        done.stdout + done.stderr
    )


def of_the_service(words: list[str]) -> None:
    """A script that its owner alone may read is told right to the owner, and to root where root may do all; in selcgi_t
    root may not, and is told so."""
    own = site.script("own.cgi", "#!/bin/sh\n")
    own.chmod(0o700)
    shutil.chown(own, "selcgi")
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE, "PYTHONPATH": str(site.TREE)}
    for program, yes in ((words[:1], False), (site.as_service(), True), (BY_PYTHON, True)):
        line = [*program, *words[1:-1], own.name]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environ, cwd="/")
        assert (done.returncode == 0) is yes, done.stdout + done.stderr
        assert ("not judged: SELinux gives root no right over others' files here" in done.stdout) is not yes
    own.unlink()


def test_explain_says_it_without_running_anything(avcs: Claims) -> None:
    script = site.script("explained.cgi", "#!/bin/sh\ntouch /tmp/it-ran\n")
    words = [str(site.PROGRAM), "explain", "--user=alice", script.name]
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": site.BYTECODE}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environ, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.context_of("alice") in done.stdout
    assert "user_webapp_t -> selcgi_script_exec_t : file { entrypoint }" in done.stdout
    link = script.with_name("link.cgi")
    link.symlink_to(script.name)
    done = subprocess.run([*words[:-1], link.name], capture_output=True, text=True, timeout=60, env=environ, cwd="/")
    link.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{link} -> {script}" in done.stdout
    of_the_service(words)
    script.chmod(0o777)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environ, cwd="/")
    assert done.returncode == 1
    assert f"403: {script} (mode 0777, uid 0) is open to more than its owner" in done.stdout
    assert not Path("/tmp/it-ran").exists()
    avcs.claim_all_of("selcgi_t")
