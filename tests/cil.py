"""CIL as nested lists, and its comments: which of them belongs to a statement, and how refpolicy's language says it.

Decides nothing about the statements. Used by tests/refpolicy.py and tests of the policy.
"""

import re
from dataclasses import dataclass, field
from typing import Any

Statement = Any  # a list of words and lists; or, as a string, a whole line that is a comment, or blank
_TOKEN = re.compile(r'(^;[^\n]*|\n(?=\n))|;[^\n]*|([()])|("[^"]*"|[^\s()";]+)', re.MULTILINE)
_DECLARATIONS = {"type", "typeattribute", "typeattributeset", "roletype"}


def parse(text: str) -> list[Statement]:
    """Statements as nested lists. Comments of whole lines stay, and blank lines, between statements."""
    stack: list[list[Statement]] = [[]]
    for found in _TOKEN.finditer(text):
        comment, paren, word = found.groups()
        if comment and len(stack) == 1:
            stack[0].append(comment)
        elif paren == "(":
            stack.append([])
        elif paren == ")":
            whole = stack.pop()
            stack[-1].append(whole)
        elif word:
            stack[-1].append(word)
    return stack[0]


@dataclass
class Remarks:
    """The comments above a statement, and the heading of their section, until a statement takes them."""

    heading: str = ""
    lines: list[str] = field(default_factory=list)
    done: bool = False  # a statement has come

    def hear(self, comment: str) -> None:
        if comment == "\n" or self.done or comment.startswith("; ----"):
            self.lines, self.done = [], False
        if comment.startswith("; ----"):
            self.heading = comment
        elif comment != "\n":
            self.lines.append(comment)

    def take(self) -> list[str]:
        """Once, heading first."""
        found = [_said_there(one) for one in (self.heading, *self.lines) if one]
        self.heading, self.lines, self.done = "", [], True
        return found

    def skip(self, kind: str) -> None:
        """A statement that says nothing here. Comments above a declaration are about what follows, too."""
        self.done = True
        if kind not in _DECLARATIONS:
            self.lines = []


def _said_there(comment: str) -> str:
    """Without the ;, and with calls, blocks and names as that language spells them."""
    text = re.sub(r"\(call (\w+) \(([^()]*)\)\)", lambda one: f"{one[1]}({', '.join(one[2].split())})", comment[1:])
    text = re.sub(r"\(block (\w+)((?: \(blockinherit \w+\))+)\)", _inherits, text)
    return re.sub(r"\b(shop)\.(\w+_t)", r"\1_\2", text)


def _inherits(found: re.Match[str]) -> str:
    return " ".join(f"{one}({found[1]})" for one in re.findall(r"blockinherit (\w+)", found[2]))


def as_list(value: Statement) -> list[str]:
    return value if isinstance(value, list) else [value]
