"""What KernelPolicy makes of libselinux's answers that the shipped policy does not give: errors, loads, odd bits."""

import errno
from types import ModuleType, SimpleNamespace

import pytest

from selcgi.errors import PolicyUnreadable, StartRefused
from selcgi.system import policy
from selcgi.system.policy import KernelPolicy, open_policy

PERMISSIONS = {1: "fork", 2: "transition", 1 << 31: "last"}


class Binding(ModuleType):
    """The functions that KernelPolicy calls. `error` is the errno of every question."""

    def __init__(self) -> None:
        super().__init__("selinux")
        self.answer = SimpleNamespace(allowed=0, auditdeny=0xFFFFFFFF, flags=0)
        self.error = 0
        self.load = 1
        self.names = PERMISSIONS
        self.flushed = 0
        self.enabled = 1

    def is_selinux_enabled(self) -> int:
        return self.enabled

    def selinux_status_open(self, fallback: int) -> int:
        return fallback

    def selinux_status_policyload(self) -> int:
        return self.load

    def selinux_flush_class_cache(self) -> None:
        self.flushed += 1

    def string_to_security_class(self, name: str) -> int:
        return 2 if name == "process" else 0

    def security_av_perm_to_string(self, _: int, bit: int) -> str | None:
        return self.names.get(bit)

    def av_decision(self) -> SimpleNamespace:
        return SimpleNamespace(allowed=0, auditdeny=0, flags=0)

    def security_compute_av_flags_raw(self, _: str, __: str, ___: int, ____: int, into: SimpleNamespace) -> None:
        self._fail()
        vars(into).update(vars(self.answer))

    def security_canonicalize_context_raw(self, text: str) -> list[object]:
        self._fail()
        return [0, text]

    def security_compute_create_raw(self, source: str, _: str, __: int) -> list[object]:
        self._fail()
        return [0, source]

    def _fail(self) -> None:
        if self.error:
            raise OSError(self.error, "as told")


@pytest.fixture
def binding() -> Binding:
    return Binding()


def test_each_bit_has_its_name_and_those_without_one_are_nothing(binding: Binding) -> None:
    binding.answer.allowed = 1 | 1 << 31 | 1 << 7
    assert KernelPolicy(binding).vector("a", "b", "process").allowed == {"fork", "last"}


@pytest.mark.parametrize(
    ("allowed", "auditdeny", "silent"),
    [(0, 0xFFFFFFFF, set()), (0, 0xFFFFFFFF ^ 2, {"transition"}), (2, 0xFFFFFFFF ^ 2, set())],
)
def test_silent_is_what_is_denied_and_not_audited(
    binding: Binding, allowed: int, auditdeny: int, silent: set[str]
) -> None:
    binding.answer.allowed, binding.answer.auditdeny = allowed, auditdeny
    assert KernelPolicy(binding).vector("a", "b", "process").silent == silent


def test_a_permissive_domain_is_one_and_its_denials_stay(binding: Binding) -> None:
    binding.answer.flags = 1
    vector = KernelPolicy(binding).vector("a", "b", "process")
    assert vector.permissive
    assert not vector.allowed


def test_another_policy_may_name_its_bits_otherwise(binding: Binding) -> None:
    asked = KernelPolicy(binding)
    binding.answer.allowed = 1
    assert asked.vector("a", "b", "process").allowed == {"fork"}
    binding.names, binding.load = {1: "transition"}, 2
    assert asked.vector("a", "b", "process").allowed == {"transition"}
    assert (asked.serial(), binding.flushed) == (2, 1)


def test_a_class_is_not_made_up(binding: Binding) -> None:
    asked = KernelPolicy(binding)
    binding.answer.allowed = 0xFFFFFFFF
    assert not asked.vector("a", "b", "process2").known
    assert not asked.vector("a", "b", "process2").allowed
    assert asked.created("a", "b", "process2") == ""


def test_what_is_no_context_is_unknown(binding: Binding) -> None:
    binding.error = errno.EINVAL
    asked = KernelPolicy(binding)
    assert not asked.vector("a", "b", "process").known
    assert asked.canonical("a") is None
    assert asked.created("a", "b", "process") == ""


def test_no_answer_is_not_taken_for_one(binding: Binding) -> None:
    binding.error = errno.EACCES
    asked = KernelPolicy(binding)
    for question in (
        lambda: asked.vector("a", "b", "process"),
        lambda: asked.canonical("a"),
        lambda: asked.created("a", "b", "process"),
    ):
        with pytest.raises(PolicyUnreadable, match="compute_av"):
            question()


def test_status_page_out_of_reach_is_named(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(binding, "selinux_status_open", fail)
    with pytest.raises(StartRefused, match="security_t"):
        KernelPolicy(binding)


def test_a_system_without_selinux_has_no_policy(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "find_binding", lambda: binding)
    assert isinstance(open_policy(), KernelPolicy)
    binding.enabled = 0
    with pytest.raises(PolicyUnreadable, match="SELinux is off"):
        open_policy()
