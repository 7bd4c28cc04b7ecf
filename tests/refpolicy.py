"""The policy in the language of packagers, .te, .if and .fc, written from the CIL of contrib/selinux.

Decides how each statement is said there, and which comments have something to explain there. What that language can't
say, constraints and ports, stays CIL, in a file beside them: a module of this language has neither. `python -m
tests.refpolicy DIR` writes the files; a test holds that they are current.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cil import Remarks, Statement, as_list, parse

SOURCE = Path(__file__).resolve().parent.parent / "contrib" / "selinux"
MODULES = {  # what it is, and its sources
    "selcgi": ("Domains for CGI scripts, by selcgi", ("selcgi.cil", "webapp.cil")),
    "selcgi_avc": ("The denial listener of selcgi", ("avc.cil",)),
}
_LEFT = {"portcon", "classpermission", "classpermissionset", "mlsconstrain"}
_KINDS = {"file": "--", "dir": "-d", "socket": "-s", "any": ""}
_PARAMETERS = {
    "d": "The domain.",
    "s": "The type of its scripts.",
    "c": "The type of its files.",
    "h": "The type of files at home.",
    "p": "The type of the port.",
    "z": "The domain of the warm interpreter.",
    "prefix": "What the names of its types begin with.",
}
_UNKNOWN = ("io_uring",)  # classes that the headers of some distributions don't have


@dataclass
class Names:
    """What the module itself declares, and which attributes come with an attribute of its own."""

    types: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    roles: list[tuple[str, str, bool]] = field(default_factory=list)  # role, attribute, optional
    also: list[tuple[str, str, bool]] = field(default_factory=list)  # attribute, further attribute, optional
    sets: dict[str, list[str]] = field(default_factory=dict)  # attribute that is all of another but these: that, these

    def learn(self, statements: Iterable[Statement], optional: bool = False) -> None:
        for one in statements:
            if isinstance(one, str):
                continue
            if one[0] == "optional":
                self.learn(one[2:], True)
            elif one[0] == "type":
                self.types.add(one[1])
            elif one[0] == "typeattribute":
                self.attributes.add(one[1])
        for one in statements:
            if isinstance(one, list) and one[0] == "typeattributeset" and one[2][0] == "and":
                _, whole, (_, left_out) = one[2]
                self.sets[one[1]] = [whole, *as_list(left_out)]
            elif isinstance(one, list) and one[0] == "typeattributeset":
                self.also += [(name, one[1], optional) for name in as_list(one[2]) if name in self.attributes]
            elif isinstance(one, list) and one[0] == "roletype" and one[2] in self.attributes:
                self.roles.append((one[1], one[2], optional))


@dataclass
class Writer:
    """Statements into lines. `places` renames the parameters of a macro or the types of a block."""

    names: Names
    places: Mapping[str, str] = field(default_factory=dict)
    own_required: bool = True  # in an interface the module's own types must be required, too
    needs: set[tuple[str, str]] = field(default_factory=set)

    def name(self, word: str, kind: str = "type") -> str:
        if word in self.places:
            return self.places[word]
        if word == "self" or word.startswith("$"):
            return word
        if word in self.names.sets:  # no attribute can be that here, but a rule can say it
            return f"{{ {' -'.join(map(self.name, self.names.sets[word]))} }}"
        own = word in self.names.types | self.names.attributes
        if self.own_required or not own:
            attribute = word in self.names.attributes or word in _BASE_ATTRIBUTES
            self.needs.add(("attribute" if attribute and kind == "type" else kind, word))
        return word

    def lines(self, statements: Iterable[Statement]) -> list[str]:
        return [line for one in statements if isinstance(one, list) for line in self.line(one)]

    def line(self, one: Statement) -> list[str]:
        """What is none of these is a declaration, or in another file."""
        say = getattr(self, f"_{one[0]}", None)
        return say(one) if say is not None else []

    def _allow(self, one: Statement) -> list[str]:
        if one[3][0] in _UNKNOWN:
            return []
        return [f"{one[0]} {self.name(one[1])} {self.name(one[2])}:{one[3][0]} {{ {' '.join(one[3][1])} }};"]

    _dontaudit = _allow

    def _typetransition(self, one: Statement) -> list[str]:
        return [f"type_transition {self.name(one[1])} {self.name(one[2])}:{one[3]} {self.name(one[4])};"]

    def _rangetransition(self, one: Statement) -> list[str]:
        rule = f"range_transition {self.name(one[1])} {self.name(one[2])}:{one[3]} s0;"
        return [f"ifdef(`enable_mcs',`{rule}')", f"ifdef(`enable_mls',`{rule}')"]

    def _typeattributeset(self, one: Statement) -> list[str]:
        if one[1] in self.names.sets:
            return []
        return [line for word in as_list(one[2]) for line in self.joins(word, one[1])]

    def _call(self, one: Statement) -> list[str]:
        return [f"{one[1]}({', '.join(map(self.name, one[2] if len(one) > 2 else []))})"]

    def _roletype(self, one: Statement) -> list[str]:
        if one[1] == "object_r" or one[2] in self.names.attributes:
            return []
        return [f"role {self.name(one[1], 'role')} types {self.name(one[2])};"]

    def _optional(self, one: Statement) -> list[str]:
        return self.optional(one[2:])

    def _booleanif(self, one: Statement) -> list[str]:
        return [f"tunable_policy(`{one[1]}',`", *indented(self.lines(one[2][1:])), "')"]

    def joins(self, word: str, attribute: str) -> list[str]:
        """An attribute can't be a member of another one here, so its members are, one by one."""
        if word in self.names.attributes:
            return []
        lines = [f"typeattribute {self.name(word)} {self.name(attribute)};"]
        for role, _, optional in [one for one in self.names.roles if one[1] == attribute]:
            said = [["roletype", role, word]]
            lines += self.optional(said) if optional else self.lines(said)
        for _, further, optional in [one for one in self.names.also if one[0] == attribute]:
            said = [["typeattributeset", further, word]]
            lines += self.optional(said) if optional else self.lines(said)
        return lines

    def optional(self, statements: list[Statement]) -> list[str]:
        inner = Writer(self.names, self.places, self.own_required)
        lines = inner.lines(statements)
        body = [*required(inner.needs), *lines]
        return ["optional_policy(`", *indented(body), "')"] if inner.needs else lines


