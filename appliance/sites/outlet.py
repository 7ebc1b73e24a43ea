"""Read what another site is to be sent: pieces of a lane, from a snapshot.

A branch sends its own log as it is; headquarters sends what has arrived there and is in the
branch's scope. Nothing is queued for anybody: a piece is read when the line has room for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from appliance.sites import prelude
from appliance.sites.reach import Reach, reach
from appliance.sites.scope import Scope
from store import order, shipping
from store.engine.contract import Reader
from store.ids import Origin
from store.logreader import LogReader
from store.oplog import Op
from store.order import Placed
from store.records import Record
from store.shipping import Shipment
from store.tables import LOG
from sync.pieces import Entry, Lane, Own, Piece

if TYPE_CHECKING:
    from appliance.core import Core

SCANNED_ROWS: Final = 20_000
"""Rows of other lanes and scopes that one read passes over: about 15 ms."""

PIECE_OPERATIONS: Final = 1_024
"""Operations in one piece."""

_OVERHEAD_BYTES: Final = 96
"""What an operation takes on the line beside its text, before compression."""


def own_piece(
    core: Core, reader: Reader, number: int, lane: Lane, after: int, upto: int, budget_bytes: int
) -> Piece | None:
    """Return what follows ``after`` of this site's own log, up to ``upto``; None: nothing does.

    ``number`` is the local one of the incarnation.
    """
    log = core.log
    entries: list[Entry] = []
    end, spent = min(upto, _last_seq(reader, number)), 0
    upto = after
    for seq, record in log.lane(reader, number, lane, after, SCANNED_ROWS):
        if seq > end:
            upto = end
            break
        shipment = log.ship(reader, number, record)
        if _stays(shipment):
            shipment = shipping.bare(shipment)
        entries.append(Entry(seq, 0, shipment))
        upto = seq
        spent += _weight(shipment)
        if spent >= budget_bytes or len(entries) == PIECE_OPERATIONS:
            break
    else:
        upto = min(end, after + SCANNED_ROWS)
    if upto <= after:
        return None
    return Piece(lane, after, upto, (log.origins[number].origin,), tuple(entries))


def scoped_piece(
    core: Core,
    reader: Reader,
    scope: Scope,
    peer: Origin,
    lane: Lane,
    after: int,
    upto: int,
    budget_bytes: int,
    positions: Iterator[int] | None = None,
) -> Piece | None:
    """Return what followed ``after`` in headquarters' order, up to ``upto``, for one branch.

    ``peer`` is the branch with its present incarnation: that part of the log it has itself.
    ``positions`` are all that may concern the branch; None: the whole order is read.
    """
    start = order.start(reader)
    if start is None or upto <= after:
        return None
    if after + 1 < start:
        return prelude.registers(core, reader, scope, lane, after, min(start - 1, upto))
    builder = _Builder(core, reader, scope, peer, lane, after)
    if positions is None:
        rows = order.after(reader, after, SCANNED_ROWS)
    else:
        rows = order.at(reader, positions)
    for scanned, row in enumerate(rows, start=1):
        if row.pos > upto:
            builder.upto = upto
            break
        builder.add(row)
        if builder.spent >= budget_bytes or builder.size >= PIECE_OPERATIONS:
            break
        if scanned == SCANNED_ROWS:
            break
    else:
        builder.upto = max(builder.upto, upto)
    return builder.piece()


class _Builder:
    """Puts one piece of headquarters' order together."""

    def __init__(
        self, core: Core, reader: Reader, scope: Scope, peer: Origin, lane: Lane, after: int
    ) -> None:
        self._core = core
        self._reader = reader
        self._scope = scope
        self._peer = peer
        self._lane = lane
        self._after = after
        self.upto = after
        self.spent = 0
        self._origins: dict[int, int] = {}
        self._entries: list[Entry] = []
        self._own: list[Own] = []

    @property
    def size(self) -> int:
        """How many operations it holds."""
        return len(self._entries)

    def add(self, row: Placed) -> None:
        """Take in one arrival, if it is of the lane and concerns the branch."""
        self.upto = row.pos
        if row.lane != self._lane:
            return
        if self._core.log.origin(row.origin) == self._peer:
            self._note_own(row)
            return
        if not self._may_concern(row):
            return
        op, shipment = _opened(self._core.log, self._reader, row)
        if op is None or op.is_quarantined:
            return
        if not self._scope.covers(op.kind, op.stream, op.conversation, row.pos):
            return
        for before in prelude.before(self._core, self._reader, self._scope, op):
            self._enter(row.pos, *before)
        self._enter(row.pos, row.origin, shipment)

    def piece(self) -> Piece | None:
        """Return the piece; None when nothing follows."""
        if self.upto <= self._after:
            return None
        origins = tuple(map(self._core.log.origin, self._origins))
        return Piece(
            self._lane, self._after, self.upto, origins, tuple(self._entries), tuple(self._own)
        )

    def _may_concern(self, row: Placed) -> bool:
        """Tell from its feed alone whether an arrival may be in scope: opening it costs more.

        What is shown in no feed has no effect here, or never came.
        """
        stream = self._core.streams.stream(row.feed)
        return stream is not None and self._scope.reaches(stream, row.pos)

    def _enter(self, number: int, origin: int, shipment: Shipment) -> None:
        index = self._origins.setdefault(origin, len(self._origins))
        self._entries.append(Entry(number, index, shipment))
        self.spent += _weight(shipment)

    def _note_own(self, row: Placed) -> None:
        """Note one of the branch's own operations, in a run with the one before if it can be."""
        if self._lane is not Lane.CONTROL:
            return
        if self._own:
            last = self._own[-1]
            if (last.seq + last.size, last.number + last.size) == (row.seq, row.pos):
                self._own[-1] = last._replace(size=last.size + 1)
                return
        self._own.append(Own(row.seq, row.pos, 1))


def _opened(log: LogReader, reader: Reader, row: Placed) -> tuple[Op | None, Shipment]:
    record = Record.unpack(reader.get(LOG.key(row.origin, row.seq)) or b"")
    entry = log.entry(reader, row.origin, record)
    shipment = log.ship(reader, row.origin, record)
    return (entry if isinstance(entry, Op) else None), shipment


def _stays(shipment: Shipment) -> bool:
    """Tell whether an operation leaves its site as a commitment only."""
    envelope = shipping.envelope_of(shipment)
    if envelope is None or shipment.stream is None:
        return False
    return reach(envelope.kind, shipment.stream.kind) is Reach.SITE


def _weight(shipment: Shipment) -> int:
    return _OVERHEAD_BYTES + len(shipment.body or b"")


def _last_seq(reader: Reader, number: int) -> int:
    for key, _ in reader.range(*LOG.span(number), reverse=True, limit=1):
        return LOG.columns(key)[1]
    return 0
