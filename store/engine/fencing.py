"""Hold what every engine checks alike: the writer's token row and the limits of a batch."""

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

_COUNTER_BYTES = 8


def counter(value: bytes | None) -> int:
    """Read a u64 META row; an absent one counts as 0."""
    return 0 if value is None else int.from_bytes(value, "big")


def counter_row(value: int) -> bytes:
    """Pack a u64 META row."""
    return value.to_bytes(_COUNTER_BYTES, "big")


def check_batch(writes: Mapping[bytes, bytes | None], max_batch_bytes: int) -> None:
    """Raise ``LimitError`` when a key, a value or the whole batch is too long. O(rows)."""
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
