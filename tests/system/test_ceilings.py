"""What the counters of a cgroup say, in files as the kernel writes them. The kernel itself: launch/test_limits.py."""

from pathlib import Path

import pytest

from selcgi.errors import LaunchFailed
from selcgi.plan import Limits
from selcgi.system.ceilings import Ceilings, is_clean, met

MEMORY = "low 0\nhigh 0\nmax 12\noom {0}\noom_kill {0}\noom_group_kill {0}\n"


@pytest.mark.parametrize(
    ("files", "name", "clean"),
    [
        ({}, "", True),
        ({"memory.events": MEMORY.format(0), "pids.events": "max 0\n", "memory.current": "0\n"}, "", True),
        ({"memory.events": MEMORY.format(1), "pids.events": "max 3\n"}, "memory", False),
        ({"memory.events": MEMORY.format(0), "pids.events": "max 3\n"}, "processes", False),
        ({"memory.current": "1048577\n"}, "", False),
        ({"pids.current": "0\n"}, "", True),
        ({"pids.current": "1\n"}, "", False),
    ],
)
def test_what_was_met(tmp_path: Path, files: dict[str, str], name: str, clean: bool) -> None:
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert (met(tmp_path), is_clean(tmp_path)) == (name, clean)


def test_a_ceiling_that_the_kernel_refuses_fails_the_launch(tmp_path: Path) -> None:
    worker, leaf = tmp_path / "worker-0", tmp_path / "worker-0" / "leaf-0"
    leaf.mkdir(parents=True)
    (worker / "cgroup.subtree_control").write_text("cpuset io memory\n")  # what is written lands on the first two
    ceilings = Ceilings(worker)
    limits = Limits(memory_bytes=1 << 20)
    assert ceilings.can_hold(limits)
    with pytest.raises(LaunchFailed, match=r"memory\.max") as caught:
        ceilings.hold(leaf, limits)
    assert caught.value.step == "set_ceilings"
