"""Where a script may lie, and which part of the URL is its name: SCRIPT_FILENAME and its kin, of five web servers.

Each spells the same request in its own way. Decides the candidates and their order; which of them exists is seen by
system/scripts.py, and with that SCRIPT_NAME and PATH_INFO are worked out anew. Must not look at files. Called by
wire/environ.py.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

from selcgi.errors import BadRequest

PATH_BYTES = 8192  # of a script's path, which the kernel bounds (PATH_MAX), with its PATH_INFO, which is none

_proxied = re.compile(rb"proxy:(?:fcgi|balancer)://[^/]*").match
# Words of a URL in front of others, none of them empty or dots: those the web server has resolved.
_front = re.compile(rb"(?:/(?!\.\.?/|\.\.?\Z)[^/]+)*").fullmatch
_is_unambiguous = re.compile(rb"/[^/?%%][^?%%]{1,%d}" % (PATH_BYTES - 2)).fullmatch
_origin = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*").match


_LOST = "Apache: ProxyPass instead of SetHandler, as contrib/apache has it"


def script_paths(params: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Where the script may be. BadRequest when the params name none."""
    extra = params.get(b"PATH_INFO", b"")
    if not extra and (only := _only_spelling(params)):
        return (only,)
    found: dict[bytes, None] = {}
    for spelling in _spellings(params):
        path = b"/" + spelling.lstrip(b"/")
        if extra.startswith(b"/"):
            both = path + extra, path
            for each in both if _is_apart(path, extra, params) else reversed(both):
                found[each] = None
        else:
            found[path] = None
    if any(len(path) > PATH_BYTES for path in found):
        raise BadRequest(f"the path of the script with its PATH_INFO is longer than {PATH_BYTES} bytes")
    if not found:
        fix = "nginx: fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"
        raise BadRequest("the web server named no script", fix)
    return tuple(found)


def _only_spelling(params: Mapping[bytes, bytes]) -> bytes:
    """What _spellings() has where there is nothing that could be read in two ways, as nearly always; else empty."""
    named = params.get(b"SCRIPT_FILENAME", b"")
    if not _is_unambiguous(named) or params.get(b"SCRIPT_NAME", b"").endswith(b"?" + params.get(b"QUERY_STRING", b"")):
        return b""
    return named


def _spellings(params: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Absolute paths that SCRIPT_FILENAME, or else DOCUMENT_ROOT and SCRIPT_NAME, may mean; best first."""
    named = params.get(b"SCRIPT_FILENAME", b"")
    query = b"?" + params.get(b"QUERY_STRING", b"")
    url = params.get(b"SCRIPT_NAME", b"")
    if named and url.endswith(query) and not named.endswith(query):
        raise BadRequest("SCRIPT_NAME has a question mark of the path in it that SCRIPT_FILENAME has lost", _LOST)
    if (url + params.get(b"PATH_INFO", b"")).endswith(query):
        query = b""  # "%3F" in the URL: it is part of the path by which the web server let the request in
    if proxied := _proxied(named):
        named = named[proxied.end() :].removesuffix(query)
    if named.startswith(b"/"):
        path = named.removesuffix(query)
        yield named
        yield path
        if b"%" in path and _is_encoded(path, params):
            yield unquote_to_bytes(path)
    elif not named and not proxied:
        folder, name = params.get(b"DOCUMENT_ROOT", b""), params.get(b"SCRIPT_NAME", b"")
        if folder.startswith(b"/") and (name or params.get(b"PATH_INFO", b"")).startswith(b"/"):
            yield folder.rstrip(b"/") + name


def _is_encoded(path: bytes, params: Mapping[bytes, bytes]) -> bool:
    """Whether `path` is percent-encoded, as Apache's is for ProxyPass, and is not for SetHandler.

    The URL as the web server decoded it, and by which it let the request in, says so: it must end with the end of the
    path decoded, and must not have it as it stands. Else this would be the second time: /%61dmin/ became /admin/.
    """
    sent, extra = params.get(b"SCRIPT_NAME", b""), params.get(b"PATH_INFO", b"")
    end = path[path.rfind(b"/", 0, path.index(b"%")) :]
    decoded = unquote_to_bytes(end)
    return end not in sent + extra and (sent.endswith(decoded) or (sent + extra).endswith(decoded))


def _is_apart(path: bytes, extra: bytes, params: Mapping[bytes, bytes]) -> bool:
    """Whether PATH_INFO still has to be added to the path.

    /x.cgi/x.cgi ends with its PATH_INFO in both cases: the URL tells them apart.
    """
    if not path.endswith(extra):
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

    nginx may send all of it as SCRIPT_NAME, Caddy all of it as PATH_INFO, and Apache's ProxyPass names the script
    percent-encoded: then what was left over is decoded if the URL says so. Where Caddy has taken off the front of the
    URL, REQUEST_URI still has it: by SCRIPT_NAME a script writes links to itself.
    """
    sent, extra = params.get(b"SCRIPT_NAME", b""), params.get(b"PATH_INFO", b"")
    if sent and not extra and not path_info and _is_whole(sent, params):
        return sent, b""  # as nearly always, what follows would find the same
    urls = (sent + extra, sent) if sent else (_url_path(params), extra)
    file = script[script.rfind(b"/") :]
    tails = (path_info, unquote_to_bytes(path_info)) if b"%" in path_info else (path_info,)
    for tail in tails:
        names = [url.removesuffix(tail) for url in urls if url.endswith(tail)]
        if names:
            name = _likeliest(names, file, tail, params)
            return _front_of(name, tail, params) + name, tail
    # The web server changed the URL on its way to the script: merged slashes, a rewrite.
    head, found, _ = urls[0].partition(file + b"/")
    return head + file if found else urls[0], path_info


def _is_whole(path: bytes, params: Mapping[bytes, bytes]) -> bool:
    """Whether it is all that the client's URL has, as it was sent."""
    return params.get(b"REQUEST_URI", b"").partition(b"?")[0] == path and b"%" not in path


def _front_of(name: bytes, tail: bytes, params: Mapping[bytes, bytes]) -> bytes:
    """What the client's URL has before `name`, and the web server has taken off; else empty."""
    if _is_whole(name + tail, params):
        return b""
    url = _url_path(params)
    front = url.removesuffix(name + tail) if name and url.endswith(name + tail) else b""
    return front if _front(front) else b""


def _likeliest(names: list[bytes], file: bytes, tail: bytes, params: Mapping[bytes, bytes]) -> bytes:
    """The one that ends with the script; or else, as for git's program, the one that makes the URL with `tail`."""
    for name in names:
        if name.endswith(file):
            return name
    if len(names) > 1:
        url = _url_path(params)
        return next((name for name in names if name + tail == url), names[0])
    return names[0]
