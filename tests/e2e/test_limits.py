"""A rule's uid= where selcgi has no capability for it: refused by name, and nothing of the script runs."""

import shutil
from pathlib import Path

from tests.e2e.conftest import Place
from tests.stack import PROGRAM, Ask, Selcgi, ask

OTHER = "games"


def test_a_unix_user_that_selcgi_may_not_become(place: Place) -> None:
    run, mark = place.folder / "run", place.marks / "ran"
    run.mkdir()
    shutil.chown(run, OTHER)
    place.rules("alice user_webapp_t:s0 uid=nobody", "bob user_webapp_t:s0")
    path = place.script("marks.cgi", f"#!/bin/sh\nid -un > {mark}\nprintf 'Content-Type: text/plain\\n\\nran\\n'\n")
    # It need not read where the tests have their packages, but for this.
    words = ("setpriv", f"--reuid={OTHER}", "--clear-groups", "--inh-caps=+dac_read_search")
    program = (*words, "--ambient-caps=+dac_read_search", *PROGRAM)
    options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", "--workers=1")
    with Selcgi(run, *options, program=program) as selcgi:
        answer = ask(selcgi.socket, Ask(path, "alice"))
        assert (answer.status, mark.exists()) == (500, False)
        entry = selcgi.entry()
        assert (entry["step"], entry["rule"]) == ("set_account", "site.map:1")
        assert entry["reason"] == "selcgi can't become the Unix user nobody: Operation not permitted"
        assert "CAP_SETUID and CAP_SETGID" in entry["fix"]
        assert ask(selcgi.socket, Ask(path, "bob")).text == "ran\n"
    assert Path(mark).read_text() == f"{OTHER}\n"
