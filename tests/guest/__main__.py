"""`python -m tests.guest build|run|shell [--suite S]`: make the image, run a command in a guest, or look around."""

import argparse
import sys
from collections import Counter

from tests.guest import image, machine
from tests.guest.fetch import GuestFailed
from tests.guest.host import end_on_sigterm

_SHOWN = 30  # different denials
_SHELL = "exec bash --rcfile /usr/local/lib/guest/shellrc -i"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=__doc__)
    parser.add_argument("what", choices=["build", "run", "shell"])
    parser.add_argument("--suite", default="trixie", choices=image.SUITES)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("command", nargs="*", help="for run: a shell command, e.g. 'id -Z; getenforce'")
    values = parser.parse_args()
    if values.what == "build":
        print(image.build(values.suite))
        return 0
    shell = values.what == "shell"
    command = _SHELL if shell else " ".join(values.command)
    job = machine.Job(command, values.suite, values.seconds, shell=shell, live=True)
    outcome = machine.run(job)
    for text, count in Counter(map(str, outcome.denials)).most_common(_SHOWN):
        print(f"denied {count} times: {text}", file=sys.stderr)
    return outcome.code


if __name__ == "__main__":
    end_on_sigterm()
    try:
        sys.exit(main())
    except GuestFailed as error:
        print(f"guest: {error}", file=sys.stderr)
        sys.exit(3)
