"""The index of a mapping file answers like a scan of its lines, whatever the names, their order and their spelling."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selcgi.context import ContextSpec
from selcgi.errors import Denied, MappingError
from selcgi.mapping import index, rules
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.rules import Rule, mistakes, parse, shared, unreachable
from selcgi.mapping.table import Query, Table

WHO = st.sampled_from(
    ["a", '"a"', "b", "ab", "é", "a*", "?", "*b", "[!a]", "*", "__anonymous__", '"*"', '"__anonymous__"']
)
CONTEXT = st.sampled_from(["deny", "x_t", "y_t:s0", "z_t:s0:c1", "z_t:s0:c1,c3", "u:r:z_t:s0:c1.c3"])
NARROWING = st.sampled_from(["", "", "script=/a*", "script=/b", "host=h", "script=/* host=?", "host=[!h]*"])
LINES = st.lists(
    st.one_of(st.tuples(WHO, CONTEXT, NARROWING).map(" ".join), st.sampled_from(["", "# a x_t", " \t"])), max_size=25
)
QUERY = st.builds(
    Query,
    st.sampled_from([None, "a", "b", "ab", "é", "c", "*", "__anonymous__", '"a"', "\ud800"]),
    st.sampled_from(["/a", "/a/b", "/b"]),
    st.sampled_from(["h", "H", "i", "host"]),
)


def scan(lines: tuple[Rule, ...], asked: Query) -> Rule | None:
    """The plain meaning of a mapping file: look at each line in turn."""
    for rule in lines:
        script = rule.script is None or rule.script.matches(asked.script)
        host = rule.host is None or rule.host.matches(asked.host.lower())
        if rule.who.matches(asked.user) and script and host:
            return rule
    return None


@given(LINES, QUERY, st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(["a x_t", "__anonymous__ x_t"], Query(None, "/a", "h"), "\n", True)
def test_table_answers_like_a_scan(lines: list[str], asked: Query, end: str, ended: bool) -> None:
    text = end.join(lines) + end * ended
    wanted = scan(parse(text, "site.map"), asked)
    table = Table([Index(text.encode(), "site.map")])
    answer = answer_of(table, asked)
    assert table.find(asked) == wanted
    assert answer == (("-", None) if wanted is None else (wanted.where, wanted.spec))
    steps = table.trace(asked)
    assert [step.rule for step in steps if step.matched] == ([] if wanted is None else [wanted])
    assert [step.rule.line for step in steps] == sorted(step.rule.line for step in steps)


def answer_of(table: Table, asked: Query) -> tuple[str, ContextSpec | None]:
    try:
        verdict = Chain([table]).decide(asked)
    except Denied as denied:
        return denied.rule, None
    return verdict.where, verdict.spec


@given(LINES, LINES)
@example(["* x_t", "a x_t", "* deny"], [])
@example(["a x_t", "b x_t", "a y_t", "a* x_t"], [])
def test_dead_and_shared_rules_are_those_of_all(lines: list[str], others: list[str]) -> None:
    texts = ["\n".join(lines), "\n".join(others)]
    for files in (texts[:1], texts):
        table = Table([Index(text.encode(), f"{number}.map") for number, text in enumerate(files)])
        everything = tuple(table)
        assert table.dead() == unreachable(everything)
        assert table.shared() == shared(everything)


PIECES = st.one_of(
    st.sampled_from(
        ["a", "deny", "Deny", "x_t", ":s0", ":c1,c2", ":c1.c2", ":c2.c1", " ", "\t", "\n", "\r", "#", '"', "@"]
    ),
    st.sampled_from(["__anonymous__", "*", "[a]", "\\", "=", "timeout=3", "-", "é", "\0", "s0-s0", "x" * 1200]),
    st.characters(exclude_categories=["Cs"]),
)


@given(st.lists(PIECES, max_size=40).map("".join))
@example("deny x_t")
@example("a Deny:s0")
@example("__anonymous__ x_t\n__anonymous__x x_t")
@example("@a x_t")
@example("a x_t\\")
@example("a x_t\r\r\n")
def test_the_short_way_reads_a_line_as_the_long_one_does(text: str) -> None:
    found = mistakes(text, "site.map")
    if found:
        with pytest.raises(MappingError) as caught:
            Index(text.encode(), "site.map")
        assert str(caught.value) == str(found[0])
    else:
        read = Index(text.encode(), "site.map")
        assert tuple(read) == parse(text, "site.map")
        assert read.count == len(tuple(read))


def test_names_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "hash", lambda _: -1, raising=False)
    text = "".join(f"user{n} x_t:s0:c{n}\n" for n in range(200)) + "user7 deny\n"
    names = Index(text.encode(), "site.map")
    assert [rule.line for rule in names.considered("user7")] == [8, 201]
    table = Table([names])
    for n in range(200):
        assert answer_of(table, Query(f"user{n}", "/x", "")) == (f"site.map:{n + 1}", ContextSpec("x_t", f"s0:c{n}"))
    assert answer_of(table, Query("user200", "/x", "")) == ("-", None)


def test_every_slot_is_reached() -> None:
    """From the last slot the search goes on at the first."""
    names = [f"user{n}" for n in range(3000)]
    table = Table([Index("\n".join(f"{name} x_t" for name in names).encode(), "site.map")])
    assert [answer_of(table, Query(name, "/x", ""))[0] for name in names] == [f"site.map:{n + 1}" for n in range(3000)]


def test_contexts_are_found_beyond_those_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_CONTEXTS", 2)
    text = "".join(f"user{n} x_t:s0:c{n % 5}\n" for n in range(50)) + "* y_t\n"
    found = list(Table([Index(text.encode(), "site.map")]).templates())
    assert found == [(ContextSpec("x_t", f"s0:c{n}"), f"site.map:{n + 1}") for n in range(5)] + [
        (ContextSpec("y_t"), "site.map:51")
    ]


def test_contexts_with_places_are_found_apart() -> None:
    text = "a x_t:s0:c{user}\nb x_t:s0:c{user}\nc x_t:s0:c1\n* x_t:s0:c{request} timeout=3\n* deny\n"
    table = Table([Index(text.encode(), "site.map")])
    wanted = [("x_t:s0:c{user}", "site.map:1"), ("x_t:s0:c{request}", "site.map:4")]
    assert [(str(spec), where) for spec, where in table.unfilled()] == wanted
    assert [(str(spec), where) for spec, where in Chain([table]).unfilled()] == wanted
    assert len(list(table.templates())) == 3


def test_a_line_that_is_not_utf_8_is_named() -> None:
    with pytest.raises(MappingError, match=r"^site\.map:2: the line is not UTF-8; save the file as UTF-8$"):
        Index(b"alice x_t\n\xff x_t\n", "site.map")


def test_line_count_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LINES", 3)
    assert Index(b"#\n#\na x_t\n", "site.map").count == 1
    for text in (b"#\n#\n#\na x_t", b"#\n" * 4):
        with pytest.raises(MappingError, match=r"^site\.map:4: the file has more than 3 lines"):
            Index(text, "site.map")


def test_a_rule_that_is_asked_for_again_is_the_same_and_not_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_REMEMBERED", 3)
    made = Index("".join(f"u{n} x_t:s0:c{n}\n" for n in range(9)).encode(), "x")
    first = [next(made.considered(f"u{n}")) for n in range(9)]
    assert [next(made.considered(f"u{n}")) for n in range(9)] == first
    assert next(made.considered("u8")) is next(made.considered("u8"))
    assert len(made._lately) <= 3
