"""No script leaves a core file, where the kernel would write one and where it would pipe it to a program."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.stack import Selcgi, wait_until

pytestmark = pytest.mark.enforcing

PATTERN = Path("/proc/sys/kernel/core_pattern")
PLACE = Path("/run/dumps")
ABORT = "#!/bin/sh\nkill -ABRT $$\n"
KEEP = '#!/bin/sh\nhead -c 4 > "/run/dumps/$1"\n'


@pytest.fixture(params=["file", "pipe"])
def dumps(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where every dump of the machine goes, named by the pid; the kernel's own pattern is back at the end."""
    before = PATTERN.read_text()
    PLACE.mkdir(exist_ok=True)
    PLACE.chmod(0o777)
    site.chcon(PLACE, "user_webapp_rw_t:s0")
    keep = site.write(Path("/usr/local/bin/keep-dump"), KEEP, 0o755)
    PATTERN.write_text(f"|{keep} %P" if request.param == "pipe" else f"{PLACE}/%P")
    yield PLACE
    PATTERN.write_text(before)
    for path in PLACE.iterdir():
        path.unlink()


def dumped(place: Path) -> bool:
    """A process without such a limit dies; its dump is there when this is true, and with it any that was before."""
    unlimited = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)"
    process = subprocess.Popen(["python3", "-c", f"{unlimited}; import os; os.abort()"])
    assert process.wait() == -signal.SIGABRT
    own = place / str(process.pid)
    wait_until("the dump of a process without a limit", lambda: own.exists() and own.stat().st_size >= 4)
    own.unlink()
    return [path.name for path in place.iterdir()] != []


def test_a_script_leaves_none(selcgi: Selcgi, avcs: Claims, dumps: Path) -> None:
    answer = run_as(selcgi, site.script("abort.cgi", ABORT), "alice")
    assert (answer.status, selcgi.entry()["exit"]) == (502, f"signal {int(signal.SIGABRT)}")
    assert not dumped(dumps)
    assert os.listdir("/srv/cgi").count("core") == 0
    assert avcs.unclaimed == []
