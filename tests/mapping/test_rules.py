"""What a line of a mapping file means, and that every mistake is named with its line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selcgi.context import ContextSpec
from selcgi.errors import MappingError
from selcgi.mapping import rules
from selcgi.mapping.options import NO_OPTIONS, Options
from selcgi.mapping.rules import Kind, Rule, Who, mistakes, parse, shared, unreachable
from selcgi.mapping.words import Glob, Mistake, read_glob, show, write_name

MAPPINGS = Path(__file__).resolve().parent.parent / "data" / "mappings"
VALID = sorted((MAPPINGS / "valid").glob("*.map"))
INVALID = sorted((MAPPINGS / "invalid").glob("*.map"))


def text_of(path: Path) -> str:
    return path.read_bytes().decode()  # read_text would hide the line ends


def only(line: str) -> Rule:
    (rule,) = parse(line, "site.map")
    return rule


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_mistake_is_named_with_its_line(path: Path) -> None:
    text = text_of(path)
    line, _, words = text.partition("\n")[0].removeprefix("# expect: ").partition(": ")
    (mistake,) = mistakes(text, str(path))
    assert (mistake.file, mistake.line) == (str(path), int(line))
    assert words in f"{mistake.reason}; {mistake.fix}"
    assert mistake.fix
    with pytest.raises(MappingError) as caught:
        parse(text, str(path))
    assert str(caught.value) == str(mistake)
    assert str(mistake).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_file_has_its_rules(path: Path) -> None:
    text = text_of(path)
    count = text.partition("\n")[0].removeprefix("# expect: ").removesuffix("\r").removesuffix(" rules")
    assert len(parse(text, "site.map")) == int(count)
    assert mistakes(text, "site.map") == ()


def test_the_sample_of_the_documentation() -> None:
    alice, bob, anonymous, everyone = parse(text_of(MAPPINGS / "valid" / "plain.map"), "/etc/selcgi/site.map")
    assert alice.who == Who(Kind.NAME, "alice")
    assert alice.spec == ContextSpec("user_webapp_t", "s0:c1")
    assert (alice.script, alice.host, alice.options) == (None, None, NO_OPTIONS)
    assert (alice.file, alice.line, alice.where) == ("/etc/selcgi/site.map", 3, "site.map:3")
    assert bob.script == Glob("/srv/cgi/reports/*")
    assert bob.options == Options(limits=(("total_seconds", 120.0), ("memory_bytes", 512 << 20)))
    assert anonymous.who.kind is Kind.ANONYMOUS
    assert everyone.who.kind is Kind.EVERYONE
    assert everyone.spec is None


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("user_webapp_t", ContextSpec("user_webapp_t")),
        ("user_webapp_t:*", ContextSpec("user_webapp_t")),
        ("user_webapp_t:s0", ContextSpec("user_webapp_t", "s0")),
        ("user_webapp_t:s0:c1,c3.c5", ContextSpec("user_webapp_t", "s0:c1,c3.c5")),
        ("user_webapp_t:s0-s0:c0.c1023", ContextSpec("user_webapp_t", "s0-s0:c0.c1023")),
        ("user_webapp_t:s0:c1-s0:c1,c2", ContextSpec("user_webapp_t", "s0:c1-s0:c1,c2")),
        ("staff_u:staff_r:user_webapp_t", ContextSpec("user_webapp_t", None, "staff_u", "staff_r")),
        ("staff_u:staff_r:user_webapp_t:*", ContextSpec("user_webapp_t", None, "staff_u", "staff_r")),
        ("staff_u:staff_r:user_webapp_t:s0:c1", ContextSpec("user_webapp_t", "s0:c1", "staff_u", "staff_r")),
        ("deny", None),
    ],
)
def test_context(word: str, spec: ContextSpec | None) -> None:
    assert only(f"alice {word}").spec == spec


@pytest.mark.parametrize(
    ("option", "limit"),
    [
        ("timeout=1.5", ("total_seconds", 1.5)),
        ("first-byte-timeout=30s", ("first_byte_seconds", 30.0)),
        ("idle-timeout=2m", ("idle_seconds", 120.0)),
        ("timeout=24h", ("total_seconds", 86400.0)),
        ("cpu=1m", ("cpu_seconds", 60)),
        ("memory=512M", ("memory_bytes", 512 * 1024 * 1024)),
        ("file-size=1G", ("file_bytes", 1024 * 1024 * 1024)),
        ("max-body=4K", ("body_bytes", 4096)),
        ("max-body=1", ("body_bytes", 1)),
        ("processes=20", ("processes", 20)),
        ("files=64", ("open_files", 64)),
    ],
)
def test_limit(option: str, limit: tuple[str, float]) -> None:
    assert only(f"alice user_webapp_t {option}").options == Options(limits=(limit,))


def test_account_and_sendfile() -> None:
    assert only("alice user_webapp_t uid=www-reports sendfile=yes").options == Options(True, "www-reports")
    assert only("alice user_webapp_t sendfile=no").options == Options()


def test_quoted_value_keeps_blanks_and_is_still_a_glob() -> None:
    script = only('alice user_webapp_t script="/srv/my cgi/#1/*"').script
    assert script is not None
    assert script.matches("/srv/my cgi/#1/report")


@pytest.mark.parametrize(
    ("who", "user", "matches"),
    [
        ("alice", "alice", True),
        ("alice", "Alice", False),
        ("alice", None, False),
        ("ali*", "alice", True),
        ("ali*", "ali", True),
        ("ali*", "malice", False),
        ("*@example.org", "alice@example.org", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a[b-d]", "ac", True),
        ("a[!b-d]", "ac", False),
        ("a[]x]", "a]", True),
        ("a[x-]", "a-", True),
        ("a[*]", "a*", True),
        ("a[*]", "ab", False),
        ("a*", "a\nb", True),
        ("*", "alice", True),
        ("*", None, True),
        ("**", "alice", True),
        ("**", None, False),
        ("?*", "__anonymous__", True),
        ("__anonymous__", None, True),
        ("__anonymous__", "__anonymous__", False),
        ('"__anonymous__"', "__anonymous__", True),
        ('"__anonymous__"', None, False),
        ('"*"', "*", True),
        ('"*"', "alice", False),
        ('"@editors"', "@editors", True),
        (r'"a \"b\" \\"', 'a "b" \\', True),
        (r"EXAMPLE\alice", r"EXAMPLE\alice", True),
    ],
)
def test_who_matches(who: str, user: str | None, matches: bool) -> None:
    assert only(f"{who} user_webapp_t").who.matches(user) is matches


def test_star_of_a_glob_crosses_slashes() -> None:
    glob = read_glob("/srv/cgi/reports/*")
    assert glob.matches("/srv/cgi/reports/a")
    assert glob.matches("/srv/cgi/reports/deep/er/a.py")
    assert not glob.matches("/srv/cgi/reports")


def test_many_stars_end_soon() -> None:
    assert not read_glob("a*" * 40 + "b").matches("a" * 5000)  # a backtracking matcher would not come back


def test_all_mistakes_are_listed_up_to_a_hundred() -> None:
    text = "alice\nbob user_webapp_t\ncarol user_webapp_t timout=3\n"
    assert [mistake.line for mistake in mistakes(text, "site.map")] == [1, 3]
    assert len(mistakes("alice\n" * 1000, "site.map")) == 100


def test_line_count_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LINES", 3)
    (mistake,) = mistakes("#\n" * 100, "site.map")
    assert (mistake.line, mistake.reason) == (4, "the file has more than 3 lines")
    assert parse("#\n" * 2 + "a user_webapp_t", "site.map")


def test_longest_line_is_read() -> None:
    name = "a" * (4096 - len(" user_webapp_t"))
    assert only(f"{name} user_webapp_t").who.text == name


def test_unreachable_rules_are_found() -> None:
    text = """\
