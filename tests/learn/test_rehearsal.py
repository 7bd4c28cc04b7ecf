"""What `selcgi run` says of a request is taken for what it is: an answer, a failure, or none at all."""

from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.learn.rehearsal import _ran

RAN = "printf 'Status: 200 OK\\n\\nhello\\n'; printf 'rule: site.map:1\\nexit: 1\\n' >&2"
FAILED = """printf 'Status: 502 Bad Gateway\\n\\n'
head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2
printf 'step: response\\nreason: the script wrote nothing\\nfix: see its stderr\\n' >&2; exit 1"""
NEVER = "echo 'selcgi: StartRefused: scripts would run as root; give --script-user USER' >&2; exit 3"


def script(folder: Path, text: str) -> list[str]:
    (folder / "run").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "run").chmod(0o755)
    return [str(folder / "run"), "--", "/srv/cgi/x.py?a"]


def test_an_answer_is_one_whatever_its_status(tmp_path: Path) -> None:
    assert _ran(script(tmp_path, RAN)) == ("Status: 200 OK", "")
    assert _ran(script(tmp_path, RAN.replace("200 OK", "500"))) == ("Status: 500", "")


def test_a_failure_says_which_and_why(tmp_path: Path) -> None:
    """The lines about a request are behind all that its script wrote."""
    failure = "/srv/cgi/x.py?a: Status: 502 Bad Gateway: the script wrote nothing (step response)"
    assert _ran(script(tmp_path, FAILED)) == ("Status: 502 Bad Gateway", failure)


def test_a_run_that_did_not_begin_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"selcgi run ended with 3, without an answer: .*give --script-user USER"):
        _ran(script(tmp_path, NEVER))
