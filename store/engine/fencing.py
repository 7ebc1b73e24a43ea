"""Hold what every engine checks alike: the writer's token, a batch's limits, the reserve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from store.engine.contract import MAX_KEY_BYTES, MAX_VALUE_BYTES
from store.errors import LimitError
from store.tables import meta_key

TOKEN_KEY: Final = meta_key("engine.token")
"""META row: the newest fencing token, u64."""

SETTLE_KEY: Final = meta_key("engine.settle")
"""META row: how many settling commits there were, u64. Only ever written to dirty a commit."""

RESERVE_BYTES: Final = 64 << 20
"""Space that only urgent batches may use: two of the largest, as pages are copied on write."""

RESERVE_SHARE: Final = 8
"""The reserve is at most one part in so many of the whole."""

_COUNTER_BYTES = 8


def counter(value: bytes | None) -> int:
    """Read a u64 META row; an absent one counts as 0."""
    return 0 if value is None else int.from_bytes(value, "big")


def counter_row(value: int) -> bytes:
    """Pack a u64 META row."""
    return value.to_bytes(_COUNTER_BYTES, "big")


def ordinary_bytes(capacity_bytes: int) -> int:
    """Return how much of an engine's capacity batches that are not urgent may use."""
    return capacity_bytes - min(RESERVE_BYTES, capacity_bytes // RESERVE_SHARE)


def check_batch(writes: Mapping[bytes, bytes | None], max_batch_bytes: int) -> int:
    """Return the sum of key and value bytes. O(rows).

    Raises ``LimitError`` when a key, a value or the whole batch is too long.
    """
    total = 0
    for key, value in writes.items():
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise LimitError(f"a key has {len(key)} bytes, allowed are 1 to {MAX_KEY_BYTES}")
        total += len(key)
        if value is not None:
            if len(value) > MAX_VALUE_BYTES:
                raise LimitError(f"a value has {len(value)} bytes, the most is {MAX_VALUE_BYTES}")
            total += len(value)
    if total > max_batch_bytes:
        raise LimitError(f"a batch has {total} bytes, the most is {max_batch_bytes}")
    return total
