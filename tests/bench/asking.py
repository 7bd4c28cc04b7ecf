"""A web server's end of kept FastCGI connections, each of which asks again as soon as it is answered.

Decides nothing; an answer that is no 200 is an AssertionError. Used by request.py.
"""

import select
import socket
import time
from pathlib import Path

from selcgi.wire.records import Kind, RecordReader, encode_pairs, encode_record, encode_stream
from tests.stack import Ask

CONNECTIONS = 8
HEADERS = {"HTTP_HOST": "localhost", "HTTP_USER_AGENT": "Mozilla/5.0", "HTTP_ACCEPT": "*/*",
           "HTTP_ACCEPT_LANGUAGE": "en", "HTTP_ACCEPT_ENCODING": "gzip",
           "HTTP_COOKIE": "a=b; c=d", "REQUEST_SCHEME": "http",
           "DOCUMENT_ROOT": "/srv/www", "SERVER_ADDR": "127.0.0.1", "REMOTE_PORT": "40000",
           "CONTENT_TYPE": "", "CONTENT_LENGTH": ""}  # fmt: skip


def question(script: Path) -> bytes:
    """A GET over a connection that is kept, as nginx sends it."""
    asked = Ask(str(script), params=HEADERS)
    return b"".join((
        encode_record(Kind.BEGIN_REQUEST, 1, bytes((0, 1, 1, 0, 0, 0, 0, 0))),
        encode_stream(Kind.PARAMS, 1, encode_pairs(asked.pairs())), encode_record(Kind.PARAMS, 1, b""),
        encode_record(Kind.STDIN, 1, b""),
    ))  # fmt: skip


class Client:
    """Connections that each ask again as soon as they are answered."""

    def __init__(self, path: str, asked: bytes, connections: int = CONNECTIONS) -> None:
        self._asked = asked
        self._epoll = select.epoll()
        self._socks: dict[int, socket.socket] = {}
        for _ in range(connections):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            self._socks[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)

    def ask(self, requests: int) -> list[float]:
        """Seconds that each took."""
        took: list[float] = []
        began: dict[int, float] = {}
        readers = {one: RecordReader() for one in self._socks}
        left = requests
        for one, sock in self._socks.items():
            if left > 0:
                left, began[one] = left - 1, time.perf_counter()
                sock.sendall(self._asked)
        while began:
            for one, _ in self._epoll.poll():
                records = readers[one].feed(self._socks[one].recv(65536))
                assert records, "the connection was closed"
                if records[-1].kind != Kind.END_REQUEST:
                    assert records[0].kind != Kind.STDOUT or records[0].content.startswith(b"Status: 200"), records
                    continue
                took.append(time.perf_counter() - began.pop(one))
                if left > 0:
                    left, began[one] = left - 1, time.perf_counter()
                    self._socks[one].sendall(self._asked)
        return took

    def close(self) -> None:
        self._epoll.close()
        for sock in self._socks.values():
            sock.close()