_BASE_ATTRIBUTES = {
    *("domain", "file_type", "non_security_file_type", "exec_type", "entry_type", "application_exec_type"),
    *("mcs_constrained_type", "set_curr_context", "port_type", "privfd"),
}


def indented(lines: Iterable[str]) -> list[str]:
    return [f"\t{line}" for line in lines]


def required(needs: set[tuple[str, str]]) -> list[str]:
    return ["gen_require(`", *(f"\t{kind} {word};" for kind, word in sorted(needs)), "')"] if needs else []


def interfaces(about: str, statements: list[Statement], names: Names) -> str:
    """Each macro as an interface, each abstract block as a template, with the comment above it as its summary."""
    out = [f"## <summary>{about}.</summary>\n"]
    remarks = Remarks()
    for one in statements:
        if isinstance(one, str):
            remarks.hear(one)
            continue
        remarks.heading = ""
        summary = " ".join(line.strip() for line in remarks.take())
        if one[0] == "macro":
            places = {word[1]: f"${number}" for number, word in enumerate(one[2], 1)}
            out += _definition("interface", one[1], list(places), summary, Writer(names, places), one[3:])
        elif one[0] == "block":
            words = {"webapp_t", "script_t", *(inner[1] for inner in one if inner[0] == "type")}
            places = {word: f"$1_{word}" for word in words}
            out += _definition("template", one[1], ["prefix"], summary, Writer(names, places), one[3:])
    return "\n".join(out)


def _definition(
    kind: str, name: str, words: list[str], summary: str, writer: Writer, body: list[Statement]
) -> list[str]:
    types = [f"type {writer.name(one[1])};" for one in body if one[0] == "type"]
    lines = [*types, *writer.lines(body)]
    doc = [f"## <summary>{_plain(summary) or name}</summary>"]
    doc += [f'## <param name="{word}"><summary>{_PARAMETERS[word]}</summary></param>' for word in words]
    return [*doc, f"{kind}(`{name}',`", *indented([*required(writer.needs), *lines]), "')\n"]


def _plain(text: str) -> str:
    return text.replace("&", "and").replace("<", "").replace(">", "")


def module(head: list[str], statements: list[Statement], names: Names) -> str:
    """The .te: what is declared first, since nothing may be used before."""
    writer = Writer(names, own_required=False)
    declared = [f"attribute {one};" for one in sorted(names.attributes - names.sets.keys())]
    declared += [f"type {one};" for one in sorted(names.types)]
    declared += [f"gen_tunable({one[1]}, {one[2]})" for one in statements if one[0] == "boolean"]
    rules: list[str] = []
    remarks = Remarks()
    for one in statements:
        if isinstance(one, str):
            remarks.hear(one)
        elif lines := writer.line(one):
            rules += [f"#{line}" for line in remarks.take()] + lines
        else:
            remarks.skip(one[0])
    return "\n".join([*head, *declared, *required(writer.needs), *rules]) + "\n"


def contexts(statements: list[Statement]) -> str:
    out = []
    for one in statements:
        if one[0] == "filecon":
            # The second is for MLS; with MCS the level is s0 whatever it says, and the third its categories.
            level = "s0:c0.c1023,c0.c1023" if "range" in str(one[3]) else "s0"
            label = f"gen_context(system_u:object_r:{one[3][2]},{level})"
            out.append("\t".join(word for word in (one[1].strip('"'), _KINDS[one[2]], label) if word))
    return "\n".join(out) + "\n"


def _said(one: Statement) -> str:
    return one if isinstance(one, str) else f"({' '.join(map(_said, one))})"


def write() -> dict[str, str]:
    """File name -> text."""
    written, left = {}, ""
    for name, (about, files) in MODULES.items():
        statements = read(files)
        names = Names()
        names.learn(statements)
        source = f"# {about}. Written from {' and '.join(files)}: the reasons are there."
        written[f"{name}.te"] = module([f"policy_module({name}, 1.0.0)\n", source], statements, names)
        written[f"{name}.if"] = interfaces(about, statements, names)
        written[f"{name}.fc"] = contexts(statements)
        left += "".join(f"{_said(one)}\n" for one in statements if isinstance(one, list) and one[0] in _LEFT)
    more = f"; Beside selcgi.pp: constraints and ports. Written from contrib/selinux/*.cil.\n{left}"
    return {**written, "selcgi_more.cil": more}


def read(files: Iterable[str]) -> list[Statement]:
    return [one for name in files for one in parse((SOURCE / name).read_text())]


if __name__ == "__main__":
    for name, text in write().items():
        Path(sys.argv[1], name).write_text(text)
