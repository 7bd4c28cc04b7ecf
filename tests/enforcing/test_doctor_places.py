"""`selcgi doctor` where a file is at fault: without a label, another application's, a socket out of the web server's
reach. Last, a policy that lacks what NoNewPrivileges= needs."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import (
    BY_PROGRAM,
    BY_PYTHON,
    DOMAIN,
    ROOT,
    RULES,
    SCRIPT,
    doctor,
    examine,
    load,
    place_of,
    script,
)

pytestmark = pytest.mark.enforcing

LISTEN = "--listen=unix:{0},peer-type=httpd_t"
PLACES = f"""
{DOMAIN.format("fault_app_t")}
(type fault_app_exec_t)(roletype object_r fault_app_exec_t)(typeattributeset file_type fault_app_exec_t)
(allow fault_app_t fault_app_exec_t (file (entrypoint read open getattr execute map)))
(allow selcgi_t fault_app_exec_t (file (read open getattr execute)))
(type fault_dir_t)(roletype object_r fault_dir_t)(typeattributeset file_type fault_dir_t)
(allow selcgi_webapp fault_dir_t (dir (search)))
{place_of("/srv/faults(/.*)?", "selcgi_script_exec_t")}
{place_of("/srv/app(/.*)?", "fault_app_exec_t")}(allow selcgi_t fault_app_exec_t (dir (read open search getattr)))
(allow fault_app_t fault_app_exec_t (dir (search)))
{DOMAIN.format("fault_shut_t")}(deny fault_shut_t selcgi_script_exec_t (file (entrypoint)))
{place_of("/srv/closed", "fault_dir_t")}{place_of("/srv/closed/.*", "selcgi_script_exec_t")}
"""


GONE = "(type fault_gone_t)(roletype object_r fault_gone_t)(typeattributeset file_type fault_gone_t)"


@pytest.fixture(scope="module", autouse=True)
def old() -> Path:
    """All that is loaded; and a script whose label was of a module that has been removed."""
    load("places", PLACES, gone=GONE)
    for root in (ROOT, Path("/srv/app"), Path("/srv/closed")):
        site.write(root / "one.cgi", SCRIPT, 0o755)
        site.run("restorecon", "-RF", root)
    path = script("old.cgi", SCRIPT, "fault_gone_t:s0")
    site.run("semodule", "-r", "gone")
    return path


@contextmanager
def bound(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        yield
    path.unlink()


@pytest.mark.parametrize("program", [BY_PROGRAM, BY_PYTHON], ids=["as selcgi", "as root"])
def test_a_file_whose_label_the_policy_does_not_know_any_more(
    program: tuple[str, ...], old: Path, avcs: Claims
) -> None:
    said = examine("alice user_webapp_t:s0\n", program=program)
    assert said.checks == ["labels"], said.faults
    assert said.faults[0]["where"] == [str(old)]
    assert said.faults[0]["fix"] == f"restorecon -F {old}"
    if program is BY_PROGRAM:
        avcs.expect("selcgi_t", "unlabeled_t", "file", "getattr")


@pytest.mark.parametrize("program", [BY_PROGRAM, BY_PYTHON], ids=["as selcgi", "as root"])
def test_a_socket_in_a_place_of_another_kind(program: tuple[str, ...], avcs: Claims) -> None:
    place = Path("/srv/faults.sock")
    with bound(place):
        said = doctor(LISTEN.format(place), f"--root={site.CGI}", program=program)
    assert said.checks == ["web-server"], said.faults
    if program is BY_PROGRAM:
        avcs.expect("selcgi_t", "var_t", "sock_file", "getattr")
    else:
        assert "httpd_t -> var_t : sock_file { write } is denied" in said.faults[0]["what"]
    assert said.faults[0]["fix"].startswith("listen beneath /run/selcgi")
    assert said.faults[0]["where"] == [f"unix:{place}"]


def test_a_socket_that_lost_its_label(avcs: Claims) -> None:
    place = site.RUNTIME / "faults.sock"
    site.RUNTIME.mkdir(exist_ok=True)
    site.run("restorecon", "-RF", site.RUNTIME)
    with bound(place):
        assert doctor(LISTEN.format(place), f"--root={site.CGI}").checks == []
        site.chcon(place, "var_run_t:s0")
        said = doctor(LISTEN.format(place), f"--root={site.CGI}")
    avcs.expect("selcgi_t", "var_run_t", "sock_file", "getattr")
    assert said.checks == ["web-server"], said.faults
    assert said.faults[0]["fix"].startswith("restorecon -RF /run/selcgi")


def test_a_folder_that_the_script_may_pass_and_selcgi_may_not() -> None:
    said = examine("alice user_webapp_t:s0\n", Path("/srv/closed"), program=BY_PYTHON)
    assert said.checks == ["search"], said.faults
    assert "selcgi_t -> fault_dir_t : dir { search }" in said.faults[0]["what"]
    assert "restorecon -nv /srv/closed" in said.faults[0]["fix"]


def test_the_scripts_of_another_application_are_a_note() -> None:
    rules = "alice user_webapp_t:s0\nbob fault_app_t:s0\n"
    root = Path("/srv/app")
    site.script("kept.cgi", SCRIPT)
    site.write(site.MAP.with_name("faults.map"), rules)
    said = doctor(f"--map={site.MAP.with_name('faults.map')}", f"--root={root}", f"--root={site.CGI}")
    assert said.checks == [], said.faults
    (note,) = [one for one in said.notes if one["check"] == "entrypoint"]
    assert "user_webapp_t -> fault_app_exec_t : file { entrypoint }" in note["what"]
    assert note["where"] == [f"{root}/one.cgi", "faults.map:1"]
    assert note["fix"] == "none is needed, if it is meant so"


def test_a_domain_that_runs_nothing_beneath_an_applications_own_root_is_a_note() -> None:
    """As `selcgi serve` finds nothing wrong with this mapping. A domain that no script may enter stays a fault."""
    rules = "alice user_webapp_t:s0\nbob fault_app_t:s0\ncarol fault_shut_t:s0\n"
    said = examine(rules, Path("/srv/app"))
    assert said.checks == ["entrypoint"], said.faults
    assert said.faults[0]["where"] == ["/srv/app/one.cgi", "faults.map:3"]
    (note,) = [one for one in said.notes if one["check"] == "entrypoint"]
    assert note["where"] == ["/srv/app/one.cgi", "faults.map:1"]
    assert note["fix"] == "name every --root that selcgi serve has"
    with site.serving(f"--map={RULES}", "--root=/srv/app") as selcgi:
        assert "preflight" not in selcgi.log()
        assert run_as(selcgi, Path("/srv/app/one.cgi"), "bob").status == 200


def test_a_policy_without_the_capability_for_no_new_privileges() -> None:
    """The distribution's own base module less one line, above it by its priority."""
    base = Path("/run/base.cil")
    subprocess.run(["semodule", "-c", "-E", "base"], cwd="/run", check=True)
    text = base.read_text()
    assert "(policycap nnp_nosuid_transition)" in text
    base.write_text(text.replace("(policycap nnp_nosuid_transition)", ""))
    site.run("semodule", "-X", "500", "-i", base)
    said = doctor(f"--root={site.CGI}")
    assert said.checks == ["policy-capability"], said.faults
    assert said.faults[0]["fix"].startswith("NoNewPrivileges=no in the unit")
    words = ["setpriv", "--no-new-privs", *site.as_service(), "serve", f"--map={site.MAP}", f"--root={site.CGI}"]
    done = subprocess.run([*words, f"--listen=unix:{site.RUNTIME}/selcgi.sock"], capture_output=True, text=True)
    assert done.returncode == 3
    assert "selcgi runs in initrc_t, not in selcgi_t" in done.stderr
