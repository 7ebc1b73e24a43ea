"""Keep the engine contract in memory, on a simulated medium that can lose power.

The model of a crash, taken from LMDB: a batch in flight is there wholly or not at all, because
one meta page decides. An acknowledged batch survives a plain power cut. If the newest meta page
is lost as well, the store comes back as it was one commit earlier, unless ``settle`` returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from threading import Lock
from types import TracebackType
from typing import Final, Self

from sortedcontainers import SortedDict

from store.engine.contract import EngineStats
from store.engine.fencing import (
    SETTLE_KEY,
    TOKEN_KEY,
    check_batch,
    counter,
    counter_row,
    ordinary_bytes,
)
from store.engine.merge import merge
from store.errors import EngineError, EngineFullError, FencedError, ReserveError
from store.faults import Probe

DEFAULT_CAPACITY_BYTES: Final = 1 << 30
"""Sum of key and value bytes that a medium holds."""

MAX_BATCH_BYTES: Final = 32 << 20
"""Largest batch, in key and value bytes."""

CHUNK_ROWS: Final = 64
"""Rows of a range copied under the lock at one time."""

_UNCHANGED: Final = object()


class Medium:
    """What survives an engine: the rows, and what a crash may make of them.

    Open engines on it one after the other. ``probe`` sees every step (see ``store.faults``)
    and may be set at any time, as may ``capacity_bytes``. With ``retain`` every byte ever
    written, committed or not, is kept for forensic tests. ``copies`` are the media that engines
    on this one were told to copy it to, by path.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
        probe: Probe | None = None,
        retain: bool = False,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.probe = probe
        self.used_bytes = 0
        self.lock = Lock()
        self.rows: SortedDict[bytes, bytes] = SortedDict()
        self.snapshots: set[MemorySnapshot] = set()
        self.engine: MemoryEngine | None = None
        self.copies: dict[Path, Medium] = {}
        self._retained: list[bytes] | None = [] if retain else None
        self._in_flight: dict[bytes, bytes | None] | None = None
        self._before_last: dict[bytes, bytes | None] = {}

    def step(self, name: str) -> None:
        """Tell the probe."""
        if self.probe is not None:
            self.probe(name)

    def commit(self, writes: Mapping[bytes, bytes | None], *, urgent: bool = True) -> None:
        """Apply a batch; ``EngineFullError`` when it does not fit, or not but for the reserve."""
        growth = self._growth(writes)
        room = self.capacity_bytes if urgent else ordinary_bytes(self.capacity_bytes)
        if self.used_bytes + growth > room and (growth > 0 or not urgent):
            raise ReserveError("the simulated medium is full")
        if self._retained is not None:
            for key, value in writes.items():
                self._retained += (key, value or b"")
        self._in_flight = dict(writes)
        try:
            self.step("batch")
        except EngineFullError:
            self._in_flight = None
            raise
        self._apply(self._in_flight)
        self._in_flight = None
        self.step("committed")

    def crash(self, rng: Random, *, lose_newest_meta: bool = False) -> None:
        """Cut the power: every engine and snapshot is gone, a batch in flight is all or none.

        ``lose_newest_meta`` adds the loss of the newest meta page: the last commit is undone
        unless it was settled.
        """
        if self.engine is not None:
            self.engine.close()
        if self._in_flight is not None and rng.random() < 0.5:
            self._apply(self._in_flight)
        self._in_flight = None
        if lose_newest_meta:
            self._apply(self._before_last)
        self._before_last = {}

    def copied(self) -> Medium:
        """Return a new medium with the same rows, and nothing else of this one."""
        other = Medium(capacity_bytes=self.capacity_bytes)
        with self.lock:
            other.rows.update(self.rows)
            other.used_bytes = self.used_bytes
        return other

    def every_byte(self) -> bytes:
        """Return all keys and values ever written, in order; needs ``retain``."""
        if self._retained is None:
            raise ValueError("this medium was not told to retain")
        return b"".join(self._retained)

    def _growth(self, writes: Mapping[bytes, bytes | None]) -> int:
        growth = 0
        for key, value in writes.items():
            old = self.rows.get(key)
            growth += _row_bytes(key, value) - _row_bytes(key, old)
        return growth

    def _apply(self, writes: Mapping[bytes, bytes | None]) -> None:
        with self.lock:
            self.used_bytes += self._growth(writes)
            before = {key: self.rows.get(key) for key in writes}
            for snapshot in self.snapshots:
                snapshot.keep(before)
            for key, value in writes.items():
                if value is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = value
            self._before_last = before


