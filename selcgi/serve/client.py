"""A FastCGI client: one request over a connected socket, as a web server would send it (FastCGI 1.0 section 3).

Decides nothing about the request; it moves pairs and a body out, stdout and stderr in, both at the same time.
request() is used by `selcgi run`, whose request takes the same way as one of a web server, and by the tests; ask(),
which connects by itself and waits no longer than it is told, by `selcgi request`.
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import IO, Any

from selcgi.errors import BadResponse, ProtocolError, StartRefused
from selcgi.system.sockets import tcp_address
from selcgi.wire.connection import NO_RECORD
from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from selcgi.wire.response import HeadReader

Pairs = tuple[tuple[bytes, bytes], ...]
Sink = Callable[[bytes], None]
_PIECE = 65536
_HEAD_BYTES = 65536
_BROKEN = "the answer broke off before its end"
_SEE = "see the log of who listens there; peer-uid=, peer-type= and peer-net= may keep this command out"
_BEGIN = bytes((0, 1, 0, 0, 0, 0, 0, 0))  # role RESPONDER, no FCGI_KEEP_CONN (section 5.1)


@dataclass(frozen=True, slots=True)
class Heard:
    """How ask() went. `status` is 0 when no response head came; `reason` is empty when the answer is whole."""

    status: int
    seconds: float
    reason: str = ""
    fix: str = ""


def ask(address: str, pairs: Pairs, body: IO[bytes] | None, seconds: float, sinks: tuple[Sink, Sink]) -> Heard:
    """One request to who listens at `address`; what comes goes to the sinks for stdout and stderr.

    StartRefused when nobody listens there.
    """
    start = time.monotonic()
    sock = _connected(address, seconds)
    stdout = _Watched(sinks[0])
    reason = fix = ""
    try:
        left = seconds - (time.monotonic() - start)
        status = asyncio.run(_within(left, request(sock, pairs, read_pieces(body), stdout, sinks[1])))
        reason = stdout.reason or (f"it was ended with the application's status {status}" if status else "")
    except TimeoutError:
        reason, fix = f"no whole answer came within {seconds:g} s", "wait longer (--timeout), and see the other's log"
    except ProtocolError as error:
        reason, fix = error.reason, error.fix or _SEE
    return Heard(stdout.status, time.monotonic() - start, reason, fix)


def _connected(address: str, seconds: float) -> socket.socket:
    kind, _, rest = address.partition(":")
    sock = None
    try:
        if kind == "tcp":
            sock = socket.create_connection(tcp_address(rest), seconds)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(seconds)
            sock.connect(rest)
    except OSError as error:
        if sock is not None:
            sock.close()
        why = error.strerror or "no answer in time"
        fix = "is that where --listen is?"
        if isinstance(error, PermissionError):  # selcgi_t, in which bin/selcgi works, may connect nowhere
            fix = "run it as root; with SELinux in your own domain: /opt/selcgi/bin/python -m selcgi request ..."
        raise StartRefused(f"{address} can't be reached: {why}", fix) from None
    sock.setblocking(False)
    return sock


async def _within(seconds: float, work: Coroutine[Any, Any, int]) -> int:
    return await asyncio.wait_for(work, seconds)


class _Watched:
    """A sink for stdout that knows the status in the head that went by."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head: HeadReader | None = HeadReader(_HEAD_BYTES)
        self.status = 0
        self.reason = "no response head came"

    def __call__(self, data: bytes) -> None:
        self._sink(data)
        if self._head is None:
            return
        try:
            head = self._head.feed(data)
        except BadResponse as error:
            self._head, self.reason = None, error.reason
        else:
            if head is not None:
                self._head, self.status, self.reason = None, head.status, ""


async def read_pieces(source: IO[bytes] | None) -> AsyncIterator[bytes]:
    """A file or pipe, piece by piece; while a pipe has nothing, the event loop goes on."""
    if source is None:
        return
    descriptor = source.fileno()
    waits = not stat.S_ISREG(os.fstat(descriptor).st_mode)
    while True:
        if waits:
            waits = await _readable(descriptor)
        if not (piece := os.read(descriptor, _PIECE)):
            return
        yield piece
        await asyncio.sleep(0)


async def _readable(descriptor: int) -> bool:
    """Wait until there is something to read. False for what epoll(7) does not take and never stalls: /dev/null."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        return False
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return True


async def request(
    sock: socket.socket,
    pairs: Pairs,
    body: AsyncIterator[bytes],
    stdout: Sink,
    stderr: Sink,
) -> int:
    """Send one request and hand its answer on. The application's status; ProtocolError when the answer breaks off."""
    reader, writer = await asyncio.open_connection(sock=sock)
    sending = asyncio.create_task(_send(writer, pairs, body))
    try:
        return await _receive(reader, {Kind.STDOUT: stdout, Kind.STDERR: stderr})
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


async def _send(writer: asyncio.StreamWriter, pairs: Pairs, body: AsyncIterator[bytes]) -> None:
    writer.write(encode_record(Kind.BEGIN_REQUEST, 1, _BEGIN))
    writer.write(encode_stream(Kind.PARAMS, 1, encode_pairs(pairs)) + encode_record(Kind.PARAMS, 1, b""))
    async for piece in body:
        writer.write(encode_stream(Kind.STDIN, 1, piece))
        await writer.drain()
    writer.write(encode_record(Kind.STDIN, 1, b""))
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_PIECE)
    except ConnectionError as error:
        raise ProtocolError(f"{_BROKEN}: {error.strerror}") from None


async def _receive(reader: asyncio.StreamReader, sinks: dict[int, Sink]) -> int:
    records, began = RecordReader(), False
    while data := await _read(reader):
        # An answer that breaks off ends with what is no record: what came before it is not lost.
        for piece in (data[: -len(NO_RECORD)], data[-len(NO_RECORD) :]):
            try:
                found = records.feed(piece)
            except ProtocolError:
                if began:
                    raise ProtocolError(_BROKEN) from None
                raise
            for record in found:
                began = True
                if record.kind == Kind.END_REQUEST:
                    return int.from_bytes(record.content[:4], "big")
                if record.kind in sinks and record.content:
                    sinks[record.kind](record.content)
    raise ProtocolError(_BROKEN)
