"""State the ordered key-value contract that every storage engine keeps.

An engine stores one ordered map of byte strings. It knows three things: take a consistent
snapshot, apply one atomic and durable batch, and settle. Transactions with read-your-writes,
savepoints and rollback are built once, above it, in ``store.engine.txn``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

MAX_KEY_BYTES = 480
"""Longest key an engine must accept, in bytes (LMDB 0.9 allows 511)."""

MAX_VALUE_BYTES = 90_000
"""Longest value an engine must accept, in bytes."""


class Reader(Protocol):
    """Anything that ordered reads can be made from: a snapshot or a transaction."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        ...

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with ``start <= key < end``, ascending, or descending if ``reverse``.

        ``limit`` bounds the number of pairs. One seek, then O(1) for each pair.
        """
        ...


class Snapshot(Reader, Protocol):
    """A consistent, read-only view of the last committed batch; close it soon."""

    def close(self) -> None:
        """Release the view; later reads from it raise ``EngineError``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Sizes of an engine: bytes in use and the most it may use."""

    used_bytes: int
    capacity_bytes: int


class Engine(Protocol):
    """An ordered, durable key-value store with one writer."""

    max_batch_bytes: int
    """Largest sum of key and value bytes that ``batch`` accepts."""

    def acquire(self) -> int:
        """Become the writer: return a fencing token larger than every earlier one, durably."""
        ...

    def snapshot(self) -> Snapshot:
        """Open a view of the last committed batch. Usable in the calling thread only."""
        ...

    def batch(
        self, writes: Mapping[bytes, bytes | None], token: int, *, urgent: bool = False
    ) -> None:
        """Apply all ``writes`` (None deletes) atomically; durable (fsynced) on return.

        A reserve of the map and of the disk is kept for ``urgent`` batches, those that destroy
        or hold: they work when all others are refused for lack of space.

        Safe to repeat. Raises ``LimitError`` beyond a limit of this contract and
        ``FencedError`` for a stale token; ``EngineFullError`` when the map or disk is full:
        with all three nothing was applied. Any other failure is an ``EngineError``: the
        outcome is unknown until the engine is opened again.
        """
        ...

    def settle(self) -> None:
        """Return once no recovery can come back to a commit earlier than the last one.

        Only the holder of the newest token may; raises as ``batch`` does.
        """
        ...

    def copy(self, path: Path) -> None:
        """Copy the last committed batch into a new directory ``path`` while writing goes on.

        The copy holds live rows only: nothing of a deleted one is in it. Durable on return.
        O(rows); for a worker thread. Raises ``EngineError`` when ``path`` exists or cannot be
        made, ``EngineFullError`` when the copy does not fit; what there is of it then stays.
        """
        ...

    def stats(self) -> EngineStats:
        """Return current sizes."""
        ...

    def close(self) -> None:
        """Close the engine; idempotent."""
        ...
