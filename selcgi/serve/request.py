"""One request, from its params to its line in the log. Read this file first.

Decides the order, left to right and no step back: params, identity, script, rule, context, body, turn, launch, relay.
Everything is decided before anything is started. Every refusal, whatever its cause, ends here: one page that names
the request id only, one line in the log with the reason. Must not know sockets or the kernel.
Called by serve/worker.py for each request, and by `selcgi run` through the same worker.
"""

import asyncio
import os
import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from selcgi.errors import (
    ClientGone,
    DeadlineExceeded,
    Denied,
    LaunchFailed,
    Overloaded,
    ScriptNotFound,
    ScriptRefused,
    SelcgiError,
    unexpected,
)
from selcgi.mapping.known import NOTHING, Known
from selcgi.mapping.table import Query, Verdict
from selcgi.mapping.warmth import warmth
from selcgi.plan import Limits, Plan
from selcgi.serve.accesslog import Entry
from selcgi.serve.aftermath import explain_end
from selcgi.serve.answer import Answer
from selcgi.serve.board import Identity
from selcgi.serve.exchange import Exchange
from selcgi.serve.failures import Keeper
from selcgi.serve.means import Means
from selcgi.serve.probeanswer import answer_probe
from selcgi.serve.redirect import Trail
from selcgi.serve.relay import Relay
from selcgi.serve.site import Site, context_text
from selcgi.system.accounts import account
from selcgi.system.identity import prove, prove_told
from selcgi.system.scripts import Located
from selcgi.wire.environ import Request, environ, read_request
from selcgi.wire.response import error_page

_RETRY_SECONDS = 5  # told to the client of an overloaded selcgi


class Decision(NamedTuple):
    """What is to be done for one request. It owns the opened script until located.close()."""

    request: Request
    located: Located
    verdict: Verdict
    limits: Limits

    def under(self, verdict: Verdict) -> "Decision":
        return self._replace(verdict=verdict)


async def serve_request(site: Site, means: Means, exchange: Exchange) -> None:
    """Answer one request, whatever it takes, and log it. Raises nothing while there is memory."""
    began = time.monotonic()
    entry = exchange.entry
    entry.id, entry.selinux = os.urandom(6).hex(), site.labels.note.removeprefix("selinux=")
    try:
        question = means.probe.question(exchange.pairs) if exchange.refused is None else None
        if question is None:
            await follow(site, means, exchange, began)
        else:  # of `selcgi check-front`, which gets what arrived for an answer; no script is started
            await answer_probe(means.probe, question, exchange, lambda: identify(site, exchange))
    except SelcgiError as error:
        _refuse(exchange, error)
    except Exception as error:  # a bug must not leave a client without an answer
        place = traceback.extract_tb(error.__traceback__)[-1]
        _refuse(exchange, unexpected(error, f"{Path(place.filename).name}:{place.lineno}"))
    exchange.body.discard()
    if not exchange.body.arrived and not exchange.aborted:
        await _take_rest(exchange, site.settings.late_body_seconds)
    exchange.end(0)
    exchange.entry.bytes_out = exchange.bytes_out
    means.tally.count(exchange.entry)
    _report(site, means, exchange, began)


async def follow(site: Site, means: Means, exchange: Exchange, began: float) -> None:
    """Run the script that was asked for, and with --local-redirects those that its redirects lead to."""
    request, trail = identify(site, exchange), None
    known = NOTHING if request.user is None else await means.lookups.known(site.table.asked, request.user)
    while True:
        decision = decide(site, exchange, request, known)
        try:
            if trail is not None:
                trail.came_to(decision.located)
            target = await admit(site, means, exchange, decision)
        except LaunchFailed:
            site.scripts.forget(decision.located)  # what was found of it may hold no more: a mount, the policy
            raise
        finally:
            decision.located.close()
        if target is None:
            return
        trail = trail or Trail(request, decision.located)
        request = trail.next(request, target)
        following = exchange.entry.followed(target.partition(b"?")[0].decode(), request.method)
        _report(site, means, exchange, began)
        exchange.entry = following


