"""`selcgi serve`: options to Settings, then the supervisor. Holds no logic."""

from pathlib import Path
from typing import Any

import click

from selcgi.cli.grouped import Grouped
from selcgi.cli.options import DEFAULTS, FILE, settings_from, site_options
from selcgi.cli.values import count_option, listen, seconds_option
from selcgi.serve import log
from selcgi.serve.supervisor import supervise
from selcgi.settings import ListenerSettings


@click.command(cls=Grouped)
@click.option(
    "--listen",
    "listeners",
    type=listen,
    multiple=True,
    required=True,
    allow_from_autoenv=False,
    metavar="ADDRESS[,KEY=VALUE..]",
    help="unix:PATH, tcp:HOST:PORT, fd:N or systemd. Keys: identity=proof:FILE|auth-type|remote-user|none, "
    "peer-uid=U, peer-type=T, peer-net=CIDR, map-param=NAME, mode=0660, owner=U:G. Repeatable.",
)
@site_options
@count_option("--concurrent", DEFAULTS.concurrent_requests, "Requests at once; more wait.")
@count_option("--concurrent-worker", 0, "Of one worker.", show="as many as of all")
@count_option("--concurrent-user", 0, "Of one user; max= of a rule takes its place.", show="three quarters of all")
@count_option("--queue", DEFAULTS.queue_length, "Requests that wait in one worker; more get 503.")
@seconds_option("--queue-time", DEFAULTS.queue_seconds, "Longest wait.")
@seconds_option("--drain-timeout", DEFAULTS.drain_seconds, "For requests to end, after SIGTERM.")
@click.option("--workers", type=click.IntRange(0, 1024), default=0, show_default="one a processor",
              metavar="N", help="Processes that answer requests.")  # fmt: skip
@click.option("--max-requests", type=click.IntRange(0), default=0, show_default="no limit", metavar="N",
              help="Requests of a worker; then a new one.")  # fmt: skip
@click.option(
    "--no-preflight",
    is_flag=True,
    allow_from_autoenv=False,
    help="Start with a mapping that the policy would not let work; the log says so. selcgi doctor says why.",
)
@click.option("--control", type=FILE, show_default="none", help="Socket for selcgi status, its owner's only.")
@click.option("--metrics", metavar="HOST:PORT", default="", show_default="none", help="For Prometheus, on loopback.")
@click.option("--failures", type=FILE, show_default="none", help="File for records of failed requests.")
@click.option("--pid-file", type=FILE, show_default="none", help="Write the supervisor's pid here.")
@click.option("--log-file", type=FILE, show_default="stderr", help="Opened anew at SIGUSR1.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Of the log's lines; json is for programs.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info",
              show_default=True, help="The least that is logged; each request is info.")  # fmt: skip
def serve(
    listeners: tuple[ListenerSettings, ...],
    concurrent: int,
    concurrent_worker: int,
    concurrent_user: int,
    queue: int,
    queue_time: float,
    drain_timeout: float,
    workers: int,
    max_requests: int,
    no_preflight: bool,
    control: Path | None,
    metrics: str,
    failures: Path | None,
    pid_file: Path | None,
    log_file: Path | None,
    log_format: str,
    log_level: str,
    **values: Any,
) -> None:
    """Answer a web server's FastCGI requests until SIGTERM.

    SIGHUP loads the mapping anew; a mistake in it changes nothing and is logged. SIGTERM lets requests end first.

    \b
    Behind nginx or Apache (see contrib/ for their side):
        selcgi serve \\
            --listen unix:/run/selcgi/selcgi.sock,identity=proof:/etc/selcgi/proof
    To look at it without SELinux and without proof, on this machine only:
        selcgi serve --selinux off --map my.map --root . \\
            --listen unix:/tmp/s.sock,identity=remote-user
    """
    settings = settings_from(
        values,
        listeners=listeners,
        concurrent_requests=concurrent,
        worker_requests=concurrent_worker,
        user_requests=concurrent_user,
        queue_length=queue,
        queue_seconds=queue_time,
        drain_seconds=drain_timeout,
        workers=workers,
        requests_per_worker=max_requests,
        preflight=not no_preflight,
        control=control.absolute() if control is not None else None,
        metrics=metrics,
        failures=failures.absolute() if failures is not None else None,
        pid_file=pid_file,
        log_file=log_file,
        log_json=log_format == "json",
        log_level=log_level,
    )
    log.set_up(settings)
    supervise(settings)
