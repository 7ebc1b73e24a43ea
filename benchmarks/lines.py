"""Connections of the load generator: WebSocket over TLS and QUIC, without any framework.

Sockets are read without waiting and written in full. A WebSocket client must mask what it
sends (RFC 6455, section 5.3); the key here is all zeros, which costs the server the same work
and the generator none.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, Protocol

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

from benchmarks.server import Server
from transports.tls import client_context
from transports.wire.codec import ALPN

READ_BYTES: Final = 256 * 1024
SOCKET_BUFFER_BYTES: Final = 4 << 20
CONNECT_SECONDS: Final = 10.0
TURN_MS: Final = 25
"""How long a turn waits at the most, so that QUIC's timers are served, in milliseconds."""
STREAM: Final = 0
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


class LineLostError(RuntimeError):
    """The server closed a connection."""


class Line(Protocol):
    """One connection; payloads are queued, then flushed together."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        ...

    def frame(self, payload: bytes) -> bytes:
        """Return a payload as it stands on this carrier, to be queued."""
        ...

    def queue(self, framed: bytes) -> None:
        """Collect what the next flush sends."""
        ...

    def flush(self) -> None:
        """Send what was collected, if anything."""
        ...

    def receive(self) -> list[bytes]:
        """Return the payloads that have arrived; does not wait."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


Connect = Callable[[Server, str], Line]
"""Opens a connection to a server whose CA is given in PEM."""


class WebSocketLine:
    """WebSocket over TLS 1.3: one system call a read, one a flush."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._queue: list[bytes] = []
        self._rest = b""
        self._socket = socket.create_connection(server[1:], CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._handshake()
            self._upgrade(server)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(None)

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
            self._tls.write(b"".join(self._queue))
            self._queue.clear()
            self._socket.sendall(self._outgoing.read())

    def receive(self) -> list[bytes]:
        """Return the messages that have arrived."""
        try:
            data = self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        if not data:
            raise LineLostError
        self._incoming.write(data)
        return self._messages(self._rest + self._decrypt())

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()

    def _decrypt(self) -> bytes:
        pieces = []
        while self._incoming.pending:
            try:
                piece = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            if not piece:
                raise LineLostError
            pieces.append(piece)
        return b"".join(pieces)

    def _messages(self, data: bytes) -> list[bytes]:
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

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                self._incoming.write(self._wait())
            else:
                self._push()
                return

    def _upgrade(self, server: Server) -> None:
        self._tls.write(REQUEST.format(host=server.host, port=server.port).encode())
        self._push()
        answer = b""
        while b"\r\n\r\n" not in answer:
            self._incoming.write(self._wait())
            answer += self._decrypt()
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(answer.split(b"\r\n", 1)[0].decode("latin-1"))
        self._rest = answer.partition(b"\r\n\r\n")[2]

    def _wait(self) -> bytes:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise LineLostError
        return data

    def _push(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())


class QuicLine:
    """QUIC by aioquic: everything that has arrived is taken in before anything is answered."""

    def __init__(self, server: Server, configuration: QuicConfiguration) -> None:
        self._address = server[1:]
        self._quic = QuicConnection(configuration=configuration)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        self._socket.connect(self._address)
        self._queue: list[bytes] = []
        self._rest = bytearray()
        self._quic.connect(self._address, time.monotonic())
        self._push()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    @staticmethod
    def frame(payload: bytes) -> bytes:
        """Return a payload behind its length."""
        return len(payload).to_bytes(4, "big") + payload

    def queue(self, framed: bytes) -> None:
        """Collect what the next flush sends."""
        self._queue.append(framed)

    def flush(self) -> None:
        """Send what was collected and what QUIC itself has to say."""
        if self._queue:
            self._quic.send_stream_data(STREAM, b"".join(self._queue))
            self._queue.clear()
        self._push()

    def receive(self) -> list[bytes]:
        """Return the payloads that have arrived; due timers are carried out too."""
        now = time.monotonic()
        while True:
            try:
                data = self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._quic.receive_datagram(data, self._address, now)
        due = self._quic.get_timer()
        if due is not None and due <= now:
            self._quic.handle_timer(now)
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self._rest += event.data
            elif isinstance(event, ConnectionTerminated):
                raise LineLostError
        return self._payloads()

    def close(self) -> None:
        """Say farewell in one datagram."""
        self._quic.close()
        self._push()
        self._socket.close()

    def _payloads(self) -> list[bytes]:
        found, rest, start = [], self._rest, 0
        while len(rest) - start >= 4:
            end = start + 4 + int.from_bytes(rest[start : start + 4], "big")
            if end > len(rest):
                break
            found.append(bytes(rest[start + 4 : end]))
            start = end
        del rest[:start]
        return found

    def _push(self) -> None:
        for data, _address in self._quic.datagrams_to_send(time.monotonic()):
            self._socket.send(data)


def _websocket(server: Server, ca_pem: str) -> Line:
    context = _contexts.get(ca_pem)
    if context is None:
        context = client_context(ca_pem.encode())
        context.check_hostname = False
        _contexts[ca_pem] = context
    return WebSocketLine(server, context)


def _quic(server: Server, ca_pem: str) -> Line:
    configuration = QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=True,
        server_name=server.host,
        cadata=ca_pem.encode(),
        max_data=SOCKET_BUFFER_BYTES,
        max_stream_data=SOCKET_BUFFER_BYTES,
        idle_timeout=3_600.0,
    )
    return QuicLine(server, configuration)


_contexts: dict[str, ssl.SSLContext] = {}

CARRIERS: Final[dict[str, Connect]] = {"websocket": _websocket, "quic": _quic}
"""How to connect, by the carrier's name."""


def wait_for(line: Line) -> list[bytes]:
    """Return the next payloads of one connection; raises ``TimeoutError``."""
    deadline = time.monotonic() + CONNECT_SECONDS
    poll = select.poll()
    poll.register(line.fileno(), select.POLLIN)
    while time.monotonic() < deadline:
        payloads = line.receive()
        line.flush()
        if payloads:
            return payloads
        poll.poll(TURN_MS)
    raise TimeoutError("the server does not answer")
