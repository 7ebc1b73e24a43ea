"""Fetch what was said in a conversation before it came into a branch's scope.

    HISTORY row    stream u64 (pseudonym of the conversation) -> u64: headquarters' position
                   before which operations are still to be asked for

A branch owes itself the history of a conversation from the moment on when somebody at home there
joins it. It asks for the newest part first; the row goes when nothing older is left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from appliance.operations import Kind
from appliance.sites.scope import Scope
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.feeds import FEED_ROW
from store.ids import Origin, Stream
from store.ops import Op
from store.records import Record
from store.shipping import Shipment
from store.skeleton import OpClass
from store.tables import FEED, HISTORY, LOG
from sync.pieces import Entry, Lane, Piece
from sync.session import Chapter

if TYPE_CHECKING:
    from appliance.core import Core

CHAPTER_ROWS: Final = 2_000
"""Rows that one chapter looks at."""

_BYTES: Final = 8
_PLACE = struct.Struct(">IQ")
_MARKS: Final = (Kind.READ, Kind.DELIVERED)


def owe(txn: Txn, stream: int, before: int) -> None:
    """Note that everything before a position of headquarters is to be asked for."""
    known = int.from_bytes(txn.get(HISTORY.key(stream)) or b"", "big")
    txn.put(HISTORY.key(stream), max(known, before).to_bytes(_BYTES, "big"))


def owed(reader: Reader) -> Iterator[tuple[int, int]]:
    """Yield the pseudonym of each conversation with history to be asked for, and before what."""
    for key, value in reader.range(*HISTORY.span()):
        yield HISTORY.columns(key)[0], int.from_bytes(value, "big")


def got(txn: Txn, stream: int, before: int, *, is_end: bool) -> None:
    """Note how far back the history has come."""
    if txn.get(HISTORY.key(stream)) is None:
        return
    if is_end:
        txn.delete(HISTORY.key(stream))
    else:
        txn.put(HISTORY.key(stream), before.to_bytes(_BYTES, "big"))


def chapter(
    core: Core,
    reader: Reader,
    scope: Scope,
    peer: Origin,
    stream: Stream,
    before: int,
    limit: int,
    budget_bytes: int,
) -> Chapter | None:
    """Return the newest operations of a conversation before a position; None: not in scope."""
    known = core.conversations.get(stream.id)
    if known is None or known.stream != stream or not scope.until(known):
        return None
    rows, origins = core.log.origins, dict[int, int]()
    found: list[Entry] = []
    oldest, spent, is_end = before, 0, True
    span = FEED.key(known.pseudonym, 0), FEED.key(known.pseudonym, before)
    for looked, (key, value) in enumerate(reader.range(*span, reverse=True), start=1):
        if looked > CHAPTER_ROWS or len(found) == limit or spent >= budget_bytes:
            is_end = False
            break
        oldest = FEED.columns(key)[1]
        origin, seq, _key = FEED_ROW.unpack(value)
        if rows[origin].origin == peer:
            continue
        shipment = _worth_telling(core, reader, origin, seq)
        if shipment is not None:
            index = origins.setdefault(origin, len(origins))
            found.append(Entry(oldest, index, shipment))
            spent += len(shipment.envelope) + len(shipment.body or b"")
    named = tuple(rows[origin].origin for origin in origins)
    piece = Piece(Lane.HISTORY, oldest - 1, before - 1, named, tuple(reversed(found)))
    return Chapter(piece, oldest, is_end)


def _worth_telling(core: Core, reader: Reader, origin: int, seq: int) -> Shipment | None:
    """Return a message, what targets one, or a mark that still counts."""
    record = Record.unpack(reader.get(LOG.key(origin, seq)) or b"")
    op = core.log.entry(reader, origin, record)
    if not isinstance(op, Op) or op.is_quarantined:
        return None
    if op.kind in _MARKS:
        key = core.register_key(op)
        if key is None or reader.get(key) != _PLACE.pack(origin, seq):
            return None
    elif op.op_class is not OpClass.MESSAGE:
        return None
    return core.log.ship(reader, origin, record)
