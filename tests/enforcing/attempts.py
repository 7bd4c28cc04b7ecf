"""A script that tries what it is told and reports what became of each attempt. Runs in the guest.

Decides nothing: each line of the body is a Python expression, evaluated in the script's own process; the answer is
"ok", or the name of the error, a line each.
"""

from pathlib import Path

from tests.enforcing import site
from tests.stack import Answer, Ask, Selcgi, ask

SOURCE = """#!/usr/bin/python3
import errno, os, signal, socket, subprocess, sys
from pathlib import Path

def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())

def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)

print("Content-Type: text/plain\\n")
for line in sys.stdin.read().splitlines():
    try:
        eval(line)
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        print("ok")
"""


def attempt(selcgi: Selcgi, user: str, *expressions: str) -> list[str]:
    """What became of each expression in a script of `user`."""
    path = site.CGI / "attempt.py"
    if not path.exists():
        site.script(path.name, SOURCE)
    answer = ask(selcgi.socket, Ask(str(path), user, body="\n".join(expressions).encode()))
    assert answer.status == 200, answer.text + selcgi.log()
    return answer.text.split()


def run_as(selcgi: Selcgi, path: Path, user: str, query: str = "") -> Answer:
    return ask(selcgi.socket, Ask(str(path), user, query))
