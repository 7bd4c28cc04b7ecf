"""Interpreters that somebody could exchange, and who it is that says no: the mode, or what lies beyond it."""

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selcgi.errors import ScriptRefused
from selcgi.plan import Account
from selcgi.system.executable import (
    HEAD_BYTES,
    FirstLine,
    closed_to,
    find_interpreter,
    not_allowed,
    not_looked_at,
    read_first_line,
)

SOMEBODY = 12345
ROOT = frozenset((0,))


def label_of(descriptor: int) -> str:
    return f"u:r:label_{os.fstat(descriptor).st_size}_t:s0"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter, with an interpreter in one of its own, sub/sh, and a link to it, link/sh."""
    with tempfile.TemporaryDirectory(prefix="selcgi-tests-", dir="/var/tmp") as name:
        made = Path(name)
        for folder in (made, made / "sub", made / "link"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        (made / "sub" / "sh").write_bytes(b"x")
        (made / "sub" / "sh").chmod(0o755)
        (made / "link" / "sh").symlink_to("../sub/./sh")
        yield made


def found(path: Path | str) -> bytes:
    return find_interpreter(f"#!{path} -e\n".encode(), "x.cgi", ROOT, label_of)


def refusal(path: Path | str) -> ScriptRefused:
    with pytest.raises(ScriptRefused) as caught:
        found(path)
    return caught.value


@pytest.mark.parametrize("path", ["{}/sub/sh", "{}/link/sh", "{}/sub/..//link/sh", "/bin/sh", "/usr/bin/env"])
def test_the_interpreter_is_the_one_that_was_named(place: Path, path: str) -> None:
    assert found(path.format(place)) == path.format(place).encode()


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "file": (lambda place: (place / "sub" / "sh").chmod(0o777), "sub/sh (mode 0777"),
    "folder": (lambda place: (place / "sub").chmod(0o777), "sub (mode 0777"),
    "somebody's folder": (lambda place: os.chown(place / "sub", SOMEBODY, 0), f"uid {SOMEBODY}, not to 0"),
    "folder of the link": (lambda place: (place / "link").chmod(0o775), "link (mode 0775"),
    "link": (lambda place: os.lchown(place / "link" / "sh", SOMEBODY, 0), f"uid {SOMEBODY}, not to 0"),
    "folder above": (lambda place: place.chmod(0o757), "(mode 0757"),
    "gone": (lambda place: (place / "sub" / "sh").unlink(), "No such file"),
}


def test_links_without_end_are_refused(place: Path) -> None:
    (place / "round").symlink_to("round")
    assert "Too many levels" in refusal(place / "round").reason


@pytest.mark.parametrize("name", BROKEN)
def test_an_interpreter_that_others_could_exchange_is_refused(place: Path, name: str) -> None:
    breaks, reason = BROKEN[name]
    breaks(place)
    error = refusal(place / "link" / "sh")
    assert reason in error.reason
    assert error.fix


def test_a_sticky_folder_protects_what_is_not_somebodys(place: Path) -> None:
    (place / "sub").chmod(0o1777)
    assert found(place / "sub" / "sh")
    os.lchown(place / "link" / "sh", SOMEBODY, 0)
    (place / "link").chmod(0o1777)
    assert f"uid {SOMEBODY}" in refusal(place / "link" / "sh").reason


def test_a_folder_that_is_closed_to_selcgi_is_named(place: Path) -> None:
    (place / "sub").chmod(0o700)
    os.seteuid(SOMEBODY)
    try:
        error = refusal(place / "link" / "sh")
    finally:
        os.seteuid(0)
    assert "out of reach" in error.reason
    assert str(place) in error.reason


def test_what_the_mode_would_allow_is_not_the_modes_fault(place: Path) -> None:
    """An ACL stands in for a security module: it denies one user what the mode allows everybody."""
    path = place / "sub" / "sh"
    entries = ((1, 7, 0), (2, 0, SOMEBODY), (4, 5, 0), (0x10, 5, 0), (0x20, 5, 0))  # linux/posix_acl_xattr.h
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", acl)
    os.seteuid(SOMEBODY)
    try:
        error = refusal(path)
    finally:
        os.seteuid(0)
    assert error.reason == (
        f"selcgi may not execute {path} (mode 0755, label u:r:label_1_t:s0): "
        "its mode allows it, the policy lacks file { execute }"
    )
    assert f"restorecon -F {path}" in error.fix


def test_who_says_no(place: Path) -> None:
    path = bytes(place / "sub")
    (place / "sub").chmod(0o711)
    status = (place / "sub").stat()
    os.seteuid(SOMEBODY)
    try:
        denied = not_allowed("read", path, status, "u:r:t:s0")
        labelled = not_allowed("search", path, status, "u:r:t:s0")
        bare = not_allowed("search", path, status, "")
    finally:
        os.seteuid(0)
    assert denied[1].startswith("chmod a+r ")
    assert "label u:r:t:s0): its mode allows it, the policy lacks dir { search }" in labelled[0]
    assert "though its mode allows it" in bare[0]
    assert "that of its folder is u:r:t:s0): the policy lacks getattr" in not_looked_at(path, "u:r:t:s0")[0]


@pytest.mark.parametrize(
    ("head", "meant"),
    [
        (b"#!/bin/sh\necho", FirstLine(b"/bin/sh", b"")),
        (b"#!/bin/sh", FirstLine(b"/bin/sh", b"")),
        (b"#! \t/usr/bin/env \t -S python3 -u \t\nimport os", FirstLine(b"/usr/bin/env", b"-S python3 -u")),
        (b"#!/bin/sh -e\0\n", FirstLine(b"/bin/sh", b"-e")),
        (b"#!/bin/sh \r\n", FirstLine(b"/bin/sh", b"\r")),
        (b"#!/bin/sh ".ljust(HEAD_BYTES, b"x"), FirstLine(b"/bin/sh", b"x" * (HEAD_BYTES - 10))),
        (b"#!/".ljust(HEAD_BYTES, b"x"), None),
        (b"#!sh\n", None),
        (b"#!\n/bin/sh\n", None),
        (b"/bin/sh\n", None),
        (b"", None),
    ],
)
def test_first_line(head: bytes, meant: FirstLine | None) -> None:
    assert read_first_line(head) == meant


@pytest.mark.parametrize(("mode", "open_"), [(0o700, False), (0o070, True), (0o707, False), (0o771, True)])
def test_a_folder_that_another_user_may_search_by_a_group(place: Path, mode: int, open_: bool) -> None:
    """The group's bits alone count for a member, whatever the others' are."""
    os.chown(place / "sub", 0, SOMEBODY + 1)
    (place / "sub").chmod(mode)
    found = closed_to(Account("somebody", SOMEBODY, SOMEBODY, (SOMEBODY + 1,), "/"), os.fsencode(place / "sub" / "sh"))
    assert (found is None) == open_
    if found:
        assert found[0] == f"the Unix user somebody may not search {place / 'sub'} (mode {mode:04o})"


def test_what_another_user_may_execute(place: Path) -> None:
    somebody, path = Account("somebody", SOMEBODY, SOMEBODY, (), "/"), os.fsencode(place / "sub" / "sh")
    assert closed_to(somebody, path) is None
    assert closed_to(somebody, path + b"-that-is-gone") is None
    (place / "sub" / "sh").chmod(0o744)
    reason, fix = closed_to(somebody, path) or ("", "")
    assert reason == f"the Unix user somebody may not execute {place / 'sub' / 'sh'} (mode 0744)"
    assert fix == f"chmod a+x {place / 'sub' / 'sh'}"
