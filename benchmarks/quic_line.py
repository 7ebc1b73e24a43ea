"""A QUIC connection of the load generator, by aioquic: all that arrived is taken in at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

from benchmarks.lines import Events, LineLostError, Wire

READ_BYTES: Final = 64 * 1024
SOCKET_BUFFER_BYTES: Final = 4 << 20
HEAD_BYTES: Final = 28
"""Headers of IPv4 and of UDP."""
STREAM: Final = 0


class QuicLine:
    """QUIC, one stream."""

    has_timers = True

    def __init__(
        self, address: tuple[str, int], configuration: QuicConfiguration, source: str = ""
    ) -> None:
        self._address = address
        self._quic = QuicConnection(configuration=configuration)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        if source:
            self._socket.bind((source, 0))
        self._socket.connect(address)
        self._queue: list[bytes] = []
        self._rest = bytearray()
        self._sent_bytes = self._sent_packets = self._received_bytes = self._received_packets = 0

    def open(self) -> Iterator[Events]:
        """Send the first packet: payloads may be queued at once, they follow the handshake."""
        self._quic.connect(self._address, time.monotonic())
        self._push()
        yield from ()

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
            except OSError as error:
                raise LineLostError from error
            self._received_packets += 1
            self._received_bytes += len(data)
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

    def wire(self) -> Wire:
        """Return what has travelled so far."""
        return Wire(
            self._sent_bytes + self._sent_packets * HEAD_BYTES,
            self._sent_packets,
            self._received_bytes + self._received_packets * HEAD_BYTES,
            self._received_packets,
        )

    def close(self) -> None:
        """Say farewell in one datagram, if the server is still there."""
        self._quic.close()
        try:
            self._push()
        except LineLostError:
            pass
        finally:
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
            try:
                self._socket.send(data)
            except OSError as error:
                raise LineLostError from error
            self._sent_packets += 1
            self._sent_bytes += len(data)
