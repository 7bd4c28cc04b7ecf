"""All that a binary policy says of selcgi's types, as facts that can be compared: rules, attributes, roles, ports.

A program of its own for the distribution's Python, which has setools: `python -I facts.py POLICY` prints a fact a line.
Must not judge. Run by test_refpolicy_build.py.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_OURS = ("selcgi", *(f"{name}_{kind}" for name in ("user", "staff", "anon") for kind in ("webapp", "zygote")))
_KINDS = {"allow", "dontaudit", "auditallow", "type_transition"}
_MADE = "base_typeattr_"  # attributes that the compiler made of expressions


def ours(name: Any) -> bool:
    return str(name).startswith(_OURS)


def of_rule(rule: Any) -> Iterator[str]:
    """By types, since the two languages group them by different attributes."""
    try:
        condition = str(rule.conditional)
    except Exception:  # setools.exception.RuleNotConditional
        condition = ""
    kind = str(rule.ruletype)
    for source in rule.source.expand():
        for target in rule.target.expand():
            if ours(source) or ours(target):
                what = map(str, rule.perms) if kind != "type_transition" else [str(rule.default)]
                yield from (f"{kind} {source} {target} {rule.tclass} {one} {condition}" for one in what)


def facts(path: str) -> Iterator[str]:
    policy = import_module("setools").SELinuxPolicy(path)
    for rule in policy.terules():
        if str(rule.ruletype) in _KINDS:
            yield from of_rule(rule)
    for one in filter(ours, policy.types()):
        yield from (f"attribute {one} {name}" for name in one.attributes() if not str(name).startswith(_MADE))
    for rule in policy.mlsrules():
        pairs = [(source, target) for source in rule.source.expand() for target in rule.target.expand()]
        yield from (f"range {s} {t} {rule.tclass} {rule.default}" for s, t in pairs if ours(s) or ours(t))
    yield from (f"boolean {one} {one.state}" for one in policy.bools() if ours(one))
    for role in policy.roles():
        yield from (f"role {role} {one}" for one in role.types() if ours(one))
    yield from (f"port {one}" for one in policy.portcons() if ours(one.context.type_))
    for one in policy.constraints():
        if "selcgi" in str(one):
            yield f"constraint {one}"


if __name__ == "__main__":
    print("\n".join(sorted(set(facts(sys.argv[1])))))
