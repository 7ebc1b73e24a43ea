"""Remember operations whose kind this build does not know, so that a later one lets them count.

META row "unknown."   then kind u16, origin number u32, seq u64; the value is one byte
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.oplog import Op
from store.tables import meta_key, successor

_PREFIX: Final = meta_key("unknown.")
_NAME = struct.Struct(">HIQ")
_NOTED: Final = b"\x01"


class Unknown(NamedTuple):
    """An operation that has no effect yet: its kind, and where it is in the log."""

    kind: int
    origin: int
    seq: int

    @property
    def key(self) -> bytes:
        """The key of its row."""
        return _PREFIX + _NAME.pack(*self)


def note(txn: Txn, op: Op) -> None:
    """Remember an operation that has no effect, because this build does not know its kind."""
    txn.put(Unknown(op.kind, op.origin, op.id.seq).key, _NOTED)


def noted(reader: Reader) -> Iterable[Unknown]:
    """Yield what was not known when it came."""
    for key, _ in reader.range(_PREFIX, successor(_PREFIX)):
        yield Unknown(*_NAME.unpack(key[len(_PREFIX) :]))
