"""Web servers at work: connections that they keep and share, an overloaded selcgi, clients that are gone."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.e2e.test_web_servers import started as pid_of
from tests.robust.test_robust import HASH, LONG, MIB, memory
from tests.servers import (
    SERVERS,
    VARIANTS,
    ApacheFcgid,
    ApacheKept,
    Caddy,
    HAProxy,
    HAProxyMultiplexed,
    Nginx,
    NginxStreaming,
    NginxUnkept,
    Server,
)
from tests.stack import Ask, Selcgi, wait_until

pytestmark = pytest.mark.web

HELLO = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
HOLDS = """#!/bin/sh
touch $CGI_MARKS/$$.here
until [ -e $CGI_MARKS/go ]; do sleep 0.05; done
printf 'Content-Type: text/plain\\n\\nheld\\n'
"""
ZEROS = "#!/bin/sh\necho $$ > $CGI_MARKS/pid; printf 'Content-Type: text/plain\\n\\n'; exec cat /dev/zero\n"
SAYS = "#!/bin/sh\necho a word on stderr >&2\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n"
AT_ONCE = 8


def connections(selcgi: Selcgi) -> int:
    """Accepted and open: state 3, with the path of the listening socket."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(line[5] == "03" and line[-1] == str(selcgi.socket) for line in lines)


@pytest.fixture
def started(place: Place, serve: Serve) -> Iterator[Callable[..., Selcgi]]:
    place.script("hello.cgi", HELLO)
    with ExitStack() as held:
        yield lambda *options: held.enter_context(serve(*options))


@pytest.mark.parametrize("kind", [Nginx, NginxUnkept, Caddy, ApacheKept, HAProxy], ids=lambda kind: kind.name)
def test_connections_are_kept_by_those_who_want_to(
    started: Callable[..., Selcgi], place: Place, kind: type[Server]
) -> None:
    selcgi = started()
    with kind(place.folder, place.cgi, selcgi.socket) as server:
        for _ in range(20):
            assert server.ask("hello.cgi") == (200, "hello\n")
        most = 0 if kind in (NginxUnkept, Caddy) else 8  # one of each thread, or each process
        wait_until("the connections", lambda: bool(most) <= connections(selcgi) <= most)


def test_haproxy_shares_a_connection(started: Callable[..., Selcgi], place: Place) -> None:
    place.script("holds.cgi", HOLDS)
    selcgi = started()
    with HAProxyMultiplexed(place.folder, place.cgi, selcgi.socket) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        assert server.ask("hello.cgi") == (200, "hello\n")
        asked = [pool.submit(server.ask, "holds.cgi") for _ in range(AT_ONCE)]
        wait_until("all of them", lambda: len(list(place.marks.glob("*.here"))) == AT_ONCE)
        shared = connections(selcgi)
        (place.marks / "go").touch()
        assert [one.result() for one in asked] == [(200, "held\n")] * AT_ONCE
        assert shared < AT_ONCE


