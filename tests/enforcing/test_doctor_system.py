"""`selcgi doctor` where the system is at fault, not one domain: the kernel, selcgi's own domain, mounts and labels."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import BY_PYTHON, ROOT, SCRIPT, doctor, examine, load, place_of, script
from tests.enforcing.test_start import BINDING, READ_ONLY, UNMOUNTED

pytestmark = pytest.mark.enforcing

LISTEN = "--listen=unix:/run/selcgi/selcgi.sock,peer-type="
RULES = "alice user_webapp_t:s0:c1\nbob staff_webapp_t:s0\n"
MOUNTED = Path("/mnt/faults/fs")  # no file context says how it is labelled
MOUNT = f"mount -t tmpfs -o {{0}} none {MOUNTED} && cp /run/kept.cgi {MOUNTED}/one.cgi && "
LABEL = f"chcon -R -t selcgi_script_exec_t {MOUNTED} && "
MODULE = "system_fault"
# What only one test comes across: its own web server, place of the program, place of scripts, mount.
APART = f"""
(type fault_web_t)(roletype system_r fault_web_t)(typeattributeset domain (fault_web_t))
(call selcgi_web_server (fault_web_t))(deny fault_web_t selcgi_t (unix_stream_socket (connectto)))
(type fault_exec_t)(roletype object_r fault_exec_t)(typeattributeset file_type fault_exec_t)
(allow selcgi_t fault_exec_t (file (getattr read open execute)))
(typetransition init_t fault_exec_t process selcgi_t)
(rangetransition init_t fault_exec_t process ((s0) (s0 ((range c0 c1023)))))
{place_of("/opt/ranged/bin/selcgi", "fault_exec_t")}
(allow selcgi_t mnt_t (dir (search getattr)))(allow selcgi_webapp mnt_t (dir (search)))
(allow mount_t usr_t (filesystem (mount unmount getattr relabelfrom relabelto)))
(deny selcgi_t staff_webapp_t (process2 (nosuid_transition)))
{place_of("/srv/faults(/.*)?", "selcgi_script_exec_t")}
"""
# of the whole system, so that each needs a load of its own: CIL, the check that finds it, words of its fix
FAULTS: dict[str, tuple[str, str, str]] = {
    "setexec": ("(deny selcgi_t self (process (setexec)))", "setexec", "(allow selcgi_t self (process (setexec)))"),
    "start": (
        "(deny init_t selcgi_t (process2 (nnp_transition)))", "program",
        "(allow init_t selcgi_t (process2 (nnp_transition)))"),
    "permissive": ("(typepermissive selcgi_t)", "launcher", "semanage permissive -d selcgi_t"),
    "listener": (
        "(deny selcgi_avc_t self (capability2 (audit_read)))", "denial-listener", "(capability2 (audit_read))"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """For all tests but the last, which replaces the module. It goes with the guest, which is this file's alone."""
    load(MODULE, APART)
    site.script("kept.cgi", SCRIPT)
    shutil.copy2(site.CGI / "kept.cgi", "/run/kept.cgi")
    MOUNTED.mkdir(parents=True)
    site.run("restorecon", "-RF", MOUNTED.parent)


@contextmanager
def labelled(path: Path, label: str) -> Iterator[None]:
    before = site.run("stat", "-c", "%C", path).strip()
    site.chcon(path, label)
    yield
    site.run("chcon", before, path)


@contextmanager
def installed(place: Path) -> Iterator[tuple[str, ...]]:
    """selcgi in another place: its program there is what the doctor of that place looks at."""
    (place / "bin").mkdir(parents=True)
    shutil.copy2("/opt/selcgi/pyvenv.cfg", place)
    (place / "lib").symlink_to("/opt/selcgi/lib")
    (place / "bin" / "python").symlink_to("/usr/bin/python3")
    shutil.copy2(site.PROGRAM, place / "bin" / "selcgi")
    site.run("restorecon", "-RF", place)
    yield (str(place / "bin" / "python"), *BY_PYTHON[1:])
    shutil.rmtree(place)


def test_what_is_planted_apart_is_no_fault_elsewhere() -> None:
    assert doctor(f"--root={site.CGI}", f"{LISTEN}httpd_t").checks == []


def test_a_web_server_that_may_not_connect() -> None:
    said = doctor(f"--root={site.CGI}", f"{LISTEN}fault_web_t")
    assert said.checks == ["web-server"], said.faults
    assert "(call selcgi_web_server (fault_web_t))" in said.faults[0]["fix"]


def test_a_program_that_a_service_manager_starts_with_a_range() -> None:
    with installed(Path("/opt/ranged")) as program:
        said = doctor(f"--root={site.CGI}", f"{LISTEN}httpd_t", program=program)
    assert said.checks == ["launcher-range"], said.faults
    assert "SELinuxContext=system_u:system_r:selcgi_t:s0" in said.faults[0]["fix"]


def test_a_program_in_a_place_that_the_policy_does_not_know() -> None:
    with installed(Path("/opt/other")) as program:
        said = doctor(program=program)
    assert said.checks == ["program"], said.faults
    assert "semanage fcontext -a -t selcgi_exec_t /opt/other/bin/selcgi" in said.faults[0]["fix"]


def test_a_program_that_lost_its_label() -> None:
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
    said = doctor(f"--root={MOUNTED}", before=MOUNT.format(options) + label)
    assert said.checks == [check], said.faults
    assert words in said.faults[0]["fix"]
    assert said.faults[0]["where"] == [f"{MOUNTED}/one.cgi"]


def test_a_nosuid_mount_needs_a_permission_of_its_own() -> None:
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


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_policy_is_found_alone(name: str, avcs: Claims) -> None:
    cil, check, words = FAULTS[name]
    load(MODULE, cil)
    said = doctor(f"--root={site.CGI}", f"{LISTEN}httpd_t")
    assert said.checks == [check], said.faults
    assert words in said.faults[0]["fix"]
    avcs.claim_permissive()
