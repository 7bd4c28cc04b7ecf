"""Help of a command with many options: by subject, and with a foot about the environment.

Decides which option belongs to which subject; one that no subject names is shown last, and a test finds it. Must not
change what an option does. Used by the commands of cli/ that start scripts, and by cli/man.py.
"""

from collections.abc import Iterable

import click

GROUPS = {
    "The request": ("user", "method", "query", "headers", "body", "given"),
    "Web servers": ("listeners",),
    "Users and scripts": ("maps", "group_files", "param_domains", "roots", "script_user"),
    "SELinux": ("selinux", "no_preflight", "denials"),
    "Limits of a request": (
        *("timeout", "first_byte_timeout", "idle_timeout", "kill_grace", "max_body"),
        *("spool", "spool_total", "cgroup"),
    ),
    "Requests at once": (
        *("concurrent", "concurrent_worker", "concurrent_user", "queue", "queue_time"),
        *("workers", "max_requests", "drain_timeout"),
    ),
    "Environment of scripts": ("env", "pass_param", "local_redirects"),
    "Warm interpreters": ("warm", "preload", "warm_fallback", "warm_zygotes", "warm_requests", "warm_idle"),
    "Categories": ("categories", "user_categories", "request_categories", "assign_categories"),
    "Log and control": ("control", "metrics", "failures", "pid_file", "log_file", "log_format", "log_level"),
}
OTHERS = "Other options"


class Grouped(click.Command):
    """A command whose --help has a section for each subject."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = {one.name: one.get_help_record(ctx) for one in self.get_params(ctx) if isinstance(one, click.Option)}
        for title, names in {**GROUPS, OTHERS: tuple(left)}.items():
            rows = [row for name in names if name in left and (row := left.pop(name))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(variables([self], f"--timeout is from {ctx.auto_envvar_prefix}_TIMEOUT"))


def variables(commands: Iterable[click.Command], example: str) -> str:
    """Which options an environment sets, and which it can't."""
    options = [one for command in commands for one in command.params if isinstance(one, click.Option)]
    kept = sorted({name for one in options if not one.allow_from_autoenv for name in one.opts})
    return (
        f"An option is also read from a variable, as {example}; but not {', '.join(kept)}, so that no environment "
        "switches protection off."
    )
