"""State what the vault asks of the write transaction it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from store.engine.contract import Reader


class Transaction(Reader, Protocol):
    """A reader of its own writes whose changes can be rolled back."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write ``value`` under ``key``."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove ``key``; no error when it is absent."""
        ...

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Run ``undo`` when a rollback passes this point, newest first."""
        ...

    def reserve(self, count: int) -> None:
        """Count bytes that will be written before the commit, so that a batch leaves room."""
        ...
