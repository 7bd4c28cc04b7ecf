"""A script that starts a family of processes, and the means to see who of it is left. For host and guest.

Each member's command line carries the family's tag, so that it is found whatever session, group or parent it has.
"""

import itertools
import os
from pathlib import Path

from tests.stack import wait_until

MEMBERS = 5  # sleeping processes of one family
SOURCE = """#!/bin/bash
# A child, a background job of a session of its own, a grandchild that has left its parent and its session.
tag=${QUERY_STRING#*=} after=${QUERY_STRING%%=*}
sleep 1000.$tag &
setsid bash -c "sleep 1000.$tag & sleep 1000.$tag" &
(setsid setsid sleep 1000.$tag > /dev/null 2>&1 < /dev/null &)
trap '' HUP
case $after in
    end) ;;
    term) trap "echo ended > $CGI_MARKS/$tag; exit 0" TERM ;;
    stubborn) trap '' TERM ;;
esac
(trap '' TERM; exec sleep 1000.$tag) &
printf 'Content-Type: text/plain\\n\\nstarted\\n'
case $after in
    end) ;;
    silent) exec > /dev/null; wait ;;
    *) while :; do wait; done ;;
esac
"""
_TAGS = itertools.count(os.getpid() * 10000)


def new_tag() -> str:
    return str(next(_TAGS))


def alive(tag: str) -> list[int]:
    """Pids of the family's sleepers."""
    return [pid for pid, line in command_lines().items() if f"1000.{tag}".encode() in line]


def all_started(tags: list[str]) -> bool:
    """One look that sees every one of these families complete."""
    lines = command_lines().values()
    return all(sum(f"1000.{tag}".encode() in line for line in lines) >= MEMBERS for tag in tags)


def command_lines() -> dict[int, bytes]:
    """Pid -> command line of all processes; a zombie has none."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(place.parent.name)] = place.read_bytes()
        except OSError:
            continue
    return found


def wait_started(tag: str) -> None:
    wait_until(f"the family {tag}", lambda: len(alive(tag)) >= MEMBERS)


def wait_dead(tag: str) -> None:
    wait_until(f"the end of the family {tag}", lambda: not alive(tag))
