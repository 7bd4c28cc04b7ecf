"""@group in the running service: the groups of this machine, those of a file, and a directory that does not answer."""

import grp
import os
import pwd
import signal
from pathlib import Path

from tests.e2e.conftest import Place, Serve
from tests.e2e.test_map_param import outcome
from tests.stack import PROGRAM, Ask, Selcgi, wait_until

SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"
GROUP = grp.getgrgid(pwd.getpwnam("daemon").pw_gid).gr_name


def asked(place: Place, user: str) -> Ask:
    return Ask(f"{place.cgi}/show.cgi", user)


def brief(selcgi: Selcgi, place: Place, user: str) -> tuple[int, str]:
    return outcome(selcgi, asked(place, user))[:2]


def groups(place: Place, text: str) -> Path:
    path = place.folder / "groups"
    path.write_text(text)
    return path


def test_groups_of_the_system_and_of_a_file(place: Place, serve: Serve) -> None:
    place.script("show.cgi", SHOW)
    place.rules("@banned deny", f"@{GROUP} user_webapp_t:s0:c5", "@editors staff_webapp_t:s0:c3")
    file = groups(place, "banned: mallory\neditors: alice\n")
    with serve(f"--group-file={file}", f"--failures={place.folder}/failures") as selcgi:
        assert brief(selcgi, place, "daemon") == (200, "site.map:2")
        assert brief(selcgi, place, "alice") == (200, "site.map:3")
        assert brief(selcgi, place, "mallory") == (403, "site.map:1")
        assert brief(selcgi, place, "bin") == (403, "-")
        assert brief(selcgi, place, "") == (403, "-")
        wait_until("it and the recorder, and all of them end", lambda: len(resolver(selcgi)) == 2)


def resolver(selcgi: Selcgi) -> list[int]:
    """Processes of the supervisor that have no listening socket: it alone, with one worker."""
    return [pid for pid in selcgi.workers() if not listens(selcgi, pid)]


def listens(selcgi: Selcgi, pid: int) -> bool:
    """True of one that is just beginning or ending, too."""
    sockets = Path("/proc/net/unix").read_text()
    inode = next(line.split()[6] for line in sockets.splitlines() if line.endswith(str(selcgi.socket)))
    try:
        return any(str(link.readlink()) == f"socket:[{inode}]" for link in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_reload_takes_the_group_file_over_and_a_mistake_changes_nothing(place: Place, serve: Serve) -> None:
    place.script("show.cgi", SHOW)
    place.rules("@editors staff_webapp_t:s0:c3", "* deny")
    file = groups(place, "editors: alice\n")
    with serve(f"--group-file={file}") as selcgi:
        assert brief(selcgi, place, "bob") == (403, "site.map:2")
        assert len(selcgi.workers()) == 1, "no resolver: no group of the system is asked for"
        groups(place, "editors alice\n")
        selcgi.signal(signal.SIGHUP)
        wait_until("the refusal", lambda: f"{file}:1: " in selcgi.log())
        assert brief(selcgi, place, "alice") == (200, "site.map:1")
        groups(place, "editors: bob\n")
        selcgi.signal(signal.SIGHUP)
        wait_until("bob is one", lambda: brief(selcgi, place, "bob") == (200, "site.map:1"))
        place.rules(f"@{GROUP} user_webapp_t:s0:c5", "* deny")
        selcgi.signal(signal.SIGHUP)
        wait_until("daemon is one", lambda: brief(selcgi, place, "daemon") == (200, "site.map:1"))


def test_a_resolver_that_was_killed_is_replaced(place: Place, serve: Serve) -> None:
    place.script("show.cgi", SHOW)
    place.rules(f"@{GROUP} user_webapp_t:s0:c5", "* deny")
    with serve() as selcgi:
        wait_until("the resolver", lambda: len(resolver(selcgi)) == 1)
        (pid,) = resolver(selcgi)
        os.kill(pid, signal.SIGKILL)
        wait_until("another one", lambda: resolver(selcgi) not in ([], [pid]))
        assert brief(selcgi, place, "daemon") == (200, "site.map:1"), selcgi.log()
        assert "resolver" in selcgi.log()


def test_a_group_that_does_not_exist_is_no_rule_to_pass_over(place: Place, serve: Serve) -> None:
    place.script("show.cgi", SHOW)
    place.rules("alice user_webapp_t:s0:c1", "@no-such-group deny", "* anon_webapp_t:s0")
    with serve() as selcgi:
        assert brief(selcgi, place, "alice") == (200, "site.map:1")
        assert brief(selcgi, place, "bob")[0] == 403
        assert 'the group "no-such-group"' in selcgi.entry()["reason"]


def test_a_directory_that_does_not_answer_refuses_whom_it_is_asked_for(place: Place) -> None:
    """No rule for a group is passed over, and who needs none of them is served."""
    place.script("show.cgi", SHOW)
    place.rules("alice user_webapp_t:s0:c1", "@of-the-directory deny", "* anon_webapp_t:s0")
    conf = place.folder / "nsswitch.conf"
    conf.write_text("passwd: files hesiod\ngroup: files hesiod\n")
    script = 'mount --bind "$0" /etc/nsswitch.conf && exec "$@"'
    program = ("unshare", "-m", "sh", "-c", script, str(conf), *PROGRAM)
    options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--script-user=nobody", "--workers=1")
    with Selcgi(place.folder, *options, program=program) as selcgi:
        assert brief(selcgi, place, "alice") == (200, "site.map:1")
        assert brief(selcgi, place, "") == (200, "site.map:3")
        assert brief(selcgi, place, "bob") == (503, "")
        assert "can't say who 'bob' is" in selcgi.entry()["reason"]
