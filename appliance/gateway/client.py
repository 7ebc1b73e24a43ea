"""Keep what the gateway knows of one connection, and collect what is to be sent to it."""

from __future__ import annotations

from typing import Final

from appliance.gateway.limits import BACKGROUND_EVENTS, LIVE_BYTES
from appliance.gateway.session import Session
from transports.carrier import Carrier
from transports.wire.codec import Codec
from transports.wire.schema import Frame

NOT_FOLLOWING: Final = -1


class Shared:
    """A frame encoded at most once for each codec, shared by everybody it is sent to."""

    __slots__ = ("_bytes", "frame")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._bytes: dict[str, bytes] = {}

    def encoded(self, codec: Codec) -> bytes:
        """Return the frame's bytes in ``codec``."""
        data = self._bytes.get(codec.name)
        if data is None:
            data = self._bytes[codec.name] = codec.encode(self.frame)
        return data


class Client:
    """One connection: its carrier, its session, who is behind it and what awaits sending.

    ``id`` numbers the connections since the start, ``out_bytes`` counts what is collected for
    the next flush. ``pos`` is the position up to which events have been sent. A client is *live*
    when new events are pushed to it as they are committed; otherwise it is *behind* and reads
    from the log: after ``resume``, whenever its carrier's queue was full, and when one turn
    brought too much. All of it is one mechanism.
    """

    __slots__ = (
        "_out",
        "carrier",
        "codec",
        "device",
        "flush_at",
        "id",
        "in_flight",
        "is_background",
        "is_blocked",
        "is_live",
        "method",
        "out_bytes",
        "person",
        "pos",
        "session",
    )

    def __init__(self, number: int, carrier: Carrier, session: Session, codec: Codec) -> None:
        self.id = number
        self.carrier = carrier
        self.session = session
        self.codec = codec
        self.person = b""
        self.device = b""
        self.method = ""
        self.pos = NOT_FOLLOWING
        self.is_live = False
        self.is_blocked = False
        self.is_background = False
        self.flush_at = 0.0
        self.in_flight = 0
        self.out_bytes = 0
        self._out: list[bytes] = []

    def push(self, data: bytes) -> None:
        """Collect one encoded frame for the next flush."""
        self._out.append(data)
        self.out_bytes += len(data)

    def push_frame(self, frame: Frame) -> None:
        """Encode and collect one frame that goes to nobody else."""
        self.push(self.codec.encode(frame))

    @property
    def has_output(self) -> bool:
        """Whether something awaits the next flush."""
        return bool(self._out)

    @property
    def is_overfull(self) -> bool:
        """Whether background mode has held back as much as it may."""
        return len(self._out) >= BACKGROUND_EVENTS or self.out_bytes >= LIVE_BYTES

    def flush(self) -> None:
        """Send everything collected as one payload; note when the carrier's queue is full."""
        if self._out:
            payload = self.codec.join(self._out)
            self._out = []
            self.out_bytes = 0
            if not self.carrier.send(payload):
                self.is_blocked = True
