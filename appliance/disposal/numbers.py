"""Number holds, requests and runs: each number is given once, also when its entry has expired.

META row "numbers.KIND"    u64: the last number given
"""

from __future__ import annotations

from typing import Literal

from store.engine.txn import Txn
from store.tables import meta_key

Kind = Literal["hold", "request", "run", "replica", "order"]


def take(txn: Txn, kind: Kind) -> int:
    """Return the next number of a kind."""
    key = meta_key(f"numbers.{kind}")
    number = int.from_bytes(txn.get(key) or b"", "big") + 1
    txn.put(key, number.to_bytes(8, "big"))
    return number
