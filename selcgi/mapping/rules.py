"""The mapping file: text in, rules out, and each mistake with its file and line.

Decides what a line means (who, context, options) and refuses whatever is not clear: a file with a mistake is never
loaded, since a line left out hands its users to the next one that matches. Must not read files or ask the kernel.
Called by index.py and logins.py for each line (read_rule), by told.py for a value (read_context), by table.py
(unreachable, shared), by modselinux.py (parse, mistakes) and by cli/ for `map check` (mistakes).

Names are compared character by character: no case folding, no Unicode normalization. `#` starts a comment anywhere but
in quotes. Lines are not joined.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import islice

from selcgi.context import ContextSpec, is_name, is_range
from selcgi.errors import MappingError
from selcgi.mapping.categories import USER, check_template, wants
from selcgi.mapping.known import NOTHING, Known
from selcgi.mapping.options import NO_NARROWING, NO_OPTIONS, Options, check_zygote, read_options
from selcgi.mapping.words import (
    ANONYMOUS,
    GLOB_CHARACTERS,
    Glob,
    Mistake,
    read_glob,
    show,
    split_words,
    unquote,
    write_name,
)

LINE_CHARACTERS = 4096
LINES = 2_000_000
MISTAKES = 100

_SENSITIVITY = re.compile(r"s[0-9]+(-s[0-9]+)?")
_CATEGORY_SPAN = re.compile(r"c([0-9]+)\.c([0-9]+)")


class Kind(Enum):
    """The ways in which a rule names users."""

    NAME = auto()
    GLOB = auto()
    ANONYMOUS = auto()
    EVERYONE = auto()
    GROUP = auto()


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a rule is for. `text` is the name of a user or a group, unquoted, or the glob."""

    kind: Kind
    text: str

    def matches(self, user: str | None, known: Known = NOTHING) -> bool:
        """None is a request without a user: only `__anonymous__` and `*` match it, and the former nothing else.

        LookupFailed or Denied for a group of which `known` can't say whether the user is in.
        """
        if self.kind is Kind.EVERYONE:
            return True
        if user is None:
            return self.kind is Kind.ANONYMOUS
        if self.kind is Kind.GLOB:
            return Glob(self.text).matches(user)
        if self.kind is Kind.GROUP:
            return known.is_in(self.text)
        return self.kind is Kind.NAME and self.text == user

    def __str__(self) -> str:
        if self.kind is Kind.GROUP:
            return f"@{write_name(self.text)}"
        return write_name(self.text) if self.kind is Kind.NAME else self.text


