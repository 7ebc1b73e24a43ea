"""Remember whose order of arrival a branch follows, and how far.

    META row "upstream"
    offset  size  type   meaning
    0       16    bytes  NodeId of headquarters
    16      8     u64    its incarnation, whose positions the cursors count

    META row "upstream." and the same in hex: it was followed once, and is no more; empty

    META row "upstream.newest"
    offset  size  type   meaning
    0       8     u64    the highest position at which an operation came from there
    8       32    bytes  that operation's hash

The newest operation proves to headquarters, in the greeting, whether it was set back and has
given its positions to others since. After a restore headquarters counts anew. The branch then
begins at 0 again: what it has already it recognises by name, and what headquarters has lost it
sends again.
"""

from __future__ import annotations

import struct

from store import cursors
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.ids import Origin
from store.tables import meta_key
from sync.pieces import NUMBERED

_KEY = meta_key("upstream")
_ROW = struct.Struct(">16sQ")
_NEWEST_KEY = meta_key("upstream.newest")
_NEWEST = struct.Struct(">Q32s")


def followed(reader: Reader) -> Origin | None:
    """Return the incarnation of headquarters whose order is followed; None before the first."""
    value = reader.get(_KEY)
    return None if value is None else Origin(*_ROW.unpack(value))


def newest(reader: Reader) -> tuple[int, bytes]:
    """Return position and hash of the newest operation from there; 0 and empty for none."""
    value = reader.get(_NEWEST_KEY)
    return (0, b"") if value is None else _NEWEST.unpack(value)


def note_newest(txn: Txn, pos: int, digest: bytes) -> None:
    """Note an operation that came, if it is the newest."""
    if pos > newest(txn)[0]:
        txn.put(_NEWEST_KEY, _NEWEST.pack(pos, digest))


def hear_again(txn: Txn, pos: int) -> None:
    """Follow headquarters' order from before a position on, where it was followed beyond."""
    for lane in NUMBERED:
        if cursors.get(txn, cursors.PEER, lane) >= pos:
            cursors.put(txn, cursors.PEER, lane, pos - 1)


def follow(txn: Txn, origin: Origin) -> None:
    """Follow the order of an incarnation of headquarters, from the beginning if it is new."""
    known = followed(txn)
    if known == origin:
        return
    if known is not None:
        txn.put(_past(known), b"")
    txn.put(_KEY, _ROW.pack(*origin))
    txn.delete(_NEWEST_KEY)
    for lane in NUMBERED:
        cursors.put(txn, cursors.PEER, lane, 0)


def is_past(reader: Reader, origin: Origin) -> bool:
    """Tell whether an incarnation of headquarters was followed until another came."""
    return followed(reader) != origin and reader.get(_past(origin)) is not None


def _past(origin: Origin) -> bytes:
    return meta_key(f"upstream.{_ROW.pack(*origin).hex()}")
