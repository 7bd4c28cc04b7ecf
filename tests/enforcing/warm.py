"""Warm interpreters in the guest: the site's users by rules that say warm=, with the cgroup that zygotes need.

Decides nothing more. Runs in the guest; used by the test_warm*.py here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.enforcing import site
from tests.enforcing.delegation import delegated
from tests.enforcing.test_switches import switched_on
from tests.stack import Selcgi

BOOLEAN = "selcgi_webapp_warm"


def rules(option: str = "warm=yes") -> str:
    return "".join(f"{line} {option}\n" for line in site.rules().splitlines())


@contextmanager
def mapped(text: str) -> Iterator[None]:
    site.write(site.MAP, text)
    try:
        yield
    finally:
        site.write(site.MAP, site.rules())


@contextmanager
def serving(*options: str, text: str = "", boolean: bool = True, identity: str = "remote-user") -> Iterator[Selcgi]:
    """One worker, the site's mapping or `text`, and the boolean of the shipped domains on unless told otherwise."""
    with delegated() as given, mapped(text or rules()):
        if boolean:
            with switched_on(BOOLEAN), site.serving("--workers=1", given, *options, identity=identity) as running:
                yield running
        else:
            with site.serving("--workers=1", given, *options, identity=identity) as running:
                yield running
