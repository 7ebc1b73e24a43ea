"""A WebSocket connection of the load generator: one system call a read, one a flush.

A WebSocket client must mask what it sends (RFC 6455, section 5.3); the key here is all zeros,
which costs the server the same work and the generator none.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Iterator
from typing import Final

from benchmarks.lines import Events, LineLostError, Wire
from benchmarks.tls_socket import TlsSocket

MASKED: Final = 0x80
BINARY: Final = 0x82
PING: Final = 0x89
PONG: Final = 0x8A
MASK: Final = bytes(4)

REQUEST: Final = (
    "GET /v1/session HTTP/1.1\r\nHost: {host}:{port}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: strongroom.v1.msgpack\r\n\r\n"
)


class WebSocketLine:
    """WebSocket over TLS 1.3."""

    has_timers = False

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, source: str = "") -> None:
        self._request = REQUEST.format(host=address[0], port=address[1]).encode()
        self._socket = TlsSocket(address, context, source)
        self._queue: list[bytes] = []
        self._rest = b""

    def open(self) -> Iterator[Events]:
        """Connect, shake hands, upgrade."""
        yield from self._socket.open()
        self._socket.send(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            yield select.EPOLLIN
            answer += self._socket.receive()
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(answer.split(b"\r\n", 1)[0].decode("latin-1"))
        self._rest = answer.partition(b"\r\n\r\n")[2]

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    @staticmethod
    def frame(payload: bytes, head: int = BINARY) -> bytes:
        """Return one unfragmented frame with a mask of zeros."""
        size = len(payload)
        if size < 126:
            return bytes((head, MASKED | size)) + MASK + payload
        if size < 1 << 16:
            return bytes((head, MASKED | 126)) + size.to_bytes(2, "big") + MASK + payload
        return bytes((head, MASKED | 127)) + size.to_bytes(8, "big") + MASK + payload

    def queue(self, framed: bytes) -> None:
        """Collect what the next flush sends."""
        self._queue.append(framed)

    def flush(self) -> None:
        """Send what was collected, if anything, as few TLS records."""
        if self._queue:
            self._socket.send(b"".join(self._queue))
            self._queue.clear()

    def receive(self) -> list[bytes]:
        """Return the messages that have arrived."""
        data = self._rest + self._socket.receive()
        found: list[bytes] = []
        offset, end = 0, len(data)
        while end - offset >= 2:
            size, start = data[offset + 1], offset + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(data[start : start + width], "big")
                start += width
            if start + size > end:
                break
            if data[offset] == BINARY:
                found.append(data[start : start + size])
            elif data[offset] == PING:
                self.queue(self.frame(data[start : start + size], PONG))
            else:
                raise LineLostError
            offset = start + size
        self._rest = data[offset:]
        return found

    def wire(self) -> Wire:
        """Return what has travelled so far."""
        return self._socket.wire()

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()
