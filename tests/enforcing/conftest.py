"""Fixtures of the tests that run inside the guest: the site, a running selcgi, and the kernel's denials.

Every test here owes an account of the denials it caused: those it did not claim by `avcs.expect` fail it.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.enforcing import site
from tests.enforcing.delegation import delegated
from tests.enforcing.kernellog import KernelLog
from tests.guest.audit import Avc
from tests.stack import Selcgi


class Claims:
    """The denials of one test. `expect` takes those it describes; what is left at the end was not expected."""

    def __init__(self, log: KernelLog) -> None:
        self._log = log
        self._open: list[Avc] = []

    def expect(self, source: str, target: str, tclass: str, permission: str) -> Avc:
        """At least one denial of these types, class and permission; the first of them."""
        self.collect()
        found = [one for one in self._open if _matches(one, source, target, tclass, permission)]
        wanted = f"{source} -> {target} : {tclass} {{ {permission} }}"
        assert found, f"no denial {wanted}; there are: {[str(one) for one in self._open]}"
        self._open = [one for one in self._open if one not in found]
        return found[0]

    def claim_permissive(self) -> None:
        """Denials that were let through, in a test that makes something permissive."""
        self.collect()
        self._open = [one for one in self._open if not one.permissive]

    def claim_all_of(self, source: str) -> list[Avc]:
        """Those of a domain that a test has try things."""
        self.collect()
        found = [one for one in self._open if one.source_type == source]
        self._open = [one for one in self._open if one not in found]
        return found

    def collect(self) -> None:
        self._open += self._log.denials()

    @property
    def unclaimed(self) -> list[str]:
        self.collect()
        return [str(one) for one in self._open]


def _matches(one: Avc, source: str, target: str, tclass: str, permission: str) -> bool:
    return (one.source_type, one.target_type, one.tclass) == (source, target, tclass) and permission in one.permissions


@pytest.fixture(scope="session")
def kernel_log() -> Iterator[KernelLog]:
    log = KernelLog()
    yield log
    log.close()


@pytest.fixture(autouse=True)
def avcs(kernel_log: KernelLog) -> Iterator[Claims]:
    kernel_log.denials()
    claims = Claims(kernel_log)
    yield claims
    assert claims.unclaimed == [], "denials that no test expected"


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    site.prepare()


@pytest.fixture(params=["guard", "cgroup"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """What keeps the processes of a request together, and ends them; way_options() says it to selcgi."""
    with delegated() if request.param == "cgroup" else nullcontext():
        yield request.param


@pytest.fixture
def selcgi() -> Iterator[Selcgi]:
    with site.serving() as running:
        yield running