alice user_webapp_t script=/srv/a/*
alice user_webapp_t
alice staff_webapp_t script=/srv/b/*
"alice" deny
b* user_webapp_t host=example.org
b* user_webapp_t
b* deny
__anonymous__ deny
__anonymous__ anon_webapp_t
* deny host=example.org
* deny
carol user_webapp_t
* user_webapp_t
"""
    assert [rule.line for rule in unreachable(parse(text, "site.map"))] == [3, 4, 7, 9, 12, 13]


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=30)
CHARACTERS = st.sampled_from('"\\# \t\n\r=:*?[]!^-@a9/\0\u2028ü\ud800')
TOKENS = st.sampled_from(
    [
        "s0",
        "c{user}",
        ":s0:c{request}",
        "{",
        "}",
        "-s0:c{user},c{request}",
        "c1.c2",
        "deny",
        "user_t",
        " script=/",
        " host=",
        " timeout=9",
        " uid=",
        " memory=1K",
    ]
)
LINE_PIECES = st.one_of(CHARACTERS, TOKENS)


@given(PRINTABLE)
def test_written_name_is_read_back(name: str) -> None:
    assert only(f"{write_name(name)} user_webapp_t").who == Who(Kind.NAME, name)


@pytest.mark.parametrize("name", ["__anonymous__", "*", "@editors", "a b", "a#b", '"', "a?", "[a"])
def test_name_with_a_meaning_is_written_in_quotes(name: str) -> None:
    assert write_name(name)[0] == '"'
    assert only(f"{write_name(name)} user_webapp_t").who == Who(Kind.NAME, name)


@given(PRINTABLE)
def test_quoted_name_matches_itself_alone(name: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    rule = only(f"{quoted} user_webapp_t")
    assert rule.who.matches(name)
    assert not rule.who.matches(name + "x")
    assert str(rule.who) == write_name(name)


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(LINE_PIECES, max_size=40).map("".join)))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    found = mistakes(text, "site.map")
    if found:
        with pytest.raises(MappingError) as caught:
            parse(text, "site.map")
        assert str(caught.value) == str(found[0])
    else:
        for rule in parse(text, "site.map"):
            assert all(glob.matches("/x") in (True, False) for glob in (rule.script, rule.host) if glob)
            assert rule.who.matches("x") in (True, False)


@given(st.text("ab]-!^[*?", max_size=12))
def test_glob_that_was_read_can_be_matched(text: str) -> None:
    try:
        glob = read_glob(text)
    except Mistake:
        glob = Glob(text.replace("[", ""))  # only a class can be malformed
    assert glob.matches("ab") in (True, False)


@given(st.text(max_size=300))
def test_shown_text_is_one_printable_line(text: str) -> None:
    assert show(text).isprintable()


def test_rules_whose_users_share_a_context_are_found() -> None:
    text = """alice user_webapp_t:s0:c1
bob user_webapp_t:s0
"carol*" user_webapp_t
guest-* deny
dev-* user_webapp_t:s0:c7 script=/srv/cgi/a.cgi
dev-* user_webapp_t:s0:c7
intern-* staff_webapp_t:*
test-* user_webapp_t:s0:c1
__anonymous__ anon_webapp_t:s0
* system_u:system_r:user_webapp_t:s0
"""
    assert [rule.line for rule in shared(parse(text, "site.map"))] == [7, 8, 10]
