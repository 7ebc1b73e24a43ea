"""Carry a session over QUIC, and keep it when this machine changes its address.

One task per connection waits for datagrams or the next timer. When nothing has come back for
``MIGRATE_AFTER_SECONDS`` although something is owed, or the system refuses to send, the
connection moves to a new UDP socket, which takes whatever address and route the machine has now;
the server follows (RFC 9000, section 9). After ``LOST_AFTER_SECONDS`` it is given up.
"""

from __future__ import annotations

import hmac
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import trio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)

from client.carriers import MAX_PAYLOAD_BYTES, Carrier, Opener
from client.errors import CarrierLost, Unreachable, Untrusted
from client.trust import Trust
from transports.wire.codec import ALPN, MSGPACK, Codec
from transports.wire.links import Server

STREAM = 0
LENGTH_BYTES = 4
IDLE_SECONDS = 3_600.0
"""The transport's own idle timeout, a backstop: the session's keep-alive ends dead lines."""
WINDOW_BYTES = 1024 * 1024
"""Flow-control credit given to the server at first."""
UNACKNOWLEDGED_BYTES = 1024 * 1024
"""Output not yet acknowledged from which ``send`` waits."""
DATAGRAM_BYTES = 1_100
"""The longest payload sent as a datagram."""
READ_BYTES = 64 * 1024
SOCKET_BUFFER_BYTES = 1024 * 1024
DATAGRAMS_PER_TURN = 256
MIGRATE_AFTER_SECONDS = 1.5
"""How long an answer may be owed before the connection tries another local address."""
LOST_AFTER_SECONDS = 6.0
"""How long an answer may be owed before the connection is given up."""
SHORTEST_RESET_BYTES = 21
CERTIFICATE_ALERTS = frozenset(0x100 + alert for alert in (42, 43, 44, 45, 46, 48))
"""QUIC's codes (RFC 9001, section 4.8) of the TLS alerts about certificates: bad, unsupported,
revoked, expired, unknown, of an unknown CA (RFC 8446, section 6)."""
NORMAL = 1000

# aioquic's log repeats what the server says; the application's log is not the place for it.
logging.getLogger("quic").disabled = True


