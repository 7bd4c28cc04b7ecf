"""`selcgi doctor` on the real policy: nothing on the shipped one, and each fault of one domain by its name and cure."""

import subprocess
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import (
    BY_PROGRAM,
    BY_PYTHON,
    DOMAIN,
    ROOT,
    doctor,
    examine,
    load,
    place_of,
    script,
)

pytestmark = pytest.mark.enforcing

ENV = "#!/usr/bin/env python3\nprint('Content-Type: text/plain\\n')\n"
# of the domain fault_NAME_t: CIL beside its template, the check that finds it, words of its fix
FAULTS: dict[str, tuple[str, str, str]] = {
    "transition": ("(deny selcgi_t {0} (process (transition)))", "transition", "(process (transition)))"),
    "nnp": ("(deny selcgi_t {0} (process2 (nnp_transition)))", "no-new-privileges", "(process2 (nnp_transition)))"),
    "entry": ("(deny {0} selcgi_script_exec_t (file (entrypoint)))", "entrypoint", "(file (entrypoint)))"),
    "load": ("(deny {0} shell_exec_t (file (map)))", "interpreter-load", "restorecon -nv /bin/sh"),
    "fd": ("(deny {0} selcgi_t (fd (use)))", "descriptors", "(fd (use)))"),
    "silent": (
        "(deny {0} selcgi_t (fd (use)))(dontaudit {0} selcgi_t (fd (use)))",
        "descriptors",
        "(fd (use)))",
    ),
    "pipe": ("(deny {0} selcgi_t (fifo_file (write)))", "pipes", "(fifo_file (write)))"),
    "watch": ("(deny selcgi_t {0} (process (sigkill)))", "watch", "(process (sigkill)))"),
    "limits": ("(deny selcgi_t {0} (process (rlimitinh)))", "limits", "(process (rlimitinh)))"),
    "search": ("(deny {0} var_t (dir (search)))", "search", "restorecon -nv /srv"),
    "read": ("(deny {0} selcgi_script_exec_t (file (open)))", "script-read", "(file (open)))"),
    "permissive": ("(typepermissive {0})", "permissive-domain", "semanage permissive -d fault_permissive_t"),
    "secure": (
        "(allow selcgi_t {0} (process (noatsecure)))",
        "secure-mode",
        "-s selcgi_t -t fault_secure_t",
    ),
    "signal": (
        "(allow {0} selcgi_t (process (signal)))",
        "reaches-selcgi",
        "-s fault_signal_t -t selcgi_t",
    ),
    "speak": ("(allow {0} selcgi_t (unix_stream_socket (connectto)))", "reaches-selcgi", "-c unix_stream_socket"),
    "policy": ("(allow {0} security_t (security (setbool)))", "reaches-policy", "-t security_t -c security -p setbool"),
    "rewrite": ("(allow {0} selcgi_conf_t (file (write)))", "rewrites", "-t selcgi_conf_t -c file -p write"),
    "others": ("(allow {0} user_webapp_t (process (sigkill)))", "reaches-others", "-t user_webapp_t -c process"),
}
# a domain that is made by hand, so that it is not mcs_constrained_type
UNCONSTRAINED = """
(type fault_free_t)(typeattributeset domain (fault_free_t))(roletype system_r fault_free_t)
(call selcgi_program (fault_free_t))(call selcgi_interpreters (fault_free_t))
(call selcgi_webapp_runs (fault_free_t selcgi_script_exec_t))
(allow fault_free_t bin_t (file (execute_no_trans)))
(allow selcgi_t fault_free_t (process (transition siginh rlimitinh signal signull sigkill getattr getpgid)))
(dontaudit selcgi_t fault_free_t (process (noatsecure)))
(allow selcgi_t fault_free_t (process2 (nnp_transition nosuid_transition)))
(allow selcgi_t fault_free_t (dir (search getattr)))(allow selcgi_t fault_free_t (file (read open getattr)))
(allow fault_free_t selcgi_t (fd (use)))(allow fault_free_t selcgi_t (fifo_file (read write append open getattr ioctl)))
"""
# scripts of their own: what selcgi_t may do to them, and where they lie; two have an odd interpreter
SCRIPT_TYPE = """
(type {0})(roletype object_r {0})(typeattributeset file_type {0})
(allow selcgi_webapp {0} (file (entrypoint read open getattr execute map)))
"""
ODD = f"""
{SCRIPT_TYPE.format("fault_script_t")}(allow selcgi_t fault_script_t (file (read getattr execute)))
{place_of("/srv/odd/script(/.*)?", "fault_script_t")}(allow selcgi_t fault_script_t (dir (read open search getattr)))
(allow selcgi_webapp fault_script_t (dir (search)))
{SCRIPT_TYPE.format("fault_sh_t")}(allow selcgi_t fault_sh_t (file (read open getattr)))
{place_of("/srv/odd/bin/sh", "fault_sh_t")}
{SCRIPT_TYPE.format("fault_lost_t")}(allow selcgi_t fault_lost_t (file (read open getattr execute execute_no_trans)))
{place_of("/srv/odd/lost(/.*)?", "fault_lost_t")}(allow selcgi_t fault_lost_t (dir (read open search getattr)))
(allow selcgi_webapp fault_lost_t (dir (search)))
{SCRIPT_TYPE.format("fault_default_t")}(allow selcgi_t fault_default_t (file (read open getattr execute)))
(typetransition selcgi_t fault_default_t process user_webapp_t)
{place_of("/srv/odd/default(/.*)?", "fault_default_t")}(allow selcgi_t fault_default_t (dir (read open search getattr)))
(allow selcgi_webapp fault_default_t (dir (search)))
{place_of("/srv/odd/by-sh(/.*)?", "selcgi_script_exec_t")}
(boolean fault_switch false)
{SCRIPT_TYPE.format("fault_switch_t").replace("entrypoint ", "")}
(allow selcgi_t fault_switch_t (file (read open getattr execute)))
(booleanif fault_switch (true (allow selcgi_webapp fault_switch_t (file (entrypoint)))))
{place_of("/srv/odd/switch(/.*)?", "fault_switch_t")}(allow selcgi_t fault_switch_t (dir (read open search getattr)))
(allow selcgi_webapp fault_switch_t (dir (search)))
"""


