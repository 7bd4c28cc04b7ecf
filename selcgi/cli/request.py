"""`selcgi request`: one request to a selcgi that runs already, over its socket, as its web server would send it.

Decides what such a web server would say of a user, and how the outcome is shown: the response on stdout, how it went on
stderr. What became of the request in there is in the other's log.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from selcgi.cli.asked import encoded, params_of, request_options
from selcgi.cli.options import FILE, SOCKET, root_option
from selcgi.cli.terminal import sink, tell
from selcgi.cli.values import peer, seconds_option
from selcgi.serve.client import ask
from selcgi.system.identity import load_secret

_SECONDS = 120.0  # as the files of contrib/ have it for web servers


@click.command()
@click.option("--to", metavar="ADDRESS", type=peer, default=SOCKET.address, show_default=True,
              help="Who is asked: unix:PATH or HOST:PORT.")  # fmt: skip
@click.option("--proof", type=FILE, show_default="none", help="File with the proof, as in its identity=proof:FILE.")
@seconds_option("--timeout", _SECONDS, "Longest wait for the whole answer.")
@root_option
@request_options
def request(to: str, proof: Path | None, timeout: float, roots: tuple[Path, ...], **values: Any) -> None:
    """Ask a selcgi that runs for SCRIPT, as its web server would.

    A relative SCRIPT lies beneath the first --root. USER comes with AUTH_TYPE=Basic, and with the proof in the file of
    --proof. The response goes to stdout, how it went to stderr; why a request was refused is in the log of who was
    asked. A listener with peer-type=, as in the unit, lets in web servers alone: give selcgi serve one more --listen.
    Another FastCGI responder may be asked, too. Exit: 0 answered, 1 refused or failed, 2 usage, 3 nobody listens there.

    \b
    As root:
        selcgi request --proof /etc/selcgi/proof --user alice report.cgi
    By TCP, where selcgi's own domain may connect to no port:
        /opt/selcgi/bin/python -m selcgi request --to 127.0.0.1:9140 report.cgi
    """
    params = params_of(tuple(root.absolute() for root in roots), values, "Basic" if values["user"] else "")
    if proof is not None:
        params["SELCGI_PROOF"] = os.fsdecode(load_secret(proof))
    heard = ask(to, encoded(params.items()), values["body"], timeout, (sink(sys.stdout), sink(sys.stderr)))
    tell("status", str(heard.status or "none"))
    tell("seconds", f"{heard.seconds:.3f}")
    if heard.reason:
        tell("reason", heard.reason, "red")
    elif heard.status >= 400:
        tell("reason", "see the log of who was asked, or selcgi failures", "red")
    if heard.fix:
        tell("fix", heard.fix, "green")
    sys.exit(0 if not heard.reason and 0 < heard.status < 400 else 1)
