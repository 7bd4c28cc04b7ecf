"""A log that can't be written stops no request: the disk is full, the reader has left, the folder is gone.

Lines that are lost are counted; the count is the first line once the log works again.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Place, Serve
from tests.e2e.faults import HELLO
from tests.e2e.test_service import options
from tests.stack import PROGRAM, Ask, Selcgi, ask, wait_until

LOST = re.compile(r"(\d+) lines before this one could not be written to the log")


def requests(selcgi: Selcgi, place: Place, number: int) -> None:
    path = place.script("hello.cgi", HELLO)
    assert [ask(selcgi.socket, Ask(path, "alice")).text for _ in range(number)] == ["hello\n"] * number


def answered(selcgi: Selcgi, place: Place) -> bool:
    requests(selcgi, place, 1)
    return True


def told(selcgi: Selcgi, sent: int) -> bool:
    """Each of so many requests has its line, or is in a count of the lost ones; with no half a line anywhere."""
    lost = sum(map(int, LOST.findall(selcgi.log())))
    return lost > 0 and lost + len(selcgi.written()) == sent


class OnSmallDisk(Selcgi):
    """Its log file lies on a file system of its own of 16 KB, mounted where nobody else sees it."""

    def __init__(self, place: Place) -> None:
        self.disk = place.folder / "disk"
        self.disk.mkdir()
        mount = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=16k none "$0" && exec "$@"', str(self.disk))
        super().__init__(place.folder, *options(place), f"--log-file={self.disk}/log", program=(*mount, *PROGRAM))

    def inside(self, name: str) -> Path:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self.disk}/{name}")

    def __enter__(self) -> "OnSmallDisk":
        super().__enter__()
        return self

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return self.inside("log").read_text(errors="replace")
        return ""

    def fill(self) -> None:
        done = subprocess.run(["dd", "if=/dev/zero", f"of={self.inside('filler')}", "bs=512"], capture_output=True)
        assert b"No space left on device" in done.stderr


def test_the_disk_of_the_log_is_full(place: Place) -> None:
    with OnSmallDisk(place) as selcgi:
        requests(selcgi, place, 1)
        selcgi.fill()
        requests(selcgi, place, 20)
        selcgi.inside("filler").unlink()
        requests(selcgi, place, 1)
        wait_until("the count", lambda: told(selcgi, 22))
    assert selcgi.process is not None
    assert selcgi.process.returncode == 0


class Piped(Selcgi):
    """Its log is a pipe that the test reads, as a service manager does, until it closes it."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.folder, *options(place))
        os.mkfifo(self.log_path)
        self._reader = os.open(self.log_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._text = b""

    def __enter__(self) -> "Piped":
        super().__enter__()
        return self

    def log(self) -> str:
        with suppress(BlockingIOError, OSError):
            while data := os.read(self._reader, 65536):
                self._text += data
        return self._text.decode()

    def close(self) -> None:
        os.close(self._reader)
        self._reader = -1


def test_the_reader_of_the_log_has_left(place: Place) -> None:
    with Piped(place) as selcgi:
        requests(selcgi, place, 1)
        selcgi.close()
        requests(selcgi, place, 20)
        selcgi.signal(signal.SIGHUP)
        requests(selcgi, place, 20)
    assert selcgi.process is not None
    assert selcgi.process.returncode == 0
    assert not selcgi.socket.exists()


def blocked(folder: Path) -> None:
    (folder / "log").rename(folder / "log.1")
    (folder / "log").mkdir()


# What becomes of the folder, and where the file that was open is then.
GONE: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (shutil.rmtree, ""),
    "moved away": (lambda folder: folder.rename(folder.with_name("elsewhere")), "elsewhere/log"),
    "no folder for a file": (blocked, "logs/log.1"),
}


@pytest.mark.parametrize("how", GONE)
def test_the_folder_of_the_log_is_gone_when_it_is_rotated(serve: Serve, place: Place, how: str) -> None:
    """The old file is kept until there is a new one."""
    change, old = GONE[how]
    folder = place.folder / "logs"
    folder.mkdir()
    selcgi = serve(f"--log-file={folder}/log")
    selcgi.log_path = folder / "log"
    with selcgi:
        requests(selcgi, place, 1)
        change(folder)
        selcgi.signal(signal.SIGUSR1)
        requests(selcgi, place, 20)
        if old:
            selcgi.log_path = place.folder / old
            wait_until("the lines", lambda: len(selcgi.written()) == 21)
            wait_until("both sentences", lambda: selcgi.log().count("cannot open the log anew, going on with the") == 2)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        selcgi.log_path = folder / "log"
        selcgi.signal(signal.SIGUSR1)
        wait_until("a line in the new file", lambda: answered(selcgi, place) and (folder / "log").exists())
        wait_until("a request there", selcgi.written)
    assert selcgi.process is not None
    assert selcgi.process.returncode == 0
