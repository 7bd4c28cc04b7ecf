"""Looks at the files of this system, for the scene that the doctor's checks are asked about.

Decides what counts as a script (a regular file beneath a root that somebody may execute) and how many files are looked
at; links are not followed, and a folder that cannot be listed is said. Starts nothing, changes nothing.
Called by diagnose/staging.py and diagnose/explaining.py.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from selcgi.diagnose.scene import Door, File, Place, Scripts
from selcgi.settings import ListenerSettings
from selcgi.system.executable import HEAD_BYTES, read_first_line
from selcgi.system.labelling import Labelling

FILES_MOST = 10_000  # beneath all roots
PATHS_MOST = 20  # of scripts that are equal but for their names
_ENVS = (b"/bin/env", b"/usr/bin/env")
_PROGRAM = re.compile(rb"(?:-S[ \t]*)?([^ \t=/-][^ \t=/]*)(?:[ \t]|$)")  # that env(1) is to find
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(slots=True)
class Survey:
    """What is known of folders and mounts is kept; `seen` files were looked at; `shut` folders cannot be listed."""

    labelling: Labelling
    search_path: str
    mounts: bool = True  # those of this machine matter
    prefix: str = ""  # folder that stands for the root of another machine
    seen: int = 0
    shut: dict[str, str] = field(default_factory=dict)  # and why
    unseen: list[File] = field(default_factory=list)  # may not even be looked at, for their labels: without one here
    _folders: dict[str, tuple[File, ...]] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)

    def file(self, path: str) -> File:
        """A file or folder with its labels."""
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - a str all the way
        except OSError:
            return File(self._installed(path), self.labelling.label(path))
        return File(self._installed(path), self.labelling.label(path), self.labelling.expected(path, mode))

    def scripts(self, roots: Iterable[str]) -> tuple[Scripts, ...]:
        """All scripts beneath the roots, in groups; the first FILES_MOST files."""
        groups: dict[Scripts, list[str]] = {}
        for path in self._files(roots):
            if (one := self.script(path)) is not None:
                groups.setdefault(replace(one, paths=()), []).append(one.paths[0])
        return tuple(replace(one, paths=tuple(all_[:PATHS_MOST]), count=len(all_)) for one, all_ in groups.items())

    def script(self, path: str, *, whatever_mode: bool = False) -> Scripts | None:
        """None when it is no regular file that somebody may execute."""
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            if _is_hidden(path):
                self.unseen.append(File(self._installed(path), "", self.labelling.expected(path, stat.S_IFREG)))
            return None
        if not stat.S_ISREG(mode) or not (mode & 0o111 or whatever_mode):
            return None
        head = _head(path)
        first = read_first_line(head or b"")
        program = _PROGRAM.match(first.argument) if first and first.interpreter in _ENVS else None
        return Scripts(
            label=self.labelling.label(path),
            expected=self.labelling.expected(path, mode),
            interpreter=self.file(os.fsdecode(first.interpreter)) if first else None,
            program=self._program(os.fsdecode(program[1])) if program else None,
            folders=self._above(os.path.dirname(path)),  # noqa: PTH120
            place=self._place(os.path.dirname(path)),  # noqa: PTH120
            readable=head is not None,
            paths=(self._installed(path),),
        )

    def _installed(self, path: str) -> str:
        """As it will be called there."""
        return path.removeprefix(self.prefix) or "/"

    def _files(self, roots: Iterable[str]) -> Iterator[str]:
        for root in roots:
            for folder, folders, names in os.walk(root, onerror=self._note):
                folders.sort()
                for name in sorted(names):
                    if self.seen >= FILES_MOST:
                        return
                    self.seen += 1
                    yield f"{folder.rstrip('/')}/{name}"

    def _note(self, error: OSError) -> None:
        self.shut[str(error.filename)] = error.strerror or str(error)

    def _above(self, folder: str) -> tuple[File, ...]:
        if folder not in self._folders:
            parent = os.path.dirname(folder)  # noqa: PTH120
            above = self._above(parent) if parent != folder else ()
            self._folders[folder] = (*above, self.file(folder))
        return self._folders[folder]

    def _program(self, name: str) -> File | None:
        found = (f"{folder}/{name}" for folder in self.search_path.split(":"))
        path = next((path for path in found if os.path.isfile(path)), "")  # noqa: PTH113
        return self.file(path) if path else None

    def _place(self, folder: str) -> Place:
        if not self.mounts:
            return Place()
        if folder not in self._places:
            self._places[folder] = _place_of(folder)
        return self._places[folder]


def doors(survey: Survey, listeners: Iterable[ListenerSettings]) -> tuple[Door, ...]:
    """Where web servers connect. The file of a socket is looked at when selcgi, or systemd, has made it; on another
    machine it will have the label of its place."""
    found = []
    for one in listeners:
        kind, _, path = one.address.partition(":")
        folder = survey.file(os.path.dirname(path)) if kind == "unix" else None  # noqa: PTH120
        hidden = kind == "unix" and survey.mounts and _is_hidden(path)
        there = hidden or not survey.mounts or os.path.exists(path)  # noqa: PTH110
        socket = survey.file(path) if kind == "unix" and there else None
        found.append(Door(one.address, one.peer_types, folder, socket, hidden))
    return tuple(found)


def _is_hidden(path: str) -> bool:
    """Whether its label keeps it from being looked at: of the Unix permissions, only those of the folder could."""
    try:
        os.lstat(path)
    except PermissionError:
        return os.access(os.path.dirname(path), os.X_OK)  # noqa: PTH120
    except OSError:
        return False
    return False


def _head(path: str) -> bytes | None:
    """What the kernel looks at; None when it can't be read."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    try:
        return os.pread(descriptor, HEAD_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _place_of(folder: str) -> Place:
    """By proc_pid_mountinfo(5), which needs no permission on the file system; its `seclabel` is the kernel's word for
    one that keeps labels."""
    try:
        device = os.stat(folder).st_dev  # noqa: PTH116 - a str all the way
    except OSError:
        return Place(folder)
    number, found = f"{os.major(device)}:{os.minor(device)}", Place()
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        fields = line.split(" ")
        if fields[2] == number and f"{folder}/".startswith(f"{fields[4].rstrip('/')}/"):
            flags, options = fields[5].split(","), fields[-1].split(",")
            labels = "seclabel" in options and not any("context=" in one for one in options)
            found = Place(fields[4], "nosuid" in flags, "noexec" in flags, labels)
    return found
