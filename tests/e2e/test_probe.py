"""Probe answers of a running selcgi: only for the token of its control socket, and never a secret in them."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selcgi.diagnose import control as asking
from selcgi.diagnose.probing import Told
from selcgi.errors import StartRefused
from tests.e2e.conftest import Place, Serve
from tests.e2e.test_ending import begin
from tests.servers import PROOF, free_port
from tests.stack import Answer, Ask, Selcgi, ask, wait_until

RAN = "#!/bin/sh\necho ran >> $CGI_MARKS/ran\nprintf 'Content-Type: text/plain\\n\\nscript\\n'\n"


@pytest.fixture
def selcgi(place: Place, serve: Serve, control: Path) -> Iterator[Selcgi]:
    place.script("ran.cgi", RAN)
    with serve("--cgroup=none", f"--control={control}", "--workers=2", identity=f"proof:{place.proof()}") as running:
        wait_until("the control socket", control.exists)
        yield running


def arm(control: Path) -> str:
    return str(json.loads(asking.ask(control, "/probe", "POST"))["token"])


def lost(control: Path) -> str:
    return str(json.loads(asking.ask(control, "/probe"))["lost_client"])


def probe(selcgi: Selcgi, place: Place, token: str, question: str = "show", **more: Any) -> Answer:
    params = {"HTTP_X_SELCGI_PROBE": f"{token}.{question}", **more.pop("params", {})}
    return ask(selcgi.socket, Ask(str(place.cgi / "ran.cgi"), params=params, **more))


def test_only_the_token_gets_one(selcgi: Selcgi, place: Place, control: Path) -> None:
    assert probe(selcgi, place, "0" * 64).status == 503
    token = arm(control)
    assert probe(selcgi, place, "0" * 64).status == 503
    for _ in range(8):  # both workers know it
        assert Told(**json.loads(probe(selcgi, place, token).body)).user is None
    selcgi.signal(signal.SIGHUP)
    wait_until("the reload", lambda: "reloaded" in selcgi.log())
    assert b"probe" in probe(selcgi, place, token).body, "new workers know it too"
    asking.ask(control, "/probe", "DELETE")
    assert probe(selcgi, place, token).status == 503
    assert not (place.marks / "ran").exists(), "no script runs for a probe, with or without its token"
    assert ask(selcgi.socket, Ask(str(place.cgi / "ran.cgi"))).body == b"script\n"
    assert token not in selcgi.log()


def test_it_tells_what_arrived_and_no_secret(selcgi: Selcgi, place: Place, control: Path) -> None:
    token = arm(control)
    secret = {
        "SELCGI_PROOF": PROOF,
        "HTTP_AUTHORIZATION": "Basic YWxpY2U6c2VjcmV0",
        "REMOTE_PASSWD": "secret",
        "HTTP_COOKIE": "session=secret",
        "HTTP_PROXY": "http://secret/",
    }
    answer = probe(selcgi, place, token, user="alice", params=secret, body=b"secret" * 50_000)
    told = Told(**json.loads(answer.body))
    assert (answer.status, told.user, told.refused) == (200, "alice", "")
    assert (told.remote_user, told.auth_type, told.received) == (["alice"], ["Basic"], 300_000)
    assert (told.proof, told.http_proxy, told.passwords) == (True, True, ["HTTP_AUTHORIZATION", "REMOTE_PASSWD"])
    for word in ("secret", "YWxpY2U6", PROOF, token):
        assert word not in answer.text + selcgi.log()
    entry = selcgi.entry()
    assert (entry["step"], entry["status"], entry["user"]) == ("probe", 200, "alice")


@pytest.mark.parametrize(
    ("params", "refused"),
    [
        ({}, "came without the proof that identity=proof asks for"),
        ({"SELCGI_PROOF": "x" * 32}, "SELCGI_PROOF is not the proof of this listener"),
        ({"REQUEST_METHOD": "g"}, "REQUEST_METHOD is no method"),
        ({"REMOTE_USER": "a\nb"}, "has a control character in it"),
    ],
)
def test_it_tells_why_a_name_is_refused(
    selcgi: Selcgi, place: Place, control: Path, params: dict[str, str], refused: str
) -> None:
    told = Told(**json.loads(probe(selcgi, place, arm(control), user="alice", params=params).body))
    assert told.user is None
    assert refused in told.refused


@pytest.mark.parametrize("question", ["head.0", "head.63", "head.9999999999999999999", "head.x", "head", "", "other.7"])
def test_a_head_is_as_long_as_asked_and_no_longer_than_a_scripts(
    selcgi: Selcgi, place: Place, control: Path, question: str
) -> None:
    answer = probe(selcgi, place, arm(control), question)
    fill = [name for name in answer.headers if name.startswith("X-Selcgi-Fill")]
    assert len(fill) == {"head.63": 63, "head.9999999999999999999": 63}.get(question, 0)
    assert sum(len(f"{name}: {value}\r\n") for name, value in answer.headers.items()) <= 32_768
    assert b"probe" in answer.body


def test_a_client_that_leaves(selcgi: Selcgi, place: Place, control: Path) -> None:
    asked = Ask(str(place.cgi / "ran.cgi"), params={"HTTP_X_SELCGI_PROBE": f"{arm(control)}.wait"})
    assert lost(control) == "NONE"
    with begin(selcgi, asked):
        wait_until("it waits", lambda: lost(control) == "WAITS")
    wait_until("it is gone", lambda: lost(control) == "REPORTED")


def test_one_that_stays_is_answered_when_the_check_is_over(selcgi: Selcgi, place: Place, control: Path) -> None:
    asked = Ask(str(place.cgi / "ran.cgi"), params={"HTTP_X_SELCGI_PROBE": f"{arm(control)}.wait"})
    with begin(selcgi, asked) as sock:
        wait_until("it waits", lambda: lost(control) == "WAITS")
        asking.ask(control, "/probe", "DELETE")
        assert b"Status: 200" in sock.recv(65536)
    assert lost(control) == "WAITS"


def test_the_port_for_metrics_gives_out_no_token(serve: Serve) -> None:
    port = free_port()
    with serve("--cgroup=none", f"--metrics=127.0.0.1:{port}"):
        for method in ("POST", "GET", "DELETE"):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/probe", method=method)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(request, timeout=10)


def test_without_a_control_socket_there_is_none(place: Place, serve: Serve, control: Path) -> None:
    with serve("--cgroup=none") as selcgi:
        assert probe(selcgi, place, "").status == 503
        with pytest.raises(StartRefused, match="no selcgi answers at"):
            arm(control)
