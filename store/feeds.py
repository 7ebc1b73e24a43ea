"""Write the views that are the same for every kind of operation: FEED, TIMELINE and HEAD.

Values, big-endian:

    view      fields
    FEED      origin u32, seq u64, timeline key u64
    TIMELINE  origin u32, pos u64
    HEAD      newest pos u64, newest timeline key u64

Every operation has a FEED row in its feed (its conversation's stream, else its own) and moves
that feed's HEAD. TIMELINE rows are for what a reader of the conversation sees in order. One that
is quarantined has no rows; one whose time is ahead of the clock moves the HEAD's position only.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError
from store.ops import Op
from store.tables import FEED, HEAD, TIMELINE

FEED_ROW = struct.Struct(">IQQ")
TIMELINE_ROW = struct.Struct(">IQ")
_HEAD = struct.Struct(">QQ")


class FeedHead(NamedTuple):
    """The newest position and timeline key in one feed; zeros while it is empty."""

    pos: int
    key: int

    def pack(self) -> bytes:
        """Return the HEAD row's value."""
        return _HEAD.pack(self.pos, self.key)

    @classmethod
    def unpack(cls, data: bytes) -> FeedHead:
        """Read a HEAD row's value; raises ``FormatError``."""
        if len(data) != _HEAD.size:
            raise FormatError("not a feed's head")
        return cls(*_HEAD.unpack(data))

    def after(self, pos: int, key: int) -> FeedHead:
        """Return the head once an operation was applied."""
        return FeedHead(max(self.pos, pos), max(self.key, key))


EMPTY = FeedHead(0, 0)


def head(reader: Reader, feed: int) -> FeedHead:
    """Return the head of a feed by its pseudonym."""
    data = reader.get(HEAD.key(feed))
    return EMPTY if data is None else FeedHead.unpack(data)


def feed_row(op: Op) -> tuple[bytes, bytes]:
    """Return key and value of the operation's FEED row."""
    return FEED.key(op.feed, op.pos), FEED_ROW.pack(op.origin, op.id.seq, op.key)


def timeline_row(op: Op) -> tuple[bytes, bytes]:
    """Return key and value of the operation's TIMELINE row, should it have one."""
    return TIMELINE.key(op.feed, op.key, *op.id), TIMELINE_ROW.pack(op.origin, op.pos)


def believed_key(op: Op) -> int:
    """Return the key that an operation moves its feed's head to; 0 for none."""
    return 0 if op.is_ahead else op.key


def show(txn: Txn, op: Op, before: FeedHead) -> None:
    """Write the operation's rows; ``before`` is its feed's head until now."""
    if op.is_quarantined:
        return
    txn.put(*feed_row(op))
    txn.put(HEAD.key(op.feed), before.after(op.pos, believed_key(op)).pack())
    if op.in_timeline:
        txn.put(*timeline_row(op))
