"""Read from a snapshot, and again from a newer one when keys were destroyed meanwhile.

A destruction changes the root of all keys. A reader whose snapshot is of the time before cannot
open anything more; what it has read so far is dropped, and it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from store.engine.contract import Engine, Reader
from store.vault.errors import StaleSnapshotError

T = TypeVar("T")

READ_ATTEMPTS: Final = 8
"""Snapshots that one read may take; each new one needs a destruction during the one before."""


def read(engine: Engine, function: Callable[[Reader], T]) -> T:
    """Return what ``function`` makes of a snapshot; it may be called several times.

    Nothing it does may be worse for being done again. Raises what it raises, and
    ``StaleSnapshotError`` when ``READ_ATTEMPTS`` snapshots in a row have become stale.
    """
    attempt = 1
    while True:
        try:
            with engine.snapshot() as reader:
                return function(reader)
        except StaleSnapshotError:
            if attempt == READ_ATTEMPTS:
                raise
        attempt += 1
