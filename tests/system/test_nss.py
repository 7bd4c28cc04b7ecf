"""Who is in which group, by this machine's own databases; and by one whose service does not answer.

hesiod is a service of the C library that never answers here: it has no configuration. It is put into a nsswitch.conf
that only one process sees.
"""

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from selcgi.mapping.known import NOTHING, Known
from selcgi.system.lookup import Question, decode, encode, look_up
from selcgi.system.nss import group_gid, memberships
from tests.stack import TREE

ASK = """
import json, sys
from selcgi.system.lookup import Question, look_up
known = look_up(Question(sys.argv[1], tuple(sys.argv[2:])))
print(json.dumps([sorted(known.groups), sorted(known.undecided), known.failed]))
"""


def with_services(tmp_path: Path, services: str, user: str, *groups: str) -> list[object]:
    """look_up() where nsswitch.conf names these: groups, undecided, failed."""
    conf = tmp_path / "nsswitch.conf"
    conf.write_text(f"passwd: {services}\ngroup: {services}\n")
    script = 'mount --bind "$0" /etc/nsswitch.conf && exec "$@"'
    line = ["unshare", "-m", "sh", "-c", script, str(conf), sys.executable, "-c", ASK, user, *groups]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    done = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=60, check=True)
    return list(json.loads(done.stdout))


def test_groups_of_this_machine() -> None:
    own = pwd.getpwnam("daemon")
    group = grp.getgrgid(own.pw_gid).gr_name
    inside, missing = memberships("daemon", [group, "root", "no-such-group"])
    assert (set(inside), set(missing)) == ({group}, {"no-such-group"})
    assert memberships("no-such-user", [group]) == (frozenset(), frozenset())
    assert group_gid("root") == 0
    assert group_gid("no-such-group") is None


def test_a_supplementary_group_counts_and_needs_no_account(tmp_path: Path) -> None:
    """By a group file that only one process sees."""
    lines = Path("/etc/group").read_text() + "webpeople:x:64123:daemon,only-a-web-user\n"
    group = tmp_path / "group"
    group.write_text(lines)
    for user in ("daemon", "only-a-web-user", "bin"):
        script = f'mount --bind {group} /etc/group && exec "$@"'
        line = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", ASK, user, "webpeople"]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        done = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=60, check=True)
        assert json.loads(done.stdout)[0] == ([] if user == "bin" else ["webpeople"])


@pytest.mark.parametrize(
    ("user", "groups", "inside", "decided"),
    [
        ("daemon", ["daemon"], ["daemon"], True),
        ("daemon", ["root"], [], True),
        ("daemon", ["of-the-directory"], [], False),
        ("of-the-directory", ["daemon"], [], False),
    ],
)
def test_a_service_that_does_not_answer_is_no_answer(
    tmp_path: Path, user: str, groups: list[str], inside: list[str], decided: bool
) -> None:
    """What files say is said; whatever would have been asked of the other is not known to be absent."""
    found, undecided, failed = with_services(tmp_path, "files hesiod", user, *groups)
    assert (found, undecided) == (inside, [] if decided else groups)
    assert bool(failed) is not decided
    assert with_services(tmp_path, "files", user, "root")[2] == ""


STRANGE = ["../etc", "%wheel", "a%b", "a/b", "-x", ".x"]


@pytest.mark.parametrize("user", [*STRANGE, "a:b", "__default__"])
def test_a_name_that_the_login_mapping_never_has_is_not_looked_for_there(user: str) -> None:
    assert look_up(Question(user, ("root",), True)) == NOTHING


@pytest.mark.parametrize("user", STRANGE)
def test_groups_of_a_strange_name_are_asked_for_all_the_same(tmp_path: Path, user: str) -> None:
    """Who calls himself so in a directory is not out of a group that a rule denies."""
    group = tmp_path / "group"
    group.write_text(Path("/etc/group").read_text() + f"blocked:x:64124:{user}\n")
    script = f'mount --bind {group} /etc/group && exec "$@"'
    line = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", ASK, user, "blocked"]
    environ = {**os.environ, "PYTHONPATH": str(TREE)}
    done = subprocess.run(line, capture_output=True, text=True, env=environ, timeout=60, check=True)
    assert json.loads(done.stdout)[0] == ["blocked"]
    assert with_services(tmp_path, "hesiod", user, "blocked")[1] == ["blocked"]


@pytest.mark.parametrize("user", ["", "a\0b", "a\nb", "x" * 257, "\ud800"])
def test_of_a_name_that_nobody_can_be_asked_for_nothing_is_known(user: str) -> None:
    known = look_up(Question(user, ("root",)))
    assert (sorted(known.groups), sorted(known.undecided)) == ([], ["root"])
    assert known.failed


def test_questions_and_answers_on_their_way() -> None:
    question = Question("\u00e9", ("a", "b c"), True)
    assert Question.decode(question.encode()) == question
    known = Known(frozenset({"a"}), frozenset({"b"}), "user_u", "s0:c1", "why")
    assert decode(encode(known)) == known
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        decode(encode(known)[:-1])
