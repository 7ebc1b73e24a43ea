"""Keep how far the numbered lanes of other sites have been applied here.

CURSOR row value    u64: the number up to which everything is durable
"""

from __future__ import annotations

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.tables import CURSOR

_BYTES = 8


def get(reader: Reader, origin: int, lane: int) -> int:
    """Return the cursor of a lane; 0 before the first piece. ``origin`` 0 is the peer upstream."""
    return int.from_bytes(reader.get(CURSOR.key(origin, lane)) or b"", "big")


def put(txn: Txn, origin: int, lane: int, number: int) -> None:
    """Move the cursor of a lane."""
    txn.put(CURSOR.key(origin, lane), number.to_bytes(_BYTES, "big"))
