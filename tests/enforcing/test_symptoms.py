"""A script that the policy does not let start in full ends in odd ways: each is planted, and the reason names the rule.

Each plant is a domain like the shipped ones, less one permission by a (deny ..) of CIL; what else such an end may be is
tried in a shipped domain.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.delegation import delegated
from tests.enforcing.faults import load
from tests.enforcing.listening import listening
from tests.enforcing.test_denials import heard

pytestmark = pytest.mark.enforcing

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
RULES = site.MAP.with_name("odd.map")
# name of the domain and its user -> what it lacks
PLANTS = {
    "unmapped": "odd_unmapped_t shell_exec_t (file (map))",
    "fdless": "odd_fdless_t selcgi_t (fd (use))",
    "mute": "odd_mute_t selcgi_t (fifo_file (write))",
    "unread": "odd_unread_t selcgi_script_exec_t (file (open))",
    "deaf": "selcgi_t odd_deaf_t (process (signal))",
    "undying": "selcgi_t odd_undying_t (process (sigkill))",
}


@pytest.fixture(scope="module", autouse=True)
def plants() -> None:
    text = "".join(
        f"(type odd_{name}_t)\n(call selcgi_webapp_domain (odd_{name}_t))\n(deny {rule})\n"
        for name, rule in PLANTS.items()
    )
    load("odd", text)
    site.write(RULES, "".join(f"{name} odd_{name}_t:s0:c1\n" for name in PLANTS) + site.rules())


def line_of(user: str, text: str, status: int, *options: str) -> dict[str, Any]:
    """The line of the user's request for a script of this text."""
    script = site.script("odd.cgi", text)
    with site.serving(f"--map={RULES}", "--no-preflight", *options) as selcgi:
        heard(selcgi)
        assert run_as(selcgi, script, user).status == status, selcgi.entry()["reason"]
        return selcgi.entry()


@pytest.fixture(autouse=True)
def told(avcs: Claims) -> Iterator[None]:
    """With the listener; what is refused is what the plants forbid."""
    with listening():
        yield
    for domain in ("user_webapp_t", *(f"odd_{name}_t" for name in PLANTS)):
        avcs.claim_all_of(domain)


@pytest.mark.parametrize(
    ("user", "exit_", "missing"),
    [
        ("unmapped", "signal 11", "odd_unmapped_t -> shell_exec_t : file { map }"),
        ("fdless", "signal 11", "odd_fdless_t -> selcgi_t : fd { use }"),
        ("mute", "0", "odd_mute_t -> selcgi_t : fifo_file { write }"),
        ("unread", "2", "odd_unread_t -> selcgi_script_exec_t : file { open }"),
    ],
)
def test_an_odd_end_has_the_rule_that_is_missing_for_its_reason(user: str, exit_: str, missing: str) -> None:
    entry = line_of(user, HELLO, 502)
    assert entry["exit"] == exit_, entry
    assert f"; the policy lacks {missing}" in entry["reason"]
    assert entry["denied"], entry
    assert "no rule allows it" in entry["denied"][0]


def test_a_script_that_can_not_be_told_to_end(avcs: Claims) -> None:
    """SIGKILL comes by its cgroup, which asks nobody; SIGTERM never came."""
    text = "#!/bin/sh\ntrap 'exit 9' TERM\nsleep 60 &\nwait\n"
    with delegated() as option:
        entry = line_of("deaf", text, 504, option, "--timeout=1", "--kill-grace=0.2")
    avcs.expect("selcgi_t", "odd_deaf_t", "process", "signal")
    assert entry["exit"] == "signal 9"
    assert "; the policy lacks selcgi_t -> odd_deaf_t : process { signal }" in entry["reason"]
    assert "selcgi (selcgi_t:s0) wanted to signal a process (odd_deaf_t:s0:c1): refused" in entry["denied"][0]


def test_a_script_that_can_not_be_killed(avcs: Claims) -> None:
    """Without a cgroup nothing else would end it: it goes on by itself."""
    entry = line_of("undying", "#!/bin/sh\ntrap '' TERM\nsleep 4\n", 504, "--timeout=1", "--kill-grace=0.2")
    avcs.claim_all_of("selcgi_t")
    assert "; the policy lacks selcgi_t -> odd_undying_t : process { sigkill }" in entry["reason"], entry


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\nkill -SEGV $$\n", "crashed by itself"),
        ("#!/bin/sh\nexit 0\n", "so it wrote none"),
        (f"#!/bin/sh\n. {site.OWN['bob'][0]}\n", "the policy lets it read the script"),
    ],
)
def test_what_the_policy_has_no_part_in_is_said_to_be_so(text: str, words: str) -> None:
    entry = line_of("alice", text, 502)
    assert words in entry["reason"], entry
    assert "lacks" not in entry["reason"]
