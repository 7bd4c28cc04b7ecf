"""A context from a param of the web server, in the running service: whom it is believed, and what comes of the rest."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import USER, Place
from tests.servers import PROOF
from tests.stack import PROGRAM, Ask, Selcgi, ask, wait_until

NAME = "AUTHENTICATE_UDOMAIN"
SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n"
FROM_DIRECTORY = "staff_webapp_t:s0:c7"


def options(place: Place, *sources: str) -> tuple[str, ...]:
    maps = tuple(f"--map={one}" for one in (*sources, place.map))
    return ("--selinux=off", *maps, f"--root={place.cgi}", f"--script-user={USER}", "--workers=1")


@pytest.fixture
def selcgi(place: Place) -> Iterator[Selcgi]:
    place.script("show.cgi", SHOW)
    place.rules("alice user_webapp_t:s0:c1", "__anonymous__ anon_webapp_t:s0")
    plain = f"--listen=unix:{place.folder}/plain.sock,identity=remote-user"
    words = (*options(place, f"param:{NAME}"), "--param-domain=staff_webapp_t", plain)
    with Selcgi(place.folder, *words, identity=f"proof:{place.proof()},map-param={NAME}") as running:
        yield running


def asked(place: Place, user: str = "alice", **params: str) -> Ask:
    return Ask(f"{place.cgi}/show.cgi", user, params={"SELCGI_PROOF": PROOF if user else "", **params})


def outcome(selcgi: Selcgi, one: Ask) -> tuple[int, str, str, str]:
    before = len(selcgi.entries())
    answer = ask(selcgi.socket, one)
    wait_until("its line in the log", lambda: len(selcgi.entries()) > before)
    entry = selcgi.entry()
    return answer.status, entry["rule"], entry["context"].partition("system_r:")[2], entry["step"]


def test_the_param_decides_where_it_comes_and_the_file_where_it_does_not(place: Place, selcgi: Selcgi) -> None:
    by_param = (200, f"param:{NAME}", FROM_DIRECTORY, "")
    assert outcome(selcgi, asked(place, **{NAME: FROM_DIRECTORY})) == by_param
    assert outcome(selcgi, asked(place, "carol", **{NAME: FROM_DIRECTORY})) == by_param
    assert outcome(selcgi, asked(place)) == (200, "site.map:1", "user_webapp_t:s0:c1", "")
    assert outcome(selcgi, asked(place, **{NAME: ""})) == (200, "site.map:1", "user_webapp_t:s0:c1", "")
    assert outcome(selcgi, asked(place, "carol")) == (403, "-", "", "mapping")


def test_what_is_no_context_is_refused_with_the_reason_in_the_log(place: Place, selcgi: Selcgi) -> None:
    for value in ("garbage here", "user_webapp_t:s0", "staff_webapp_t; user_webapp_t"):
        assert outcome(selcgi, asked(place, **{NAME: value})) == (403, f"param:{NAME}", "", "mapping")
        assert NAME in selcgi.entry()["reason"]
    assert outcome(selcgi, asked(place, **{NAME: "deny"})) == (403, f"param:{NAME}", "", "mapping")


def test_it_counts_with_a_proven_user_only(place: Place, selcgi: Selcgi) -> None:
    told = {NAME: FROM_DIRECTORY}
    assert outcome(selcgi, asked(place, **told, SELCGI_PROOF=""))[::3] == (403, "identity")
    assert outcome(selcgi, asked(place, **told, SELCGI_PROOF="x" * 32))[::3] == (403, "identity")
    assert outcome(selcgi, asked(place, "", **told))[::3] == (403, "identity")
    assert outcome(selcgi, asked(place, "", **told, SELCGI_PROOF=PROOF))[::3] == (403, "identity")
    assert outcome(selcgi, asked(place, "")) == (200, "site.map:2", "anon_webapp_t:s0", "")


def test_a_header_of_that_name_is_a_header(place: Place, selcgi: Selcgi) -> None:
    forged = asked(place, **{f"HTTP_{NAME}": FROM_DIRECTORY, f"REDIRECT_{NAME}": FROM_DIRECTORY})
    assert outcome(selcgi, forged) == (200, "site.map:1", "user_webapp_t:s0:c1", "")


def test_a_listener_that_was_not_told_so_does_not_believe_it(place: Place, selcgi: Selcgi) -> None:
    answer = ask(place.folder / "plain.sock", asked(place, **{NAME: FROM_DIRECTORY}))
    assert (answer.status, selcgi.entry()["rule"]) == (200, "site.map:1")


def test_scripts_do_not_see_it(place: Place, selcgi: Selcgi) -> None:
    assert NAME not in ask(selcgi.socket, asked(place, **{NAME: FROM_DIRECTORY})).text


REFUSED = {
    "no listener lets": (["param:X", "--param-domain=a_t"], "none"),
    "which no --map asks": ([], "proof:{proof},map-param=X"),
    "choose any domain": (["param:X"], "proof:{proof},map-param=X"),
    "without --map param": (["--param-domain=a_t"], "none"),
    "is no SELinux type": (["param:X", "--param-domain=a:t"], "proof:{proof},map-param=X"),
    "anybody could choose": (["param:X", "--param-domain=a_t"], "remote-user,map-param=X"),
    "would show it to scripts": (["param:X", "--param-domain=a_t", "--pass-param=X"], "proof:{proof},map-param=X"),
    "the client chooses": (["param:HTTP_X", "--param-domain=a_t"], "proof:{proof},map-param=HTTP_X"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_sources_that_make_no_sense_stop_the_start(place: Place, reason: str) -> None:
    words, identity = REFUSED[reason]
    proof = place.proof()
    maps, others = [word for word in words if word[0] != "-"], [word for word in words if word[0] == "-"]
    listen = f"--listen=unix:{place.folder}/s,identity={identity.format(proof=proof)}"
    line = [*PROGRAM, "serve", listen, *options(place, *maps), *others]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, reason in done.stderr, "Traceback" in done.stderr) == (3, True, False), done.stderr


def run(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    line = [*PROGRAM, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=place.folder)


def test_run_and_explain_say_which_source_answered(place: Place) -> None:
    place.script("show.cgi", SHOW)
    sources = (f"param:{NAME}", str(place.map))
    shared = ("--user=alice", "--param-domain=staff_webapp_t")
    done = run(place, "run", *options(place, sources[0])[:-1], *shared, f"--param={NAME}={FROM_DIRECTORY}", "show.cgi")
    assert done.returncode == 0
    assert f"rule: param:{NAME}\n" in done.stderr.replace("  ", " ")
    explained = run(place, "map", "explain", *sources, *shared)
    assert explained.stdout.splitlines() == [
        f"no    param:{NAME} the web server sent no {NAME}",
        "match site.map:1           matches: user_webapp_t:s0:c1",
        "context: user_webapp_t:s0:c1",
    ]
    nobody = run(place, "map", "explain", *sources, shared[1], f"--param={NAME}={FROM_DIRECTORY}")
    assert (nobody.returncode, nobody.stdout.count("\n")) == (1, 1)
    assert f"refused: {NAME}, which chooses the context, came without a user" in nobody.stdout
    refused = run(place, "map", "explain", *sources, *shared, f"--param={NAME}=user_webapp_t")
    assert refused.returncode == 1
    assert json.dumps("user_webapp_t") in refused.stdout
