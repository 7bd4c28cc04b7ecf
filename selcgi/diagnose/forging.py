"""Can somebody pass for somebody else? The requests that try, and what is made of their answers.

Decides that a name is forged when the listener believes it of a request without its password; that the web server
passes it on is a note when the listener refuses it, as with identity=proof. What got no clear answer is unknown, never
good. Called by diagnose/front.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from selcgi.diagnose.finding import Finding, Question, remedy
from selcgi.diagnose.probing import Account, Front, Seen
from selcgi.diagnose.webclient import Headers, basic

FORGED = "selcgi-forged"  # nobody's name
_NAMES = ("Remote-User", "REMOTE_USER", "Remote_User", "X-Remote-User", "X_Remote_User", "X-Forwarded-User", "User")
_BASIC = basic(FORGED, "x")
_SAYS_NOTHING = frozenset((404, 408, 429))  # of 4xx: the others refuse the request, and 3xx leads to a login
_PROVE = "; and identity=proof:FILE in --listen of selcgi serve"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that claims to be FORGED's, or anybody's. `rightful`: with the account's password beside it."""

    name: str
    headers: Headers
    rightful: bool = False
    absolute: bool = False


def _nobody(_: Account | None) -> Iterator[Attempt]:
    yield Attempt("no account", ())


def _passwords(account: Account | None) -> Iterator[Attempt]:
    yield Attempt("Basic", (_BASIC,))
    yield Attempt("Proxy-Authorization", (("Proxy-Authorization", _BASIC[1]),), absolute=True)
    if account is not None:
        yield Attempt(f"{account.user} with a wrong password", (basic(account.user, f"{account.password}-"),))


def _headers(account: Account | None) -> Iterator[Attempt]:
    """An Auth-Type goes with each, for a listener that asks for one."""
    for name in _NAMES:
        claim = ((name, FORGED), ("Auth-Type", "Basic"))
        yield Attempt(name, claim)
        if account is not None:
            yield Attempt(f"{name} beside the password of {account.user}", (basic(*account), *claim), rightful=True)


def _duplicates(account: Account | None) -> Iterator[Attempt]:
    yield Attempt("Basic twice", (basic("selcgi-other", "x"), _BASIC))
    yield Attempt("Remote-User twice", (("Remote-User", ""), ("Remote-User", FORGED)))
    if account is not None:
        yield Attempt("the right Basic, then a wrong one", (basic(*account), _BASIC), rightful=True)
        yield Attempt("a wrong Basic, then the right one", (_BASIC, basic(*account)), rightful=True)


_ATTEMPTS: dict[Question, Callable[[Account | None], Iterator[Attempt]]] = {
    Question.NOBODY: _nobody,
    Question.UNCHECKED: _passwords,
    Question.HEADER: _headers,
    Question.DUPLICATE: _duplicates,
}


def forging(front: Front) -> Iterator[Finding]:
    """A finding for each kind of attempt."""
    for question, attempts in _ATTEMPTS.items():
        tried = ((one, front.probe(one.headers, absolute=one.absolute)) for one in attempts(front.account))
        yield _judge(front, question, tried)


def _unclear(attempt: Attempt, status: int) -> str:
    """Empty when the web server itself refused the attempt."""
    if 300 <= status < 500 and status not in _SAYS_NOTHING:
        return ""
    return f"{attempt.name}: {f'the answer was {status}' if status else 'no answer came'}"


def _judge(front: Front, question: Question, tried: Iterator[tuple[Attempt, Seen]]) -> Finding:
    """The first that is believed decides; then the first of unclear outcome; then those that arrive."""
    unclear, arrived, reason, add = "", [], "", remedy(question, front.server)
    for attempt, seen in tried:
        told, entitled = seen.told, front.entitled if attempt.rightful else ""
        if told is None:
            unclear = unclear or _unclear(attempt, seen.reply.status)
        elif (told.user or "") not in ("", entitled):
            prove = "" if told.identity == "proof" else _PROVE
            return Finding(question, "forged", f"{attempt.name}: the request counts as {told.user}", add + prove)
        elif any(name not in ("", entitled) for name in told.remote_user):
            arrived.append(attempt.name)
            reason = told.refused
    if unclear:
        return Finding(question, "unknown", unclear)
    if arrived:
        return Finding(question, "note", f"arrives by {', '.join(arrived)}; refused, since {reason}", add)
    return Finding(question, "good", "does not count")