class MemorySnapshot:
    """A view that is told the old values of what changes after it was opened."""

    __slots__ = ("_before", "_is_open", "_medium")

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._is_open = True
        self._before: dict[bytes, bytes | None] = {}

    def keep(self, before: Mapping[bytes, bytes | None]) -> None:
        """Remember what a commit is about to replace; an older value stays."""
        self._before = {**before, **self._before}

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        with self._medium.lock:
            self._check_open()
            value = self._before.get(key, _UNCHANGED)
            if value is _UNCHANGED:
                return self._medium.rows.get(key)
            return value  # type: ignore[return-value]  # object stands for the sentinel only

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with ``start <= key < end``, descending if ``reverse``."""
        pairs = self._pairs(start, end, reverse=reverse)
        return pairs if limit is None else islice(pairs, limit)

    def close(self) -> None:
        """Release the view; idempotent."""
        with self._medium.lock:
            self._is_open = False
            self._medium.snapshots.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise EngineError("the snapshot is closed")

    def _pairs(self, start: bytes, end: bytes, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        while True:
            chunk = self._chunk(start, end, reverse=reverse)
            yield from chunk
            if len(chunk) < CHUNK_ROWS:
                return
            if reverse:
                end = chunk[-1][0]
            else:
                start = chunk[-1][0] + b"\0"

    def _chunk(self, start: bytes, end: bytes, *, reverse: bool) -> list[tuple[bytes, bytes]]:
        """Copy the first rows of a range, so that no commit moves them while they are used."""
        with self._medium.lock:
            self._check_open()
            if start >= end:
                return []
            rows = self._medium.rows
            keys = rows.irange(start, end, (True, False), reverse)
            base = ((key, rows[key]) for key in keys)
            changed = (key for key in self._before if start <= key < end)
            overlay = [(key, self._before[key]) for key in sorted(changed, reverse=reverse)]
            return list(islice(merge(base, overlay, reverse=reverse), CHUNK_ROWS))


class MemoryEngine:
    """An engine over a ``Medium``; opening a second one on it closes the first."""

    max_batch_bytes = MAX_BATCH_BYTES

    def __init__(self, medium: Medium | None = None) -> None:
        self.medium = Medium() if medium is None else medium
        self._token = 0
        self._is_open = True
        if self.medium.engine is not None:
            self.medium.engine.close()
        self.medium.engine = self

    def acquire(self) -> int:
        """Become the writer: return a fencing token larger than every earlier one, durably."""
        self._check_open()
        token = counter(self.medium.rows.get(TOKEN_KEY)) + 1
        self.medium.commit({TOKEN_KEY: counter_row(token)})
        self._token = token
        return token

    def snapshot(self) -> MemorySnapshot:
        """Open a view of the last committed batch. O(1)."""
        self._check_open()
        snapshot = MemorySnapshot(self.medium)
        with self.medium.lock:
            self.medium.snapshots.add(snapshot)
        return snapshot

    def batch(
        self, writes: Mapping[bytes, bytes | None], token: int, *, urgent: bool = False
    ) -> None:
        """Apply all ``writes`` atomically; durable on return."""
        self._check_open()
        check_batch(writes, MAX_BATCH_BYTES)
        self._check_token(token)
        self.medium.commit(writes, urgent=urgent or not writes)

    def settle(self) -> None:
        """Make it impossible that a crash undoes the last batch: two commits, as on LMDB."""
        self._check_open()
        self._check_token(self._token)
        self.medium.step("settle")
        for _ in range(2):
            count = counter(self.medium.rows.get(SETTLE_KEY)) + 1
            self.medium.commit({SETTLE_KEY: counter_row(count)})
        self.medium.step("settled")

    def copy(self, path: Path) -> None:
        """Copy the rows to a medium of their own, in ``Medium.copies`` under ``path``."""
        self._check_open()
        if path in self.medium.copies:
            raise EngineError("copying the store: it exists")
        self.medium.copies[path] = self.medium.copied()

    def stats(self) -> EngineStats:
        """Return current sizes."""
        self._check_open()
        return EngineStats(self.medium.used_bytes, self.medium.capacity_bytes)

    def close(self) -> None:
        """Close the engine and its snapshots; idempotent."""
        self._is_open = False
        if self.medium.engine is self:
            self.medium.engine = None
            for snapshot in list(self.medium.snapshots):
                snapshot.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise EngineError("the engine is closed")

    def _check_token(self, token: int) -> None:
        if token <= 0 or counter(self.medium.rows.get(TOKEN_KEY)) != token:
            raise FencedError("the writer's token is stale")


def _row_bytes(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
