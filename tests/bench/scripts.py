"""The scripts that all contestants start, from the cheapest program to an application.

Decides what each of them answers, so that a wrong answer is never measured. The Flask application is one file: a CGI
launcher starts it, a warm one loads it once. Called by tests/bench.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.place import PYTHON, BenchFailed, Place

HEAD = "Content-Type: text/plain\\r\\n\\r\\n"
HELLO_C = f'#include <stdio.h>\nint main(void){{puts("{HEAD}hello");return 0;}}\n'
SLEEP_C = f'#include <stdio.h>\n#include <unistd.h>\nint main(void){{sleep(SECONDS);puts("{HEAD}hello");return 0;}}\n'
SLEEP_SECONDS = 3
MODULES = ("json", "re", "urllib.request", "email.message", "datetime", "decimal", "hashlib", "csv", "sqlite3",
           "logging", "html", "subprocess")  # fmt: skip
IMPORTS = f"import {', '.join(MODULES)}\n"
FLASK_NAME = "flaskapp"
FLASK = """import flask

application = flask.Flask(__name__)


@application.route("/", defaults={"path": ""})
@application.route("/<path:path>")
def hello(path):
    return flask.Response("hello\\n", mimetype="text/plain")


if __name__ == "__main__":
    import wsgiref.handlers

    wsgiref.handlers.CGIHandler().run(application)
"""


@dataclass(frozen=True)
class Script:
    """`title` is for people; `name`.cgi is the file."""

    name: str
    title: str
    write: Callable[[Place, Path], None]
    warm: str = ""  # the rule's option: how a warm interpreter runs it; empty: it is none of Python's


def _text(text: str) -> Callable[[Place, Path], None]:
    def write(_: Place, path: Path) -> None:
        path.write_text(text)
        path.chmod(0o755)

    return write


def _compiled(text: str) -> Callable[[Place, Path], None]:
    def write(place: Place, path: Path) -> None:
        source = place.file(f"{path.stem}.c", text)
        done = subprocess.run(["gcc", "-O2", "-static", "-o", path, source], capture_output=True, text=True)
        if done.returncode:
            raise BenchFailed(f"gcc failed: {done.stderr[-500:]}")

    return write


def _flask(place: Place, path: Path) -> None:
    _text(f"#!{place.python}\n{FLASK}")(place, path)


SH = f"#!/bin/sh\nprintf '{HEAD}hello\\n'\n"
PERL = f'#!/usr/bin/perl\nprint "{HEAD}hello\\n";\n'
PLAIN = f"print('{HEAD}hello')\n"
SCRIPTS = (
    Script("c", "static C", _compiled(HELLO_C)),
    Script("sh", "sh", _text(SH)),
    Script("perl", "perl", _text(PERL)),
    Script("python", "python", _text(f"#!{PYTHON}\n{PLAIN}"), "yes"),
    Script("imports", "python, 12 imports", _text(f"#!{PYTHON}\n{IMPORTS}{PLAIN}"), "yes"),
    Script(FLASK_NAME, "Flask application", _flask, "wsgi"),
)
SLOW = Script("slow", f"sleeps {SLEEP_SECONDS} s", _compiled(SLEEP_C.replace("SECONDS", str(SLEEP_SECONDS))))
BY_NAME = {script.name: script for script in (*SCRIPTS, SLOW)}


def path(name: str) -> str:
    """Of a URL. An application's ends in its own root: what it does without one is a question of taste."""
    return f"/{name}.cgi" + ("/" if name == FLASK_NAME else "")


def title(name: str) -> str:
    """For people; the name itself when it is another bench's."""
    return BY_NAME[name].title if name in BY_NAME else name


def write_scripts(place: Place) -> None:
    for script in BY_NAME.values():
        script.write(place, place.cgi / f"{script.name}.cgi")
