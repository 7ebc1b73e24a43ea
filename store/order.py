"""Index the log by position: the order in which operations were applied here.

    ORDER row value
    offset  size  type   meaning
    0       4     u32    number of the origin
    4       8     u64    seq
    12      1     u8     lane
    13      8     u64    pseudonym of the feed; 0 where nothing is shown

Kept from the moment on when the site has another one to talk to (META row "order": the first
position, u64). Before that the numbers of its own operations say the order, and a site that
stands alone pays nothing. At headquarters this is the order of arrival that all sites follow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.tables import ORDER, meta_key

_ROW = struct.Struct(">IQBQ")
_START = meta_key("order")
_START_BYTES = 8


class Placed(NamedTuple):
    """One row: where the operation at a position is, and what it concerns."""

    pos: int
    origin: int
    seq: int
    lane: int
    feed: int


def begin(txn: Txn, pos: int) -> None:
    """Keep the index from a position on."""
    txn.put(_START, pos.to_bytes(_START_BYTES, "big"))


def start(reader: Reader) -> int | None:
    """Return the first position in the index; None while it is not kept."""
    value = reader.get(_START)
    return None if value is None else int.from_bytes(value, "big")


def put(txn: Txn, row: Placed) -> None:
    """Write the row of an operation."""
    txn.put(ORDER.key(row.pos), _ROW.pack(*row[1:]))


def after(reader: Reader, pos: int, limit: int | None = None) -> Iterator[Placed]:
    """Yield what was applied after a position, in order, at most ``limit`` rows."""
    for key, value in reader.range(ORDER.key(pos + 1), ORDER.span()[1], limit=limit):
        yield Placed(ORDER.columns(key)[0], *_ROW.unpack(value))


def at(reader: Reader, positions: Iterable[int]) -> Iterator[Placed]:
    """Yield what was applied at some positions, those that are here."""
    for pos in positions:
        value = reader.get(ORDER.key(pos))
        if value is not None:
            yield Placed(pos, *_ROW.unpack(value))
