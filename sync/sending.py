"""Decide what a site sends next: pieces of the numbered lanes, and answers about history (sans-IO).

A piece is read when its lane has credit and nothing else queued. One that holds nothing waits for
the next that does, or for ``QUIET_ADVANCE_SECONDS``, so that a cursor that moves costs no frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from store.ids import Stream, StreamKind
from sync.channel import Channel
from sync.errors import LimitError, MalformedError, UnexpectedError
from sync.frames import Ack, Have, Want
from sync.limits import PIECE_BYTES, QUIET_ADVANCE_SECONDS, WANTS
from sync.pieces import NUMBERED, Cursors, Lane, Piece, Replica, Standing


class Chapter(NamedTuple):
    """Some history of one stream, newest first: what is older comes next.

    ``before`` is the oldest key that it holds; ``is_end``: there is nothing older.
    """

    piece: Piece
    before: int
    is_end: bool


class LinkedReplica(Replica, Protocol):
    """What the link asks of its site beyond pieces."""

    def begin(self, peer: Standing) -> None:
        """Take note of where the peer stands, before anything is read for it.

        Raises ``FencedError`` or ``ForkedError`` when its log contradicts what is known here.
        """
        ...

    def history(self, stream: Stream, before: int, limit: int, budget_bytes: int) -> Chapter | None:
        """Read at most ``limit`` operations of a stream before a key; None when it has none."""
        ...


@dataclass(slots=True)
class Counts:
    """What one link has carried, for metrics; bytes are those of frames."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_ops: int = 0
    taken_ops: int = 0


@dataclass(slots=True)
class _Lane:
    """How far a numbered lane is: read, told to the peer, and durable there."""

    read: int = 0
    told: int = 0
    durable: int = 0
    quiet_since: float = inf
    """Since when what was read and held nothing has not been told; infinite when all is told."""
    is_idle: bool = False


@dataclass(slots=True)
class _Answer:
    """A question of the peer that is being answered."""

    want: Want
    before: int
    left: int


class Sender:
    """What one site still has to send over one link.

    Args:
        replica: where it is read.
        counts: where it is counted.
    """

    def __init__(self, replica: LinkedReplica, counts: Counts) -> None:
        self._replica = replica
        self._counts = counts
        self._lanes = {lane: _Lane() for lane in NUMBERED}
        self._answers: deque[_Answer] = deque()

    def resume(self, known: Cursors) -> None:
        """Go on from what the peer has."""
        for lane, cursor in zip(NUMBERED, known, strict=True):
            self._lanes[lane] = _Lane(cursor, cursor, cursor)

    def changed(self) -> None:
        """There may be something new to read."""
        for lane in self._lanes.values():
            lane.is_idle = False

    def quiet_until(self, channel: Channel) -> float:
        """Return when a cursor that moved has to be told, infinite when none has."""
        quiet = [
            state.quiet_since for lane, state in self._lanes.items() if channel.can_begin(lane)
        ]
        return min(quiet, default=inf) + QUIET_ADVANCE_SECONDS

    def acknowledged(self, ack: Ack) -> Lane:
        """Take note of what is durable at the peer, and return the lane.

        Raises:
            MalformedError: the lane has no numbers.
            UnexpectedError: that was never sent.
        """
        state = self._lanes.get(ack.lane)  # type: ignore[call-overload]
        if state is None:
            raise MalformedError("a lane without numbers")
        if not state.durable <= ack.cursor <= state.told:
            raise UnexpectedError("an acknowledgement of what was never sent")
        state.durable = ack.cursor
        return Lane(ack.lane)

    def asked(self, want: Want) -> None:
        """Answer a question when its turn comes.

        Raises:
            LimitError: too many wait.
            MalformedError: it is about no stream.
        """
        if len(self._answers) >= WANTS:
            raise LimitError("too many open questions")
        if want.stream_kind not in set(StreamKind):
            raise MalformedError("a question about no stream")
        self._answers.append(_Answer(want, want.before, want.limit))

    def forget_questions(self) -> None:
        """The connection for answers ended: the peer asks again."""
        self._answers.clear()

    # --- numbered lanes -----------------------------------------------------------------------

    def fill(self, channel: Channel, now: float) -> None:
        """Read the next piece of each numbered lane that may send one.

        A lane that has nothing now may have something once another has been read.
        """
        is_read = True
        while is_read:
            is_read = False
            for lane, state in self._lanes.items():
                if channel.can_begin(lane) and not channel.is_paced(lane):
                    is_read |= self._read(channel, lane, state, now)

    def _read(self, channel: Channel, lane: Lane, state: _Lane, now: float) -> bool:
        """Read one piece; False when the lane has nothing."""
        if not state.is_idle:
            state.is_idle = True
            if self._replica.head(lane) > state.read:
                piece = self._replica.read(lane, state.read, PIECE_BYTES)
                if piece is not None and piece.upto > state.read:
                    self._send(channel, state, piece, now)
                    return True
        if now >= state.quiet_since + QUIET_ADVANCE_SECONDS:
            self._tell(channel, state, Piece(lane, state.told, state.read))
        return False

    def _send(self, channel: Channel, state: _Lane, piece: Piece, now: float) -> None:
        """Put a piece on its way; one that holds nothing waits for the next that does."""
        state.read = piece.upto
        self.changed()
        if piece.entries or piece.own:
            self._tell(channel, state, piece._replace(after=state.told))
        else:
            state.quiet_since = min(state.quiet_since, now)

    def _tell(self, channel: Channel, state: _Lane, piece: Piece) -> None:
        state.told, state.quiet_since = piece.upto, inf
        self._counts.sent_ops += len(piece.entries)
        channel.begin(piece)

    # --- history ------------------------------------------------------------------------------

    def fill_history(self, channel: Channel) -> None:
        """Read the next chapter of the answer whose turn it is."""
        while self._answers and channel.can_begin(Lane.HISTORY):
            if channel.is_paced(Lane.HISTORY):
                return
            self._answer(channel, self._answers[0])

    def _answer(self, channel: Channel, answer: _Answer) -> None:
        """Read one chapter, and end the answer when it is the last."""
        want = answer.want
        stream = Stream(StreamKind(want.stream_kind), want.stream_id)
        chapter = self._replica.history(stream, answer.before, answer.left, PIECE_BYTES)
        is_end = chapter is None or chapter.is_end
        if chapter is not None:
            channel.begin(chapter.piece)
            self._counts.sent_ops += len(chapter.piece.entries)
            answer.before = chapter.before
            answer.left -= len(chapter.piece.entries)
        if is_end or answer.left <= 0:
            self._answers.popleft()
            channel.end_answer(Have(want.question, answer.before, is_end))
