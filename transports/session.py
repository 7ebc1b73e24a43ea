"""Make a carrier of an upgraded channel: WebSocket messages, keep-alive, closing handshake."""

from __future__ import annotations

import math

from transports.carrier import CloseReason, Codec, Handler
from transports.channel import Channel
from transports.websocket import (
    Closed,
    Event,
    FrameDecoder,
    Opcode,
    Ping,
    Violation,
    encode_close,
    encode_frame,
    message_head,
)


class WebSocketCarrier:
    """One WebSocket connection of a client; the owner's side is ``carrier.Carrier``."""

    __slots__ = (
        "_close_by",
        "_codec",
        "_decoder",
        "_handler",
        "_is_authenticated",
        "_is_over",
        "_keepalive_seconds",
        "_opened_at",
        "_pinged_at",
        "_reason",
        "_refused",
        "channel",
        "context",
    )

    def __init__(self, channel: Channel, codec: Codec, handler: Handler) -> None:
        limits = channel.host.limits
        self.channel = channel
        self.context: object = None
        self._codec = codec
        self._handler = handler
        self._decoder = FrameDecoder(codec, limits.stranger_message_bytes)
        self._is_authenticated = self._is_over = self._refused = False
        self._keepalive_seconds = limits.keepalive_seconds
        self._opened_at = channel.host.now
        self._pinged_at = -math.inf
        self._reason: CloseReason | None = None
        self._close_by = math.inf

    @property
    def name(self) -> str:
        """What carries this connection."""
        return "websocket"

    @property
    def codec(self) -> Codec:
        """How payloads are encoded."""
        return self._codec

    @property
    def peer(self) -> str:
        """The peer's address."""
        return self.channel.peer

    @property
    def reason(self) -> CloseReason | None:
        """Why the carrier ended or is ending."""
        return self._reason

    @property
    def authenticated(self) -> bool:
        """Whether the peer is known; setting it lifts the limits for strangers."""
        return self._is_authenticated

    @authenticated.setter
    def authenticated(self, is_authenticated: bool) -> None:
        if not is_authenticated or self._is_authenticated:
            return
        self._is_authenticated = True
        self._decoder.max_message_bytes = self.channel.host.limits.message_bytes
        self.channel.host.admit(self.channel)
        self.channel.reconsider()

    @property
    def keepalive_seconds(self) -> float:
        """Silence after which the peer is pinged."""
        return self._keepalive_seconds

    @keepalive_seconds.setter
    def keepalive_seconds(self, seconds: float) -> None:
        self._keepalive_seconds = seconds
        self.channel.reconsider()

    # --- for the owner ----------------------------------------------------------------------

    def send(self, payload: bytes) -> bool:
        """Queue one message; see ``Carrier.send``."""
        if self._reason is not None:
            return True
        channel = self.channel
        channel.write(message_head(self._codec, len(payload)), payload)
        queued = channel.queued_bytes()
        if queued <= channel.host.limits.high_water_bytes:
            return True
        self._refused = True
        if queued > channel.host.limits.queue_bytes:
            self.close(CloseReason.SLOW, "too much is waiting for you")
        return False

    def send_datagram(self, payload: bytes) -> None:
        """Send as a message, or drop it when the peer is slow."""
        if self.channel.queued_bytes() < self.channel.host.limits.low_water_bytes:
            self.send(payload)

    def queued_bytes(self) -> int:
        """Return the bytes queued and not yet taken by the system."""
        return self.channel.queued_bytes()

    def close(self, reason: CloseReason, message: str = "") -> None:
        """Begin the closing handshake; what arrives from here on is thrown away."""
        if self._reason is not None:
            return
        self._reason = reason
        host = self.channel.host
        self._close_by = host.now + host.limits.close_seconds
        self.channel.write(encode_close(reason, message))
        self.channel.reconsider()

    # --- for the channel --------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Decode what arrived and hand it to the owner."""
        if not data:
            self.channel.abort(CloseReason.LOST)
            return
        for event in self._decoder.receive(data):
            if type(event) is bytes:
                if self._reason is None:
                    self._handler.received(self, event)
            else:
                self._control(event)

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            # A peer that pings without reading is not read any more above the high-water mark.
            self.channel.write(encode_frame(Opcode.PONG, event.payload))
        elif isinstance(event, Violation):
            self._end(event.reason, encode_close(event.reason, event.message))
        elif isinstance(event, Closed):
            self._end(CloseReason.NORMAL, encode_close(event.code))

    def _end(self, reason: CloseReason, frame: bytes) -> None:
        """Answer the peer's farewell or its violation, unless we said ours, and finish."""
        if self._reason is None:
            self._reason = reason
            self.channel.write(frame)
        self.channel.finish(self._reason)

    def due(self, now: float) -> float:
        """Close strangers and the dead, ping the silent; return when to look again."""
        limits = self.channel.host.limits
        if self._reason is not None:
            if now >= self._close_by:
                self.channel.abort(self._reason)
            return self._close_by
        if not self._is_authenticated:
            return self._due_stranger(now, self._opened_at + limits.unauthenticated_seconds)
        if self._pinged_at > self.channel.heard_at:
            answer_by = self._pinged_at + limits.pong_seconds
            if now >= answer_by:
                self.close(CloseReason.IDLE, "no answer to a ping")
                return self._close_by
            return answer_by
        ping_at = self.channel.heard_at + self._keepalive_seconds
        if now < ping_at:
            return ping_at
        if not self.channel.is_blocked:
            self._pinged_at = now
            self.channel.write(encode_frame(Opcode.PING, b""))
        return now + limits.pong_seconds

    def _due_stranger(self, now: float, known_by: float) -> float:
        if now < known_by:
            return known_by
        self.close(CloseReason.UNAUTHENTICATED, "no login in time")
        return self._close_by

    def has_room(self) -> None:
        """Tell the owner, if it was refused."""
        if self._refused and self._reason is None:
            self._refused = False
            self._handler.writable(self)

    def leave(self, reason: CloseReason) -> None:
        """Begin the closing handshake."""
        self.close(reason)

    def ended(self, reason: CloseReason) -> None:
        """Tell the owner, once."""
        if self._reason is None:
            self._reason = reason
        if not self._is_over:
            self._is_over = True
            self._handler.closed(self)
