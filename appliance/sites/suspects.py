"""Remember at a branch which logs have to be compared with headquarters before anything travels.

    META row "suspect." and the local number of an origin (u32) -> empty

An origin is suspect when it, or headquarters, may have been set back: each incarnation of this
site's own before the present one, and each of headquarters' that it has given up.
"""

from __future__ import annotations

import struct
from typing import Final

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.tables import meta_key, successor

_PREFIX: Final = meta_key("suspect.")
_NUMBER: Final = struct.Struct(">I")


def suspect(txn: Txn, number: int) -> None:
    """Have an origin compared."""
    txn.put(_PREFIX + _NUMBER.pack(number), b"")


def clear(txn: Txn, number: int) -> None:
    """Note that an origin was compared, and what differed was settled."""
    txn.delete(_PREFIX + _NUMBER.pack(number))


def suspects(reader: Reader) -> list[int]:
    """Return the local numbers of the origins that are to be compared, oldest first."""
    rows = reader.range(_PREFIX, successor(_PREFIX))
    return [_NUMBER.unpack(key[len(_PREFIX) :])[0] for key, _ in rows]
