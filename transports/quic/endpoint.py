"""Drive every QUIC connection from one trio task: sockets, routing, one timer heap.

A turn: read up to ``datagrams_per_turn`` from each ready socket and hand each to its connection;
carry out due timers; let each touched connection act on what it found; tell the handler that the
turn ended; then flush each touched connection once. Output queued from outside a turn wakes the
task by an eventfd.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio
from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from transports.carrier import CloseReason, Handler
from transports.certificates import Identity
from transports.quic.admission import Admission
from transports.quic.connection import NEVER, QuicCarrier, State
from transports.quic.engine import CID_BYTES, TOKEN_BYTES, Engine, configuration, reset_token
from transports.quic.limits import QuicLimits

Path = tuple[int, tuple[str, int]]
"""Where a peer is: the index of our socket, and the peer's address as that socket gives it."""
LONG_HEADER = 0x80
CID_LENGTH_AT = 5
"""Where a long header has the length of its destination connection id."""
RESET_KEY_BYTES = 32
RESETS_PER_TURN = 32
"""Stateless resets sent in one turn."""
RESET_BYTES = 43
"""Length of a stateless reset, unless the packet that caused it was no longer than that."""
SHORTEST_RESET_BYTES = 21
"""Below this length no packet can be taken for a stateless reset (RFC 9000, section 10.3)."""
FLUSH_ROUNDS = 4
"""How often one turn flushes what its own flushing made ready; the rest waits for the next."""


@dataclass(slots=True)
class Counts:
    """What an endpoint has seen since its start."""

    accepted: int = 0
    refused: int = 0
    """First packets ignored because a bound was reached or the endpoint is draining."""
    retries: int = 0
    resets: int = 0
    """Packets of unknown connections answered with a stateless reset."""
    ignored: int = 0
    """Datagrams that belong to no connection."""
    unsent: int = 0
    """Datagrams the system did not take; the peers' loss recovery asks for them again."""
    failed: int = 0
    """Connections dropped by an error in our own code."""


