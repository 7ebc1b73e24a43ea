"""Keep what each member has received and read: the RECEIPT view.

    RECEIPT row value
    offset  size  type   meaning
    0       8     u64    delivered: timeline key of the newest message
    8       8     u64    delivered: position up to which events had arrived
    16      8     u64    delivered: when, Unix ms
    24      8     u64    read: timeline key
    32      8     u64    read: position
    40      8     u64    read: when, Unix ms

The row of pseudonym 0, which nobody has, holds one u64 instead: the position of the newest
message that arrived late, sorting before others that were there already.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.feeds import FEED_ROW
from store.tables import FEED, RECEIPT, TIMELINE

_ROW = struct.Struct(">QQQQQQ")
_LATE = struct.Struct(">Q")
_NOBODY = 0


class Receipt(NamedTuple):
    """How far one member is; each pair of key and position belongs together."""

    delivered_key: int
    delivered_pos: int
    delivered_ms: int
    read_key: int
    read_pos: int
    read_ms: int

    def delivered(self, key: int, pos: int, at_ms: int) -> Receipt:
        """Return the receipt after a delivery; marks never go back."""
        if pos <= self.delivered_pos:
            return self
        key = max(key, self.delivered_key)
        return self._replace(delivered_key=key, delivered_pos=pos, delivered_ms=at_ms)

    def read(self, key: int, pos: int, at_ms: int) -> Receipt:
        """Return the receipt after reading, which implies delivery."""
        after = self.delivered(key, pos, at_ms)
        if pos <= self.read_pos:
            return after
        return after._replace(read_key=max(key, self.read_key), read_pos=pos, read_ms=at_ms)


NOTHING = Receipt(0, 0, 0, 0, 0, 0)


def get(reader: Reader, conversation: int, person: int) -> Receipt:
    """Return a member's receipt, by pseudonyms."""
    value = reader.get(RECEIPT.key(conversation, person))
    return NOTHING if value is None else Receipt(*_ROW.unpack(value))


def put(txn: Txn, conversation: int, person: int, receipt: Receipt) -> None:
    """Write a member's receipt."""
    txn.put(RECEIPT.key(conversation, person), _ROW.pack(*receipt))


def of_conversation(reader: Reader, conversation: int) -> dict[int, Receipt]:
    """Return the receipts of a conversation by the members' pseudonyms; O(members)."""
    rows = reader.range(RECEIPT.key(conversation, _NOBODY + 1), RECEIPT.span(conversation)[1])
    return {RECEIPT.columns(key)[1]: Receipt(*_ROW.unpack(value)) for key, value in rows}


def newest_late(reader: Reader, conversation: int) -> int:
    """Return the position of the newest message that arrived late; 0 for none."""
    value = reader.get(RECEIPT.key(conversation, _NOBODY))
    return 0 if value is None else int(_LATE.unpack(value)[0])


def note_late(txn: Txn, conversation: int, pos: int) -> None:
    """Remember that a message arrived late."""
    txn.put(RECEIPT.key(conversation, _NOBODY), _LATE.pack(pos))


def newest_key(reader: Reader, conversation: int, upto: int) -> int:
    """Return the timeline key of the newest message among the events up to position ``upto``.

    0 when there is none. Two seeks. A late arrival among the last events may hide a newer
    key; marks never go back, so nothing becomes unread by that.
    """
    rows = reader.range(
        FEED.key(conversation, 0), FEED.key(conversation, upto + 1), reverse=True, limit=1
    )
    for _, value in rows:
        key = FEED_ROW.unpack(value)[2]
        found = reader.range(
            TIMELINE.prefix(conversation),
            TIMELINE.prefix(conversation, key + 1),
            reverse=True,
            limit=1,
        )
        for row, _ in found:
            return int(TIMELINE.columns(row)[1])
    return 0
