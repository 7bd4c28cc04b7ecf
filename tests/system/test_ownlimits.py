"""The limits that a process sets for itself, in one of the test's own."""

import subprocess
import sys

import pytest

from tests.stack import TREE

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from selcgi.system.ownlimits import limit_self
os.nice(10)
limit_self((), int(sys.argv[2]))
print(os.nice(0))
"""


@pytest.mark.parametrize(("wanted", "found"), [(7, 10), (12, 12)])
def test_niceness_is_never_lowered(wanted: int, found: int) -> None:
    """selcgi may have been started nicer than a rule says, and may be root."""
    line = [sys.executable, "-c", PROGRAM, str(TREE), str(wanted)]
    assert int(subprocess.run(line, capture_output=True, check=True, timeout=60).stdout) == found
