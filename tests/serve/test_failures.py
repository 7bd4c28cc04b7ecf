"""Records of failed requests: which are made, that each fits its place, that the file keeps its size and mode."""

import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selcgi.errors import StartRefused
from selcgi.serve.accesslog import Entry
from selcgi.serve.body import Body, SpoolSpace
from selcgi.serve.exchange import Exchange, Pairs
from selcgi.serve.failures import KINDS, RECORD_BYTES, Keeper, encode, kind
from selcgi.serve.recorder import KEPT, Recorder, records
from selcgi.settings import Settings
from tests.serve.crowd import NoSession
from tests.stack import TREE

PARAMS: Pairs = ((b"REQUEST_METHOD", b"GET"), (b"HTTP_COOKIE", b"a=b"), (b"SELCGI_PROOF", b"proof"))


def failed(number: int = 0, pairs: Pairs = PARAMS, **fields: Any) -> Exchange:
    exchange = Exchange(NoSession(), 1, pairs, Body(Settings(), SpoolSpace(1000), 1000))
    values = {"id": f"{number:012x}", "time": f"2026-01-01T00:00:00.{number:03d}Z", "status": 502, "reason": "r"}
    for name, value in (values | fields).items():
        setattr(exchange.entry, name, value)
    return exchange


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"status": 200}, ""),
        ({"status": 404}, ""),
        ({"status": 403}, ""),
        ({"status": 500}, "failed"),
        ({"status": 503}, "failed"),
        ({"status": 200, "exit": "1"}, ""),
        ({"status": 200, "exit": "signal 11"}, "failed"),
        ({"status": 200, "reason": "broke off", "step": "response"}, "failed"),
        ({"status": 200, "reason": "left", "step": "client", "exit": "signal 15"}, ""),
        ({"status": 499, "reason": "left", "step": "client"}, ""),
        ({"status": 404, "reason": "none", "step": "script"}, "missing"),
        ({"status": 403, "reason": "no rule", "step": "mapping"}, "refused"),
        ({"status": 503, "reason": "full", "step": "admission"}, "refused"),
        ({"status": 502, "reason": "no head", "step": "response"}, "failed"),
    ],
)
def test_what_is_worth_a_record(fields: dict[str, Any], wanted: str) -> None:
    assert kind(Entry(**fields)) == wanted


def test_record_names_secrets_and_does_not_hold_them() -> None:
    exchange = failed()
    exchange.stdout.feed(b"Set-Cookie: a=secret\n")
    record = json.loads(encode(exchange, "failed"))
    assert record["params"] == [["REQUEST_METHOD", "GET"]]
    assert record["changed"] == ["HTTP_COOKIE"]
    assert "secret" not in str(record)


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"QUERY_STRING", b"\xff" * 200_000)],
        [(b"HTTP_ACCEPT_ENCODING", b"\xff" * 200)] * 1000,
        [(b"HTTP_X%d" % number + b"\xff" * 500, b"") for number in range(1000)],
    ],
)
def test_record_of_anything_fits_its_place(pairs: list[tuple[bytes, bytes]]) -> None:
    exchange = failed(
        pairs=tuple(pairs),
        script="\udcff" * 4096,
        reason="\x1b" * 9000,
        fix="\x1b" * 9000,
        user="\u4e2d" * 80,
        denied=("\x1b" * 2000,) * 9,
    )
    exchange.stdout.feed(b"\xff" * 9000)
    exchange.stderr.feed(b"\x7f\x9b" * 9000)
    line = encode(exchange, "failed")
    assert len(line) < RECORD_BYTES
    assert json.loads(line)["changed"]
    assert line.decode("ascii").isprintable(), "no byte that a terminal would act on"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        yield ends


def test_flood_is_sampled_and_leaves_the_other_kinds_alone(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr("selcgi.serve.failures.time.monotonic", lambda: seconds[0])
    keeper = Keeper(pair[0])
    for number in range(1000):
        keeper.keep(failed(number, status=403))
    keeper.keep(failed(1000))
    seconds[0] += 2.5
    for number in range(1001, 1005):
        keeper.keep(failed(number, status=403))
    pair[0].close()
    came = [json.loads(line)["kind"] for line in iter(lambda: pair[1].recv(RECORD_BYTES), b"")]
    assert came == ["refused"] * 16 + ["failed"] + ["refused"] * 2


def test_recorder_that_does_not_keep_up_holds_nobody_up(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "_may", lambda *_: True)
    keeper = Keeper(pair[0])
    for number in range(10_000):
        keeper.keep(failed(number))
    pair[1].close()
    keeper.keep(failed())


def recorded(path: Path, *exchanges: Exchange) -> None:
    """By a recorder in a process of its own, as in service."""
    recorded_lines(path, *(encode(exchange, kind(exchange.entry)) for exchange in exchanges))


def recorded_lines(path: Path, *lines: bytes) -> None:
    recorder = Recorder(path)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            recorder.run()
            status = 0
        finally:
            os._exit(status)
    for line in lines:
        recorder.outlet.send(line)
    recorder.close()
    assert os.waitpid(pid, 0)[1] == 0


def ids(path: Path) -> list[int]:
    return [int(record["id"], 16) for record in records(path)]


def test_the_newest_are_kept_in_a_file_that_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "failures"
    recorded(path, failed(0, status=403), *(failed(number) for number in range(1, KEPT + 11)))
    assert ids(path) == [0, *range(11, KEPT + 11)]
    recorded(path, failed(KEPT + 11), failed(KEPT + 12, status=404))
    assert ids(path) == [0, *range(12, KEPT + 13)], "goes on where it was"
    assert path.stat().st_size <= len(KINDS) * KEPT * RECORD_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_damaged_file_is_read_and_put_right(tmp_path: Path) -> None:
    path = tmp_path / "failures"
    recorded(path, failed(1), failed(2))
    raw = bytearray(path.read_bytes())
    raw[:10] = b"\xff" * 10
    path.write_bytes(bytes(raw) + b"[]\n" * RECORD_BYTES * KEPT * 3)
    assert ids(path) == [2]
    recorded(path, failed(3))
    assert ids(path) == [2, 3]
    assert path.stat().st_size <= len(KINDS) * KEPT * RECORD_BYTES


def test_what_is_no_record_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "failures"
    no_records = (b"[]", b"no json", b'{"kind": "x", "time": ""}', b'{"kind": "failed"}')
    recorded_lines(path, *no_records, encode(failed(1), "failed"))
    assert ids(path) == [1]


def test_disk_that_takes_nothing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "failures"
    recorder = Recorder(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for number in range(3):
            recorder.write(encode(failed(number), "failed"), number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caplog.text.count("can't be written, continuing: File too large") == 1
    recorder.write(encode(failed(3), "failed"), 3)
    recorder.close()
    assert ids(path) == [3]


def test_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "failures"
    path.touch(0o640)
    with pytest.raises(StartRefused, match="mode 0600"):
        Recorder(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("other")])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "failures")
    with pytest.raises(StartRefused, match="--failures"):
        Recorder(tmp_path / "failures")


def test_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="No such file"):
        Recorder(tmp_path / "none" / "failures")
    with pytest.raises(StartRefused, match="is selcgi serve running, and with --failures"):
        records(tmp_path / "failures")


def test_pages_say_how_large_the_file_gets() -> None:
    size = f"{len(KINDS) * KEPT * RECORD_BYTES >> 20} MB"
    assert f"The file never grows beyond {size}," in (TREE / "README.md").read_text()
    assert f"records of failed requests, {size} at most" in (TREE / "contrib/systemd/selcgi.service").read_text()
