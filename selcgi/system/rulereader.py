"""The rules that name one type themselves, and the attributes and roles it has: by setools, in a process of its own.

Decides nothing. It is run by the Python of the distribution, which has setools, and so imports nothing of selcgi:
`python -I rulereader.py POLICY TYPE` prints JSON. Run by system/twins.py.
"""

import json
import sys
from importlib import import_module
from typing import Any

_MADE = "base_typeattr_"  # attributes that the compiler made of expressions; they have no name to call them by


def read(path: str, name: str) -> dict[str, Any]:
    setools = import_module("setools")
    policy = setools.SELinuxPolicy(path)
    kinds = {"allow", "dontaudit", "type_transition"}
    rules = []
    for rule in policy.terules():
        if str(rule.ruletype) not in kinds or name not in (str(rule.source), str(rule.target)) or not rule.enabled():
            continue
        for source in _said(rule.source):
            rules += [_rule(rule, source, target) for target in _said(rule.target)]
    own = [one for one in policy.types() if str(one) == name]
    attributes = [str(one) for kind in own for one in kind.attributes() if not str(one).startswith(_MADE)]
    roles = [str(role) for role in policy.roles() if name in map(str, role.types())]
    return {"known": bool(own), "attributes": attributes, "roles": roles, "rules": [one for one in rules if one]}


def _said(side: Any) -> list[str]:
    return list(map(str, side.expand())) if str(side).startswith(_MADE) else [str(side)]


def _rule(rule: Any, source: str, target: str) -> list[Any]:
    kind, classname = str(rule.ruletype), str(rule.tclass)
    if kind != "type_transition":
        return [kind, source, target, classname, sorted(map(str, rule.perms))]
    return [] if _has_file_name(rule) else ["typetransition", source, target, classname, str(rule.default)]


def _has_file_name(rule: Any) -> bool:
    try:
        return bool(rule.filename)
    except Exception:  # setools.exception.TERuleNoFilename
        return False


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1], sys.argv[2])))
