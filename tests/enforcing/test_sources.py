"""Contexts from SELinux's own login mapping and from Unix groups, in enforcing mode: the real seusers, the real NSS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.stack import Ask, Selcgi, ask, wait_until

pytestmark = pytest.mark.enforcing

SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ntr -d '\\0' < /proc/self/attr/current\n"
TABLE = "staff_u staff_webapp_t:login-range\nuser_u user_webapp_t:s0:c7\nsysadm_u deny\n"
RULES = "bob user_webapp_t:s0:c2\n"
GROUPS = "@webbanned deny\n@webstaff staff_webapp_t:s0:c5\n"
# account -> groups; the SELinux user and range that the login mapping gives it
ACCOUNTS = {"gina": "", "hugo": "", "ines": "webstaff", "jens": "", "kurt": "webstaff,webbanned", "bob": ""}
LOGINS = (
    ("gina", "staff_u", "s0:c3"),
    ("hugo", "user_u", "s0"),
    ("%webstaff", "staff_u", "s0:c4"),
    ("jens", "staff_u", "s0-s0:c0.c1023"),
    ("kurt", "sysadm_u", "s0"),
)


@pytest.fixture(scope="module", autouse=True)
def accounts() -> None:
    groups = ("webstaff", "webbanned")
    for name in groups:
        site.run("groupadd", name)
    for name, others in ACCOUNTS.items():
        site.run("useradd", "--no-create-home", *(("-G", others) if others else ()), name)
    commands = Path("/run/logins")
    commands.write_text("".join(f"login -a -s {seuser} -r {level} {name}\n" for name, seuser, level in LOGINS))
    site.run("semanage", "import", "-f", commands)


@contextmanager
def serving(*sources: str, rules: str) -> Iterator[Selcgi]:
    site.script("show.cgi", SHOW)
    rules_file = site.write(site.MAP.with_name("sources.map"), rules)
    site.write(site.MAP.with_name("webapps.table"), TABLE)
    maps = [f"--map={one}" for one in (*sources, str(rules_file))]
    with site.serving(*maps) as running:
        yield running


def outcome(selcgi: Selcgi, user: str) -> tuple[int, str, str]:
    """Status, rule, and the context that the script saw."""
    before = len(selcgi.entries())
    answer = ask(selcgi.socket, Ask(str(site.CGI / "show.cgi"), user))
    wait_until("its line in the log", lambda: len(selcgi.entries()) > before)
    seen = answer.text.removeprefix("system_u:system_r:") if answer.status == 200 else ""
    return answer.status, selcgi.entry()["rule"], seen


LOGIN = f"login:{site.MAP.with_name('webapps.table')}"


def test_the_login_mapping_of_the_system_gives_the_context() -> None:
    rule = "login:webapps.table"
    with serving(LOGIN, rules=RULES) as selcgi:
        assert outcome(selcgi, "gina") == (200, f"{rule}:1", "staff_webapp_t:s0:c3")
        assert outcome(selcgi, "hugo") == (200, f"{rule}:2", "user_webapp_t:s0:c7")
        assert outcome(selcgi, "ines") == (200, f"{rule}:1", "staff_webapp_t:s0:c4"), "as %webstaff"
        assert outcome(selcgi, "kurt") == (403, f"{rule}:3", ""), "his own line is before that of his group"
        assert outcome(selcgi, "jens") == (403, f"{rule}:1", "")
        assert "no single level" in selcgi.entry()["reason"]
        assert outcome(selcgi, "bob") == (200, "sources.map:1", "user_webapp_t:s0:c2"), "__default__ is no answer"
        for user in ("nobody", "no-such-user", "__default__", "%webstaff", "../gina", "gina:", "", "root/gina"):
            assert outcome(selcgi, user)[:2] == (403, "-"), user


@contextmanager
def logins(text: str | None) -> Iterator[None]:
    """The login mapping is this, or not there at all."""
    path, aside = Path("/etc/selinux/default/seusers"), Path("/etc/selinux/default/seusers.aside")
    path.rename(aside)
    try:
        if text is not None:
            site.write(path, text)
        yield
    finally:
        aside.replace(path)


@pytest.mark.parametrize("text", ["", "__default__:user_u:s0\n", "user_u:user_u:s0\n"])
def test_no_selinux_user_is_made_of_a_name(text: str) -> None:
    """libselinux falls back to the name itself, where there is no default; the default is for shells."""
    with logins(text), serving(LOGIN, rules=RULES) as selcgi:
        own = 200 if text.startswith("user_u") else 403
        assert outcome(selcgi, "user_u")[0] == own, "a line of his own counts, no other"
        assert outcome(selcgi, "gina")[:2] == (403, "-")
        assert outcome(selcgi, "bob")[0] == 200


def test_without_a_login_mapping_nobody_is_passed_on_to_the_next_source() -> None:
    with logins(None), serving(LOGIN, rules=RULES) as selcgi:
        assert outcome(selcgi, "bob") == (503, "", "")
        assert "SELinux's login mapping can't be read" in selcgi.entry()["reason"]


def test_unix_groups() -> None:
    with serving(rules=f"{GROUPS}{RULES}") as selcgi:
        assert outcome(selcgi, "ines") == (200, "sources.map:2", "staff_webapp_t:s0:c5")
        assert outcome(selcgi, "kurt") == (403, "sources.map:1", "")
        assert outcome(selcgi, "gina") == (403, "-", "")
        assert outcome(selcgi, "bob") == (200, "sources.map:3", "user_webapp_t:s0:c2")
        site.run("gpasswd", "-a", "gina", "webstaff")
        wait_until("gina is one now", lambda: outcome(selcgi, "gina")[0] == 200, pause=0.5)
        assert outcome(selcgi, "gina") == (200, "sources.map:2", "staff_webapp_t:s0:c5")
        site.run("gpasswd", "-d", "gina", "webstaff")
