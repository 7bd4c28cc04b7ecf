"""What a binary policy lets our domains do with sockets, with its booleans as they are, or in whatever state.

A program of its own for the distribution's Python, which has setools: `python -I sockets.py POLICY [any]` prints lines
of SOURCE TARGET CLASS PERMISSION. Must not judge. Run by test_network.py.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_OURS = ("selcgi_webapp", "selcgi_zygote")


def members(policy: Any) -> set[Any]:
    return {one for name in _OURS for one in policy.lookup_typeattr(name).expand()}


def allowed(policy: Any, anyhow: bool) -> Iterator[str]:
    """Rules of a boolean that is off are none, unless `anyhow`."""
    ours = members(policy)
    for rule in policy.terules():
        if str(rule.ruletype) != "allow" or not str(rule.tclass).endswith("_socket"):
            continue
        if not anyhow and not rule.enabled():
            continue
        for source in ours & set(rule.source.expand()):
            for target in rule.target.expand():
                yield from (f"{source} {target} {rule.tclass} {one}" for one in rule.perms)


if __name__ == "__main__":
    loaded = import_module("setools").SELinuxPolicy(sys.argv[1])
    print("\n".join(sorted(set(allowed(loaded, sys.argv[2:] == ["any"])))))
