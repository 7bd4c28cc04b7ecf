"""What a start, a reload and a new policy make of what the cheap checks find; the checks have tests of their own."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from selcgi.context import Context
from selcgi.errors import PolicyUnreadable, PreflightFailed
from selcgi.serve.preflight import PAUSE, Preflight, look
from selcgi.serve.site import Site, open_site
from selcgi.settings import ListenerSettings, Settings
from tests.diagnose.shipped import policy
from tests.fakes import FakeLabels, FakePolicy

TRANSITION = (("selcgi_t", "user_webapp_t", "process"), "transition")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    rules = tmp_path / "site.map"
    rules.write_text("alice user_webapp_t:s0:c1\nbob user_webapp_t:s0:c2\n")
    settings = Settings(maps=(rules,), roots=(tmp_path,), script_user="nobody", spool=tmp_path)
    return open_site(settings, FakeLabels(), print)


def with_policy(site: Site, asked: FakePolicy) -> Site:
    labels = FakeLabels()
    labels.policy = asked
    return replace(site, labels=labels)


def gate(site: Site, refuses: bool = True) -> Preflight:
    return Preflight(site.labels, refuses)


def test_a_mapping_that_works_passes_without_a_word(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    good = with_policy(site, policy())
    assert look(good) == ()
    assert gate(good).passed(good) is good
    assert caplog.records == []
    good.close()


def test_what_cannot_work_is_refused_and_every_fault_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    bad = with_policy(site, policy(without=[TRANSITION, (("user_webapp_t", "selcgi_t", "fd"), "use")]))
    with pytest.raises(PreflightFailed) as raised:
        gate(bad).passed(bad)
    assert "selcgi_t -> user_webapp_t : process { transition } is denied, and 1 more (site.map:1" in raised.value.reason
    assert "--no-preflight" in raised.value.fix
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bad.roots.all[0].descriptor)


def test_contexts_that_are_too_many_are_said_not_to_have_been_asked_about(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    good = with_policy(site, policy())
    monkeypatch.setattr("selcgi.serve.preflight._CONTEXTS", 2)
    assert gate(good).passed(good) is good
    assert caplog.messages == []
    monkeypatch.setattr("selcgi.serve.preflight._CONTEXTS", 1)
    assert gate(good).passed(good) is good
    assert caplog.messages == ["preflight: of more than 1 contexts the first 1 were asked about: selcgi doctor"]
    good.close()


def test_no_preflight_goes_on_and_says_so(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    bad = with_policy(site, policy(without=[TRANSITION]))
    assert gate(bad, refuses=False).passed(bad) is bad
    assert "--no-preflight" in caplog.messages[0]
    assert "transition" in caplog.messages[1]
    bad.close()


def test_what_works_in_part_is_a_warning(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    lax = with_policy(site, policy(without=[(("selcgi_t", "user_webapp_t", "process"), "rlimitinh")]))
    assert gate(lax).passed(lax) is lax
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    lax.close()


def test_selinux_off_has_no_policy_to_ask(site: Site) -> None:
    assert look(site) == ()
    assert gate(site).passed(site) is site
    assert gate(site).pause > PAUSE
    site.close()


def test_permissive_ok_is_not_refused_what_it_asked_for(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    lax = with_policy(site, policy(permissive=["selcgi_t", "user_webapp_t"], without=[TRANSITION]))
    assert isinstance(lax.labels, FakeLabels)
    with pytest.raises(PreflightFailed, match="is permissive"):
        gate(lax).passed(lax)
    lax.labels.note = "selinux=permissive-ok"
    caplog.clear()
    gate(lax).passed(lax)
    assert ["transition" in message for message in caplog.messages] == [True]


def test_a_policy_that_is_loaded_later_is_asked_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    asked = policy()
    good = with_policy(site, asked)
    gated = gate(good)
    assert gated.pause == PAUSE
    gated.passed(good)
    gated.renewed(good)
    assert caplog.records == []
    asked.allowed[TRANSITION[0]] -= {"transition"}
    asked.load = 2
    for _ in range(2):
        gated.renewed(good)
    assert len(caplog.messages) == 2
    assert "process { transition } is denied (site.map:1, ..)" in caplog.messages[0]
    assert "a policy was loaded (number 2): 1 faults" in caplog.messages[1]
    asked.allowed[TRANSITION[0]] |= {"transition"}
    asked.load = 3
    caplog.set_level(logging.INFO)
    gated.renewed(good)
    assert "the mapping works with it" in caplog.messages[-1]
    good.close()


def test_a_policy_that_gives_no_answers_does_not_end_the_service(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = policy()
    good = with_policy(site, asked)
    gated = gate(good)

    def unreadable(_: str) -> str | None:
        raise PolicyUnreadable("the policy cannot be asked: Permission denied", "allow it")

    monkeypatch.setattr(asked, "canonical", unreadable)
    asked.load = 2
    gated.renewed(good)
    assert "cannot be asked" in caplog.text
    with pytest.raises(PolicyUnreadable):
        gated.passed(good)


def test_a_web_server_that_a_listener_names_must_reach_it(site: Site) -> None:
    asked = policy(without=[(("httpd_t", "selcgi_t", "unix_stream_socket"), "connectto")])
    named = replace(site.settings, listeners=(ListenerSettings("unix:/run/x", peer_types=("httpd_t",)),))
    assert look(with_policy(site, asked)) == ()
    assert [fault.check for fault in look(replace(with_policy(site, asked), settings=named))] == ["web-server"]
    site.close()


def test_the_label_that_a_pipe_really_has_is_asked_about(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = with_policy(site, policy())
    wrong = str(Context("system_u", "system_r", "init_t", "s0"))
    monkeypatch.setattr(wide.labels, "file_label", lambda _: wrong)
    assert {fault.check for fault in look(wide)} == {"pipes"}
    site.close()