def decide(site: Site, exchange: Exchange, request: Request, known: Known) -> Decision:
    """Which script that is, and what the mapping says to it. Raises the refusal."""
    try:
        located = site.scripts.open(request.script_paths)
    except (ScriptNotFound, ScriptRefused) as error:
        # Whom no rule lets in does not learn which scripts exist; of the others the log names rule and context.
        found = error.script if isinstance(error, ScriptRefused) else b""
        exchange.entry.script = os.fsdecode(found)
        _ask(site, request, known, os.fsdecode(found or request.script_paths[0]), exchange.entry)
        raise
    try:
        exchange.entry.script = path = os.fsdecode(located.script.path)
        verdict = _ask(site, request, known, path, exchange.entry)
        limits = verdict.limits(site.settings.limits)
        exchange.body.expect(request.content_length, limits.body_bytes, request.user or "")
        return Decision(request, located, verdict, limits)
    except BaseException:
        located.close()
        raise


def identify(site: Site, exchange: Exchange) -> Request:
    """The params as a request, with a user only if the listener's proof says so. Raises the refusal."""
    if exchange.refused is not None:
        raise exchange.refused
    entry, listener = exchange.entry, exchange.listener
    request = read_request(exchange.pairs, listener.map_params)
    # HAProxy 2.6.12 was seen to die of FCGI_STDERR before or between the parts of an answer; later ones ignore it.
    exchange.takes_stderr = not request.params.get(b"SERVER_SOFTWARE", b"").startswith(b"HAProxy")
    entry.method, entry.auth = request.method, request.auth_type
    secret = site.secrets.get(listener.address)
    user = prove(listener, secret, request.user, request.auth_type, request.proof, exchange.tcp)
    entry.user = user or ""  # a name that nobody has proven is in the reason alone
    prove_told(request.told, user)
    return request if user == request.user else replace(request, user=user)


def _ask(site: Site, request: Request, known: Known, script: str, entry: Entry) -> Verdict:
    try:
        verdict = site.table.decide(Query(request.user, script, request.host, request.told, known))
    except Denied as error:
        entry.rule = error.rule
        raise
    entry.rule, entry.context = verdict.where, context_text(site, verdict.spec)
    return verdict


async def admit(site: Site, means: Means, exchange: Exchange, decision: Decision) -> bytes | None:
    """Run it in its turn; see run()."""
    if decision.request.content_length is None:
        if decision.request.method in ("GET", "HEAD"):
            exchange.body.discard()
        else:
            decision = await _with_length(exchange, decision)
    if (own := site.categories.own(decision.verdict, exchange, decision.request.user)) is not None:
        decision = decision.under(await own)
    who = Identity(decision.request.user, exchange.entry.context)
    began = time.monotonic()
    row = means.tally.begin(exchange.entry, began)
    try:
        if (turn := means.admission.enter(who, decision.limits.requests, exchange)) is not None:
            await turn
        means.tally.started(row)
        exchange.entry.waited = round(time.monotonic() - began, 6)
        try:
            lent = site.categories.lent(decision.verdict, exchange, means.leases)
            if lent is None:
                return await run(site, means, exchange, decision)
            async with lent as verdict:
                return await run(site, means, exchange, decision.under(verdict))
        finally:
            means.admission.leave(who)
    finally:
        means.tally.end(row)


