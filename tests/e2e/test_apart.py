"""Of many requests at once, each script sees what is its own request's, and so does each line of the log: no word of
another's, whatever workers keep.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.system.familiar import _SETTLED_NS
from tests.e2e.conftest import Place, Serve
from tests.stack import Ask, ask_all, wait_until

NAMES = ("REMOTE_USER", "PATH_INFO", "QUERY_STRING", "HTTP_COOKIE", "HTTP_X_A")
SHELL = f"""#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
printf '%s|' "{'" "'.join(f"${name}" for name in NAMES)}"
cat
"""
PYTHON = f"""#!/usr/bin/python3
import os, sys
print("Content-Type: text/plain", "", sep="\\n")
print(*(os.environ.get(name, "") for name in {NAMES}), sys.stdin.read(), sep="|", end="")
"""


@pytest.fixture
def scripts(place: Place) -> list[str]:
    """Two cold, one warm, all old enough to be kept open."""
    paths = [place.script(name, SHELL) for name in ("a.cgi", "b.cgi")] + [place.script("warm.py", PYTHON)]
    made = max(Path(path).stat().st_ctime_ns for path in paths)
    wait_until("the scripts are kept", lambda: time.time_ns() > made + _SETTLED_NS)
    return paths


def drawn(scripts: list[str], count: int) -> Iterator[tuple[Ask, str]]:
    """Requests with some of all that may come, and what the script shall see of it."""
    some = random.Random(1126)
    for number in range(count):
        user, path, query, cookie, header, body = (some.choice(("", f"{word}{number}")) for word in "u/qcxb")
        params = {"HTTP_COOKIE": cookie or None, "HTTP_X_A": header or None}
        script = some.choice(scripts)
        if some.random() < 0.5:  # a web server that splits the path, and one that does not
            asked = Ask(script, user, query, body=body.encode() or None, params={**params, "PATH_INFO": path})
        else:
            asked = Ask(script + path, user, query, body=body.encode() or None, params=params)
        yield asked, "|".join((user, path, query, cookie, header, body))


def lines(asked: list[Ask], scripts: list[str]) -> list[tuple[str, str, str, int]]:
    """What the log shall say of them."""
    return [
        (
            one.user,
            next(path for path in scripts if one.script.startswith(path)),
            "GET" if one.body is None else "POST",
            len(one.body or b""),
        )
        for one in asked
    ]


def test_no_request_sees_a_word_of_another(serve: Serve, place: Place, scripts: list[str], cgroup: Path) -> None:
    place.rules("* user_webapp_t")
    with serve("--workers=2", f"--warm={place.cgi}/*.py", f"--cgroup={cgroup}") as selcgi:
        asked, wanted = zip(*drawn(scripts, 180), strict=True)
        for at in range(0, 180, 60):
            assert [one.text for one in ask_all(selcgi.socket, list(asked[at : at + 60]))] == list(wanted[at : at + 60])
        wait_until("all lines of the log", lambda: len(selcgi.entries()) == len(asked))
        said = [(one["user"], one["script"], one["method"], one["bytes_in"]) for one in selcgi.entries()]
    assert sorted(said) == sorted(lines(list(asked), scripts))
