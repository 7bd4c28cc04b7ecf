"""A FastCGI client: one request over a connected socket, as a web server would send it (FastCGI 1.0 section 3).

Decides nothing about the request; it moves pairs and a body out, stdout and stderr in, both at the same time.
Used by `selcgi run`, whose request takes the same way as one of a web server, and by the tests.
"""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from typing import IO

from selcgi.errors import ProtocolError
from selcgi.wire.connection import NO_RECORD
from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream

Pairs = tuple[tuple[bytes, bytes], ...]
_PIECE = 65536
_BEGIN = bytes((0, 1, 0, 0, 0, 0, 0, 0))  # role RESPONDER, no FCGI_KEEP_CONN (section 5.1)


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
    stdout: Callable[[bytes], None],
    stderr: Callable[[bytes], None],
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


async def _receive(reader: asyncio.StreamReader, sinks: dict[int, Callable[[bytes], None]]) -> int:
    records = RecordReader()
    while data := await reader.read(_PIECE):
        # An answer that breaks off ends with what is no record: what came before it is not lost.
        for piece in (data[: -len(NO_RECORD)], data[-len(NO_RECORD) :]):
            for record in records.feed(piece):
                if record.kind == Kind.END_REQUEST:
                    return int.from_bytes(record.content[:4], "big")
                if record.kind in sinks and record.content:
                    sinks[record.kind](record.content)
    raise ProtocolError("the answer broke off before its end")
