"""Define what two sites exchange: pieces of a numbered lane, and who gives and takes them.

Either direction is the same mechanism. A branch sends headquarters its own log, numbered by its
sequence; headquarters sends a branch what happened in the branch's scope, numbered by arrival.
Each direction is cut into lanes, so that what must come first never waits for what may come
later; within a lane the numbers rise. A piece covers the numbers ``after < n <= upto`` of one
lane: those that it does not hold belong to other lanes or are outside the receiver's scope. The
receiver's cursor of a lane is the ``upto`` of the last piece that it made durable, and moves in
the transaction that applies the piece. So what is sent twice is applied once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Protocol

from store.ids import Origin
from store.shipping import Shipment


class Lane(IntEnum):
    """Lanes of both directions, first come first; stored in the flags of a log record."""

    CONTROL = 0
    """People, conversations, policy, holds, orders, receipts of destruction, verdicts."""
    URGENT = 1
    MESSAGES = 2
    RECEIPTS = 3
    HISTORY = 4
    """What was before a conversation came into scope; asked for, not numbered."""


NUMBERED = (Lane.CONTROL, Lane.URGENT, Lane.MESSAGES, Lane.RECEIPTS)
"""Lanes with a cursor."""


class Entry(NamedTuple):
    """One operation in a piece. ``origin`` indexes the piece's table of origins."""

    number: int
    origin: int
    shipment: Shipment


class Own(NamedTuple):
    """A run of the receiver's own operations, which it has: they arrived from ``number`` on.

    ``seq`` to ``seq + size - 1`` have the numbers ``number`` to ``number + size - 1``.
    """

    seq: int
    number: int
    size: int


class Piece(NamedTuple):
    """Some of one lane, at most about ``PIECE_BYTES``."""

    lane: Lane
    after: int
    upto: int
    origins: tuple[Origin, ...] = ()
    entries: tuple[Entry, ...] = ()
    own: tuple[Own, ...] = ()


class Cursors(NamedTuple):
    """How far each numbered lane is, in the order of ``NUMBERED``."""

    control: int = 0
    urgent: int = 0
    messages: int = 0
    receipts: int = 0


class Standing(NamedTuple):
    """Where a site says that it stands, as a link begins.

    ``origin`` and ``seq`` are its own log's, ``chain`` the hash chain there. ``peer`` is the
    origin of the other side whose numbers ``cursors`` count, node empty before the first time.
    ``held`` is up to which number headquarters has the branch's log whole, ``held_chain`` the
    hash chain there; 0 and empty where nothing is. From a branch they are position and hash of
    the newest operation that came to it from headquarters.
    """

    origin: Origin
    seq: int
    chain: bytes
    peer: Origin
    cursors: Cursors
    held: int = 0
    held_chain: bytes = b""


class Replica(Protocol):
    """What the link asks of its own site; one object for one peer. In the trio thread."""

    def standing(self) -> Standing:
        """Return where this site stands towards this peer."""
        ...

    def head(self, lane: Lane) -> int:
        """Return the newest number of a lane that ``read`` would cover; never blocks."""
        ...

    def read(self, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        """Return what follows ``after`` in a lane, None when nothing does.

        From a snapshot of what is durable; a few milliseconds at most. At least one operation,
        or a piece without entries when a stretch concerns other lanes or scopes only.
        """
        ...

    async def take(self, piece: Piece) -> int:
        """Apply a piece and return the lane's durable cursor.

        A piece whose ``after`` is not the cursor is applied as far as it is new; one that leaves
        a gap raises ``GapError``. Raises ``PieceError`` for what no honest peer sends.
        """
        ...
