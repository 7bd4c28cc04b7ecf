"""One mapping file as its own bytes, with an index of the names in them: a million rules in a few flat buffers.

Decides where in the file the rules for one user are. A Rule is made from its line when it is asked for; few
are kept. Must not read files. Built by serve/sources.py and diagnose/staging.py, asked by table.py.

Processes that are forked afterwards share the buffers: nothing in them is written or counted again. Names are found by
hash(), which is SipHash with a key of this process and its forks (PEP 456), so no choice of names makes it slow; what
is found is compared character by character.
"""

import heapq
import re
from array import array
from collections.abc import Iterator

from selcgi.errors import MappingError
from selcgi.mapping import rules
from selcgi.mapping.rules import EVERYONE, Kind, Rule, read_rule
from selcgi.mapping.words import Mistake, show

CONSIDERED = 4096  # rules of one name, and rules that are not for one name: what a request may have to try, twice

# `name domain:s0:c1,c2`, the commonest line, in the words of which read_rule finds no mistake; or any other line.
_LINE = re.compile(
    rb"(?:(?!__anonymous__[ \t])([!$-)+->A-Z\\\]-~][!$-)+->@-Z\\\]-~]{0,999})[ \t]{1,500}"
    rb"(?!(?i:deny)[:\s])([A-Za-z_][A-Za-z0-9_.-]{0,199}(?::s[0-9]{1,5}(?::c[0-9]{1,5}(?:,c[0-9]{1,5}){0,99})?)?)"
    rb"[ \t]{0,500}\r?|[^\n]*)(?:\n|\Z)"
)
_NAME = re.compile(rb"[!$-)+->A-Z\\\]-~][!$-)+->@-Z\\\]-~]*(?=[ \t])")  # as it stands in a rule for one name
_REMEMBERED = 512  # rules, since a line is asked for again and again
_CONTEXTS = 65536  # distinct ones that are remembered while a file is read
_NUMBER = (1 << 32) - 1  # a slot is 32 bits of the hash above 32 bits of a line's number; 0 is a free one


Domain = tuple[str | None, str | None, str]  # of a ContextSpec, with its user and role


