"""Define what every client connection looks like from above, however its bytes travel (sans-IO)."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Protocol


class Codec(StrEnum):
    """How the payloads of one carrier are encoded; agreed on before the first payload."""

    JSON = "json"
    """A payload is one JSON array of frames."""
    MSGPACK = "msgpack"
    """A payload is one msgpack array of frames."""


class CloseReason(IntEnum):
    """Why a carrier ends, told to the peer: the WebSocket close code, or QUIC's application code.

    Values up to 1015 are those of RFC 6455, section 7.4.1, and IANA's registry; values from 4000
    on are this protocol's own.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL = 1002
    UNSUPPORTED = 1003
    INVALID = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    OVERLOADED = 1013
    UNAUTHENTICATED = 4001
    """The peer did not authenticate in time."""
    IDLE = 4002
    """The peer answered no ping."""
    SLOW = 4003
    """The peer did not take what was sent to it."""
    REVOKED = 4004
    """The session or its device was revoked."""
    LOST = 4005
    """The connection broke without a farewell; never sent, only reported."""


class Carrier(Protocol):
    """One client connection. All methods belong to the trio thread and return at once.

    Attributes:
        name: ``websocket``, ``quic`` or ``memory``.
        codec: how payloads are encoded.
        peer: the peer's address without port; for rate limits and audit only.
        context: the owner's own slot (the gateway keeps its session here).
        authenticated: set by the owner once the peer is known; lifts the limits and the timeout
            that hold for strangers.
        keepalive_seconds: silence after which the carrier asks whether the peer is still there;
            the owner may change it at any time.
        reason: why the carrier ended or is ending; None while it is open.
    """

    context: object
    authenticated: bool
    keepalive_seconds: float

    @property
    def name(self) -> str: ...  # noqa: D102 - documented above

    @property
    def codec(self) -> Codec: ...  # noqa: D102

    @property
    def peer(self) -> str: ...  # noqa: D102

    @property
    def reason(self) -> CloseReason | None: ...  # noqa: D102

    def send(self, payload: bytes) -> bool:
        """Queue one message payload; it leaves at the end of the turn.

        Returns:
            True while there is room. False when the queue is above its high-water mark: the
            payload is queued all the same, and ``Handler.writable`` will tell when there is room
            again. Beyond the hard bound the carrier closes with ``SLOW``. A carrier that is
            closing or closed drops the payload and answers True: nobody has to wait for it.
        """
        ...

    def send_datagram(self, payload: bytes) -> None:
        """Send unreliably where the carrier can, else as ``send``; may be dropped when full."""
        ...

    def queued_bytes(self) -> int:
        """Return the bytes queued and not yet taken by the system."""
        ...

    def close(self, reason: CloseReason, message: str = "") -> None:
        """Flush what is queued, tell the peer why, and close; no effect when already closing.

        Args:
            reason: told to the peer.
            message: a short text for people, never content; cut to 123 bytes of UTF-8.
        """
        ...


class Handler(Protocol):
    """What owns the carriers: the gateway.

    Every method is called in the trio thread and must return at once. None may raise for what a
    peer sends; if one does, that carrier is closed with ``INTERNAL`` and the others go on.
    """

    def opened(self, carrier: Carrier) -> None:
        """A carrier is ready for payloads."""
        ...

    def received(self, carrier: Carrier, payload: bytes, *, datagram: bool = False) -> None:
        """One payload arrived. Never called before ``opened`` or after ``closed``."""
        ...

    def writable(self, carrier: Carrier) -> None:
        """The queue fell below its low-water mark after ``send`` returned False."""
        ...

    def closed(self, carrier: Carrier) -> None:
        """The carrier is gone; ``carrier.reason`` says why. Called once per ``opened``."""
        ...

    def turn_ended(self) -> None:
        """All input of one turn was handed over; what is sent now leaves in one write per peer."""
        ...