def test_an_answer_that_breaks_off_is_never_whole_on_a_shared_connection(
    started: Callable[..., Selcgi], place: Place
) -> None:
    """And those that share the connection are."""
    place.script("holds.cgi", HOLDS)
    place.script("breaks.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhalf\\n'; exec sleep 60\n")
    place.rules("* user_webapp_t:s0 script=*/breaks.cgi idle-timeout=1s", "* user_webapp_t:s0")
    selcgi = started()
    with HAProxyMultiplexed(place.folder, place.cgi, selcgi.socket) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        assert server.ask("hello.cgi") == (200, "hello\n")
        held = [pool.submit(server.ask, "holds.cgi") for _ in range(AT_ONCE // 2)]
        wait_until("those that hold", lambda: len(list(place.marks.glob("*.here"))) == len(held))
        broken = [pool.submit(server.curl, "breaks.cgi") for _ in range(AT_ONCE // 2)]
        wait_until("the breaks", lambda: sum(one["killed_by"] == "idle" for one in selcgi.entries()) == len(broken))
        assert connections(selcgi) < len(held)
        (place.marks / "go").touch()
        assert [one.result() for one in held] == [(200, "held\n")] * len(held)
        assert [(one.result().returncode, one.result().stdout) for one in broken] == [(18, b"half\n\n200")] * len(
            broken
        )
        assert server.ask("hello.cgi") == (200, "hello\n")


@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if kind is not ApacheFcgid], ids=lambda kind: kind.name)
def test_an_overload_is_told_and_passes(started: Callable[..., Selcgi], place: Place, kind: type[Server]) -> None:
    """In band, with the body drained: never FCGI_OVERLOADED, which Apache makes an empty 200."""
    holds = place.script("holds.cgi", HOLDS)
    selcgi = started("--concurrent=1", "--queue=1", "--queue-time=1")
    with kind(place.folder, place.cgi, selcgi.socket) as server:
        with begin(selcgi, Ask(holds, "alice")):
            wait_until("the one", lambda: list(place.marks.glob("*.here")))
            for size in (0, 300_000):
                options = ("-D", "-", "--data-binary", "@-")
                status, text = server.ask("hello.cgi", "", *options, input=bytes(size))
                assert status == 503, text
                assert re.search("(?mi)^retry-after: 5\r$", text)
                assert re.search("Request [0-9a-f]{12}", text)
        wait_until("room", lambda: server.ask("hello.cgi") == (200, "hello\n"))


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_a_client_that_leaves_a_flood_ends_it(started: Callable[..., Selcgi], place: Place, kind: type[Server]) -> None:
    """At once, when the server has taken what it keeps, or in time."""
    place.script("zeros.cgi", ZEROS)
    selcgi = started("--timeout=6", "--kill-grace=1")
    with kind(place.folder, place.cgi, selcgi.socket) as server:
        server.curl("zeros.cgi", "", "--max-time", "1", "-o", "/dev/null", "--limit-rate", "100k")
        pid = pid_of(place)
        wait_until("the end of the script", lambda: not Path(f"/proc/{pid}").exists())
        assert server.ask("hello.cgi") == (200, "hello\n")


@pytest.mark.parametrize("kind", [*SERVERS, NginxStreaming], ids=lambda kind: kind.name)
def test_much_up_and_down_in_flat_memory(started: Callable[..., Selcgi], place: Place, kind: type[Server]) -> None:
    size = 1024 if LONG else 32  # MiB
    place.script("hash.cgi", HASH)
    sent, came = place.folder / "sent", place.folder / "came"
    piece = os.urandom(MIB)
    with open(sent, "wb") as file:
        file.writelines(piece for _ in range(size))
    selcgi = started("--timeout=600")
    (worker,) = selcgi.workers()
    with kind(place.folder, place.cgi, selcgi.socket) as server:
        server.ask("hash.cgi", "", "-T", "/etc/hostname")
        before = memory(worker, "VmHWM")
        server.curl("hash.cgi", "", "--max-time", "600", "-T", str(sent), "-o", str(came))
        grown = memory(worker, "VmHWM") - before
    with open(sent, "rb") as file, open(came, "rb") as answer:
        assert all(file.read(MIB) == answer.read(MIB) for _ in range(size))
        file.seek(0)
        assert answer.read().decode() == hashlib.file_digest(file, "sha256").hexdigest()
    assert grown < 4 * MIB


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_stderr_is_in_the_servers_own_log(started: Callable[..., Selcgi], place: Place, kind: type[Server]) -> None:
    """Not in HAProxy's, which gets none, nor in that of Caddy 2.6, which keeps what it gets to itself."""
    place.script("says.cgi", SAYS)
    selcgi = started()
    with kind(place.folder, place.cgi, selcgi.socket) as server:
        assert server.ask("says.cgi") == (200, "hello\n")
        logs = [server.folder / name for name in ("error.log", "output")]
        if kind not in (HAProxy, Caddy):
            wait_until("the word", lambda: any("a word on stderr" in log.read_text() for log in logs if log.exists()))
    wait_until("the line", lambda: "a word on stderr" in selcgi.log())