async def run(site: Site, means: Means, exchange: Exchange, decision: Decision) -> bytes | None:
    """Launch what was decided and bring its answer home. When this returns, no process of it is left.

    The target of a local redirect that is to be followed; nothing was answered then.
    """
    bodiless = decision.request.method == "HEAD"
    settings = site.settings
    answer = Answer(settings.head_bytes, decision.verdict.sendfile, bodiless, settings.local_redirects)
    plan = make_plan(site, decision, exchange.entry.script)
    if exchange.poller.busy:
        await _IN_STEP
    if exchange.aborted:
        raise ClientGone(f"{exchange.why_gone} before its script was started")
    exchange.entry.context = str(plan.context)  # as the kernel's own records have it
    running = means.denials.launch(means.launcher, plan, exchange.entry)
    exchange.processes_gone = False
    try:
        if exchange.poller.busy:
            await _IN_STEP
        await Relay(running, exchange, answer, decision.limits, settings).run()
    except SelcgiError as error:
        explain_end(error, site.labels, plan, running.exit, exchange)
        if not answer.sent:
            raise
        exchange.entry.blame(error)
        if not isinstance(error, ClientGone):  # an aborted request is ended in order (FastCGI 1.0 section 5.4)
            exchange.break_off()
    finally:
        if plan.warm is not None and running.pid:
            exchange.entry.launch = "warm" if running.warm else "cold"
        exchange.processes_gone = running.gone
        running.close()
        answer.note(exchange.entry)
    return answer.redirect


class _InStep:
    """Awaited, it lets the other requests of this turn come as far. Each start of a program empties the processor's
    caches: what is done for several requests in a row, before and after their starts, costs a tenth less
    (contrib/bench)."""

    def __await__(self) -> Generator[None, None, None]:
        yield  # as asyncio.sleep(0), with two frames less


async def _with_length(exchange: Exchange, decision: Decision) -> Decision:
    """A body of unknown length is taken in first: a script may rely on CONTENT_LENGTH (RFC 3875 section 4.1.2)."""
    body, limits = exchange.body, decision.limits
    try:
        async with asyncio.timeout(limits.total_seconds):
            await exchange.input_until(lambda: body.ended or body.error is not None, limits.idle_seconds)
    except TimeoutError:
        reason = "the body, of unknown length, did not end in time"
        raise DeadlineExceeded("idle", reason, "raise --idle-timeout and --timeout") from None
    if exchange.aborted:
        raise ClientGone(f"{exchange.why_gone} in the middle of its body")
    if body.error is not None:
        raise body.error
    return decision._replace(request=replace(decision.request, content_length=body.received))


def make_plan(site: Site, decision: Decision, name: str) -> Plan:
    """Everything that the launch needs; `name` is the script's path. LaunchFailed: the policy has no such context."""
    request, script, verdict = decision.request, decision.located.script, decision.verdict
    who = account(verdict.account) if verdict.account else site.account
    home = who.home if who is not None else site.home
    return Plan(
        script=script,
        argv=(script.path,),
        environ=environ(request, script.path, decision.located.path_info, site.settings.environ, home),
        context=site.labels.resolve(verdict.spec),
        limits=decision.limits,
        account=who,
        empty_body=not request.content_length,
        warm=warmth(verdict, name, site.settings.warm),
    )


def _refuse(exchange: Exchange, error: SelcgiError) -> None:
    entry = exchange.entry
    entry.blame(error)
    entry.status = error.status
    if not isinstance(error, ClientGone):
        retry = _RETRY_SECONDS if error.status == Overloaded.status else None
        exchange.write_last(error_page(error.status, entry.id, retry))


def _report(site: Site, means: Means, exchange: Exchange, began: float) -> None:
    """The line in the log and the record, as soon as it is known what the kernel refused: after the answer."""
    exchange.entry.seconds = round(time.monotonic() - began, 6)
    means.denials.settle(exchange.entry, partial(_write_down, site, means.keeper, exchange, exchange.entry))


def _write_down(site: Site, keeper: Keeper | None, exchange: Exchange, entry: Entry) -> None:
    site.report(entry)
    if keeper is not None and entry is exchange.entry:  # not for a local redirect that was followed
        keeper.keep(exchange)


async def _take_rest(exchange: Exchange, seconds: float) -> None:
    """The rest of the body, which is thrown away: a web server still sending it would never see the answer."""
    exchange.flush()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await exchange.input_until(lambda: exchange.body.arrived, seconds)


_IN_STEP = _InStep()
