"""What launch/ and diagnose/ rely on, asked of the kernel: its half of the contracts in tests/system, in selcgi_t.

The contract asks who selcgi is, so pytest itself has to run in selcgi_t: it is started by a program with selcgi's
label. Elsewhere that half is left out, and nothing else would run it.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.enforcing import site

pytestmark = pytest.mark.enforcing

PROGRAM = """#!/opt/selcgi/bin/python
import sys
import pytest

plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
sys.exit(pytest.main([*plugins, "-s", "-q", "-k", "kernel", sys.argv[1]]))
"""


@pytest.mark.parametrize("contract", ["test_labels_contract.py", "test_policy_contract.py"])
def test_the_kernel_keeps_the_contract(contract: str) -> None:
    program = site.write(Path("/opt/selcgi/bin/contract"), PROGRAM, 0o755, "selcgi_exec_t:s0")
    words = [*site.as_service()[:-1], f"PYTHONPATH={site.TREE}", str(program), f"tests/system/{contract}"]
    try:
        done = subprocess.run(words, cwd=site.TREE, capture_output=True, text=True, timeout=120)
    finally:
        program.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"^(\d+) passed, (\d+) deselected", done.stdout, re.MULTILINE)
    assert counts, done.stdout
    kernel, others = map(int, counts.groups())
    assert kernel > 0, "each case is asked of the kernel"
    assert others in (kernel, 2 * kernel), "and of a fake; of a policy in a file, too"
