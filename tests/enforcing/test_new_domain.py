"""A domain of one's own, made word for word as contrib/selinux/README.md says, keeps what the README promises of it.

The blocks of the README are the test's input: its CIL is loaded, its shell lines are run, its mapping is served.
"""

import bz2
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from selcgi.system.binding import find_binding
from tests.enforcing import site
from tests.enforcing.attempts import attempt, run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.faults import load
from tests.stack import Selcgi

pytestmark = pytest.mark.enforcing

README = (site.TREE / "contrib" / "selinux" / "README.md").read_text()
SHOP = Path("/srv/shop")
OTHER = Path("/opt/other")  # what has a label of the base policy
PLACE = Path("/run/new-domain")
HELLO = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
tr -d '\\000' < /proc/self/attr/current
echo; echo seen > /proc/self/fd/2
"""
# To whom a webapp domain may do anything at all, and what; all else of these classes is for itself.
REACHED = {
    "process": {"shutdown_t": {"sigchld"}, "spc_t": {"sigchld"}},
    "process2": {},
    "fd": {"selcgi_t": {"use"}},
    "fifo_file": {"selcgi_t": {"read", "write", "append", "open", "getattr", "ioctl"}},
    "unix_stream_socket": {"setrans_t": {"connectto"}},  # the base policy gives it to all
    "unix_dgram_socket": {},
    "shm": {},
    "key": {},
}


def block(language: str, word: str) -> str:
    """The one fenced block of the README that is in this language and has the word in it."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (only,) = [text for text in found if word in text]
    return str(only)


def more_lines() -> str:
    """Everything that the README offers beyond the template: CIL in its tables and paragraphs."""
    lines = re.findall(r"`(\([^`]+\))`", README.partition("## More than")[2])
    return "\n".join(lines).replace("TYPE", "usr_t") + "\n"


@pytest.fixture(scope="module", autouse=True)
def shop() -> None:
    """Loaded and labelled."""
    site.script("../shop/cgi/hello.cgi", HELLO)
    for name in ("read/price.txt", "write/alice/cart.txt"):
        site.write(SHOP / name, "7\n", 0o666).parent.chmod(0o777)
    cil = site.write(PLACE / "shop.cil", block("cil", "blockinherit"))
    for word in ("semodule -i shop.cil", "semanage"):
        site.run("sh", "-ec", block("sh", word), cwd=cil.parent)


@contextmanager
def serve(*options: str) -> Iterator[Selcgi]:
    rules = site.write(site.MAP.with_name("shop.map"), "dora staff_webapp_t:s0\n" + block("conf", "alice"))
    with site.serving(f"--map={rules}", f"--root={SHOP / 'cgi'}", *options) as running:
        yield running


@pytest.fixture
def serving() -> Iterator[Selcgi]:
    with serve() as running:
        yield running


def test_the_domain_is_one_line() -> None:
    assert block("cil", "blockinherit").splitlines()[0] == "(block shop (blockinherit selcgi_app))"


@pytest.mark.parametrize(("user", "level"), [("alice", "s0:c7"), ("bob", "s0")])
def test_a_script_runs_in_the_new_domain(serving: Selcgi, user: str, level: str) -> None:
    answer = run_as(serving, SHOP / "cgi" / "hello.cgi", user)
    assert (answer.status, answer.text.strip()) == (200, f"system_u:system_r:shop.webapp_t:{level}")
    assert answer.stderr == b"seen\n"


def test_it_reads_and_changes_what_is_its_own(serving: Selcgi) -> None:
    tried = attempt(
        serving,
        "alice",
        "open('/srv/shop/read/price.txt')",
        "open('/srv/shop/write/alice/cart.txt', 'a')",
        "open('/srv/shop/write/alice/new.txt', 'x')",
        "__import__('tempfile').NamedTemporaryFile()",
        "socket.socketpair()",
    )
    assert tried == ["ok"] * 5
    new = SHOP / "write" / "alice" / "new.txt"
    assert site.run("stat", "-c", "%C", new) == "system_u:object_r:shop.rw_t:s0:c7\n"
    new.unlink()


def test_what_is_anothers_stays_so(serving: Selcgi, avcs: Claims) -> None:
    alices = str(site.OWN["alice"][0])
    tried = attempt(serving, "alice", "open('/srv/shop/read/price.txt', 'a')", f"open({alices!r})")
    assert tried == ["EACCES", "EACCES"]
    assert attempt(serving, "bob", "open('/srv/shop/write/alice/cart.txt')") == ["EACCES"]
    avcs.expect("shop.webapp_t", "shop.content_t", "file", "append")
    avcs.expect("shop.webapp_t", "user_webapp_rw_t", "file", "read")
    avcs.expect("shop.webapp_t", "shop.rw_t", "dir", "search")


def test_another_domain_cannot_be_entered_with_its_scripts(serving: Selcgi, avcs: Claims) -> None:
    assert run_as(serving, SHOP / "cgi" / "hello.cgi", "dora").status == 500
    assert "staff_webapp_t -> shop.script_t : file { entrypoint }" in serving.entry()["reason"]
    avcs.expect("staff_webapp_t", "shop.script_t", "file", "entrypoint")


@cache
def all_types() -> tuple[str, ...]:
    """Every type that a module of the loaded policy declares, and those of this domain."""
    names = {"shop.webapp_t", "shop.script_t", "shop.content_t", "shop.rw_t"}
    for path in Path("/var/lib/selinux/default/active/modules").glob("*/*/cil"):
        data = path.read_bytes()
        text = bz2.decompress(data) if data.startswith(b"BZh") else data
        names |= {name.decode() for name in re.findall(rb"\(type ([a-z0-9_]+)\)", text)}
    assert {"httpd_t", "unconfined_t", "selcgi_t", "staff_webapp_t"} <= names
    return tuple(sorted(names))


@pytest.mark.parametrize("tclass", REACHED)
def test_it_reaches_no_other_domain(tclass: str) -> None:
    """The policy is asked about every type that it knows."""
    selinux = find_binding()
    number = selinux.string_to_security_class(tclass)
    reached = {}
    for name in all_types():
        decision = selinux.av_decision()
        target = f"system_u:system_r:{name}:s0"
        try:
            selinux.security_compute_av_flags_raw("system_u:system_r:shop.webapp_t:s0", target, number, 0, decision)
        except OSError:  # no type of a process
            continue
        if decision.allowed and name != "shop.webapp_t":
            bits = [1 << bit for bit in range(32) if decision.allowed & 1 << bit]
            reached[name] = {selinux.security_av_perm_to_string(number, bit) for bit in bits}
    assert {name: bits for name, bits in reached.items() if not bits <= REACHED[tclass].get(name, set())} == {}


def test_what_the_readme_offers_beyond_the_template() -> None:
    """The last of this file: the rules stay."""
    load("shop_more", more_lines())
    script = site.write(OTHER / "other.cgi", HELLO, 0o755, "usr_t:s0")
    page = site.write(OTHER / "page.txt", "page\n", 0o644, "httpd_sys_content_t:s0")
    with serve(f"--root={OTHER}") as running:
        connect = "socket.create_connection(('127.0.0.1', 389))"
        assert attempt(running, "alice", connect, f"open({str(page)!r})") == ["ECONNREFUSED", "ok"]
        assert run_as(running, script, "alice").status == 200
