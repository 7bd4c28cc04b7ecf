"""A program of its own: reads a binary policy with setools and audit2why, and answers questions about it.

The distribution's Python runs it, which has the two modules, whatever Python selcgi has. libsepol, which is behind
both, may end its process when a policy is damaged, and audit2why holds one policy a process: hence a process, with
bounds on memory and time, of which system/policyfile.py is the only user. A question is a line of JSON, an answer too.
Must import nothing of selcgi, and decide nothing: what is a finding, others say.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from typing import Any

_MEMORY = 2 << 30  # bytes of address space; a full Debian policy takes 0.3
_CPU_SECONDS = 300
_RULES = 4  # that are shown for one answer
_PAIRS = 200_000  # of types, remembered
_CONTEXTS = 100_000  # remembered


class Reader:
    """The policy at a path. Any failure to read it is an exception of the two modules."""

    def __init__(self, path: str) -> None:
        self._setools = import_module("setools")
        self._why = import_module("selinux.audit2why")
        self._why.init(path)  # first, since it says what is wrong with a policy
        self._policy = self._setools.SELinuxPolicy(path)
        self._codes = {getattr(self._why, name): name for name in dir(self._why) if name.isupper()}
        self._types = {str(one): one for one in self._policy.types()}
        self._classes = {str(one): _permissions(one) for one in self._policy.classes()}
        self._rules: dict[tuple[str, str], list[Any]] = {}  # source and target as written: type or attribute
        self._targets: dict[str, set[str]] = {}
        self._entries: list[Any] = []  # what domain transitions are made of
        self._made: dict[tuple[str, str, str], str] = {}  # by type_transition: source, target, class -> type
        self._pairs: dict[tuple[str, str], list[Any]] = {}
        self._seen: dict[str, bool] = {}  # contexts: valid or not
        self._transitions: Any = None
        self._index()

    def _index(self) -> None:
        """Rules whose boolean is off in the policy are left out."""
        kinds = self._setools.TERuletype
        for rule in self._policy.terules():
            kind = rule.ruletype
            if kind not in (kinds.allow, kinds.dontaudit, kinds.type_transition) or not rule.enabled():
                continue
            source, target, classname = str(rule.source), str(rule.target), str(rule.tclass)
            if kind == kinds.type_transition:
                self._made.update({} if _file_name(rule) else {(source, target, classname): str(rule.default)})
            else:
                self._rules.setdefault((source, target), []).append(rule)
                self._targets.setdefault(source, set()).add(target)
            if kind != kinds.dontaudit and classname in ("process", "file"):
                self._entries.append(rule)

    # ---- questions; a name here is a name in a question ----

    def hello(self) -> dict[str, Any]:
        """What is true of the whole policy."""
        capabilities = sorted(str(one) for one in self._policy.polcaps())
        return {"unknown": str(self._policy.handle_unknown), "capabilities": capabilities}

    def vector(self, source: str, target: str, classname: str) -> dict[str, Any]:
        """Allowed: every permission that a rule grants and no constraint takes away."""
        one, two = _type(source), _type(target)
        if classname not in self._classes or not (self._valid(source) and self._valid(target)):
            return {"known": False}
        granted, silent = self._granted(one, two, classname)
        allowed = self._kept(source, target, classname, granted)
        permissive = bool(self._types[one].ispermissive)
        return {"allowed": allowed, "silent": sorted(silent - set(allowed)), "permissive": permissive}

    def canonical(self, context: str) -> str | None:
        parts = context.split(":", 3)
        if len(parts) == 4:
            try:
                parts[3] = str(self._policy.lookup_range(parts[3])).replace(" ", "")
            except Exception:  # setools has a class of exception for each part that can be wrong
                return None
        written = ":".join(parts)
        return written if len(parts) >= 3 and self._valid(written) else None

    def created(self, source: str, target: str, classname: str) -> str:
        """As the kernel computes it (security/selinux/ss/services.c, security_compute_sid), without file names."""
        if classname not in self._classes or not (self._valid(source) and self._valid(target)):
            return ""
        user, role, domain, level = [*source.split(":", 3), ""][:4]
        inherits = classname == "process" or classname.endswith("socket")
        pairs = ((one, two, classname) for one in self._names(domain) for two in self._names(_type(target)))
        made = next((self._made[key] for key in pairs if key in self._made), domain if inherits else _type(target))
        level = self._new_range(source, target, classname) or (level if inherits else level.split("-")[0])
        parts = (user, role if inherits else "object_r", made, level)
        return ":".join(part for part in parts if part)

    def why(self, source: str, target: str, classname: str, permissions: list[str]) -> list[Any]:
        """audit2why's code by its name, and what belongs to it."""
        code, more = self._why.analyze(source, target, classname, permissions)
        return [self._codes.get(code, str(code)), more]

    def between(self, source: str, target: str) -> dict[str, Any]:
        """Class -> what `source` may do to `target`. Contexts must be valid."""
        found = {}
        for classname in sorted({str(rule.tclass) for rule in self._pair(_type(source), _type(target))}):
            granted, _ = self._granted(_type(source), _type(target), classname)
            if allowed := self._kept(source, target, classname, granted):
                found[classname] = allowed
        return found

    def rules(self, source: str, target: str, classname: str, permissions: list[str]) -> list[str]:
        """Some of those that grant type `source` any of `permissions`."""
        rules = self._pair(source, target)
        return [str(rule) for rule in rules if self._grants(rule, classname, set(permissions))][:_RULES]

    def types(self, attribute: str) -> list[str]:
        """Those of an attribute; none when there is no such attribute."""
        found = (one for one in self._policy.typeattributes() if str(one) == attribute)
        return sorted(str(kind) for one in found for kind in one.expand())

    def named(self, prefix: str) -> list[str]:
        return sorted(name for name in self._types if name.startswith(prefix))

    def reached(self, source: str, classname: str, permissions: list[str]) -> list[str]:
        """Types on which a rule grants type `source` one of `permissions`; constraints are not asked."""
        wanted, found = set(permissions), set()
        for name in self._names(source):
            for target in self._targets.get(name, ()):
                if any(self._grants(rule, classname, wanted) for rule in self._rules[name, target]):
                    found |= self._expanded(target)
        return sorted(found)

    def paths(self, sources: list[str], targets: list[str]) -> list[list[dict[str, Any]]]:
        """A shortest path of domain transitions from each source to each target that it reaches."""
        if self._transitions is None:
            self._transitions = self._setools.DomainTransitionAnalysis(
                _Entries(self._policy, self._entries, self._types)
            )
        pairs = ((one, two) for one in sources for two in targets if one != two)
        found = (self._path(one, two) for one, two in pairs if one in self._types and two in self._types)
        return [path for path in found if path]

    # ---- how they are answered ----

    def _valid(self, context: str) -> bool:
        if context not in self._seen:
            if len(self._seen) >= _CONTEXTS:
                self._seen.clear()
            code = (
                self._why.analyze(context, context, "process", ["fork"])[0] if self._types.get(_type(context)) else None
            )
            self._seen[context] = code not in (None, self._why.BADSCON, self._why.BADTCON)
        return self._seen[context]

    def _names(self, kind: str) -> list[str]:
        one = self._types.get(kind)
        return [] if one is None else [kind, *map(str, one.attributes())]

    def _expanded(self, name: str) -> set[str]:
        if name in self._types:
            return {name}
        return {str(one) for one in self._policy.lookup_type_or_attr(name).expand()}

    def _pair(self, source: str, target: str) -> list[Any]:
        key = source, target
        if key not in self._pairs:
            if len(self._pairs) >= _PAIRS:
                self._pairs.clear()
            names = ((one, two) for one in self._names(source) for two in self._names(target))
            self._pairs[key] = list(chain.from_iterable(self._rules.get(pair, ()) for pair in names))
        return self._pairs[key]

    def _granted(self, source: str, target: str, classname: str) -> tuple[set[str], set[str]]:
        """By allow rules, and what dontaudit rules keep out of the log."""
        allowed: set[str] = set()
        silent: set[str] = set()
        for rule in self._pair(source, target):
            if str(rule.tclass) == classname:
                into = allowed if rule.ruletype == self._setools.TERuletype.allow else silent
                into.update(map(str, rule.perms))
        return allowed, silent

    def _kept(self, source: str, target: str, classname: str, granted: set[str]) -> list[str]:
        """What no constraint refuses."""
        if not granted or self._allows(source, target, classname, sorted(granted)):
            return sorted(granted)
        return [name for name in sorted(granted) if self._allows(source, target, classname, [name])]

    def _allows(self, source: str, target: str, classname: str, permissions: list[str]) -> bool:
        return bool(self._why.analyze(source, target, classname, permissions)[0] == self._why.ALLOW)

    def _grants(self, rule: Any, classname: str, wanted: set[str]) -> bool:
        allow = rule.ruletype == self._setools.TERuletype.allow and str(rule.tclass) == classname
        return allow and not wanted.isdisjoint(map(str, rule.perms))

    def _new_range(self, source: str, target: str, classname: str) -> str:
        """By range_transition or default_range; empty when the policy has neither."""
        one, two = self._names(_type(source)), self._names(_type(target))
        for rule in self._policy.mlsrules():
            if str(rule.tclass) == classname and str(rule.source) in one and str(rule.target) in two:
                return str(rule.default).replace(" ", "")
        for rule in self._policy.defaults():
            if str(rule.tclass) == classname and str(rule.ruletype) == "default_range":
                parent = source if str(rule.default) == "source" else target
                low, _, high = parent.split(":", 3)[-1].partition("-")
                ends = {"low": low, "high": high or low, "low_high": f"{low}-{high}" if high else low}
                return ends.get(str(rule.default_range), "")
        return ""

    def _path(self, source: str, target: str) -> list[dict[str, Any]]:
        analysis = self._transitions
        if hasattr(analysis, "results"):  # setools 4.5
            analysis.source, analysis.target = source, target
            paths = analysis.results()
        else:
            paths = analysis.shortest_path(source, target)
        return [_step(one) for one in next(iter(paths), ())]


