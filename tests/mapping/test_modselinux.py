"""Maps of mod_selinux: plain lines mean the same as they stand, the others once respelled."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.errors import Denied, MappingError
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.modselinux import respell
from selcgi.mapping.rules import mistakes
from selcgi.mapping.table import Query, Table


def respelled(text: str) -> str:
    return "\n".join(line for line, _ in respell(text, "old.map"))


def notes(text: str) -> list[str]:
    return [note for _, note in respell(text, "old.map") if note]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a comment",
        "alice user_webapp_t:s0:c1",
        "alice\tuser_webapp_t:s0:c1\t# a friend",
        "*   anon_webapp_t:s0",
        "__anonymous__  anon_webapp_t",
        "bob user_webapp_t:*",
        "EXAMPLE\\bob user_webapp_t",
        "bob@EXAMPLE.ORG user_webapp_t:s0#c1",
    ],
)
def test_plain_line_stays(line: str) -> None:
    assert respell(line, "old.map") == ((line, ""),)


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("a* user_webapp_t:s0", '"a*" user_webapp_t:s0', "the name is quoted"),
        ("a?[b] user_webapp_t", '"a?[b]" user_webapp_t', "the name is quoted"),
        ("@editors user_webapp_t # all", '"@editors" user_webapp_t # all', "the name is quoted"),
        ('al"ice user_webapp_t', '"al\\"ice" user_webapp_t', "the name is quoted"),
        ('"alice" user_webapp_t', '"\\"alice\\"" user_webapp_t', "the name is quoted"),
        ("* *::s0:c1", '* deny  # was: "*::s0:c1"', "kept the server's own domain"),
        ("alice *:s0:c0,c2", 'alice deny  # was: "*:s0:c0,c2"', "denied until you name a domain"),
        ("alice *", 'alice deny  # was: "*"', "kept the server's own domain"),
        ("a* *:* # why", '"a*" deny  # was: "*:*" # why', "the name is quoted"),
        ("alice user_webapp_t:SystemLow", 'alice deny  # was: "user_webapp_t:SystemLow"', '"SystemLow" is no range'),
        ("alice user_webapp_t:", 'alice deny  # was: "user_webapp_t:"', "is no range"),
        ("alice user_webapp_t:s0:c5.c2", 'alice deny  # was: "user_webapp_t:s0:c5.c2"', "do not grow"),
        ("alice staff_u:staff_r:x_t:s0", 'alice deny  # was: "staff_u:staff_r:x_t:s0"', "after the first colon"),
        ("alice", '# "alice"', "has not 2 words but 1"),
        ("alice user_webapp_t s0", '# "alice user_webapp_t s0"', "mod_selinux skipped this line"),
        ("alice user_webapp_t timeout=9", '# "alice user_webapp_t timeout=9"', "has not 2 words but 3"),
        ("ali\\\nce user_\\\r\nwebapp_t", "alice user_webapp_t", "its lines are joined"),
        ("# off: \\\nbob staff_t", "# off: bob staff_t", "its lines are joined"),
        ("\f alice user_webapp_t\v", "alice user_webapp_t", ""),
        ("# a bell \a", '# "# a bell \\x07"', "the comment"),
        ("bob user_webapp_t # bell \a", "bob user_webapp_t", ""),
        ("# the last line \\", '# "# the last line \\"', "the comment"),
    ],
)
def test_other_line_is_respelled(old: str, new: str, note: str) -> None:
    ((line, said),) = respell(old, "old.map")
    assert line == new
    assert note in said
    assert not note or said.startswith("old.map:1: ")
    assert mistakes(line, "new.map") == ()


def test_notes_carry_the_line_of_the_old_file() -> None:
    assert notes("# one\nbob \\\n x_t\nalice\n") == [
        "old.map:2: its lines are joined",
        "old.map:4: mod_selinux skipped this line, which has not 2 words but 1; it still has no effect",
    ]


@pytest.mark.parametrize("name", ["a\x07b", "a\xa0b", "x" * 5000])
def test_name_that_no_file_can_hold_stops_the_import(name: str) -> None:
    with pytest.raises(MappingError, match="can't be written in a mapping file") as caught:
        respell(f"bob x_t\n{name} y_t\n* z_t\n", "old.map")
    assert caught.value.line == 2


def mod_selinux_says(text: str, user: str | None) -> str | None:
    """The value that mod_selinux finds for a user: the first line of two words that matches, None without one."""
    for line in re.sub(r"\\\r?\n", "", text).split("\n"):
        words = line.split("#")[0].split()
        if len(words) == 2 and (words[0] == "*" or words[0] == (user or "__anonymous__")):
            return words[1]
    return None


def selcgi_says(text: str, user: str | None) -> str | None:
    try:
        mapping = Chain([Table([Index(text.encode(), "new.map")])])
        spec = mapping.decide(Query(user, "/srv/cgi/x", "www.example.org")).spec
    except Denied as denied:
        return None if denied.rule == "-" else "deny"
    return str(spec)


def wanted(value: str | None) -> str | None:
    """What a value of mod_selinux is called here; what kept the server's domain or could not be set is denied."""
    if value is None:
        return None
    domain, _, range_ = value.partition(":")
    if domain == "*" or re.fullmatch(r"\*|s0(:c\d+(,c\d+)*)?|", range_) is None:
        return "deny"
    return f"{domain}:{range_ or '*'}"


PLAIN_NAMES = ["alice", "bob", "Bob", "x@y", "a=b", "d\\e", "*", "__anonymous__"]
ODD_NAMES = ["a*", "@x", '"q"', "[b]", "?"]
PLAIN_VALUES = ["x_t", "x_t:s0", "y_t:s0:c1,c3", "z_t:*"]
ODD_VALUES = ["*", "*:s0", "*::s0:c1", "*:*", "x_t:SystemLow", "u:r:x_t"]
NOISE = ["# comment", "", "  ", "alice", "bob x_t y_t", "# fold \\", "bob \\", "x_t # fold\\", "alice x_t # no"]
USERS = [None, *PLAIN_NAMES[:-2], *ODD_NAMES, "*", "carol", "aa", "q", "b"]


def lines_of(names: list[str], values: list[str], others: list[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(st.sampled_from(names), st.sampled_from([" ", "\t", " \t "]), st.sampled_from(values)).map(
        "".join
    )
    ends = st.sampled_from(["", "  ", " # who", "#", "\r"])
    rules = st.tuples(pairs, ends).map("".join)
    return st.lists(st.one_of(rules, st.sampled_from(others)), max_size=12).map("\n".join).map(lambda text: text + "\n")


@given(lines_of(PLAIN_NAMES, PLAIN_VALUES, ["# comment", "", " \t"]), st.sampled_from(USERS))
def test_plain_map_means_the_same_as_it_stands(text: str, user: str | None) -> None:
    assert selcgi_says(text, user) == wanted(mod_selinux_says(text, user))


@given(lines_of(PLAIN_NAMES + ODD_NAMES, PLAIN_VALUES + ODD_VALUES, NOISE), st.sampled_from(USERS))
def test_respelled_map_means_the_same(text: str, user: str | None) -> None:
    assert selcgi_says(respelled(text), user) == wanted(mod_selinux_says(text, user))


@given(st.one_of(st.text(), st.text('ab*\\"#@: \t\r\n\v[', max_size=60)))
def test_any_map_becomes_a_valid_one_or_is_refused_by_name(text: str) -> None:
    try:
        new = respelled(text)
    except MappingError as error:
        new = f"# {error.reason}"
        assert any(not character.isprintable() for character in text)
    assert mistakes(new, "new.map") == ()