class Index:
    """The rules of one file, in order. Never changes once built."""

    __slots__ = (
        "_data", "_earlier", "_fresh", "_lately", "_parts", "_placed", "_shared", "_slots", "_starts", "_warm",
        "count", "file",
    )  # fmt: skip

    def __init__(self, data: bytes, file: str, parts: int = 1) -> None:
        """`parts` is Rule.parts. MappingError for the first mistake in `data`, UTF-8, or for too many rules."""
        lines = data.count(b"\n") + 1
        if lines > rules.LINES + data.endswith(b"\n"):
            raise rules.too_long(file)
        self.file = file
        self.count = 0  # of rules
        self._data = data
        self._parts = parts
        self._starts = array("I", bytes(4 * (lines + 1)))  # of line n at n
        self._earlier = array("I", bytes(4 * (lines + 1)))  # the line before it with the same name; 0: none
        self._slots = array("Q", bytes(8 << (lines + lines // 2).bit_length()))
        self._fresh = array("I")  # lines with contexts that were new
        self._placed = array("I")  # those of them with a place, c{user} or c{request}
        self._shared: dict[int, Rule] = {}  # those not for one name, by their lines
        self._warm: dict[Domain, Rule] = {}  # the first with warm= of each domain
        self._lately: dict[int, Rule] = {}  # some that were asked for, by their lines
        self._fill()

    def considered(self, user: str | None) -> Iterator[Rule]:
        """Every rule that may be for `user`, in the order of the file. None is a request without a user."""
        named = [] if user is None else self._named(user)
        if not named:
            return iter(self._shared.values())
        numbers = heapq.merge(named, self._shared) if self._shared else named
        return (self._shared.get(number) or self._remembered(number) for number in numbers)

    def _remembered(self, number: int) -> Rule:
        rule = self._lately.get(number)
        if rule is None:
            if len(self._lately) >= _REMEMBERED:
                self._lately.clear()
            rule = self._lately[number] = self._rule(number)
        return rule

    def __iter__(self) -> Iterator[Rule]:
        """Every rule, in order, each made anew."""
        for number in range(1, len(self._starts)):
            if (rule := self._shared.get(number) or self._read(number)) is not None:
                yield rule

    def groups(self) -> Iterator[str]:
        """Those that rules are for."""
        return (rule.who.text for rule in self._shared.values() if rule.who.kind is Kind.GROUP)

    def not_for_one_name(self) -> Iterator[Rule]:
        """In order."""
        return iter(self._shared.values())

    def contested(self) -> Iterator[Rule]:
        """In order, all rules behind or before which another can be for the same users: those that are not for one
        name, those of a name that has several, and all behind one for everyone."""
        end = next((rule.line for rule in self._shared.values() if rule.who == EVERYONE and rule.unconditional), None)
        first = len(self._starts) if end is None else end + 1
        again = [number for number in range(1, first) if self._earlier[number]]
        several = {*again, *(self._earlier[number] for number in again), *self._shared}
        for number in sorted(number for number in several if number < first):
            yield self._shared.get(number) or self._rule(number)
        yield from filter(None, (self._shared.get(n) or self._read(n) for n in range(first, len(self._starts))))

    def with_contexts(self) -> Iterator[Rule]:
        """The first rule of each context, in order, and few others."""
        return map(self._rule, self._fresh)

    def with_places(self) -> Iterator[Rule]:
        """Those of with_contexts() whose contexts have a place to be filled."""
        return map(self._rule, self._placed)

    def with_warmth(self) -> Iterator[Rule]:
        """The first rule of each domain that has warm= and not warm=no, in order."""
        return iter(self._warm.values())

    def with_accounts(self) -> Iterator[Rule]:
        """The first rule of each account that uid= names, in order. Looks at every line."""
        seen = {""}
        for number in range(1, len(self._starts)):
            end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._data)
            if self._data.find(b"uid", self._starts[number], end) < 0:
                continue
            rule = self._read(number)
            if rule is not None and rule.options.account not in seen:
                seen.add(rule.options.account)
                yield rule

    def _fill(self) -> None:
        """In one pass, where the commonest line costs no Rule."""
        starts = self._starts
        depths = array("H", bytes(2 * len(starts)))  # how many rules of its name there are up to a line
        contexts: set[object] = set()
        for number, found in enumerate(_LINE.finditer(self._data), 1):
            if number == len(starts):
                break  # nothing follows the last line
            starts[number] = found.start()
            name, context = found.groups()
            rule = None
            if name is not None:
                self._insert(name, number, depths)
            elif (rule := self._read(number)) is not None:
                context = rule.spec
                self._add(rule, depths)
            else:
                continue
            self.count += 1
            if context is not None and context not in contexts:
                self._fresh.append(number)
                if rule is not None and rule.spec is not None and "{" in (rule.spec.range or ""):
                    self._placed.append(number)
                contexts.add(context)
                if len(contexts) > _CONTEXTS:
                    contexts.clear()

    def _add(self, rule: Rule, depths: "array[int]") -> None:
        if rule.warm and rule.spec is not None:
            self._warm.setdefault((rule.spec.user, rule.spec.role, rule.spec.domain), rule)
        if rule.who.kind is Kind.NAME:
            self._insert(rule.who.text.encode(), rule.line, depths)
            return
        self._shared[rule.line] = rule
        if len(self._shared) > CONSIDERED:
            raise _too_many(rule)

    def _insert(self, name: bytes, number: int, depths: "array[int]") -> None:
        at, found = self._find(name)
        self._slots[at] = (hash(name) >> 32 & _NUMBER) << 32 | number
        if found:
            self._earlier[number] = found
            depths[number] = depths[found] + 1
            if depths[number] >= CONSIDERED:
                raise _too_many(self._rule(number))

    def _named(self, user: str) -> list[int]:
        """The lines that name the user, in order."""
        # Half a surrogate has no like in the file, which is UTF-8.
        _, number = self._find(user.encode("utf-8", "surrogatepass"))
        numbers = []
        while number:
            numbers.append(number)
            number = self._earlier[number]
        return numbers[::-1]

    def _find(self, name: bytes) -> tuple[int, int]:
        """The slot of a name, and the last line with it; a free slot and 0 when there is none."""
        slots, most = self._slots, len(self._slots) - 1
        value = hash(name)
        at, tag = value & most, value >> 32 & _NUMBER
        while found := slots[at]:
            if found >> 32 == tag and self._name(found & _NUMBER) == name:
                return at, found & _NUMBER
            at = at + 1 & most
        return at, 0

    def _name(self, number: int) -> bytes:
        plain = _NAME.match(self._data, self._starts[number])
        return plain[0] if plain is not None else self._rule(number).who.text.encode()

    def _rule(self, number: int) -> Rule:
        rule = self._read(number)
        assert rule is not None  # only lines with a rule are in the index
        return rule

    def _read(self, number: int) -> Rule | None:
        start = self._starts[number]
        end = self._data.find(b"\n", start)
        line = self._data[start : end if end >= 0 else None]
        try:
            return read_rule(line.decode().removesuffix("\r"), self.file, number, self._parts)
        except UnicodeDecodeError:
            raise MappingError(self.file, number, "the line is not UTF-8", "save the file as UTF-8") from None
        except Mistake as mistake:
            raise MappingError(self.file, number, mistake.reason, mistake.fix) from None


def _too_many(rule: Rule) -> MappingError:
    whom = f"for {show(rule.who.text)}" if rule.who.kind is Kind.NAME else f"that are not for one name ({rule.who})"
    return MappingError(
        rule.file,
        rule.line,
        f"more than {CONSIDERED} rules {whom}, and a request tries them in turn",
        "name the users, or let one glob cover more scripts",
    )
