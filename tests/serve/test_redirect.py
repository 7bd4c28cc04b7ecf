"""Where a local redirect may lead, and what the next request is told: the first one's headers, nothing of its body."""

import pytest

from selcgi.errors import RedirectRefused
from selcgi.plan import Script
from selcgi.serve.redirect import Trail
from selcgi.settings import EnvironRules
from selcgi.system.roots import Root
from selcgi.system.scripts import Located
from selcgi.wire.environ import Request, environ
from tests.wire.test_environ import read

ROOT, OTHER = (Root((b"srv", name), -1, frozenset(), (0, 0), b"/srv/" + name) for name in (b"cgi", b"other"))
FIRST = {
    "SCRIPT_FILENAME": "/srv/cgi/sub/x.cgi/foo",
    "SCRIPT_NAME": "/cgi-bin/sub/x.cgi",
    "PATH_INFO": "/foo",
    "REQUEST_URI": "/cgi-bin/sub/x.cgi/foo?old",
    "QUERY_STRING": "old",
    "REQUEST_METHOD": "POST",
    "CONTENT_LENGTH": "5",
    "CONTENT_TYPE": "text/plain",
    "REMOTE_USER": "alice",
    "AUTH_TYPE": "Basic",
    "HTTP_COOKIE": "a=1",
    "HTTP_CONTENT_ENCODING": "gzip",
    "HTTPS": "on",
    "DOCUMENT_URI": "/cgi-bin/sub/x.cgi/foo",
    "REDIRECT_URL": "/before",
    "REDIRECT_REMOTE_USER": "root",
}


def located(path: str, path_info: str = "", root: Root = ROOT, named: str = "") -> Located:
    script = Script(path.encode(), -1, -1, (0, 0, 0), b"", "")
    return Located(script, path_info.encode(), root, (named or path).encode(), lambda: None)


def begun(named: str = "", **changes: str | None) -> tuple[Trail, Request]:
    request = read(**{**FIRST, **changes})
    return Trail(request, located("/srv/cgi/sub/x.cgi", "/foo", named=named)), request


def test_the_next_request_has_a_url_of_its_own_and_the_headers_of_the_first() -> None:
    trail, request = begun()
    after = trail.next(request, b"/cgi-bin/sub/deep/y.cgi/a%20b?x=%20y")
    assert after.script_paths == (b"/srv/cgi/sub/deep/y.cgi/a b",)
    names = tuple(FIRST)
    told = environ(after, b"/srv/cgi/sub/deep/y.cgi", b"/a b", EnvironRules(passed=names), "/home/cgi")
    del told[b"SERVER_SOFTWARE"]
    assert told == {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"SERVER_NAME": b"a.example",
        b"SERVER_PORT": b"443",
        b"SERVER_PROTOCOL": b"HTTP/1.0",
        b"REQUEST_METHOD": b"GET",
        b"REQUEST_URI": b"/cgi-bin/sub/deep/y.cgi/a%20b?x=%20y",
        b"QUERY_STRING": b"x=%20y",
        b"SCRIPT_NAME": b"/cgi-bin/sub/deep/y.cgi",
        b"SCRIPT_FILENAME": b"/srv/cgi/sub/deep/y.cgi",
        b"PATH_INFO": b"/a b",
        b"PATH_TRANSLATED": b"/srv/cgi/a b",
        b"DOCUMENT_ROOT": b"/srv/cgi",
        b"REMOTE_USER": b"alice",
        b"AUTH_TYPE": b"Basic",
        b"HTTP_COOKIE": b"a=1",
        b"HTTPS": b"on",
        b"PATH": told[b"PATH"],
        b"HOME": b"/home/cgi",
    }


@pytest.mark.parametrize(("method", "next_method"), [("GET", "GET"), ("HEAD", "HEAD"), ("PUT", "GET")])
def test_the_next_request_is_a_get_without_a_body(method: str, next_method: str) -> None:
    trail, request = begun(REQUEST_METHOD=method)
    after = trail.next(request, b"/cgi-bin/sub/y.cgi")
    assert (after.method, after.content_length, after.user, after.query) == (next_method, 0, "alice", "")


@pytest.mark.parametrize(
    "target",
    [
        "/cgi-bin/y.cgi",
        "/cgi-bin/subtle/y.cgi",
        "/cgi-bin/sub",
        "/cgi-bin/sub/../y.cgi",
        "/cgi-bin/sub/%2e%2e/y.cgi",
        "/cgi-bin/sub%2f..%2f..%2fy.cgi",
        "/cgi-bin/sub/./y.cgi",
        "/cgi-bin/sub/..",
        "/cgi-bin/sub/y%00.cgi",
        "/cgi-bin/%73ub%2fy.cgi/../../z",
        "/",
    ],
)
def test_no_way_leads_out_of_the_folder_of_the_first(target: str) -> None:
    trail, request = begun()
    with pytest.raises(RedirectRefused, match=r"leads out of /cgi-bin/sub/|has '\.', '\.\.' or a NUL") as caught:
        trail.next(request, target.encode())
    assert (caught.value.status, caught.value.step, bool(caught.value.fix)) == (502, "redirect", True)


def test_the_folder_of_the_first_counts_for_all() -> None:
    trail, request = begun()
    second = trail.next(request, b"/cgi-bin/sub/deep/y.cgi")
    trail.came_to(located("/srv/cgi/sub/deep/y.cgi"))
    assert trail.next(second, b"/cgi-bin/sub/z.cgi").script_paths == (b"/srv/cgi/sub/z.cgi",)


def test_the_url_is_the_one_that_the_client_wrote() -> None:
    """Caddy's handle_path takes the place off SCRIPT_NAME; without it every place would be beneath "/"."""
    trail, request = begun(SCRIPT_NAME="/sub/x.cgi")
    assert trail.next(request, b"/cgi-bin/sub/y.cgi").script_paths == (b"/srv/cgi/sub/y.cgi",)
    with pytest.raises(RedirectRefused, match="leads out of /cgi-bin/sub/"):
        trail.next(request, b"/sub/y.cgi")


def test_a_link_is_where_the_web_server_sees_it() -> None:
    trail, request = begun("/srv/cgi/links/x.cgi")
    assert trail.next(request, b"/cgi-bin/sub/y.cgi").script_paths == (b"/srv/cgi/links/y.cgi",)


def test_a_url_that_does_not_name_the_script_says_nothing_of_others() -> None:
    trail, request = begun(SCRIPT_NAME="/app")
    with pytest.raises(RedirectRefused, match="does not name its script"):
        trail.next(request, b"/y.cgi")


def test_a_script_of_another_root_is_refused() -> None:
    trail, request = begun()
    trail.next(request, b"/cgi-bin/sub/y.cgi")
    with pytest.raises(RedirectRefused, match=r"/srv/other/y\.cgi is not beneath /srv/cgi"):
        trail.came_to(located("/srv/other/y.cgi", root=OTHER))


def test_five_are_followed() -> None:
    trail, request = begun()
    for _ in range(5):
        request = trail.next(request, b"/cgi-bin/sub/x.cgi")
        trail.came_to(located("/srv/cgi/sub/x.cgi"))
    with pytest.raises(RedirectRefused, match=r"more than 5 local redirects, the last to /cgi-bin/sub/x\.cgi"):
        trail.next(request, b"/cgi-bin/sub/x.cgi?again")
