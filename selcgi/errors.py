"""Every way in which selcgi says no, with the answer that goes with it.

Decides which HTTP status a client sees for each cause (`status`), and which step of a request it belongs to
(`step`). An error is raised where the cause is known and logged once, in serve/request.py or cli/. It must not
format pages, log, or carry secrets: `reason` and `fix` go to the log, the client sees the status alone.
"""

import errno
import os

USED_UP = {
    errno.EMFILE: "raise LimitNOFILE=, or lower --concurrent",
    errno.ENFILE: "raise fs.file-max of sysctl(8), or lower --concurrent",
    errno.EAGAIN: "raise processes= in the rule, or LimitNPROC= and TasksMax= of the unit, or lower --concurrent",
    errno.ENOSPC: "raise fs.epoll.max_user_watches of sysctl(8), or run scripts as another user (--script-user)",
    errno.ETOOMANYREFS: "end what keeps descriptors in messages unread, or run scripts as another user (--script-user)",
    errno.ENOMEM: "see what takes the memory, or lower --concurrent",
}


class SelcgiError(Exception):
    """A named error: `reason` says what and where in one sentence, `fix` what to change (may be empty)."""

    status = 500
    step = "internal"
    limit = ""  # the name of the limit that was hit, if one was

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}" if self.fix else self.reason


class ProtocolError(SelcgiError):
    """The peer does not speak FastCGI 1.0; nothing more on its connection can be trusted."""

    status = 400
    step = "wire"


class BadRequest(SelcgiError):
    """The params are malformed, too large, or contradict one another."""

    status = 400
    step = "params"


class Denied(SelcgiError):
    """No rule of the mapping matches, or the rule that does says deny. `rule` is its file:line, or "-"."""

    status = 403
    step = "mapping"

    def __init__(self, reason: str, fix: str = "", rule: str = "-") -> None:
        super().__init__(reason, fix)
        self.rule = rule


class LookupFailed(SelcgiError):
    """Whether a rule matches hangs on what the system could not be asked: the groups of a user, his login mapping."""

    status = 503
    step = "mapping"


class ProbeRefused(SelcgiError):
    """A probe whose token is not good, or no longer: it gets no probe answer, and runs no script either."""

    status = 503
    step = "probe"


class IdentityNotProven(SelcgiError):
    """A REMOTE_USER came without the proof that its listener demands; it is never taken for anonymous."""

    status = 403
    step = "identity"


class ScriptRefused(SelcgiError):
    """The script leaves its root, or its owner, mode or kind is unsafe. `script` is what was found, if anything was."""

    status = 403
    step = "script"
    script = b""


class ScriptNotFound(SelcgiError):
    """No such script beneath any root."""

    status = 404
    step = "script"


class BodyTooLarge(SelcgiError):
    """The request body is longer than the limit."""

    status = 413
    step = limit = "body"


class LaunchFailed(SelcgiError):
    """A step of the launch failed; `step` names it, and no instruction of the script has run. See launch_failed()."""

    status = 500

    def __init__(self, step: str, reason: str, fix: str = "") -> None:
        super().__init__(reason, fix)
        self.step = step


class LaunchStarved(LaunchFailed):
    """A step of the launch found no descriptor, process or memory left; the client may try again."""

    status = 503


class ContextLost(LaunchFailed):
    """The process did not come up in the planned context; it was killed before a byte was forwarded."""


class ZygoteFailed(LaunchFailed):
    """No warm interpreter can be had for the script now, of which nothing has run; the client may try again. `step` is
    of its own launch, where that failed; `pid` of one that had been launched and could not start, 0 without one."""

    status = 503

    def __init__(self, reason: str, fix: str = "", step: str = "zygote", pid: int = 0) -> None:
        super().__init__(step, reason, fix)
        self.pid = pid


class LoadFailed(SelcgiError):
    """What a zygote was to load can't be loaded, or would be shared by requests in a way that it can't bear."""

    step = "zygote"


class RegistryFailed(SelcgiError):
    """The registry of categories can't be trusted, read or written, or has no more to give."""

    step = "categories"


class BadResponse(SelcgiError):
    """What the script wrote is no CGI response (RFC 3875 section 6)."""

    status = 502
    step = "response"


class RedirectRefused(BadResponse):
    """A local redirect that may be followed inside leads where it may not be."""

    step = "redirect"


class Overloaded(SelcgiError):
    """A bounded resource is used up, named by `limit`; the client may try again."""

    status = 503
    step = "admission"

    def __init__(self, reason: str, fix: str = "", limit: str = "") -> None:
        super().__init__(reason, fix)
        self.limit = limit


class DeadlineExceeded(SelcgiError):
    """A deadline passed; `step` names it: total, first-byte, idle or write."""

    status = 504

    def __init__(self, step: str, reason: str, fix: str = "") -> None:
        super().__init__(reason, fix)
        self.step = self.limit = step


class LimitMet(SelcgiError):
    """The script, or what it started, has met a limit of its rule, named by `limit`."""

    status = 502
    step = "limit"

    def __init__(self, limit: str, reason: str, fix: str = "") -> None:
        super().__init__(reason, fix)
        self.limit = limit


class ClientGone(SelcgiError):
    """The web server closed the connection or aborted the request; 499 is nginx's own number for it, never sent."""

    status = 499
    step = "client"


class ConnectionLost(SelcgiError):
    """A connection of the web server can't be used any more, and not by its doing."""

    step = "send"


class MappingError(SelcgiError):
    """A mistake in a mapping file; a file with one is never loaded. Prints as file:line: what."""

    step = "mapping"

    def __init__(self, file: str, line: int, reason: str, fix: str = "") -> None:
        super().__init__(reason, fix)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {super().__str__()}"


class BadRecord(SelcgiError):
    """What came as a record of the kernel's audit is none; nothing of it is used."""

    step = "audit"


class StartRefused(SelcgiError):
    """selcgi can't keep its promise on this system as it is configured, and does not start."""

    step = "start"


class PreflightFailed(StartRefused):
    """The loaded policy would not let the mapping's scripts run, or would not keep them apart."""

    step = "preflight"


class PolicyRefused(SelcgiError):
    """What a policy module was asked to hold can't be written, or would take what is not the application's along."""

    step = "policy"


class PolicyUnreadable(SelcgiError):
    """The SELinux policy gives no answers, to this program or on this system."""

    step = "policy"


def launch_failed(step: str, what: str, error: OSError, fix: str = "") -> LaunchFailed:
    """`what` failed with `error`; if something is used up, that is the cause, and has a fix of its own."""
    reason, used_up = f"{what}: {error.strerror or error}", USED_UP.get(error.errno or 0)
    return LaunchStarved(step, reason, used_up) if used_up else LaunchFailed(step, reason, fix)


def refused_by_kernel(error: OSError | MemoryError, otherwise: str) -> str:
    """In a sentence, with what to do: the limit to raise, or `otherwise`."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM
    return f"{os.strerror(number or errno.EIO)}; {USED_UP.get(number or 0, otherwise)}"


def unexpected(error: Exception, where: str) -> SelcgiError:
    """For what no code expects: a bug, or want of memory, which can be met anywhere."""
    if isinstance(error, MemoryError):
        return Overloaded(f"no memory is left in the worker for {where}", USED_UP[errno.ENOMEM])
    return SelcgiError(f"internal error in {where}: {error!r}", "please report it")
