"""Carry one client connection over QUIC: message framing, back-pressure, deadlines and farewell.

Messages on the stream, both ways:

======  =====  ==============================================
offset  size   meaning
======  =====  ==============================================
0       4      length of the payload, u32 big-endian, not 0
4       n      the payload: a msgpack array of frames
======  =====  ==============================================

A DATAGRAM frame carries one bare payload. The connection ends with an application error code:
a ``CloseReason``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, ClassVar, Protocol

from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from transports.carrier import CloseReason, Codec, Handler
from transports.quic.admission import plain_host
from transports.quic.engine import Engine
from transports.quic.limits import QuicLimits

LENGTH_BYTES = 4
REASON_BYTES = 123
"""The longest text of a farewell, in bytes of UTF-8."""
NEVER = float("inf")


class State(Enum):
    """Where a connection stands; it only ever moves downward in this list."""

    HANDSHAKE = auto()
    OPEN = auto()
    FLUSHING = auto()
    """Closing by us: what is queued still goes out, nothing more comes in."""
    FAREWELL = auto()
    """The reason is told; the engine answers stragglers until its closing period ends."""
    GONE = auto()


class Owner(Protocol):
    """What a connection asks of its endpoint."""

    handler: Handler

    def touch(self, carrier: QuicCarrier) -> None:
        """Flush this connection at the end of the turn."""
        ...

    def route(self, cid: bytes, carrier: QuicCarrier) -> None:
        """Hand datagrams for ``cid`` to this connection from now on."""
        ...

    def unroute(self, cid: bytes) -> None:
        """Forget a connection id."""
        ...

    def handshake_ended(self, carrier: QuicCarrier) -> None:
        """Count this handshake as finished."""
        ...

    def promote(self, carrier: QuicCarrier) -> None:
        """Count this connection among the known no more the strangers."""
        ...


class QuicCarrier:
    """One QUIC connection, seen as a ``Carrier``."""

    name = "quic"

    def __init__(
        self, engine: Engine, owner: Owner, address: str, limits: QuicLimits, now: float
    ) -> None:
        self.engine = engine
        self.address = address
        """The address this connection is counted under: the one it came from first."""
        self.context: object = None
        self._keepalive_seconds = limits.keepalive_seconds
        self.armed = NEVER
        """The time of this connection's live entry in the endpoint's timer heap."""
        self.state = State.HANDSHAKE
        self.cids: set[bytes] = set()
        self._owner = owner
        self._limits = limits
        self._authenticated = False
        self._reason: CloseReason | None = None
        self._message = ""
        self._opened = False
        self._received = bytearray()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._is_full = False
        self._heard_at = now
        self._pinged_at: float | None = None
        self._deadline = now + limits.handshake_seconds
        self._progress = (0, now)

    # --- the Carrier interface ------------------------------------------------------------

    @property
    def codec(self) -> Codec:
        """Return how payloads are encoded: always msgpack."""
        return Codec.MSGPACK

    @property
    def peer(self) -> str:
        """Return the peer's present address; a new one counts once the peer answered there."""
        if self.engine.is_address_validated:
            present = self.engine.get_peer_address()
            if present is not None:
                return plain_host(present[1][0])
        return self.address

    @property
    def reason(self) -> CloseReason | None:
        """Return why the connection ended or is ending; None while it is open."""
        return self._reason

    @property
    def authenticated(self) -> bool:
        """Whether the owner knows who the peer is."""
        return self._authenticated

    @authenticated.setter
    def authenticated(self, value: bool) -> None:
        if value and not self._authenticated:
            self._authenticated = True
            self._owner.promote(self)

    @property
    def keepalive_seconds(self) -> float:
        """Return after how much silence the peer is pinged."""
        return self._keepalive_seconds

    @keepalive_seconds.setter
    def keepalive_seconds(self, value: float) -> None:
        self._keepalive_seconds = value
        self._owner.touch(self)

    def send(self, payload: bytes) -> bool:
        """Queue one payload; see ``Carrier.send``."""
        if self.state is not State.OPEN:
            return True
        size = LENGTH_BYTES + len(payload)
        if self._queued + size > self._limits.queue_bytes:
            self._abort(CloseReason.SLOW)
            return False
        self._queue.append(len(payload).to_bytes(LENGTH_BYTES, "big"))
        self._queue.append(payload)
        self._queued += size
        self._owner.touch(self)
        if self._queued >= self._limits.high_water_bytes:
            self._is_full = self.engine.paused = True
        return not self._is_full

    def send_datagram(self, payload: bytes) -> None:
        """Send unreliably, or by the stream when too long or when the peer takes no datagrams."""
        if self.state is not State.OPEN:
            return
        if len(payload) <= self._limits.datagram_payload_bytes and self.engine.write_datagram(
            payload
        ):
            self._owner.touch(self)
        else:
            self.send(payload)

    def queued_bytes(self) -> int:
        """Return the bytes queued here and not yet handed to the engine."""
        return self._queued

    def close(self, reason: CloseReason, message: str = "") -> None:
        """Flush what is queued, tell why, and close; see ``Carrier.close``."""
        if self.state not in (State.HANDSHAKE, State.OPEN):
            return
        self._reason, self._message = reason, message
        if self.state is State.HANDSHAKE or not self.engine.is_writable:
            self.say_farewell()
        else:
            self.state = State.FLUSHING
            self._deadline = NEVER
        self._owner.touch(self)

    def __repr__(self) -> str:
        return f"<quic carrier {self.state.name.lower()}>"

    # --- driven by the endpoint -----------------------------------------------------------

    def receive(self, data: bytes, address: object, now: float) -> None:
        """Hand one datagram to the engine."""
        self._heard_at = now
        self._pinged_at = None
        self.engine.receive(data, address, now)

    def take_events(self, now: float) -> None:
        """Act on everything the engine has found out."""
        for event in self.engine.events():
            act = self._ACTIONS.get(type(event))
            if act is not None:
                act(self, event, now)

    def flush(self, now: float) -> list[tuple[bytes, Any]]:
        """Feed the engine and return the datagrams to send now."""
        if self.state in (State.OPEN, State.FLUSHING):
            self._feed(now)
        packets = self.engine.packets(now)
        self.take_events(now)
        return packets

    def next_timer(self) -> float:
        """Return when ``timer_fired`` must be called next."""
        engine = self.engine.get_timer()
        return min(NEVER if engine is None else engine, self._deadlines())

    def timer_fired(self, now: float) -> None:
        """Carry out what is due: the engine's timers and this connection's deadlines."""
        due = self.engine.get_timer()
        if due is not None and due <= now:
            self.engine.handle_timer(now)
            self.take_events(now)
        self._enforce(now)
        self._owner.touch(self)

    def fail(self) -> None:
        """Drop the connection after an error in its own code: no flush, best effort farewell."""
        self._abort(CloseReason.INTERNAL)

    def say_farewell(self) -> None:
        """Tell the peer why, now; the engine then waits out its closing period."""
        reason = self._reason or CloseReason.NORMAL
        text = self._message.encode()[:REASON_BYTES].decode(errors="ignore")
        self.state = State.FAREWELL
        self.engine.close(error_code=int(reason), reason_phrase=text)
        self._forget()

    def vanish(self, reason: CloseReason) -> None:
        """Consider the connection gone, without another word."""
        if self.state is not State.GONE:
            self.state = State.GONE
            self._reason = self._reason or reason
            self._forget()

    # --- what the engine tells ------------------------------------------------------------

    def _on_handshake(self, _event: HandshakeCompleted, now: float) -> None:
        self._owner.handshake_ended(self)
        if self.state is State.HANDSHAKE:
            self.state = State.OPEN
            self._deadline = now + self._limits.unauthenticated_seconds
            self._opened = True
            self._owner.handler.opened(self)

    def _on_stream(self, event: StreamDataReceived, now: float) -> None:
        if self.state is State.OPEN:
            self._received += event.data
            self._take_messages()
        if event.end_stream and self.state is State.OPEN:
            self.close(CloseReason.NORMAL)

    def _on_stream_refused(self, _event: QuicEvent, now: float) -> None:
        self._abort(CloseReason.PROTOCOL)

    def _on_datagram(self, event: DatagramFrameReceived, now: float) -> None:
        if self.state is State.OPEN:
            self._owner.handler.received(self, event.data, datagram=True)

    def _on_terminated(self, event: ConnectionTerminated, now: float) -> None:
        self.vanish(_peer_reason(event))

    def _on_issued(self, event: ConnectionIdIssued, now: float) -> None:
        self._owner.route(event.connection_id, self)

    def _on_retired(self, event: ConnectionIdRetired, now: float) -> None:
        self._owner.unroute(event.connection_id)

    _ACTIONS: ClassVar[dict[type[QuicEvent], Callable[..., None]]] = {
        HandshakeCompleted: _on_handshake,
        StreamDataReceived: _on_stream,
        StreamReset: _on_stream_refused,
        StopSendingReceived: _on_stream_refused,
        DatagramFrameReceived: _on_datagram,
        ConnectionTerminated: _on_terminated,
        ConnectionIdIssued: _on_issued,
        ConnectionIdRetired: _on_retired,
    }

    # --- inside ---------------------------------------------------------------------------

    def _take_messages(self) -> None:
        data, start = self._received, 0
        while len(data) - start >= LENGTH_BYTES and self.state is State.OPEN:
            size = int.from_bytes(data[start : start + LENGTH_BYTES], "big")
            if not self._is_acceptable(size):
                return
            end = start + LENGTH_BYTES + size
            if end > len(data):
                break
            payload = bytes(memoryview(data)[start + LENGTH_BYTES : end])
            start = end
            self._owner.handler.received(self, payload)
        del data[:start]

    def _is_acceptable(self, size: int) -> bool:
        known, limits = self._authenticated, self._limits
        if size == 0:
            self.close(CloseReason.PROTOCOL, "empty message")
        elif size > (limits.message_bytes if known else limits.stranger_message_bytes):
            self.close(CloseReason.TOO_BIG, "message too big")
        else:
            return True
        return False

    def _feed(self, now: float) -> None:
        """Hand queued output to the engine, as far as acknowledgements have made room."""
        if self._queue and self.engine.is_writable:
            room = self._limits.flight_bytes - self.engine.in_flight()
            batch: list[bytes] = []
            while self._queue and room > 0:
                chunk = self._queue.popleft()
                batch.append(chunk)
                room -= len(chunk)
                self._queued -= len(chunk)
            if batch:
                self.engine.write(b"".join(batch))
        if self._is_full and self._queued <= self._limits.low_water_bytes:
            self._is_full = self.engine.paused = False
            if self.state is State.OPEN:
                self._owner.handler.writable(self)
        self._watch_progress(now)
        if self.state is State.FLUSHING and not self._waits():
            self.say_farewell()

    def _waits(self) -> bool:
        """Whether output waits for the peer."""
        return bool(self._queue or self.engine.in_flight())

    def _watch_progress(self, now: float) -> None:
        acknowledged = self.engine.acknowledged()
        if acknowledged != self._progress[0] or not self._waits():
            self._progress = (acknowledged, now)
        if self.state is State.FLUSHING and self._deadline == NEVER:
            self._deadline = now + self._limits.close_seconds

    def _deadlines(self) -> float:
        if self.state in (State.FAREWELL, State.GONE):
            return NEVER
        first = NEVER if self._is_settled() else self._deadline
        if self.state is State.OPEN:
            first = min(first, self._silence_deadline())
            if self._waits():
                first = min(first, self._progress[1] + self._limits.write_stall_seconds)
        return first

    def _is_settled(self) -> bool:
        return self.state is State.OPEN and self._authenticated

    def _silence_deadline(self) -> float:
        if self._pinged_at is None:
            return self._heard_at + self.keepalive_seconds
        return self._pinged_at + self._limits.pong_seconds

    def _enforce(self, now: float) -> None:
        if self._deadlines() > now:
            return
        if self.state is State.HANDSHAKE:
            self._abort(CloseReason.UNAUTHENTICATED)
        elif self.state is State.FLUSHING:
            self.say_farewell()
        elif not self._authenticated and self._deadline <= now:
            self.close(CloseReason.UNAUTHENTICATED)
        elif self._waits() and self._progress[1] + self._limits.write_stall_seconds <= now:
            self._abort(CloseReason.SLOW)
        elif self._pinged_at is None:
            self._pinged_at = now
            self.engine.send_ping(0)
        else:
            self._abort(CloseReason.IDLE)

    def _abort(self, reason: CloseReason) -> None:
        if self.state in (State.HANDSHAKE, State.OPEN, State.FLUSHING):
            self._reason = self._reason or reason
            self.say_farewell()
            self._owner.touch(self)

    def _forget(self) -> None:
        """Free what is held for the peer and tell the handler, once."""
        self._queue.clear()
        self._queued = 0
        self._received.clear()
        if self._opened:
            self._opened = False
            self._owner.handler.closed(self)


def _peer_reason(event: ConnectionTerminated) -> CloseReason:
    if event.frame_type is None:
        try:
            return CloseReason(event.error_code)
        except ValueError:
            return CloseReason.NORMAL if event.error_code == 0 else CloseReason.LOST
    return CloseReason.LOST
