"""Which params of a web server an administrator may pass on to scripts by name (--pass-param).

Decides at start: a name whose value could steer the script's interpreter, or say who the user is, is refused, since an
.htaccess author may choose it. Must not look at a request. Called by serve/site.py.
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
