"""How `selcgi doctor` shows what it finds, and the exit codes that monitoring relies on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selcgi.cli import doctor as command
from selcgi.diagnose.fault import Fault
from selcgi.diagnose.scene import Scene
from selcgi.errors import StartRefused
from selcgi.system.facts import Facts
from tests.diagnose.shipped import policy, scene

FACTS = Facts(True, "system_u:system_r:initrc_t:s0", None, True, True)
TRANSITION = (("selcgi_t", "user_webapp_t", "process"), "transition")
Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """The command over a scene that is given to it, as if this kernel enforced SELinux."""
    rules = tmp_path / "site.map"
    rules.write_text("alice user_webapp_t:s0:c1\n")

    def run(looked_at: Scene | None, *options: str, kernel: tuple[Fault, ...] = ()) -> Result:
        facts = FACTS if looked_at is not None else None
        stands_in: dict[str, Any] = {
            "kernel_faults": lambda: (facts, kernel),
            "open_policy": policy,
            "open_labelling": lambda: None,
            "stage": lambda *_: looked_at,
        }
        for name, value in stands_in.items():
            monkeypatch.setattr(command, name, value)
        return CliRunner().invoke(command.doctor, [f"--map={rules}", *options])

    return run


def test_where_nothing_is_wrong_it_says_so_and_ends_with_0(ask: Ask) -> None:
    done = ask(scene())
    assert (done.exit_code, done.output) == (0, "nothing is wrong: 3 contexts and 1 scripts were looked at\n")


def test_a_fault_has_its_place_symptom_and_cure(ask: Ask) -> None:
    done = ask(scene(policy(without=[TRANSITION])))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "fatal   transition: selcgi_t -> user_webapp_t : process { transition } is denied"
    assert [line.split()[0] for line in lines[1:-1]] == ["where", "symptom", "do"]
    assert "site.map:1, site.map:2" in lines[1]
    assert lines[-1].startswith("1 fatal: ")


def test_a_machine_without_selinux_is_told_of_policy_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> Facts:
        raise StartRefused("SELinux is off", "boot with it")

    monkeypatch.setattr("selcgi.diagnose.staging.read_facts", none)
    done = CliRunner().invoke(command.doctor, [])
    assert done.exit_code == 1
    assert "fatal   kernel: SELinux is off" in done.output
    assert "do       selcgi doctor --policy FILE" in done.output


def test_a_denial_that_leaves_no_record_says_so(ask: Ask) -> None:
    done = ask(scene(policy(without=[TRANSITION], silent={TRANSITION[0]: ("transition",)})))
    assert "semodule -DB" in done.output


def test_many_places_are_counted(ask: Ask) -> None:
    done = ask(scene(dead=tuple(f"site.map:{number}" for number in range(9))))
    assert "site.map:4 and 4 more" in done.output


def test_notes_do_not_count(ask: Ask) -> None:
    done = ask(scene(omitted=("more than that",)))
    assert done.exit_code == 0
    assert done.output.startswith("note    not-looked-at: more than that")


def test_programs_get_all_of_it(ask: Ask) -> None:
    done = ask(scene(policy(without=[TRANSITION])), "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert found["looked_at"] == {"contexts": 3, "scripts": 1}
    (fault,) = found["faults"]
    assert (fault["check"], fault["severity"], fault["where"]) == ("transition", "fatal", ["site.map:1", "site.map:2"])


def test_without_selinux_that_is_the_fault(ask: Ask) -> None:
    off = Fault("kernel", "fatal", "SELinux is off", "nothing confines", "boot with it")
    done = ask(None, kernel=(off,))
    assert done.exit_code == 1
    assert "fatal   kernel: SELinux is off" in done.output
    assert "0 contexts" in done.output


def test_what_others_wrote_does_not_reach_the_terminal_as_it_is(ask: Ask) -> None:
    done = ask(scene(dead=("site.map\033[2J:1",)))
    assert "\033" not in done.output
