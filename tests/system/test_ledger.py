"""A registry whose lines were cut or changed: mended where a crash did it, refused otherwise, never misread."""

from pathlib import Path

import pytest

from selcgi.context import Band
from selcgi.errors import RegistryFailed
from selcgi.system.ledger import Record, head_line, line_of
from selcgi.system.registry import Registry

BAND = Band(512, 1023)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "categories"


def opened(path: Path) -> Registry:
    return Registry(path, BAND)


def names(path: Path) -> dict[str, int]:
    return dict(opened(path).ledger.numbers)


@pytest.mark.parametrize("lines", [1, 3])
def test_a_file_cut_at_each_byte_is_mended_or_refused_and_never_misread(path: Path, lines: int) -> None:
    """A cut within the last line is what a crash leaves: that number was never used. Of the others nothing changes."""
    registry = opened(path)
    for name in [f"user{n}" for n in range(lines)]:
        registry.assign(name)
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for end in range(last, len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = opened(path).ledger.numbers
        assert kept == {f"user{n}": n for n in range(lines - (end < len(whole)))}
        complete = end >= len(whole) - 1
        assert opened(path).assign("new") == lines - (not complete)
        wanted = {f"user{n}": n for n in range(lines - (not complete))} | {"new": lines - (not complete)}
        assert names(path) == wanted


def test_a_head_cut_at_each_byte_is_written_anew(path: Path) -> None:
    for end in range(len(head_line(BAND))):
        path.write_bytes(head_line(BAND)[:end])
        path.chmod(0o600)
        assert opened(path).assign("alice") == 0
        assert names(path) == {"alice": 0}
        path.unlink()


def test_a_tail_of_zeros_is_taken_off(path: Path) -> None:
    opened(path).assign("alice")
    with open(path, "ab") as file:
        file.write(bytes(100))
    assert opened(path).assign("bob") == 1
    assert names(path) == {"alice": 0, "bob": 1}


def with_a_bit_turned(whole: bytes, line: int, at: int) -> bytes:
    lines = whole.split(b"\n")
    lines[line] = lines[line][:at] + bytes([lines[line][at] ^ 1]) + lines[line][at + 1 :]
    return b"\n".join(lines)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_any_changed_byte_of_a_line_is_refused(path: Path, line: int) -> None:
    registry = opened(path)
    for name in ("alice", "bob", "carol"):
        registry.assign(name)
    whole = path.read_bytes()
    for at in range(len(whole.split(b"\n")[line])):
        path.write_bytes(with_a_bit_turned(whole, line, at))
        with pytest.raises(RegistryFailed, match=rf"{path}:{line + 1}: the line is damaged"):
            opened(path)


@pytest.mark.parametrize(
    "record",
    [
        Record("assigned", 0, "t", "bob"),  # alice has it
        Record("assigned", 2, "t", "bob"),  # 1 is next
        Record("assigned", 1, "t", "alice"),  # she has one
        Record("released", 1, "t", "alice"),  # it is not hers
        Record("released", 0, "t", "bob"),
        Record("folder", 0, "t", "bob", "/srv"),
        Record("given", 1, "t", "bob"),  # type: ignore[arg-type]
    ],
)
def test_a_line_that_contradicts_those_before_it_is_refused(path: Path, record: Record) -> None:
    opened(path).assign("alice")
    with open(path, "ab") as file:
        file.write(line_of(record))
    with pytest.raises(RegistryFailed, match=r":3: the line is damaged"):
        opened(path)


def test_a_whole_last_line_that_is_wrong_is_refused_by_the_writer(path: Path) -> None:
    registry = opened(path)
    registry.assign("alice")
    registry.assign("bob")
    path.write_bytes(path.read_bytes()[:-1].replace(b"bob", b"eve"))
    with pytest.raises(RegistryFailed, match="its checksum is wrong"):
        opened(path).assign("carol")
    assert b"eve" in path.read_bytes()


def test_a_file_that_is_no_registry_is_left_alone(path: Path) -> None:
    for text in (b"127.0.0.1 localhost\n", b"secret"):
        path.write_bytes(text)
        path.chmod(0o600)
        with pytest.raises(RegistryFailed):
            opened(path).assign("alice")
        assert path.read_bytes() == text
