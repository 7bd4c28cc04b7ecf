"""@group in a mapping: members from files as Apache reads them, and what becomes of a group that nobody can ask for."""

import re

import pytest

from selcgi.errors import Denied, LookupFailed, MappingError
from selcgi.mapping.chain import Chain
from selcgi.mapping.groups import GroupFile
from selcgi.mapping.index import Index
from selcgi.mapping.known import NOTHING, Asked, Known, is_account_name
from selcgi.mapping.rules import mistakes, parse, shared
from selcgi.mapping.table import Query, Table

MAP = """alice user_webapp_t:s0:c1
@banned deny
@editors staff_webapp_t:s0:c3 script=/srv/cgi/edit
@"domain users" user_webapp_t:s0:c4
* anon_webapp_t:s0
"""
NAMES = frozenset({"banned", "editors", "domain users"})


def table(text: str = MAP) -> Table:
    return Table([Index(text.encode(), "site.map")])


def where(known: Known, user: str | None = "bob", script: str = "/srv/cgi/x", text: str = MAP) -> str:
    try:
        return Chain([table(text)]).decide(Query(user, script, "h", (), known)).where
    except Denied as error:
        return f"{error.rule} deny"


def test_a_rule_for_a_group_is_for_its_members() -> None:
    assert table().groups() == NAMES
    assert where(NOTHING) == "site.map:5"
    assert where(Known(frozenset({"editors"}))) == "site.map:5"
    assert where(Known(frozenset({"editors"})), script="/srv/cgi/edit") == "site.map:3"
    assert where(Known(frozenset({"domain users"}))) == "site.map:4"
    assert where(Known(frozenset({"banned", "domain users"}))) == "site.map:2 deny"
    assert where(Known(frozenset({"banned"})), "alice") == "site.map:1"


def test_nobody_is_in_a_group() -> None:
    assert where(NOTHING, None) == "site.map:5"


@pytest.mark.parametrize(
    ("known", "error", "word"),
    [
        (Known(undecided=NAMES, failed="the directory is down"), LookupFailed, "the directory is down"),
        (Known(undecided=frozenset({"banned"})), Denied, 'no --group-file has the group "banned"'),
    ],
)
def test_a_rule_for_a_group_of_which_nobody_knows_is_not_passed_over(
    known: Known, error: type[Exception], word: str
) -> None:
    """It may say deny, and the next one that everybody may."""
    with pytest.raises(error, match=word):
        where(known) if error is LookupFailed else Chain([table()]).decide(Query("bob", "/x", "h", (), known))
    assert where(known, "alice") == "site.map:1", "decided before the group is asked for"


def test_a_group_is_asked_for_only_where_its_rule_could_apply() -> None:
    text = "@editors deny script=/srv/cgi/edit\n* anon_webapp_t\n"
    unknown = Known(undecided=frozenset({"editors"}), failed="down")
    assert where(unknown, text=text) == "site.map:2"
    with pytest.raises(LookupFailed):
        where(unknown, script="/srv/cgi/edit", text=text)


def test_how_a_group_is_written() -> None:
    rules = parse('@a x_t\n@"a b" x_t\n"@a" x_t\n@"@a" x_t\n@a.b-c$ x_t\n', "site.map")
    assert [str(rule.who) for rule in rules] == ["@a", '@"a b"', '"@a"', '@"@a"', "@a.b-c$"]
    assert [rule.who.text for rule in rules] == ["a", "a b", "@a", "@a", "a.b-c$"]
    assert mistakes('@ x_t\n@"" x_t\n@a* x_t\n@"a x_t\na@"b" x_t\n', "f") != ()
    assert len(mistakes('@ x_t\n@"" x_t\n@a* x_t\n@"a x_t\na@"b" x_t\n', "f")) == 5


def test_trace_says_who_is_not_in_which_group() -> None:
    steps = table().trace(Query("bob", "/x", "h"))
    assert [step.why for step in steps][:1] == ['"bob" is not in the group "banned"']


def test_members_of_one_group_share_its_context() -> None:
    rules = parse("@a x_t:s0\n@b x_t:s0:c1\n@c x_t:s0:c{user}\n", "site.map")
    assert [rule.line for rule in shared(rules)] == [1]


def test_a_group_file_is_read_as_apache_does() -> None:
    text = '# c\n\n  editors: alice  bob\t"carol c"\r\nothers: dave\neditors:erin\nempty:\nspaced name : "a\\"b"\n'
    found = GroupFile(text, "groups", {"editors", "empty", "spaced name", "absent"}).members
    assert found == {
        "editors": frozenset({"alice", "bob", "carol c", "erin"}),
        "empty": frozenset(),
        "spaced name": frozenset({'a"b'}),
    }


WRONG = [
    "editors",
    ": alice",
    'e"d: alice',
    "a: b \\",
    "a: 'b'",
    'a: "b',
    'a: b"c"',
    "a: b\\c",
    "a: b\u202ec",
    'a: "b"c',
]


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_in_a_group_file_names_its_line(line: str) -> None:
    with pytest.raises(MappingError) as caught:
        GroupFile(f"# c\n{line}\nok: alice\n", "/etc/groups", {"ok"})
    assert re.match(r"/etc/groups:2: .*", str(caught.value))
    assert str(caught.value).isprintable()


def test_a_group_of_a_file_hides_the_systems() -> None:
    asked = Asked(("unix",), members={"editors": frozenset({"alice"}), "none": frozenset()})
    assert (asked.of_system, asked.nothing) == (True, False)
    assert asked.in_files("alice") == {"editors"}
    assert asked.in_files("bob") == frozenset()


@pytest.mark.parametrize("name", ["", ".", ".x", "-x", "a/b", "../evil", "a:b", "%wheel", "a%b", "__default__", "a\0b",
                                  "a\nb", "x" * 257, "\ud800"])  # fmt: skip
def test_names_that_the_system_is_never_asked_for(name: str) -> None:
    assert not is_account_name(name)


@pytest.mark.parametrize(
    "name", ["alice", "Alice Miller", "alice@EXAMPLE.ORG", r"DOM\alice", "\u00e9", "a.b-c", "x" * 256]
)
def test_names_that_an_account_may_have(name: str) -> None:
    assert is_account_name(name)