class QuicCarrier:
    """One QUIC connection to a server."""

    name = "quic"
    codec: Codec = MSGPACK

    def __init__(self, address: tuple[Any, ...], family: socket.AddressFamily, trust: Trust):
        self._address = address
        self._family = family
        self._quic = QuicConnection(
            configuration=QuicConfiguration(
                alpn_protocols=[ALPN],
                is_client=True,
                idle_timeout=IDLE_SECONDS,
                max_data=WINDOW_BYTES,
                max_stream_data=WINDOW_BYTES,
                max_datagram_frame_size=READ_BYTES,
                server_name=trust.server_name,
                cadata=trust.ca_pem,
            )
        )
        self._socket = self._open_socket()
        self._scope = trio.CancelScope()
        self._buffer = bytearray()
        self._arrived: trio.MemorySendChannel[bytes]
        self._payloads: trio.MemoryReceiveChannel[bytes]
        self._arrived, self._payloads = trio.open_memory_channel(float("inf"))
        self._ready = trio.Event()
        self._room = trio.Event()
        self._ended: ConnectionTerminated | None = None
        self._is_closed = False
        self._owed_since: float | None = None
        self._has_migrated = False
        self._pings = 0

    # --- the Carrier interface ------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next payload; raises CarrierLost when the connection has ended."""
        try:
            return await self._payloads.receive()
        except trio.EndOfChannel:
            raise self._lost() from None

    async def send(self, payload: bytes) -> None:
        """Send one payload, waiting while the line is full; raises CarrierLost."""
        await trio.lowlevel.checkpoint()
        while self._is_open() and self._unacknowledged() > UNACKNOWLEDGED_BYTES:
            self._room = trio.Event()
            await self._room.wait()
        if not self._is_open():
            raise self._lost()
        self._quic.send_stream_data(STREAM, len(payload).to_bytes(LENGTH_BYTES, "big") + payload)
        self._transmit()

    async def send_datagram(self, payload: bytes) -> None:
        """Send unreliably, or by the stream when too long; raises CarrierLost."""
        if len(payload) > DATAGRAM_BYTES or self._quic._remote_max_datagram_frame_size is None:
            await self.send(payload)
            return
        await trio.lowlevel.checkpoint()
        if not self._is_open():
            raise self._lost()
        self._quic.send_datagram_frame(payload)
        self._transmit()

    async def migrate(self) -> bool:
        """Go on from a new local address: a new UDP socket, a new connection id."""
        await trio.lowlevel.checkpoint()
        if not self._is_open():
            raise self._lost()
        self._move()
        return True

    async def aclose(self) -> None:
        """Tell the server and end; the farewell is one datagram, sent once."""
        if self._is_open():
            self._quic.close(error_code=NORMAL)
            self._transmit()
        self._end()
        await trio.lowlevel.checkpoint()

    @property
    def local_port(self) -> int:
        """Return the UDP port this side uses now."""
        port: int = self._socket.getsockname()[1]
        return port

    # --- the connection's task --------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Drive the connection until it ends; reports ready once the handshake is done."""
        self._quic.connect(self._address, now=trio.current_time())
        self._transmit()
        try:
            while self._is_open() and not self._is_closed:
                await self._turn()
                if self._ready.is_set() and task_status is not trio.TASK_STATUS_IGNORED:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
        finally:
            self._end()
        if task_status is not trio.TASK_STATUS_IGNORED:
            raise self._handshake_error()

    async def _turn(self) -> None:
        with trio.CancelScope(deadline=self._next_timer()) as self._scope:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:
                return
        now = trio.current_time()
        for data in self._datagrams():
            if self._is_reset(data):
                self._give_up()
                return
            self._owed_since = None
            self._has_migrated = False
            self._quic.receive_datagram(data, self._address, now)
        due = self._quic.get_timer()
        if due is not None and due <= now:
            self._quic.handle_timer(now)
        self._take_events()
        self._watch(now)
        self._transmit()

    def _datagrams(self) -> Iterator[bytes]:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                yield self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # nobody listens there now
                self._give_up()
                return
            except OSError:
                return

    def _is_reset(self, data: bytes) -> bool:
        """Whether the server says that it does not know this connection (RFC 9000, 10.3.1)."""
        token = self._quic._peer_cid.stateless_reset_token
        if not token or len(data) < SHORTEST_RESET_BYTES or data[0] & 0x80:
            return False
        return hmac.compare_digest(data[-len(token) :], token)

    def _take_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            self._act(event)
        if self._unacknowledged() <= UNACKNOWLEDGED_BYTES:
            self._room.set()

    def _act(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._buffer += event.data
            self._take_payloads()
            if event.end_stream:
                self._give_up()
        elif isinstance(event, DatagramFrameReceived):
            self._deliver(event.data)
        elif isinstance(event, HandshakeCompleted):
            self._ready.set()
        elif isinstance(event, ConnectionTerminated):
            self._ended = event
        elif isinstance(event, StreamReset):
            self._give_up()

    def _take_payloads(self) -> None:
        start = 0
        while len(self._buffer) - start >= LENGTH_BYTES:
            size = int.from_bytes(self._buffer[start : start + LENGTH_BYTES], "big")
            if size > MAX_PAYLOAD_BYTES:
                self._give_up()
                break
            end = start + LENGTH_BYTES + size
            if end > len(self._buffer):
                break
            self._deliver(bytes(memoryview(self._buffer)[start + LENGTH_BYTES : end]))
            start = end
        del self._buffer[:start]

    def _deliver(self, payload: bytes) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._arrived.send_nowait(payload)

    # --- output, timers, addresses ----------------------------------------------------------

    def _transmit(self) -> None:
        now = trio.current_time()
        for data, _address in self._quic.datagrams_to_send(now):
            try:
                self._socket.send(data)
            except ConnectionRefusedError:
                self._give_up()
                return
            except OSError:  # full, or no route now: loss recovery and migration deal with it
                continue
        if self._owed_since is None and self._quic._loss.bytes_in_flight:
            self._owed_since = now
        self._take_events()
        deadline = self._next_timer()
        if deadline < self._scope.deadline:
            self._scope.deadline = deadline

    def _next_timer(self) -> float:
        engine = self._quic.get_timer()
        first = float("inf") if engine is None else engine
        if self._owed_since is not None:
            patience = LOST_AFTER_SECONDS if self._has_migrated else MIGRATE_AFTER_SECONDS
            first = min(first, self._owed_since + patience)
        return first

    def _watch(self, now: float) -> None:
        """Move, then give up, when an answer has been owed for too long."""
        if self._owed_since is None or not self._quic._loss.bytes_in_flight:
            return
        if now >= self._owed_since + LOST_AFTER_SECONDS:
            self._give_up()
        elif now >= self._owed_since + MIGRATE_AFTER_SECONDS and not self._has_migrated:
            self._has_migrated = True
            if self._ready.is_set():
                self._move()

    def _move(self) -> None:
        try:
            fresh = self._open_socket()
        except OSError:  # no route at all at the moment
            return
        old, self._socket = self._socket, fresh
        trio.lowlevel.notify_closing(old)
        old.close()
        self._quic.change_connection_id()
        self._pings += 1
        self._quic.send_ping(self._pings)
        self._transmit()

    def _open_socket(self) -> socket.socket:
        fresh = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            fresh.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                fresh.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            fresh.connect(self._address)
        except BaseException:
            fresh.close()
            raise
        return fresh

    # --- the end ------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        return self._ended is None and not self._is_closed

    def _unacknowledged(self) -> int:
        stream = self._quic._streams.get(STREAM)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def _give_up(self) -> None:
        if self._ended is None:
            self._ended = ConnectionTerminated(error_code=0, frame_type=0, reason_phrase="")
        self._room.set()
        self._scope.cancel()

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._room.set()
            self._arrived.close()
            self._scope.cancel()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _lost(self) -> CarrierLost:
        if self._ended is not None and self._ended.frame_type is None:
            return CarrierLost(self._ended.error_code)
        return CarrierLost()

    def _handshake_error(self) -> Exception:
        own = self._quic._close_event or self._ended
        if own is not None and own.error_code in CERTIFICATE_ALERTS:
            return Untrusted()
        return Unreachable()


def opener(server: Server, trust: Trust) -> Opener:
    """Return what opens a QUIC connection to ``server``."""

    async def open_carrier(nursery: trio.Nursery) -> Carrier:
        try:
            found = await trio.socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
            family, _, _, _, address = found[0]
            carrier = QuicCarrier(address, family, trust)
        except OSError:
            raise Unreachable from None
        try:
            await nursery.start(carrier.run)
        except BaseException:
            carrier._end()
            raise
        return carrier

    return open_carrier
