"""Index what was applied here by its position: headquarters' order of arrival.

    ARRIVAL row value
    offset  size  type   meaning
    0       4     u32    number of the origin
    4       8     u64    seq
    12      1     u8     lane
    13      8     u64    pseudonym of the feed

Kept from the first invitation of a branch on (META row "arrivals": the first position, u64):
a site without branches pays nothing. What was before reaches a branch as the registers that are
in force, and as the history of its conversations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.oplog import Op
from store.tables import ARRIVAL, meta_key

_ROW = struct.Struct(">IQBQ")
_START = meta_key("arrivals")
_START_BYTES = 8


class Arrival(NamedTuple):
    """One row: where the operation at a position is, and what it concerns."""

    pos: int
    origin: int
    seq: int
    lane: int
    feed: int


def begin(txn: Txn, pos: int) -> None:
    """Keep the index from a position on; no effect when it is kept already."""
    if start(txn) is None:
        txn.put(_START, pos.to_bytes(_START_BYTES, "big"))


def start(reader: Reader) -> int | None:
    """Return the first position in the index; None while it is not kept."""
    value = reader.get(_START)
    return None if value is None else int.from_bytes(value, "big")


def note(txn: Txn, op: Op) -> None:
    """Write the row of an operation."""
    txn.put(ARRIVAL.key(op.pos), _ROW.pack(op.origin, op.id.seq, op.lane, op.feed))


def after(reader: Reader, pos: int, limit: int) -> Iterator[Arrival]:
    """Yield what arrived after a position, in order, at most ``limit`` rows."""
    for key, value in reader.range(ARRIVAL.key(pos + 1), ARRIVAL.span()[1], limit=limit):
        yield Arrival(ARRIVAL.columns(key)[0], *_ROW.unpack(value))
