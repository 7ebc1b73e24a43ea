"""Remember how far what another site numbers has been applied here, lane by lane.

A cursor moves in the transaction that applies what it counts, so that both are durable or neither.
It counts the numbers of one origin, or of the peer itself, whose arrivals it numbers.

CURSOR row value
offset  size  type   meaning
0       8     u64    newest number applied
"""

from __future__ import annotations

import struct
from typing import Final

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError
from store.tables import CURSOR

PEER: Final = 0
"""Stands for the site that this one reports to, in place of an origin's local number."""

_ROW = struct.Struct(">Q")


def get(reader: Reader, origin: int, lane: int) -> int:
    """Return the newest number applied, 0 for none; raises ``FormatError``."""
    row = reader.get(CURSOR.key(origin, lane))
    if row is None:
        return 0
    if len(row) != _ROW.size:
        raise FormatError("not a cursor")
    return int.from_bytes(row, "big")


def put(txn: Txn, origin: int, lane: int, number: int) -> None:
    """Set the newest number applied (u64)."""
    txn.put(CURSOR.key(origin, lane), _ROW.pack(number))
