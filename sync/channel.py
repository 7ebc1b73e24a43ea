"""Carry lanes over one connection of a link: pieces to parts and back, answers, pings (sans-IO).

What the parts of a lane are for, and what becomes of a piece, is the session's business. Pieces
are handed on in the order in which they become whole. A lane's last part waits for pieces of more
urgent lanes that were read before it: so what was a cause at the sender arrives first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from sync import columns, frames
from sync.errors import LimitError, LostError, MalformedError, UnexpectedError
from sync.frames import Frame, FrameReader, Have, Part, Ping, Pong
from sync.lanes import Turns
from sync.limits import (
    CONTROL_QUEUE_BYTES,
    FRAME_CREDIT,
    FRAME_CREDIT_PER_SECOND,
    HANDSHAKE_SECONDS,
    KEEPALIVE_SECONDS,
    LANE_WINDOW_BYTES,
    PART_BYTES,
    PINGS_OPEN,
    SILENCE_SECONDS,
)
from sync.pace import Mark, Pace
from sync.packing import Packer, Unpacker
from sync.pieces import Lane, Piece

FIRST = frozenset({Lane.CONTROL, Lane.URGENT})
"""Lanes that find room on a line that is full for the others."""


class State(Enum):
    """Where one connection is in its life."""

    GREETING = auto()
    """We said Hello and wait for the answer."""
    AWAITING = auto()
    """The other side is to say Hello."""
    LIVE = auto()
    ENDED = auto()


@dataclass(slots=True)
class Outgoing:
    """One lane's parts on their way out; ``serial`` tells when their piece was read."""

    packer: Packer = field(default_factory=Packer)
    parts: deque[bytes] = field(default_factory=deque)
    serial: int = 0
    begun_bytes: int = 0
    credit_bytes: int = 0


@dataclass(slots=True)
class Incoming:
    """One lane's piece on its way in, and the credit that its sender has."""

    unpacker: Unpacker = field(default_factory=Unpacker)
    plain: list[bytes] = field(default_factory=list)
    plain_bytes: int = 0
    missing_bytes: int = 0
    begun_bytes: int = 0
    granted_bytes: int = LANE_WINDOW_BYTES
    told_bytes: int = LANE_WINDOW_BYTES


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece that became whole, and what it counts against its lane's credit."""

    piece: Piece
    plain_bytes: int


