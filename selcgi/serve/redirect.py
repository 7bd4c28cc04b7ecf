"""Local redirects (RFC 3875 section 6.2.2) that are followed inside, with --local-redirects.

Decides what the next request is: GET without a body, by the same user, and where it may lead. The web server is not
asked again, and what it would say of another place is not known here: so never out of the folder of the first script,
in the URL and on disk, nor out of its root. The mapping is asked anew for each script. Must not open or start
anything. Called by serve/request.py, one Trail for each request.
"""

from dataclasses import replace
from urllib.parse import unquote_to_bytes

from selcgi.errors import RedirectRefused
from selcgi.system.mapfile import shown
from selcgi.system.scripts import Located
from selcgi.wire.environ import Request
from selcgi.wire.paths import split_url

_MOST = 5  # redirects of one request
# What the web server said of the first URL, or of the body, is not true of the next.
_OF_THE_FIRST = frozenset(b"PATH_INFO PATH_TRANSLATED DOCUMENT_URI SCRIPT_URL SCRIPT_URI".split())
_OF_THE_FIRST_STARTS = (b"CONTENT_", b"HTTP_CONTENT_", b"REDIRECT_")
_ASK_AGAIN = "print Status: 302 with the Location: then the client asks the web server for it"


class Trail:
    """The way of one request: came_to() is told of each script but the first, next() gives the request for where it
    redirects to."""

    def __init__(self, request: Request, located: Located) -> None:
        """Those of the first script."""
        self._count = 0
        self._start = request, located

    def came_to(self, located: Located) -> None:
        """RedirectRefused when the script lies beneath another root than the first one."""
        first = self._start[1].root.parts
        if located.root.parts != first:
            root = shown(b"/" + b"/".join(first))
            raise RedirectRefused(f"{shown(located.script.path)} is not beneath {root}, as the first is", _ASK_AGAIN)

    def next(self, request: Request, target: bytes) -> Request:
        """For `target`, the Location of the script that `request` was for. RedirectRefused when it is out of bounds."""
        self._count += 1
        if self._count > _MOST:
            raise RedirectRefused(f"more than {_MOST} local redirects, the last to {shown(target)}", "end the loop")
        quoted, _, query = target.partition(b"?")
        url = unquote_to_bytes(quoted)
        kept = {name: value for name, value in request.params.items() if not _is_of_the_first(name)}
        kept |= {b"SCRIPT_NAME": url, b"REQUEST_URI": target, b"QUERY_STRING": query}
        return replace(
            request,
            method="HEAD" if request.method == "HEAD" else "GET",
            content_length=0,
            query=query.decode(),
            script_paths=(_file_of(url, *self._start),),
            params=kept,
        )


def _file_of(url: bytes, first: Request, located: Located) -> bytes:
    """What the web server made of the first URL tells what it would make of this one."""
    first_url, _ = split_url(first.params, located.script.path, located.path_info)
    folder, _, name = first_url.rpartition(b"/")
    files, _, file = located.named.rpartition(b"/")
    if name != file:
        reason = f"the URL {shown(first_url)} does not name its script {shown(file)}, nor where {shown(url)} would be"
        raise RedirectRefused(reason, _ASK_AGAIN)
    if b"\0" in url or b"/../" in url + b"/" or b"/./" in url + b"/":
        raise RedirectRefused(f"the local redirect to {shown(url)} has '.', '..' or a NUL in it", "leave that out")
    if not url.startswith(folder + b"/"):
        reason = f"the local redirect to {shown(url)} leads out of {shown(folder)}/, where the first script is"
        raise RedirectRefused(reason, _ASK_AGAIN)
    return files + url.removeprefix(folder)


def _is_of_the_first(name: bytes) -> bool:
    return name in _OF_THE_FIRST or name.startswith(_OF_THE_FIRST_STARTS)
