"""Which params of a web server an administrator may give a meaning by name: for scripts (--pass-param), or for the
mapping (--map param:NAME).

Decides at start. For scripts a name is refused whose value could steer an interpreter, or say who the user is, since an
.htaccess author may choose it; for the mapping one whose value is the client's to choose, or has another meaning here.
Must not look at a request. Called by serve/site.py and serve/sources.py.
"""

import os
import re
from collections.abc import Iterable

from selcgi.errors import StartRefused

_is_name = re.compile(rb"[A-Z_][A-Z0-9_]*").fullmatch
# Whoever chooses the value of one of these, an .htaccess author for one, runs code or becomes someone.
_UNPASSABLE = frozenset(
    b"PATH HOME IFS ENV PS4 BASH_ENV BASHOPTS SHELLOPTS GCONV_PATH GLIBC_TUNABLES LOCPATH NODE_OPTIONS LUA_INIT PHPRC "
    b"JAVA_TOOL_OPTIONS HTTP_PROXY REMOTE_USER AUTH_TYPE REMOTE_PASSWD REDIRECT_REMOTE_USER TMPDIR HOSTALIASES "
    b"GEM_HOME GEM_PATH CONTENT_LENGTH".split()
)
# What web servers fill from the request line, from headers and from the connection (RFC 3875 section 4.1), what Apache
# keeps of it through an internal redirect, and what selcgi itself reads.
_UNTELLABLE = frozenset(b"AUTH_TYPE HTTPS UNIQUE_ID FCGI_ROLE".split())
_UNTELLABLE_STARTS = tuple(
    b"HTTP_ REDIRECT_ SELCGI_ REMOTE_ REQUEST_ QUERY_ SCRIPT_ PATH_ CONTENT_ CONTEXT_ DOCUMENT_ SERVER_ "
    b"GATEWAY_".split()
)
_LONGEST = 128
_UNPASSABLE_STARTS = (b"LD_", b"BASH_FUNC", b"MALLOC_", b"PERL", b"PYTHON", b"RUBY", b"SELCGI_")


def check_passed_names(names: Iterable[str]) -> None:
    """StartRefused when a param to be passed to scripts by name has no name of a variable, or a dangerous one."""
    for name in names:
        raw = os.fsencode(name)
        if not _is_name(raw):
            fix = "use upper-case letters, digits and underscores"
            raise StartRefused(f"--pass-param {name!a} is no name of a variable", fix)
        if raw in _UNPASSABLE or raw.startswith(_UNPASSABLE_STARTS):
            reason = f"--pass-param {name} would let the web server's configuration decide what scripts run or as whom"
            raise StartRefused(reason, f"take {name} out of --pass-param")


def check_told_names(names: Iterable[str]) -> None:
    """StartRefused when a param that shall choose a context has a name under which a client may choose its value."""
    for name in names:
        raw = os.fsencode(name)
        if not _is_name(raw) or len(raw) > _LONGEST:
            fix = f"use upper-case letters, digits and underscores, {_LONGEST} at most: AUTHENTICATE_UDOMAIN"
            raise StartRefused(f"--map param:{name} is no name of a param", fix)
        if raw in _UNTELLABLE or raw.startswith(_UNTELLABLE_STARTS):
            reason = f"--map param:{name}: the client chooses what is in {name}, or it means something else already"
            raise StartRefused(reason, "have the web server send the context under a name of its own")
