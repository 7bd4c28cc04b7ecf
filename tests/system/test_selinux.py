"""What KernelLabels makes of the kernel's answers, and what --selinux off means.

libselinux is played here by a stand-in, for answers that change while selcgi runs; the real one answers in the guest.
"""

import errno
import os
import socket
from types import ModuleType, SimpleNamespace

import pytest

from selcgi.context import Context, ContextSpec
from selcgi.errors import ContextLost, LaunchFailed, StartRefused
from selcgi.plan import Script
from selcgi.system import selinux
from selcgi.system.selinux import KernelLabels, NoLabels, open_labels

OWN = Context("system_u", "system_r", "selcgi_t", "s0")
WEBAPP = ContextSpec("user_webapp_t", "s0:c1")
KNOWN = {f"system_u:{role}:user_webapp_t:s0{tail}" for role in ("system_r", "object_r") for tail in ("", ":c1")}
PERMISSIONS = dict(  # but for map
    zip(
        (1 << number for number in range(12)),
        ("setexec", "execute", "read", "open", "getattr", "transition", "entrypoint", "use", "write"),
        strict=False,
    )
)
KNOWN |= {"system_u:object_r:file_t:s0"}


class Binding(ModuleType):
    """The functions of libselinux that KernelLabels calls, over a policy of a few lines."""

    def __init__(self) -> None:
        super().__init__("selinux")
        self.enforce = 1
        self.load = 1
        self.permissive: set[str] = set()
        self.denied: set[str] = set()
        self.asked: list[str] = []
        self.processes: dict[int, str] = {}

    def selinux_status_open(self, fallback: int) -> int:
        return fallback

    def selinux_status_getenforce(self) -> int:
        return self.enforce

    def selinux_status_policyload(self) -> int:
        return self.load

    def selinux_flush_class_cache(self) -> None:
        self.asked.append("flush")

    def security_canonicalize_context_raw(self, text: str) -> list[object]:
        self.asked.append(text)
        if text not in KNOWN:
            raise OSError(errno.EINVAL, "Invalid argument")
        return [0, text]

    def av_decision(self) -> SimpleNamespace:
        return SimpleNamespace(allowed=0, auditdeny=-1, flags=0)

    def security_compute_av_flags_raw(self, source: str, _: str, number: int, __: int, into: SimpleNamespace) -> None:
        into.flags = int(source in self.permissive)
        into.allowed = 0 if f"{source.split(':')[2]}/{number}" in self.denied else -1

    def string_to_security_class(self, name: str) -> int:
        return {"process": 2, "file": 6, "fd": 9, "fifo_file": 13}.get(name, 0)

    def security_av_perm_to_string(self, _: int, bit: int) -> str | None:
        return PERMISSIONS.get(bit)

    def getpidcon_raw(self, pid: int) -> list[object]:
        if pid not in self.processes:
            raise OSError(errno.ESRCH, "No such process")
        return [0, self.processes[pid]]

    def getfilecon_raw(self, path: str) -> list[object]:
        if path.startswith("/proc/"):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return [1, "system_u:object_r:shell_exec_t:s0"]

    def getpeercon_raw(self, _: int) -> list[object]:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")


@pytest.fixture
def binding() -> Binding:
    return Binding()


@pytest.fixture
def labels(binding: Binding) -> KernelLabels:
    return KernelLabels(binding, OWN, permissive_ok=False)


def refused(labels: KernelLabels, spec: ContextSpec) -> LaunchFailed:
    with pytest.raises(LaunchFailed) as raised:
        labels.resolve(spec)
    assert raised.value.step == "context"
    return raised.value


def test_a_context_is_asked_once_for_each_load_of_the_policy(binding: Binding, labels: KernelLabels) -> None:
    assert str(labels.resolve(WEBAPP)) == "system_u:system_r:user_webapp_t:s0:c1"
    assert labels.resolve(WEBAPP) is labels.resolve(WEBAPP)
    assert len(binding.asked) == 1
    binding.load = 2
    labels.resolve(WEBAPP)
    assert binding.asked[1:] == [binding.asked[0], "flush"]