class QuicEndpoint:
    """All QUIC connections of one appliance.

    Args:
        sockets: bound, non-blocking UDP sockets (one for each address family); owned from now on.
        handler: the owner of the carriers.
        identity: the certificate for new connections; see ``set_identity``.
        limits: every bound.
        reset_key: 32 secret bytes that outlive a restart; with them a restarted server can tell
            the peers of lost connections so at once. Random when not given.
        failed: told of an error in a connection's own code; it must log no content.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        identity: Identity,
        *,
        limits: QuicLimits | None = None,
        reset_key: bytes = b"",
        failed: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self.handler = handler
        self.limits = limits or QuicLimits()
        self.counts = Counts()
        self.admission = Admission(self.limits)
        self.is_draining = False
        self._failed = failed
        self._shared = configuration(identity, self.limits)
        self._retry = QuicRetryTokenHandler()
        self._reset_key = reset_key or os.urandom(RESET_KEY_BYTES)
        self._resets_left = 0
        self._routes: dict[bytes, QuicCarrier] = {}
        self._carriers: dict[QuicCarrier, bool] = {}
        self._touched: dict[QuicCarrier, None] = {}
        self._timers: list[tuple[float, int, QuicCarrier]] = []
        self._timer_count = 0
        self._is_in_turn = False
        self._is_signalled = False
        self._now = 0.0
        self._sockets = list(sockets)
        self._ready = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready.register(self._bell, select.EPOLLIN)
        self._by_fd: dict[int, tuple[int, socket.socket]] = {}
        for index, each in enumerate(self._sockets):
            self._prepare(index, each)

    # --- for the composition root -----------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled; then tell every peer that the server goes away."""
        try:
            while True:
                await self._wait()
                self.turn(trio.current_time())
        finally:
            self._shut()

    def wake(self) -> None:
        """Begin a turn soon. May be called from any thread."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._bell, 1)

    def set_identity(self, identity: Identity) -> None:
        """Show another certificate to connections from now on; those open stay as they are."""
        self._shared = configuration(identity, self.limits)

    def change(self, limits: QuicLimits) -> None:
        """Hold connections that begin from now on to other bounds."""
        self.limits = self.admission.limits = limits

    def drain(self) -> None:
        """Take no new connections; those open go on."""
        self.is_draining = True

    def close_all(self, reason: CloseReason = CloseReason.GOING_AWAY) -> None:
        """Close every connection in good order."""
        for carrier in list(self._carriers):
            carrier.close(reason)

    @property
    def connection_count(self) -> int:
        """How many connections are there, in any state."""
        return len(self._carriers)

    # --- for connections (the Owner interface) ------------------------------------------------

    def touch(self, carrier: QuicCarrier) -> None:
        """Flush this connection at the end of the turn, which begins soon if none is under way."""
        self._touched[carrier] = None
        if not (self._is_in_turn or self._is_signalled):
            self._is_signalled = True
            self.wake()

    def route(self, cid: bytes, carrier: QuicCarrier) -> None:
        """Hand datagrams for ``cid`` to this connection from now on."""
        if self._routes.setdefault(cid, carrier) is carrier:
            carrier.cids.add(cid)

    def unroute(self, cid: bytes) -> None:
        """Forget a connection id."""
        carrier = self._routes.pop(cid, None)
        if carrier is not None:
            carrier.cids.discard(cid)

    def handshake_ended(self, carrier: QuicCarrier) -> None:
        """Count this handshake as finished."""
        if self._carriers.get(carrier):
            self._carriers[carrier] = False
            self.admission.handshake_ended()

    def promote(self, carrier: QuicCarrier) -> None:
        """Count this connection among the known."""
        if carrier in self._carriers:
            self.admission.promote(carrier.address)

    # --- one turn -----------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Do everything that is ready now, once; ``now`` in seconds, monotonic."""
        self._now = now
        self._resets_left = RESETS_PER_TURN
        self._is_in_turn = True
        try:
            received = self._receive()
            fired = self._fire_timers()
            if received or fired:
                self._take_events()
                self.handler.turn_ended()
            self._flush()
        finally:
            self._is_in_turn = False

    async def _wait(self) -> None:
        deadline = self._timers[0][0] if self._timers else NEVER
        with trio.CancelScope(deadline=deadline) as scope:
            await trio.lowlevel.wait_readable(self._ready.fileno())
        if scope.cancelled_caught:
            await trio.lowlevel.checkpoint()

    def _receive(self) -> bool:
        received = False
        for fd, _mask in self._ready.poll(0):
            if fd == self._bell:
                self._is_signalled = False
                with suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
            else:
                received |= self._read_socket(*self._by_fd[fd])
        return received

    def _read_socket(self, index: int, source: socket.socket) -> bool:
        size = self.limits.datagram_bytes
        for count in range(self.limits.datagrams_per_turn):
            try:
                data, address = source.recvfrom(size)
            except (BlockingIOError, InterruptedError):
                return count > 0
            except OSError:
                continue  # an ICMP error about an earlier datagram
            self._dispatch(data, (index, address))
        return True

    def _dispatch(self, data: bytes, path: Path) -> None:
        if not data:
            return
        if data[0] & LONG_HEADER:
            carrier = self._dispatch_long(data, path)
        else:
            carrier = self._routes.get(data[1 : 1 + CID_BYTES])
            if carrier is None:
                self._reset(data, path)
        if carrier is None:
            self.counts.ignored += 1
            return
        self._touched[carrier] = None
        try:
            carrier.receive(data, path, self._now)
        except Exception as error:  # noqa: BLE001 - the engine's own error ends one connection
            self._break(carrier, error)

    def _reset(self, data: bytes, path: Path) -> None:
        """Tell the sender of a packet that its connection is unknown here (RFC 9000, 10.3).

        The answer is shorter than what caused it, so two servers cannot keep each other busy.
        """
        size = min(len(data) - 1, RESET_BYTES)
        if size < SHORTEST_RESET_BYTES or not self._resets_left:
            return
        self._resets_left -= 1
        noise = bytearray(os.urandom(size - TOKEN_BYTES))
        noise[0] = noise[0] & 0x3F | 0x40
        token = reset_token(self._reset_key, data[1 : 1 + CID_BYTES])
        self.counts.resets += 1
        self._send(bytes(noise) + token, path)

    def _dispatch_long(self, data: bytes, path: Path) -> QuicCarrier | None:
        cid_end = CID_LENGTH_AT + 1 + data[CID_LENGTH_AT] if len(data) > CID_LENGTH_AT else 0
        carrier = self._routes.get(data[CID_LENGTH_AT + 1 : cid_end])
        if carrier is not None or len(data) < SMALLEST_MAX_DATAGRAM_SIZE:
            return carrier
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES)
        except (ValueError, BufferReadError):
            return None
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version not in self._shared.supported_versions:
            self._offer_versions(header, path)
        elif header.packet_type == QuicPacketType.INITIAL:
            return self._admit(header, path)
        return None

    def _offer_versions(self, header: QuicHeader, path: Path) -> None:
        answer = encode_quic_version_negotiation(
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            supported_versions=self._shared.supported_versions,
        )
        self._send(answer, path)

    # --- who comes and who goes ---------------------------------------------------------------

    def _admit(self, header: QuicHeader, path: Path) -> QuicCarrier | None:
        """Begin a connection, or ask for proof of address first, or ignore the newcomer."""
        host = path[1][0]
        if self.is_draining or not self.admission.is_open(host):
            self.counts.refused += 1
            return None
        if header.token:
            try:
                original = self._retry.validate_token(
                    address=path[1],
                    destination_cid=header.destination_cid,
                    token=header.token,
                    now=self._now,
                )
            except (ValueError, BufferReadError):
                return None  # forged, or older than its half minute: the client starts anew
            return self._accept(header, host, original, header.destination_cid)
        if self.admission.wants_proof():
            self._ask_for_proof(header, path)
            return None
        return self._accept(header, host, header.destination_cid, None)

    def _ask_for_proof(self, header: QuicHeader, path: Path) -> None:
        """Send a Retry packet (RFC 9000, section 8.1.2); nothing is kept about the newcomer."""
        assert header.version is not None
        cid = os.urandom(CID_BYTES)
        token = self._retry.create_token(
            address=path[1],
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=cid,
            now=self._now,
        )
        answer = encode_quic_retry(
            version=header.version,
            source_cid=cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self.counts.retries += 1
        self._send(answer, path)

    def _accept(
        self, header: QuicHeader, host: str, original: bytes, retry: bytes | None
    ) -> QuicCarrier:
        engine = Engine(self._shared, self.limits, self._reset_key, original, retry)
        carrier = QuicCarrier(engine, self, host, self.limits, self._now)
        self._carriers[carrier] = True
        self.admission.enter(host)
        self.counts.accepted += 1
        self.route(header.destination_cid, carrier)
        self.route(engine.host_cid, carrier)
        return carrier

    def _forget(self, carrier: QuicCarrier) -> None:
        if carrier not in self._carriers:
            return
        self.handshake_ended(carrier)
        del self._carriers[carrier]
        carrier.armed = NEVER
        self.admission.leave(carrier.address, was_known=carrier.authenticated)
        for cid in list(carrier.cids):
            self.unroute(cid)

    def _break(self, carrier: QuicCarrier, error: BaseException) -> None:
        """End a connection whose own code failed; the second time without a farewell."""
        self.counts.failed += 1
        self._failed(error)
        self._touched[carrier] = None
        try:
            if carrier.state in (State.FAREWELL, State.GONE):
                carrier.vanish(CloseReason.INTERNAL)
            else:
                carrier.fail()
        except Exception as second:  # noqa: BLE001 - the handler failed again while told of it
            self._failed(second)

    # --- timers, events, output ---------------------------------------------------------------

    def _fire_timers(self) -> bool:
        fired = False
        while self._timers and self._timers[0][0] <= self._now:
            at, _, carrier = heapq.heappop(self._timers)
            if carrier.armed != at:
                continue
            carrier.armed = NEVER
            if carrier.next_timer() > self._now:
                self._arm(carrier)
            else:
                fired = True
                self._touched[carrier] = None  # armed again by the flush, when its output is out
                self._guard(carrier, carrier.timer_fired)
        return fired

    def _arm(self, carrier: QuicCarrier) -> None:
        """Keep one live heap entry, not later than the connection's next timer."""
        at = carrier.next_timer()
        if at < carrier.armed and carrier in self._carriers:
            carrier.armed = at
            self._timer_count += 1
            heapq.heappush(self._timers, (at, self._timer_count, carrier))

    def _take_events(self) -> None:
        for carrier in list(self._touched):
            self._guard(carrier, carrier.take_events)

    def _guard(self, carrier: QuicCarrier, act: Callable[[float], object]) -> None:
        try:
            act(self._now)
        except Exception as error:  # noqa: BLE001 - one connection's error is its own
            self._break(carrier, error)

    def _flush(self) -> None:
        for _round in range(FLUSH_ROUNDS):
            touched, self._touched = self._touched, {}
            for carrier in touched:
                self._guard(carrier, partial(self._transmit, carrier))
                if carrier.state is State.GONE:
                    self._forget(carrier)
                else:
                    self._arm(carrier)
        if self._touched:
            self.wake()

    def _transmit(self, carrier: QuicCarrier, now: float) -> None:
        for data, path in carrier.flush(now):
            self._send(data, path)

    def _send(self, data: bytes, path: Path) -> None:
        try:
            self._sockets[path[0]].sendto(data, path[1])
        except OSError:  # full, unreachable, forbidden: to the peer it is a lost datagram
            self.counts.unsent += 1

    def _prepare(self, index: int, each: socket.socket) -> None:
        each.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, option, self.limits.socket_buffer_bytes)
        self._by_fd[each.fileno()] = (index, each)
        self._ready.register(each.fileno(), select.EPOLLIN)

    def _shut(self) -> None:
        self._is_in_turn = True
        for carrier in list(self._carriers):
            self._guard(carrier, partial(self._end, carrier))
            self._forget(carrier)
        for each in self._sockets:
            each.close()
        self._ready.close()
        os.close(self._bell)

    def _end(self, carrier: QuicCarrier, now: float) -> None:
        carrier.close(CloseReason.GOING_AWAY)
        carrier.say_farewell()
        self._transmit(carrier, now)
        carrier.vanish(CloseReason.GOING_AWAY)