class Channel:
    """One connection. Times are seconds of any clock that only rises."""

    def __init__(self, lanes: tuple[Lane, ...], state: State, now: float) -> None:
        self.state = state
        self.pace = Pace()
        self.outgoing = {lane: Outgoing() for lane in lanes}
        self.incoming = {lane: Incoming() for lane in lanes}
        self.inbox: deque[Arrival | Have] = deque()
        """What the layers above have not taken yet, in order of arrival."""
        self.taking: object = None
        """What was handed on and is not dealt with yet."""
        self._reader = FrameReader()
        self._turns = Turns()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._pings: dict[int, Mark] = {}
        self._tokens = 0
        self._serials = 0
        self._opened_at = now
        self._heard_at = now
        self._credit = float(FRAME_CREDIT)
        self.used_at = now
        """When something that is for the layers above went either way."""

    # --- in -----------------------------------------------------------------------------------

    def read(self, data: bytes, now: float) -> Iterator[Frame]:
        """Yield the frames in what arrived.

        Raises:
            LimitError: there are too many that carry nothing, or one is too long.
            MalformedError: one does not hold.
        """
        more = (now - self._heard_at) * FRAME_CREDIT_PER_SECOND
        self._credit = min(self._credit + more, FRAME_CREDIT)
        self._heard_at = now
        for frame in self._reader.feed(data):
            self._charge(frame, now)
            yield frame

    def _charge(self, frame: Frame, now: float) -> None:
        if not isinstance(frame, Ping | Pong):
            self.used_at = now
        # Each part pays for the ping and the answers that may go with it.
        self._credit += 1 if isinstance(frame, Part) else -1
        if self._credit < 0:
            raise LimitError("too many frames that carry nothing")

    def add_part(self, part: Part) -> Arrival | None:
        """Take a part of a piece and return the piece once it is whole.

        Raises:
            MalformedError: it is of no lane of this connection, or the piece does not hold.
            LimitError: it is more than announced, or than there is credit for.
        """
        incoming = self.incoming.get(part.lane)  # type: ignore[call-overload]
        if incoming is None:
            raise MalformedError("a lane that this connection does not carry")
        if part.plain_bytes:
            self._begin_piece(incoming, part.plain_bytes)
        elif not incoming.plain_bytes:
            raise MalformedError("a part without a beginning")
        plain = incoming.unpacker.unpack(part.data, incoming.missing_bytes)
        incoming.plain.append(plain)
        incoming.missing_bytes -= len(plain)
        return self._end_piece(part.lane, incoming) if part.is_last else None

    def _begin_piece(self, incoming: Incoming, plain_bytes: int) -> None:
        if incoming.plain_bytes:
            raise MalformedError("a piece begins within another")
        if incoming.begun_bytes >= incoming.granted_bytes:
            raise LimitError("a piece for which there is no credit")
        incoming.begun_bytes += plain_bytes
        incoming.plain_bytes = incoming.missing_bytes = plain_bytes

    def _end_piece(self, lane: int, incoming: Incoming) -> Arrival:
        if incoming.missing_bytes:
            raise MalformedError("a piece is shorter than it says")
        data, incoming.plain = b"".join(incoming.plain), []
        size, incoming.plain_bytes = incoming.plain_bytes, 0
        piece = columns.decode(data)
        if piece.lane != lane or piece.upto < piece.after:
            raise MalformedError("a piece of another lane, or one that goes backwards")
        return Arrival(piece, size)

    def release(self, lane: Lane, plain_bytes: int) -> int | None:
        """A piece is dealt with; return the lane's new credit when it is worth telling."""
        incoming = self.incoming[lane]
        incoming.granted_bytes += plain_bytes
        if incoming.granted_bytes - incoming.told_bytes < LANE_WINDOW_BYTES // 4:
            return None
        incoming.told_bytes = incoming.granted_bytes
        return incoming.granted_bytes

    def answered(self, pong: Pong, now: float) -> None:
        """Take the answer to a ping; raises ``UnexpectedError`` when none was open."""
        mark = self._pings.pop(pong.token, None)
        if mark is None:
            raise UnexpectedError("an answer to no ping")
        self.pace.confirm(mark, now)

    # --- out ----------------------------------------------------------------------------------

    def say(self, frame: Frame) -> None:
        """Queue a frame before everything in lanes.

        Raises:
            LimitError: the peer does not read what it asks for.
        """
        data = frames.encode(frame)
        if self._queued_bytes + len(data) > CONTROL_QUEUE_BYTES:
            raise LimitError("the other site does not read its answers")
        self._queue.append(data)
        self._queued_bytes += len(data)

    def last_words(self, frame: Frame) -> None:
        """End: what was queued is dropped, but for this frame."""
        self.state = State.ENDED
        for outgoing in self.outgoing.values():
            outgoing.parts.clear()
        self._queue.clear()
        self._queued_bytes = 0
        self.say(frame)

    def ping(self, now: float) -> None:
        """Ask for an answer at once."""
        if len(self._pings) < PINGS_OPEN:
            self._tokens += 1
            self._pings[self._tokens] = self.pace.mark(now)
            self.say(Ping(self._tokens))

    def can_begin(self, lane: Lane) -> bool:
        """Tell whether a piece of this lane may be read now."""
        outgoing = self.outgoing[lane]
        return not outgoing.parts and outgoing.begun_bytes < outgoing.credit_bytes

    def is_paced(self, lane: Lane) -> bool:
        """Tell whether this lane has to wait for what is on its way."""
        return not (self.pace.has_more_room if lane in FIRST else self.pace.has_room)

    def begin(self, piece: Piece) -> None:
        """Put a piece on its way."""
        outgoing = self.outgoing[piece.lane]
        plain_bytes, found = parts(piece, outgoing.packer)
        outgoing.begun_bytes += plain_bytes
        self._serials += 1
        outgoing.serial = self._serials
        outgoing.parts.extend(found)

    def end_answer(self, have: Have) -> None:
        """Let the end of an answer follow its last piece."""
        self.outgoing[Lane.HISTORY].parts.append(frames.encode(have))

    def next_words(self) -> bytes:
        """Return the next queued frame, empty when there is none."""
        if not self._queue:
            return b""
        data = self._queue.popleft()
        self._queued_bytes -= len(data)
        return data

    def next_part(self, now: float) -> bytes:
        """Return the next part of whichever lane has its turn, empty when none may go."""
        waiting = [lane for lane in self.outgoing if self._can_send(lane)]
        if not waiting:
            return b""
        self.used_at = now
        lane = self._turns.pick(waiting)
        data = self.outgoing[lane].parts.popleft()
        self._turns.sent(lane, len(data), [each for each in waiting if each is not lane])
        self.pace.sent(len(data))
        if self.pace.is_mark_due:
            self.ping(now)
        return data

    def _can_send(self, lane: Lane) -> bool:
        outgoing = self.outgoing[lane]
        if not outgoing.parts or self.is_paced(lane):
            return False
        return len(outgoing.parts) > 1 or not any(
            other < lane and each.parts and each.serial < outgoing.serial
            for other, each in self.outgoing.items()
        )

    # --- time ---------------------------------------------------------------------------------

    def due(self) -> float:
        """Return when ``tick`` has something to do."""
        if self.state in {State.GREETING, State.AWAITING}:
            return self._opened_at + HANDSHAKE_SECONDS
        if self._pings:
            return self._silent_from() + SILENCE_SECONDS
        return self._heard_at + KEEPALIVE_SECONDS

    def tick(self, now: float) -> None:
        """Do what the time asks for; raises ``LostError`` when the peer is silent for too long."""
        if self.state is State.ENDED or now < self.due():
            return
        if self.state is not State.LIVE:
            raise LostError("the other site did not say who it is")
        if self._pings:
            raise LostError("no answer to a ping")
        self.ping(now)

    def _silent_from(self) -> float:
        """Return since when an answer is missing while nothing else came either."""
        return max(self._heard_at, next(iter(self._pings.values())).at)


def parts(piece: Piece, packer: Packer) -> tuple[int, list[bytes]]:
    """Return the size of a piece before compression, and the frames that carry it."""
    blocks = columns.encode(piece)
    plain_bytes = sum(map(len, blocks))
    packed = packer.pack(*blocks)
    found: list[bytes] = []
    for start in range(0, len(packed), PART_BYTES):
        data = packed[start : start + PART_BYTES]
        is_last = start + PART_BYTES >= len(packed)
        part = Part(piece.lane, 0 if start else plain_bytes, is_last, data)
        found.append(frames.encode(part))
    return plain_bytes, found