@pytest.fixture(scope="module", autouse=True)
def planted() -> None:
    """All domains at once. What a mapping does not name is not asked about."""
    parts = [DOMAIN.format(f"fault_{name}_t") + cil.format(f"fault_{name}_t") for name, (cil, _, _) in FAULTS.items()]
    parts += [DOMAIN.format("fault_env_t"), "(deny fault_env_t bin_t (file (execute_no_trans)))", UNCONSTRAINED, ODD]
    parts += [place_of("/srv/faults(/.*)?", "selcgi_script_exec_t")]
    load("faults", "\n".join(parts))
    script("one.cgi")
    site.run("restorecon", "-RF", ROOT)


@pytest.mark.parametrize("program", [BY_PROGRAM, BY_PYTHON, site.as_service()], ids=["root", "python", "service"])
def test_nothing_is_found_on_the_shipped_policy(program: tuple[str, ...]) -> None:
    for name, first in (("a.sh", "#!/bin/sh"), ("b.py", "#!/usr/bin/env python3"), ("c.pl", "#!/usr/bin/perl")):
        site.script(name, f"{first}\n")
    listen = f"--listen=unix:/run/selcgi/selcgi.sock,identity=proof:{site.PROOF},peer-type=httpd_t"
    said = doctor(listen, program=program)
    assert said.faults == []
    assert {one["check"] for one in said.notes} <= {"unknown-classes", "denial-listener"}
    assert said.looked_at["contexts"] == 4
    assert said.looked_at["scripts"] >= 3


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_domain_is_found_alone(name: str) -> None:
    _, check, words = FAULTS[name]
    said = examine(f"alice fault_{name}_t:s0\n* user_webapp_t:s0\n")
    assert said.checks == [check], said.faults
    (fault,) = said.faults
    assert words in fault["fix"]
    assert fault["symptom"]
    assert fault["silent"] is (name == "silent")
    if check not in ("rewrites", "search"):
        assert "faults.map:1" in fault["where"]
        assert "faults.map:2" not in fault["where"]


def test_a_program_that_env_may_not_start() -> None:
    path = script("two.py", ENV)
    try:
        said = examine("alice fault_env_t:s0\n")
    finally:
        path.unlink()
    assert said.checks == ["env-program"], said.faults
    assert "/usr/bin/python3" in said.faults[0]["fix"]
    assert str(path) in said.faults[0]["where"]


def test_categories_of_a_domain_that_ignores_them() -> None:
    assert examine("alice fault_free_t:s0\n").checks == []
    said = examine("alice fault_free_t:s0:c1\n")
    assert "categories" in said.checks
    (fault,) = [one for one in said.faults if one["check"] == "categories"]
    assert fault["fix"] == "(typeattributeset mcs_constrained_type (fault_free_t))"


def odd(name: str, first: str = "#!/bin/sh") -> Path:
    """A root with one script, labelled as the module says."""
    root = Path("/srv/odd") / name
    site.write(root / "one.cgi", f"{first}\n", 0o755)
    site.run("restorecon", "-RF", "/srv/odd")
    return root


