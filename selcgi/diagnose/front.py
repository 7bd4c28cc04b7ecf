"""The questions of `selcgi check-front`: is a web server safe in front of selcgi, and what gets through it?

Decides what is asked and in which order, and what an answer means; whether a name can be forged is
diagnose/forging.py's. selcgi withholds by itself what is only a note here. Called by cli/check_front.py.
"""

from collections.abc import Iterator

from selcgi.diagnose.finding import Finding, Question, remedy
from selcgi.diagnose.forging import forging
from selcgi.diagnose.probing import Account, Front, Seen, Told
from selcgi.diagnose.webclient import Reply, basic

_HEAD_LINES = 63  # of 512 bytes: what selcgi lets a script write at most
_UPLOAD = bytes(200_000)
_TRIES = 3  # a refusal in the middle of an upload may be reset away


def check(front: Front) -> Iterator[Finding]:
    """Every question in turn. StartRefused when the URL does not lead to this selcgi."""
    with front.armed() as greeting:
        if front.account is not None:
            yield _account(front.account, greeting)
        yield from forging(front)
        for question in (_proof, _http_proxy, _password, _lost_client, _head_size, _chunked):
            yield question(front)
        yield from _last(front)


def _last(front: Front) -> Iterator[Finding]:
    """A web server that locks out whoever sends wrong passwords refuses everything from then on, and looks safe."""
    seen = front.probe(front.rightful)
    if seen.told is None:
        answer = f"is answered with {seen.reply.status} now: what was refused above may have been for that reason only"
        yield Finding(Question.LAST, "unknown", answer)


def _note(front: Front, question: Question, answer: str) -> Finding:
    return Finding(question, "note", answer, remedy(question, front.server))


def _account(account: Account, told: Told) -> Finding:
    question = Question.ACCOUNT
    if told.refused:
        return Finding(question, "note", f"{account.user} is refused, since {told.refused}", told.fix)
    counts = f"{account.user} counts as {told.user or 'nobody known'}"
    return Finding(question, "good" if told.user == account.user else "note", counts)


def _proof(front: Front) -> Finding:
    question, told = Question.PROOF, front.probe(()).told
    if told is None:
        return Finding(question, "good", "no request without an account gets through")
    if told.proof:
        return _note(front, question, "is sent, so whatever name gets through here is believed")
    return Finding(question, "good", "is not sent")


def _http_proxy(front: Front) -> Finding:
    question, told = Question.HTTP_PROXY, front.probe((*front.rightful, ("Proxy", "http://127.0.0.1:9/"))).told
    if told is None:
        return Finding(question, "good", "such a request is refused")
    if told.http_proxy:
        return _note(front, question, "arrives; selcgi keeps it from scripts")
    return Finding(question, "good", "does not arrive")


def _password(front: Front) -> Finding:
    question, told = Question.CREDENTIALS, front.probe(front.rightful or (basic("selcgi-check", "x"),)).told
    if told is None:
        return Finding(question, "good", "no request with an unknown account gets through")
    if told.passwords:
        return _note(front, question, f"as {', '.join(told.passwords)}; selcgi keeps it from scripts")
    return Finding(question, "good", "it does not")


def _lost_client(front: Front) -> Finding:
    question, state = Question.LOST_CLIENT, front.leave()
    if state == "REPORTED":
        return Finding(question, "good", "is reported")
    if state == "NONE":
        return Finding(question, "unknown", "the probe that would have waited did not arrive")
    return _note(front, question, "is not reported: only deadlines end a script that nobody waits for")


def _head_size(front: Front) -> Finding:
    """The longest that passes, by halving."""
    if _passes(front, _HEAD_LINES):
        return Finding(Question.HEAD, "good", "32 KB pass, as much as a script may write")
    passes, fails = 0, _HEAD_LINES
    while fails - passes > 1:
        middle = (passes + fails) // 2
        passes, fails = (middle, fails) if _passes(front, middle) else (passes, middle)
    return _note(front, Question.HEAD, f"{passes / 2:g} KB pass, no more; a script may write 32 KB")


def _passes(front: Front, lines: int) -> bool:
    reply = front.probe(front.rightful, f"head.{lines}").reply
    return reply.status == 200 and sum(name.lower().startswith("x-selcgi-fill-") for name, _ in reply.headers) == lines


def _chunked(front: Front) -> Finding:
    question = Question.CHUNKED
    answers = (front.upload(_UPLOAD) for _ in range(_TRIES))
    got = next((one for one in answers if one.reply.status), Seen(Reply(0), None))
    if got.told is None:
        return _note(front, question, f"is refused with {got.reply.status}" if got.reply.status else "gets no answer")
    if got.told.received != len(_UPLOAD):
        return _note(front, question, f"arrives in part: {got.told.received} of {len(_UPLOAD)} bytes")
    known = got.told.content_length == [str(len(_UPLOAD))]
    return Finding(question, "good", "is buffered, and its length sent" if known else "is streamed, without a length")