class _Entries:
    """For setools' analysis, which asks a policy for its rules: those alone that are in force."""

    def __init__(self, policy: Any, rules: list[Any], types: dict[str, Any]) -> None:
        self._policy, self._rules, self._types = policy, rules, types

    def terules(self) -> Iterator[Any]:
        return iter(self._rules)

    def lookup_type(self, name: Any) -> Any:
        return self._types[str(name)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def _step(step: Any) -> dict[str, Any]:
    rules = [str(rule) for rule in (*step.transition, *step.dyntransition)]
    entries = sorted(str(entry.name) for entry in step.entrypoints)
    return {
        "source": str(step.source),
        "target": str(step.target),
        "entries": entries[:_RULES],
        "rules": rules[:_RULES],
    }


def _type(context: str) -> str:
    return [*context.split(":", 3), "", ""][2]


def _permissions(one: Any) -> frozenset[str]:
    try:
        common = frozenset(one.common.perms)
    except Exception:  # setools.exception.NoCommon
        common = frozenset()
    return frozenset(one.perms) | common


def _file_name(rule: Any) -> bool:
    try:
        return bool(rule.filename)
    except Exception:  # setools.exception.TERuleNoFilename
        return False


def main() -> None:
    """The first line says whether the policy could be read. Messages of libsepol go to stderr alone."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        reader = Reader(sys.argv[1])
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers)
        return
    except Exception as error:  # SystemError, OSError, MemoryError, setools' own
        print(json.dumps({"unreadable": str(error) or repr(error)}), file=answers)
        return
    print(json.dumps({"hello": reader.hello()}), file=answers, flush=True)
    for line in sys.stdin:
        name, words = json.loads(line)
        print(json.dumps(getattr(reader, name)(*words)), file=answers, flush=True)


if __name__ == "__main__":
    main()
