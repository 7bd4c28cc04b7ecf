"""`selcgi doctor` where the system is at fault, not one domain: the kernel, selcgi's own domain, mounts and labels."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import BY_PROGRAM, BY_PYTHON, ROOT, SCRIPT, doctor, examine, load, module, script
from tests.enforcing.test_start import BINDING, READ_ONLY, UNMOUNTED

pytestmark = pytest.mark.enforcing

RULES = "alice user_webapp_t:s0:c1\nbob staff_webapp_t:s0\n"
MOUNTED = Path("/mnt/faults/fs")  # no file context says how it is labelled
MOUNT = f"mount -t tmpfs -o {{0}} none {MOUNTED} && cp /run/kept.cgi {MOUNTED}/one.cgi && "
LABEL = f"chcon -R -t selcgi_script_exec_t {MOUNTED} && "
REACHED = "(allow selcgi_t mnt_t (dir (search getattr)))(allow selcgi_webapp mnt_t (dir (search)))"
MAY_MOUNT = "(allow mount_t usr_t (filesystem (mount unmount getattr relabelfrom relabelto)))"
MODULE = "system_fault"
# of the whole system: CIL, the check that finds it, words of its fix
FAULTS: dict[str, tuple[str, str, str]] = {
    "setexec": ("(deny selcgi_t self (process (setexec)))", "setexec", "(allow selcgi_t self (process (setexec)))"),
    "permissive": ("(typepermissive selcgi_t)", "launcher", "semanage permissive -d selcgi_t"),
    "web server": (
        "(deny httpd_t selcgi_t (unix_stream_socket (connectto)))", "web-server", "(call selcgi_web_server (httpd_t))"),
    "listener": (
        "(deny selcgi_avc_t self (capability2 (audit_read)))", "denial-listener", "(capability2 (audit_read))"),
    "range": (
        "(type fault_exec_t)(roletype object_r fault_exec_t)(typeattributeset file_type fault_exec_t)"
        "(allow selcgi_t fault_exec_t (file (getattr read open execute)))"
        "(typetransition init_t fault_exec_t process selcgi_t)"
        "(rangetransition init_t fault_exec_t process ((s0) (s0 ((range c0 c1023)))))"
        '(filecon "/opt/other/bin/selcgi" file (system_u object_r fault_exec_t ((s0) (s0))))',
        "launcher-range", "SELinuxContext=system_u:system_r:selcgi_t:s0"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def loaded() -> Iterator[None]:
    """The module whose content each fault replaces, so that one load is enough for each."""
    with module(MODULE, "(type system_fault_t)"):
        site.script("kept.cgi", SCRIPT)
        shutil.copy2(site.CGI / "kept.cgi", "/run/kept.cgi")
        MOUNTED.mkdir(parents=True)
        site.run("restorecon", "-RF", MOUNTED.parent)
        yield


@contextmanager
def labelled(path: Path, label: str) -> Iterator[None]:
    before = site.run("stat", "-c", "%C", path).strip()
    site.chcon(path, label)
    yield
    site.run("chcon", before, path)


@pytest.fixture
def other() -> Iterator[tuple[str, ...]]:
    """selcgi in a place that the policy does not know: its program there is what the doctor of that place looks at."""
    place = Path("/opt/other")
    (place / "bin").mkdir(parents=True)
    shutil.copy2("/opt/selcgi/pyvenv.cfg", place)
    (place / "lib").symlink_to("/opt/selcgi/lib")
    (place / "bin" / "python").symlink_to("/usr/bin/python3")
    shutil.copy2(site.PROGRAM, place / "bin" / "selcgi")
    site.run("restorecon", "-RF", place)
    yield (str(place / "bin" / "python"), *BY_PYTHON[1:])
    shutil.rmtree(place)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_policy_is_found_alone(name: str, avcs: Claims, other: tuple[str, ...]) -> None:
    cil, check, words = FAULTS[name]
    load(MODULE, cil)
    site.run("restorecon", "-RF", "/opt/other")
    program = other if name == "range" else BY_PROGRAM
    said = doctor(f"--root={site.CGI}", "--listen=unix:/run/selcgi/selcgi.sock,peer-type=httpd_t", program=program)
    assert said.checks == [check], said.faults
    assert words in said.faults[0]["fix"]
    avcs.claim_permissive()


def test_a_program_in_a_place_that_the_policy_does_not_know(other: tuple[str, ...]) -> None:
    load(MODULE, "(type system_fault_t)")
    site.run("restorecon", "-RF", "/opt/other")
    said = doctor(program=other)
    assert said.checks == ["program"], said.faults
    assert "semanage fcontext -a -t selcgi_exec_t /opt/other/bin/selcgi" in said.faults[0]["fix"]


def test_a_program_that_lost_its_label() -> None:
    load(MODULE, "(type system_fault_t)")
    with labelled(site.PROGRAM, "bin_t:s0"):
        said = doctor(program=BY_PYTHON)
    assert said.checks == ["drift"], said.faults
    assert f"restorecon -F {site.PROGRAM}" in said.faults[0]["fix"]


def test_a_permissive_kernel(avcs: Claims) -> None:
    site.run("setenforce", "0")
    try:
        said = doctor()
    finally:
        site.run("setenforce", "1")
    assert said.checks == ["kernel"], said.faults
    assert said.faults[0]["fix"].startswith("setenforce 1")
    avcs.claim_permissive()


@pytest.mark.parametrize(("before", "words"), [(READ_ONLY, "read-write"), (UNMOUNTED, "/sys/fs/selinux")])
def test_selinuxfs_out_of_reach(before: str, words: str) -> None:
    said = doctor(before=before)
    assert said.checks == ["kernel"], said.faults
    assert words in said.faults[0]["fix"]
    assert said.looked_at == {"contexts": 0, "scripts": 0}


def test_no_binding() -> None:
    away = BINDING.with_name("selinux.away")
    BINDING.rename(away)
    try:
        said = doctor()
    finally:
        away.rename(BINDING)
    assert said.checks == ["kernel"], said.faults
    assert "python3-selinux" in said.faults[0]["fix"]


def test_unknown_classes_are_a_note_and_no_fault() -> None:
    assert Path("/sys/fs/selinux/deny_unknown").read_text() == "0"
    said = doctor()
    assert said.code == 0
    (note,) = [one for one in said.notes if one["check"] == "unknown-classes"]
    assert "handle-unknown=deny" in note["fix"]


@pytest.mark.parametrize(
    ("options", "label", "check", "words"),
    [
        ("context=system_u:object_r:usr_t:s0", "", "labels", "context=system_u:object_r:selcgi_script_exec_t:s0"),
        ("noexec", LABEL, "noexec", f"mount -o remount,exec {MOUNTED}"),
    ],
)
def test_a_mount(options: str, label: str, check: str, words: str) -> None:
    load(MODULE, REACHED + MAY_MOUNT)
    said = doctor(f"--root={MOUNTED}", before=MOUNT.format(options) + label)
    assert said.checks == [check], said.faults
    assert words in said.faults[0]["fix"]
    assert said.faults[0]["where"] == [f"{MOUNTED}/one.cgi"]


def test_a_nosuid_mount_needs_a_permission_of_its_own() -> None:
    load(MODULE, REACHED + "(deny selcgi_t staff_webapp_t (process2 (nosuid_transition)))")
    said = doctor(f"--root={MOUNTED}", before=MOUNT.format("nosuid") + LABEL)
    assert said.checks == ["nosuid"], said.faults
    assert "(allow selcgi_t staff_webapp_t (process2 (nosuid_transition)))" in said.faults[0]["fix"]
    assert doctor().checks == []


@pytest.mark.parametrize(
    ("label", "words"),
    [("usr_t:s0", "usr_t:s0, its place should have selcgi_script_exec_t:s0"), ("selcgi_script_exec_t:s0:c3", "s0:c3")],
)
def test_a_script_with_another_label_than_its_place(label: str, words: str, avcs: Claims) -> None:
    path = script("one.cgi", SCRIPT, label)
    with module("place", '(filecon "/srv/faults(/.*)?" any (system_u object_r selcgi_script_exec_t ((s0) (s0))))'):
        site.run("restorecon", "-F", ROOT)
        site.chcon(path, label)
        said = examine(RULES)
        assert said.checks == ["drift"], said.faults
        assert words in said.faults[0]["what"]
        assert f"restorecon -F {path}" in said.faults[0]["fix"]
        assert "(allow" not in said.faults[0]["fix"]
        site.run("restorecon", "-F", path)
        assert examine(RULES).checks == []
    avcs.collect()


def test_a_mapping_that_selcgi_may_not_read() -> None:
    rules = site.write(Path("/srv/odd.map"), RULES, 0o644)
    try:
        said = doctor(f"--map={rules}", program=BY_PYTHON)
    finally:
        rules.unlink()
    assert said.checks == ["configuration"], said.faults
    assert "put it into /etc/selcgi" in said.faults[0]["fix"]
