"""Refusals as sentences: the cause is that of the policy, and where an allow rule would not help none is offered."""

from dataclasses import replace

import pytest

from selcgi.context import LAUNCHER
from selcgi.system.audit import Denial
from selcgi.system.refusals import explain
from tests.fakes import FakePolicy

ALICE = "system_u:system_r:user_webapp_t:s0:c1"
POLICY = FakePolicy(
    {
        ("user_webapp_t", "user_webapp_rw_t", "file"): ("read", "write"),
        ("user_webapp_t", "smtp_port_t", "tcp_socket"): (),
        ("user_webapp_t", "user_webapp_t", "capability"): (),
        ("user_webapp_t", "default_t", "dir"): ("getattr",),
        ("user_webapp_t", "selcgi_t", "process"): (),
        ("shop.webapp_t", "smtp_port_t", "tcp_socket"): (),
        ("other_t", "smtp_port_t", "tcp_socket"): (),
        ("user_zygote_t", "user_webapp_rw_t", "file"): (),
    }
)


def denial(target: str, classname: str, *permissions: str, permissive: bool = False, **fields: str) -> Denial:
    return Denial(0.0, 1, 812, "cat", permissions, ALICE, target, classname, fields, permissive)


def sentence(one: Denial) -> str:
    return str(explain(one, "alice's script", POLICY))


def test_categories_are_named_and_no_rule_is_offered() -> None:
    text = sentence(denial("system_u:object_r:user_webapp_rw_t:s0:c2", "file", "write", path="/srv/data/user/bob/x"))
    assert text.startswith(
        "alice's script (user_webapp_t:s0:c1) wanted to write to /srv/data/user/bob/x (user_webapp_rw_t:s0:c2): "
        "refused, by its categories (MCS constraint), not for want of a rule: "
    )
    assert "chcon -l s0:c1" in text
    assert "(allow" not in text


@pytest.mark.parametrize(
    ("one", "wish", "fix"),
    [
        (
            denial("system_u:object_r:smtp_port_t:s0", "tcp_socket", "name_connect", dest="25"),
            "connect to TCP port 25 (smtp_port_t)",
            "allow it, if it is wanted: setsebool -P selcgi_webapp_send_mail on",
        ),
        (
            denial("system_u:object_r:user_webapp_rw_t:s0:c1", "file", "unlink", name="x", dev="sda1", ino="7"),
            "delete x (inode 7 on sda1) (user_webapp_rw_t:s0:c1)",
            "(allow user_webapp_t user_webapp_rw_t (file (unlink)))",
        ),
        (
            denial("system_u:object_r:default_t:s0", "dir", "read", path="/srv/new"),
            "list /srv/new (default_t:s0)",
            "it has no label of its own: restorecon -v /srv/new",
        ),
        (denial(ALICE, "capability", "sys_admin"), "use the capability sys_admin", "scripts run without capabilities"),
        (
            replace(denial(str(LAUNCHER), "capability", "dac_override"), source=str(LAUNCHER)),
            "use the capability dac_override",
            "runuser -u selcgi",
        ),
        (
            denial("system_u:system_r:selcgi_t:s0", "process", "signal"),
            "signal a process (selcgi_t:s0)",
            "(allow user_webapp_t selcgi_t (process (signal)))",
        ),
    ],
)
def test_what_no_rule_allows(one: Denial, wish: str, fix: str) -> None:
    text = sentence(one)
    assert f" wanted to {wish}: refused, no rule allows it (" in text
    assert fix in text


@pytest.mark.parametrize("label", ["default_t", "user_webapp_rw_t"])
def test_a_path_that_a_script_chose_is_no_command_in_the_cure(label: str) -> None:
    text = sentence(denial(f"system_u:object_r:{label}:s0:c1", "file", "unlink", path="/srv/x;rm -rf ~;$(id)"))
    assert "v '/srv/x;rm -rf ~;$(id)'" in text


def of(source: str, one: Denial) -> str:
    return sentence(replace(one, source=f"system_u:system_r:{source}:s0"))


def test_a_domain_of_the_template_has_its_switch_and_another_its_rule() -> None:
    one = denial("system_u:object_r:smtp_port_t:s0", "tcp_socket", "name_connect", dest="25")
    assert of("shop.webapp_t", one).endswith("allow it, if it is wanted: (call selcgi_webapp_mail (shop.webapp_t))")
    assert of("other_t", one).endswith("(allow other_t smtp_port_t (tcp_socket (name_connect)))")


def test_no_rule_opens_data_to_a_warm_interpreter() -> None:
    text = of("user_zygote_t", denial("system_u:object_r:user_webapp_rw_t:s0:c2", "file", "read", name="x"))
    assert "(allow" not in text
    assert "do this for each request, not where modules are loaded" in text
    move = of("user_zygote_t", denial("system_u:system_r:user_webapp_t:s0:c2", "process", "dyntransition"))
    assert "setsebool -P selcgi_webapp_warm on" in move


def test_what_was_let_through_is_said_to_be() -> None:
    text = sentence(
        denial("system_u:object_r:smtp_port_t:s0", "tcp_socket", "name_connect", dest="25", permissive=True)
    )
    assert "not refused, since the domain is permissive" in text


def test_a_policy_that_has_changed_since() -> None:
    assert "the policy of now allows it" in sentence(denial("system_u:object_r:user_webapp_rw_t:s0:c1", "file", "read"))


@pytest.mark.parametrize("target", ["system_u:object_r:gone_t:s0", "system_u:object_r:gone!t:s0"])
def test_a_type_that_is_gone(target: str) -> None:
    assert ": refused, " in sentence(denial(target, "file", "read", name="x"))


def test_an_error_of_the_security_server() -> None:
    one = Denial(
        0.0, 1, 0, "", (), ALICE, "system_u:system_r:other_t:s0", "process", {}, error="security_bounded_transition"
    )
    assert "the security server refused security_bounded_transition (other_t:s0)" in sentence(one)