def test_what_is_remembered_is_bounded(binding: Binding, labels: KernelLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_RESOLVED_MOST", 1)
    for spec in (WEBAPP, ContextSpec("user_webapp_t"), WEBAPP):
        labels.resolve(spec)
    assert len(binding.asked) == 3


@pytest.mark.parametrize("answer", [0, -1])
def test_kernel_that_stops_enforcing_ends_all_launches(binding: Binding, labels: KernelLabels, answer: int) -> None:
    labels.resolve(WEBAPP)
    binding.enforce = answer
    assert "does not enforce" in refused(labels, WEBAPP).reason
    binding.enforce = 1
    assert labels.resolve(WEBAPP)


def test_domain_made_permissive_is_refused_from_the_next_load_on(binding: Binding, labels: KernelLabels) -> None:
    context = str(labels.resolve(WEBAPP))
    binding.permissive.add(context)
    binding.load += 1
    assert "user_webapp_t is permissive" in refused(labels, WEBAPP).reason


def test_permissive_ok_says_so_and_takes_both(binding: Binding) -> None:
    binding.enforce = 0
    binding.permissive.add("system_u:system_r:user_webapp_t:s0:c1")
    labels = KernelLabels(binding, OWN, permissive_ok=True)
    assert labels.note == "selinux=permissive-ok"
    assert labels.resolve(WEBAPP).domain == "user_webapp_t"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ContextSpec("selcgi_t"), "own domain selcgi_t"),
        (ContextSpec("selcgi_t", "s0:c1"), "own domain selcgi_t"),
        (ContextSpec("no_such_t", "s0:c1"), "the type no_such_t is unknown"),
        (ContextSpec("file_t"), "the role system_r may not have the type file_t"),
        (ContextSpec("user_webapp_t", "s0:c2000"), "the range s0:c2000 is invalid"),
        (ContextSpec("user_webapp_t", "s0", "no_u", "system_r"), "the user no_u"),
    ],
)
def test_bad_part_of_a_context_is_named(labels: KernelLabels, spec: ContextSpec, words: str) -> None:
    error = refused(labels, spec)
    assert words in error.reason
    assert error.fix


@pytest.mark.parametrize("seen", ["system_u:system_r:selcgi_t:s0", "system_u:system_r:user_webapp_t:s0", None])
def test_another_context_is_a_lost_one(
    binding: Binding, labels: KernelLabels, monkeypatch: pytest.MonkeyPatch, seen: str | None
) -> None:
    monkeypatch.setattr(selinux, "_EXEC_SECONDS", 0.0)
    if seen:
        binding.processes[7] = seen
    with pytest.raises(ContextLost) as raised:
        labels.confirm(7, WEBAPP.resolve(OWN))
    assert (seen or "No such process") in raised.value.reason


def test_the_planned_context_is_confirmed(binding: Binding, labels: KernelLabels) -> None:
    binding.processes[7] = "system_u:system_r:user_webapp_t:s0:c1"
    labels.confirm(7, WEBAPP.resolve(OWN))
    with pytest.raises(ContextLost):
        labels.confirm(7, None)


def test_what_carries_no_label_has_none(labels: KernelLabels) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert labels.peer_context(ours) is None
        assert labels.file_label(ours.fileno()) == ""


def test_refused_exec_is_explained_and_the_unknown_is_denied(binding: Binding, labels: KernelLabels) -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    descriptor = os.open("/", os.O_RDONLY)
    try:
        script = Script(b"/srv/a.cgi", descriptor, -1, (0, 0, 0), b"/bin/sh", "u:object_r:selcgi_script_exec_t:s0")
        reason, _ = labels.explain_exec(WEBAPP.resolve(OWN), script, error)
        assert "user_webapp_t -> shell_exec_t : file { map }" in reason  # a permission that this policy does not know
        binding.denied.add("selcgi_t/2")
        reason, fix = labels.explain_exec(WEBAPP.resolve(OWN), script, error)
        assert "the policy lacks selcgi_t -> selcgi_t : process { setexec }" in reason
        assert "(allow selcgi_t self (process (setexec)))" in fix
    finally:
        os.close(descriptor)


def test_status_page_out_of_reach_refuses_the_start(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(binding, "selinux_status_open", fail)
    with pytest.raises(StartRefused, match="security_t"):
        KernelLabels(binding, OWN, permissive_ok=False)


def test_off_has_no_labels_and_says_so() -> None:
    labels = open_labels("off")
    assert isinstance(labels, NoLabels)
    assert (labels.note, labels.own) == ("selinux=off", None)
    context = labels.resolve(WEBAPP)
    with labels.exec_context(context):
        labels.confirm(os.getpid(), context)
    assert labels.file_label(0) == ""
    script = Script(b"/srv/a.cgi", -1, -1, (0, 0, 0), b"", "")
    assert "/srv/a.cgi" in labels.explain_exec(context, script, OSError(errno.EACCES, "Permission denied"))[0]