EVERYONE = Who(Kind.EVERYONE, "*")
NO_USER = Who(Kind.ANONYMOUS, ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a mapping file. `spec` is None for deny; a request must match `script` and `host` where they are."""

    file: str
    line: int
    who: Who
    script: Glob | None
    host: Glob | None
    spec: ContextSpec | None
    options: Options
    parts: int = 1  # of the file's path, from its end, that the log shows

    @property
    def where(self) -> str:
        """File and line for the log, `site.map:12`."""
        return f"{'/'.join(self.file.split('/')[-self.parts :])}:{self.line}"

    @property
    def warm(self) -> bool:
        """True when it asks for warm interpreters."""
        return self.options.warm not in ("", "no")

    @property
    def unconditional(self) -> bool:
        """True when the user alone decides."""
        return self.script is None and self.host is None


def parse(text: str, file: str) -> tuple[Rule, ...]:
    """All rules of `text`, in order; the first mistake is raised as MappingError, naming `file` as given."""
    return tuple(_no_mistake(found) for found in _read(text, file))


def mistakes(text: str, file: str) -> tuple[MappingError, ...]:
    """Every mistake of `text`, one a line, the first MISTAKES of them."""
    return tuple(islice((found for found in _read(text, file) if isinstance(found, MappingError)), MISTAKES))


def unreachable(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules that can never be the first match: behind an unconditional one for the same users, or for everyone.

    No mistake, since such a file means what it says. Globs that cover one another are not compared.
    """
    settled: set[Who] = set()
    dead = []
    for rule in rules:
        if EVERYONE in settled or rule.who in settled:
            dead.append(rule)
        elif rule.unconditional:
            settled.add(rule.who)
    return tuple(dead)


def shared(rules: Iterable[Rule], candidates: Iterable[Rule] | None = None) -> tuple[Rule, ...]:
    """Rules for many users whose context has no categories, or is another rule's, too. `candidates`: those of `rules`
    that are not for one name, where they are known.

    No mistake: it may be meant so. But SELinux does not keep users apart whose contexts are equal.
    """
    several = (Kind.GLOB, Kind.EVERYONE, Kind.GROUP)
    found = rules if candidates is None else candidates
    wide = [rule for rule in found if rule.spec is not None and rule.who.kind in several]
    if not wide:
        return ()
    granted: dict[ContextSpec | None, set[Who]] = {rule.spec: set() for rule in wide}
    for rule in rules:
        if (others := granted.get(rule.spec)) is not None and len(others) < 2:
            others.add(rule.who)
    return tuple(rule for rule in wide if not _is_apart(rule.spec, len(granted[rule.spec]) == 1))


def _is_apart(spec: ContextSpec | None, alone: bool) -> bool:
    own = spec.range or "" if spec is not None else ""
    return "{" in own or (":" in own and alone)


def _no_mistake(found: Rule | MappingError) -> Rule:
    if isinstance(found, MappingError):
        raise found
    return found


def _read(text: str, file: str) -> Iterator[Rule | MappingError]:
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if number > LINES:
            yield too_long(file)
            return
        try:
            rule = read_rule(line.removesuffix("\r"), file, number)
        except Mistake as mistake:
            yield MappingError(file, number, mistake.reason, mistake.fix)
        else:
            if rule is not None:
                yield rule


def too_long(file: str) -> MappingError:
    """For a file of more than LINES lines."""
    return MappingError(file, LINES + 1, f"the file has more than {LINES} lines", "use a glob, or several files")


def read_rule(
    line: str, file: str, number: int, parts: int = 1, context: Callable[[str], ContextSpec | None] | None = None
) -> Rule | None:
    """The rule of one line without its end; None for a blank or a comment. Mistake for the first thing wrong.

    `context` reads the second word in place of read_context.
    """
    _check_characters(line)
    words = split_words(line)
    if not words:
        return None
    if len(words) == 1:
        raise Mistake(f"{show(words[0])} has no context", "write a context or deny after it")
    who, spec = _read_who(words[0]), (context or read_context)(words[1])
    narrowing, options = (NO_NARROWING, NO_OPTIONS) if len(words) == 2 else read_options(words[2:])
    if spec is None and options is not NO_OPTIONS:
        raise Mistake("deny has limits", "only script= and host= go with deny")
    rule = Rule(file, number, who, narrowing.script, narrowing.host, spec, options, parts)
    if spec is not None and rule.warm:
        check_zygote(spec)
    if who is NO_USER and spec is not None and wants(spec, USER):
        raise Mistake(f"{ANONYMOUS} has {USER}, and nobody known has categories of his own", "write s0, or s0:c1")
    return rule


def _check_characters(line: str) -> None:
    if len(line) > LINE_CHARACTERS:
        raise Mistake(f"the line is longer than {LINE_CHARACTERS} characters", "shorten it")
    if not line.isprintable():
        for column, character in enumerate(line, 1):
            if not character.isprintable() and character != "\t":
                raise Mistake(f"column {column} is U+{ord(character):04X}, not printable", "remove that character")
    if line.endswith("\\"):
        raise Mistake("the line ends in a backslash and lines are not joined", "write the rule on one line")


def _read_who(word: str) -> Who:
    if word[0] == '"':
        if word == '""':
            raise Mistake("the user name is empty", f"requests without a user are {ANONYMOUS}")
        return Who(Kind.NAME, unquote(word))
    if word == "*":
        return EVERYONE
    if word == ANONYMOUS:
        return NO_USER
    if word[0] == "@":
        return Who(Kind.GROUP, _group_name(word))
    if '"' in word:
        raise Mistake(f"{show(word)} has a quote inside", r'write "name"; in quotes \" and \\ are the only escapes')
    if not GLOB_CHARACTERS.isdisjoint(word):
        return Who(Kind.GLOB, read_glob(word).text)
    return Who(Kind.NAME, word)


def _group_name(word: str) -> str:
    name = unquote(word[1:])
    plain = word[1:2] == '"' or GLOB_CHARACTERS.union('"').isdisjoint(name)
    if not name or ":" in name or not plain:
        raise Mistake(f"{show(word)} is no group", 'write @name or @"its name"; a user "@..." is quoted')
    return name


@lru_cache(maxsize=4096)  # most files repeat few contexts; one value for all of them saves memory
def read_context(word: str) -> ContextSpec | None:
    """None for deny. With three fields or more it is domain:range when the second is a sensitivity (s0, s0-s0)."""
    if word == "deny":
        return None
    fields = word.split(":")
    whole = len(fields) >= 3 and _SENSITIVITY.fullmatch(fields[1]) is None
    user, role = (fields.pop(0), fields.pop(0)) if whole else (None, None)
    domain, *rest = fields
    for name, what in ((user, "user"), (role, "role"), (domain, "domain")):
        if name is not None:
            _check_name(name, what, word)
    return ContextSpec(domain, _read_range(":".join(rest)) if rest else None, user, role)


def _check_name(name: str, what: str, word: str) -> None:
    if name == "*":
        raise Mistake(
            f'{show(word)} has "*" where a name must stand',
            "name the domain; selcgi map import respells a map of mod_selinux",
        )
    if what == "domain" and name.lower() == "deny":
        raise Mistake(f"{show(word)} is neither deny nor a domain", "write deny alone, in small letters")
    if not is_name(name):
        raise Mistake(
            f"{show(name)} is no SELinux {what}", "a context is domain[:range], user:role:domain[:range] or deny"
        )


def _read_range(text: str) -> str | None:
    """None for `*`, selcgi's own. The kernel refuses a span of categories that does not grow (mls_context_to_sid)."""
    if text == "*":
        return None
    if "{" in text:
        check_template(text)
    elif not is_range(text):
        raise Mistake(
            f"{show(text)} is no range", "write s0, s0:c1,c3.c5, s0-s0:c0.c1023 or *; translated names are not known"
        )
    for first, last in _CATEGORY_SPAN.findall(text):
        if int(first) >= int(last):
            raise Mistake(f"the categories c{first}.c{last} do not grow", "write the lower one first")
    return text
