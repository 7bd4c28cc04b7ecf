"""Where the script of a request may lie, and how the path of its URL divides: both from what five web servers send.

Decides the candidates, each a script's path with its PATH_INFO behind it, since only walking down from a root tells
where the script ends; and, once it was found, what is SCRIPT_NAME and what PATH_INFO. Must not look at files: whether
a candidate exists, and may run, is system/scripts.py's to say. Called by wire/environ.py.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

from selcgi.errors import BadRequest

PATH_BYTES = 4096  # of a script's path with its PATH_INFO: PATH_MAX

_proxied = re.compile(rb"proxy:(?:fcgi|balancer)://[^/]*").match
_origin = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*").match
_NAME_IT = "have the web server send an absolute path: nginx: fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"


def script_paths(params: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Where the script may be, best first. BadRequest when the params name none, or a path that is too long."""
    extra = params.get(b"PATH_INFO", b"")
    if extra and not extra.startswith(b"/"):
        raise BadRequest("PATH_INFO does not begin with a slash (RFC 3875 section 4.1.5)")
    found: dict[bytes, None] = {}
    for spelling in _spellings(params):
        path = b"/" + spelling.lstrip(b"/")
        # Whatever `path` alone finds, `path + extra` finds too; the other way round it may be a folder.
        for each in (path + extra,) if _is_apart(path, extra, params) else (path, path + extra):
            found[each] = None
    if any(len(path) > PATH_BYTES for path in found):
        raise BadRequest(f"the script's path with its PATH_INFO is longer than {PATH_BYTES} bytes")
    paths = tuple(path for path in found if b"\0" not in path)
    if not paths:
        raise BadRequest("the web server named no script", _NAME_IT)
    return paths


def _spellings(params: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Absolute paths that SCRIPT_FILENAME, or else DOCUMENT_ROOT and SCRIPT_NAME, may mean; best first."""
    named = params.get(b"SCRIPT_FILENAME", b"")
    query = b"?" + params.get(b"QUERY_STRING", b"")
    if proxied := _proxied(named):  # Apache, which percent-encodes for ProxyPass and not for SetHandler
        path = named[proxied.end() :].removesuffix(query)
        if path:
            yield path
            yield unquote_to_bytes(path)
    elif named.startswith(b"/"):
        yield named
        if named.endswith(query):
            yield named.removesuffix(query)
    elif not named:
        folder, name = params.get(b"DOCUMENT_ROOT", b""), params.get(b"SCRIPT_NAME", b"")
        if folder.startswith(b"/") and (name or params.get(b"PATH_INFO", b"")).startswith(b"/"):
            yield folder.rstrip(b"/") + name


def _is_apart(path: bytes, extra: bytes, params: Mapping[bytes, bytes]) -> bool:
    """Whether PATH_INFO still has to be added to the path.

    /x.cgi/x.cgi ends with its PATH_INFO in both cases: the URL tells them apart.
    """
    if not path.endswith(extra) or not extra:
        return True
    name = params.get(b"SCRIPT_NAME", b"")
    if not name or path.endswith(name[name.rfind(b"/") :] + extra):
        return False
    return _url_path(params).endswith(name + extra)


def _url_path(params: Mapping[bytes, bytes]) -> bytes:
    """The path of REQUEST_URI, decoded as SCRIPT_NAME is; empty when it can't be the value of a variable."""
    uri = params.get(b"REQUEST_URI", b"")
    if origin := _origin(uri):
        uri = uri[origin.end() :]
    path = unquote_to_bytes(uri.partition(b"?")[0])
    return path if b"\0" not in path else b""


def split_url(params: Mapping[bytes, bytes], script: bytes, path_info: bytes) -> tuple[bytes, bytes]:
    """SCRIPT_NAME and PATH_INFO (RFC 3875 sections 4.1.13 and 4.1.5): the URL's path, cut before `path_info`.

    nginx may send all of it as SCRIPT_NAME, Caddy all of it as PATH_INFO, nginx in front of git all of it as both, and
    Apache's ProxyPass names the script percent-encoded: then what was left over is decoded if the URL says so.
    """
    sent, extra, asked = params.get(b"SCRIPT_NAME", b""), params.get(b"PATH_INFO", b""), _url_path(params)
    urls = [sent + extra, sent] if sent else [asked, extra]
    urls.sort(key=lambda url: url != asked)  # what the client asked for comes first, if it is one of them
    file = script[script.rfind(b"/") :]
    tails = (path_info, unquote_to_bytes(path_info)) if b"%" in path_info else (path_info,)
    for tail in tails:
        names = [url.removesuffix(tail) for url in urls if url.endswith(tail) and b"\0" not in tail]
        if names:
            return next((name for name in names if name.endswith(file)), names[0]), tail
    # The web server changed the URL on its way to the script: merged slashes, a rewrite.
    head, found, _ = urls[0].partition(file + b"/")
    return head + file if found else urls[0], path_info