def test_a_script_that_selcgi_may_not_open(avcs: Claims) -> None:
    said = examine("alice user_webapp_t:s0\n", odd("script"))
    avcs.expect("selcgi_t", "fault_script_t", "file", "open")
    assert said.checks == ["script-open"], said.faults
    assert "selcgi_t -> fault_script_t : file { open }" in said.faults[0]["what"]
    assert "(allow selcgi_t fault_script_t (file (open)))" in said.faults[0]["fix"]


def test_an_interpreter_that_selcgi_may_not_execute() -> None:
    site.write(Path("/srv/odd/bin/sh"), "", 0o755).write_bytes(Path("/bin/dash").read_bytes())
    said = examine("alice user_webapp_t:s0\n", odd("by-sh", "#!/srv/odd/bin/sh"))
    assert said.checks == ["interpreter-open"], said.faults
    assert "selcgi_t -> fault_sh_t : file { execute }" in said.faults[0]["what"]
    assert "(allow selcgi_t fault_sh_t (file (execute)))" in said.faults[0]["fix"]


@pytest.mark.parametrize(("name", "words"), [("lost", "execute_no_trans"), ("default", "sesearch -T -s selcgi_t")])
def test_a_lost_context_that_would_run(name: str, words: str) -> None:
    said = examine("alice user_webapp_t:s0\n", odd(name))
    assert said.checks == ["lost-context"], said.faults
    assert words in said.faults[0]["fix"]


def test_a_boolean_is_the_cure_where_it_is() -> None:
    said = examine("alice user_webapp_t:s0\n", odd("switch"), program=BY_PYTHON)
    assert said.checks == ["entrypoint"], said.faults
    assert "setsebool -P fault_switch on" in said.faults[0]["fix"]


@pytest.mark.parametrize("program", [BY_PROGRAM, BY_PYTHON], ids=["asked again", "by the whole policy"])
def test_an_identity_is_never_answered_with_an_allow_rule(program: tuple[str, ...]) -> None:
    said = examine("alice unconfined_u:system_r:user_webapp_t:s0\n", program=program)
    assert "transition" in said.checks, said.faults
    for fault in said.faults:
        assert "(allow" not in fault["fix"], fault
        assert "leave user and role out" in fault["fix"], fault


@pytest.mark.parametrize(
    ("line", "check", "words"),
    [
        ("alice no_such_t:s0", "context", "semodule -l"),
        ("alice user_webapp_t:s0:c1024", "context", "semanage user -l"),
        ("alice system_u:system_r:etc_t:s0", "context", "(roletype system_r etc_t)"),
        ("alice user_webapp_t:s0 uid=no-such-user", "account", "getent passwd 'no-such-user' must find it"),
        ("alice selcgi_t:s0:c1", "own-domain", "name the domain of a web application"),
        ("alice user_webapp_t:s0-s0:c1", "new-files", "give the rule the single level s0:c1"),
        ("* user_webapp_t:s0\nalice staff_webapp_t:s0", "dead-rule", "move it up"),
        ("bob user_webapp_t:s0:c{user}\nalice user_webapp_t:s0:c600", "category-bands", "use others than c512.c1023"),
    ],
)
def test_a_line_of_the_mapping_is_found(line: str, check: str, words: str) -> None:
    said = examine(f"{line}\n")
    assert said.checks == [check], said.faults
    assert words in said.faults[0]["fix"]
    assert said.faults[0]["where"] == [f"faults.map:{line.count(chr(10)) + 1}"]


def seen_of_a_run(domain: str) -> str:
    """What `selcgi run` says of a script in that domain, which fails."""
    mapping = site.write(site.MAP.with_name("seen.map"), f"alice {domain}:s0\n")
    words = [*site.as_service(), "run", f"--map={mapping}", f"--root={ROOT}", "--user=alice", "one.cgi"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_a_refusal_without_a_record_is_named_all_the_same() -> None:
    """The kernel tells nobody of it: a denial here would fail this test."""
    seen = seen_of_a_run("fault_silent_t")
    assert "the policy lacks fault_silent_t -> selcgi_t : fd { use }" in seen
    assert "a dontaudit rule keeps that out of the audit" in seen


def test_what_a_permission_would_look_like_is_what_happens(avcs: Claims) -> None:
    """The symptom is no guess: `selcgi run` of the same script in the same context ends so."""
    seen = seen_of_a_run("fault_pipe_t")
    assert "exit: 0" in seen
    assert "502" in seen
    avcs.expect("fault_pipe_t", "selcgi_t", "fifo_file", "write")
