"""What `selcgi check-front` finds, and what to write into the web server's configuration against it.

Decides nothing. Each line is one of that server's own language; tests/e2e/test_check_front.py puts it there and asks
again. Made by diagnose/front.py and diagnose/forging.py, shown by cli/check_front.py.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Verdict = Literal["good", "note", "forged", "unknown"]


class Question(StrEnum):
    """In the order in which they are asked."""

    ACCOUNT = "the account"
    NOBODY = "a name without an account"
    UNCHECKED = "a name without its password"
    HEADER = "a name by a header"
    DUPLICATE = "a name by duplicates"
    PROOF = "the proof without an account"
    HTTP_PROXY = "HTTP_PROXY by a Proxy header"
    CREDENTIALS = "the password reaches selcgi"
    LOST_CLIENT = "a lost client"
    HEAD = "a long response head"
    CHUNKED = "an upload without a length"
    LAST = "the first request, once more"  # only when it has no answer any more


FORGING = (Question.NOBODY, Question.UNCHECKED, Question.HEADER, Question.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to a question. `add`: the line for this web server, empty when all is well or nothing helps."""

    question: Question
    verdict: Verdict
    answer: str
    add: str = ""

    @property
    def undecided(self) -> bool:
        """Whether it can't be told if a name can be forged."""
        return self.verdict == "unknown" and self.question in (*FORGING, Question.LAST)


_CHECKED = {
    "nginx": 'fastcgi_param REMOTE_USER ""; in place of the line that sends the name (Debian\'s fastcgi_params does: '
    "include selcgi-params.conf), or, to ask for the password: auth_basic",
    "apache": "AllowOverride None, and no SetEnvIf or ProxyFCGISetEnvIf that sets REMOTE_USER",
    "lighttpd": "no setenv that sets REMOTE_USER: auth.require does",
    "haproxy": "http-request del-header Authorization, or, to ask for the password: http-request auth",
    "caddy": "env REMOTE_USER {http.auth.user.id} in place of any other",
}
_REMEDIES: dict[Question, dict[str, str]] = {
    **dict.fromkeys(FORGING, _CHECKED),
    Question.PROOF: {
        "nginx": "include selcgi-proof.conf; only beside auth_basic",
        "apache": "ProxyFCGISetEnvIf \"reqenv('REMOTE_USER') != ''\" SELCGI_PROOF \"${SELCGI_PROOF}\"",
        "lighttpd": 'include "selcgi-proof.conf" only beside auth.require',
        "haproxy": "set-param SELCGI_PROOF only in the fcgi-app of a backend with http-request auth",
        "caddy": "env SELCGI_PROOF {$SELCGI_PROOF} only beside basicauth",
    },
    Question.HTTP_PROXY: {
        "nginx": 'fastcgi_param HTTP_PROXY "";',
        "caddy": "header_up -Proxy",
    },
    Question.CREDENTIALS: {
        "nginx": 'fastcgi_param HTTP_AUTHORIZATION "";',
        "lighttpd": 'setenv.set-request-header = ("Authorization" => "")',
        "haproxy": "http-request del-header Authorization",
        "caddy": "header_up -Authorization",
    },
    Question.LOST_CLIENT: {
        "nginx": "fastcgi_ignore_client_abort off;",
    },
    Question.HEAD: {
        "nginx": "fastcgi_buffer_size 32k; fastcgi_buffers 8 32k;",
        "haproxy": "tune.bufsize 49152",  # with one beyond 64 KB HAProxy 2.6 sends records with a wrong length
    },
    Question.CHUNKED: {
        "nginx": "client_max_body_size 1g;",
        "lighttpd": "server.stream-request-body = 0",
    },
}


def remedy(question: Question, server: str) -> str:
    """Empty when there is nothing that this server could be told."""
    return _REMEDIES[question].get(server, "")
