"""Give commands read-your-writes, savepoints and rollback over any reader."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

from store.engine.contract import MAX_KEY_BYTES, MAX_VALUE_BYTES, Reader
from store.engine.merge import merge
from store.errors import LimitError

RESORT_SHARE: Final = 8
"""More new keys than one in so many are sorted in together; fewer are inserted one by one."""

_NEVER_WRITTEN: Final = object()


class Txn:
    """A ``Reader``: an ordered overlay of writes over another one, with an undo journal.

    Nothing reaches the engine from here: the writer passes ``writes`` to ``Engine.batch``.
    State that lives in memory beside the rows registers its undo with ``on_rollback``, so that
    rows and memory always go back together. Single-threaded.
    """

    __slots__ = ("_bytes", "_journal", "_order", "_reader", "_unordered", "_writes")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._writes: dict[bytes, bytes | None] = {}
        # Nothing in it may lead back to this object: in a cycle it would keep the reader, and
        # with it one of the engine's snapshots, until the collector of cycles comes by.
        self._journal: list[tuple[bytes, object] | int | Callable[[], None]] = []
        # Keys of the overlay in order, built only when a range is asked for. A key that was
        # rolled back may linger, and return a second time: readers look each up in _writes.
        self._order: list[bytes] = []
        self._unordered: list[bytes] = []
        self._bytes = 0

    @property
    def writes(self) -> Mapping[bytes, bytes | None]:
        """A live view of what would be written: the last value of each key, None deletes."""
        return MappingProxyType(self._writes)

    @property
    def bytes_written(self) -> int:
        """The sum of key and value bytes in ``writes``, and of what is reserved."""
        return self._bytes

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key`` as this transaction sees it, or None."""
        value = self._writes.get(key, _NEVER_WRITTEN)
        if value is _NEVER_WRITTEN:
            return self._reader.get(key)
        return value  # type: ignore[return-value]  # object stands for the sentinel only

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with ``start <= key < end`` as this transaction sees them.

        The overlay is taken at the call: writing while iterating is allowed and not seen.
        """
        changed = self._changed(start, end)
        if not changed:
            return self._reader.range(start, end, reverse=reverse, limit=limit)
        base = self._reader.range(start, end, reverse=reverse)
        overlay = reversed(changed.items()) if reverse else changed.items()
        pairs = merge(base, overlay, reverse=reverse)
        return pairs if limit is None else islice(pairs, limit)

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``; raises ``LimitError`` beyond the contract's sizes."""
        if len(value) > MAX_VALUE_BYTES:
            raise LimitError(f"a value has {len(value)} bytes, the most is {MAX_VALUE_BYTES}")
        self._write(key, value, len(value))

    def delete(self, key: bytes) -> None:
        """Remove ``key``; no error when it is absent. Raises ``LimitError`` as ``put`` does."""
        self._write(key, None, 0)

    def savepoint(self) -> int:
        """Return a mark to which ``rollback`` can return. O(1)."""
        return len(self._journal)

    def rollback(self, savepoint: int) -> None:
        """Undo everything since ``savepoint``, newest first; O(changes undone).

        A mark that was itself rolled back, or never given, is a ``ValueError``.
        """
        journal = self._journal
        if not 0 <= savepoint <= len(journal):
            raise ValueError("no such savepoint")
        while len(journal) > savepoint:
            entry = journal.pop()
            if isinstance(entry, tuple):
                self._restore(*entry)
            elif isinstance(entry, int):
                self._bytes -= entry
            else:
                entry()

    def keep(self) -> None:
        """Let nothing that was done until now be undone any more; earlier savepoints are void."""
        self._journal.clear()

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Register ``undo`` to run when a rollback passes this point.

        It must not raise, nor hold this transaction.
        """
        self._journal.append(undo)

    def reserve(self, count: int) -> None:
        """Count bytes that will be written before the commit; negative: they have been.

        A batch then takes no command that would crowd them out. Rollback undoes it.
        """
        self._bytes += count
        self._journal.append(count)

    def _write(self, key: bytes, value: bytes | None, value_bytes: int) -> None:
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise LimitError(f"a key has {len(key)} bytes, allowed are 1 to {MAX_KEY_BYTES}")
        writes = self._writes
        previous = writes.get(key, _NEVER_WRITTEN)
        if previous is _NEVER_WRITTEN:
            self._unordered.append(key)
            self._bytes += len(key) + value_bytes
        elif previous is None:
            self._bytes += value_bytes
        else:
            self._bytes += value_bytes - len(previous)  # type: ignore[arg-type]
        self._journal.append((key, previous))
        writes[key] = value

    def _restore(self, key: bytes, previous: object) -> None:
        current = self._writes[key]
        self._bytes -= len(current) if current is not None else 0
        if previous is _NEVER_WRITTEN:
            self._bytes -= len(key)
            del self._writes[key]
            return
        assert previous is None or isinstance(previous, bytes)
        self._bytes += len(previous) if previous is not None else 0
        self._writes[key] = previous

    def _changed(self, start: bytes, end: bytes) -> dict[bytes, bytes | None]:
        """Return this transaction's own writes of a range, in key order."""
        writes = self._writes
        if not writes:
            return {}
        order = self._ordered()
        first = bisect_left(order, start)
        last = bisect_left(order, end, first) if start < end else first
        return {key: writes[key] for key in order[first:last] if key in writes}

    def _ordered(self) -> list[bytes]:
        order, new = self._order, self._unordered
        if len(new) * RESORT_SHARE > len(order):
            order += new
            order.sort()
        else:
            for key in new:
                insort(order, key)
        new.clear()
        return order
