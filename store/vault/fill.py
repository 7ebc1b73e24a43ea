"""Count the keys used of each epoch, so that those behind them can end.

A batch that was lost to a crash or a full disk may have left sealed bytes in free pages, under
the next keys of the epochs that were open. Nothing is sealed under those again: they are behind
the number that the store knows, and whoever cuts an epoch there ends them and no part.

    FILL key                               FILL value
    is closed u8, stream u64, epoch u32    keys handed out by the commits so far, u16

An open epoch's row is written with each part. A closed one's stays until the epoch is cut: by
the first destruction in it, or, if nobody closed it in good order, after the next start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from store.engine.contract import Reader
from store.tables import FILL
from store.vault.contract import Transaction

_OPEN: Final = 0
_CLOSED: Final = 1
_COUNT: Final = struct.Struct(">H")

count: Final = _COUNT.pack
"""Returns the value of an open epoch's row; called for every part."""


def open_key(stream: int, epoch: int) -> bytes:
    """Return the key of an open epoch's row."""
    return FILL.key(_OPEN, stream, epoch)


def close(txn: Transaction, stream: int, epoch: int) -> None:
    """Keep the count of an epoch in which nothing is sealed any more."""
    key = open_key(stream, epoch)
    value = txn.get(key)
    if value is not None:
        txn.delete(key)
        txn.put(FILL.key(_CLOSED, stream, epoch), value)


def closed_count(reader: Reader, stream: int, epoch: int) -> int | None:
    """Return the keys used of a closed epoch; None when it is open, or has been cut."""
    value = reader.get(FILL.key(_CLOSED, stream, epoch))
    return None if value is None else _COUNT.unpack(value)[0]


def forget(txn: Transaction, stream: int, epoch: int) -> None:
    """Drop the count of an epoch that is being cut."""
    txn.delete(FILL.key(_CLOSED, stream, epoch))


def left_open(reader: Reader) -> Iterator[tuple[int, int]]:
    """Yield stream and serial of each epoch that nobody has closed."""
    for key, _ in reader.range(*FILL.span(_OPEN)):
        _, stream, epoch = FILL.columns(key)
        yield stream, epoch
