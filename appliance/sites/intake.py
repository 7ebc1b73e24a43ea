"""Take in what another site sent: log it, decide what has effect, let the views follow.

One piece is applied in one decision, which moves the lane's cursor in the same transaction. So an
effect happens once, however often a piece is sent, and a crash leaves either all of it or nothing.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from heapq import merge as merged
from typing import TYPE_CHECKING, Final

from appliance.context import Context
from appliance.disposal import escrow
from appliance.disposal.gather import Group
from appliance.operations import (
    SPECS,
    BodyStruct,
    Kind,
    Message,
    decode,
)
from appliance.sites import pending, unknown
from appliance.sites.link_commands import Taken
from appliance.sites.merge import Side
from appliance.sites.reach import REACH, is_only_kept, lane
from store import cursors, destruction, hlc, shipping
from store.envelope import Envelope
from store.errors import FormatError, IntegrityError, PartGoneError, StoreError
from store.ids import OpId, Origin, Stream, StreamKind
from store.logreader import UnknownOpError
from store.oplog import Entry as LogEntry
from store.oplog import Op
from store.records import PartState, Record
from store.shipping import Shipment
from store.tables import LOG
from store.vault import CONTROL, STANDARD
from sync.errors import GapError, RejectedError
from sync.pieces import NUMBERED, Entry, Lane, Own, Piece

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.link")

_OF_THE_OPERATION: Final = (FormatError, IntegrityError, UnknownOpError)
"""Errors of the store that applying one operation may cause; others are of the machine."""


class Intake(ABC):
    """Takes one piece; the two directions differ in whom they believe what."""

    def __init__(self, core: Core, ctx: Context, piece: Piece) -> None:
        self.core = core
        self.ctx = ctx
        self.piece = piece
        self.number = cursors.PEER

    def take(self) -> Taken:
        """Apply what is new in the piece and move the cursor."""
        txn, piece = self.ctx.txn, self.piece
        cursor = cursors.get(txn, self.number, piece.lane)
        if piece.after > cursor:
            raise GapError("a piece that leaves something out")
        if piece.upto > cursor:
            for each in _in_order(piece):
                if each.number <= cursor or each.number > piece.upto:
                    continue
                if isinstance(each, Own):
                    self.confirm(each)
                else:
                    self.enter(each)
            cursor = piece.upto
            cursors.put(txn, self.number, piece.lane, cursor)
        return Taken(cursor)

    def enter(self, entry: Entry) -> None:
        """Log one operation, and let it have its effect if it has one."""
        try:
            origin = self.piece.origins[entry.origin]
        except IndexError:
            raise RejectedError("an operation of an origin that is not named") from None
        number = self.core.log.number_at(self.origin_number(origin), entry.shipment.seq)
        is_earlier = self.core.log.is_own(number)
        if is_earlier and self.piece.lane is Lane.CONTROL:  # of an earlier incarnation
            pending.confirm_upto(self.ctx.txn, number, entry.shipment.seq)
        shipment = entry.shipment
        if is_earlier:
            self._refill(number, shipment)
            return
        envelope = shipping.envelope_of(shipment)
        if envelope is None or shipment.stream is None:
            self._receive_bare(number, shipment)
            return
        if self._is_gone(envelope.target):
            self._bury(number, shipment)
            return
        log = partial(self._log, number, shipment, envelope)
        mark, shown = self.ctx.txn.savepoint(), len(self.ctx.ops)
        try:
            body = _body(envelope, shipment)
            is_void = self.is_void(origin, shipment, envelope, body)
            op = log(body, is_void=is_void)
            if isinstance(op, Op):
                self._have_effect(op, None if is_void else body, entry.number)
                if is_void and body is not None:
                    self.correct(op, body)
        except Exception as error:
            if isinstance(error, StoreError) and not isinstance(error, _OF_THE_OPERATION):
                raise
            self.ctx.txn.rollback(mark)
            del self.ctx.ops[shown:]
            log(None, is_void=True)
            self.tell_of_poison(OpId(*origin, shipment.seq), error)

    def _log(
        self,
        number: int,
        shipment: Shipment,
        envelope: Envelope,
        body: BodyStruct | None,
        *,
        is_void: bool,
    ) -> LogEntry | None:
        assert shipment.stream is not None, "what has an envelope has a stream"
        return self.core.log.receive(
            self.ctx.txn,
            number,
            shipment,
            now_ms=self.ctx.now,
            retention_class=self._retention_class(envelope, shipment.stream),
            lane=_lane(self.piece.lane, envelope.kind),
            is_quarantined=is_void,
            late=self._is_late(envelope, shipment.stream, body),
        )

    def _have_effect(self, op: Op, body: BodyStruct | None, number: int) -> None:
        """Let views and memory follow an operation that is new here; no body: it has no effect."""
        if self.piece.lane is Lane.HISTORY:
            escrow.drop(self.ctx.txn, Group((op,)))
        if op.target:  # what targets a message may come before it, in another lane
            self.origin_number(Origin(*OpId.unpack(op.target)[:2]))
        if op.kind not in SPECS:
            unknown.note(self.ctx.txn, op)
        if body is None or is_only_kept(op.kind):
            return
        self.core.apply(self.ctx.txn, op, self.core.localised(op, body))
        if self.piece.lane is not Lane.HISTORY:
            self.ctx.ops.append(op)
        self.follow_up(op, body, number)

    def tell_of_poison(self, name: OpId, error: Exception) -> None:
        """Report an operation that could not be applied: it is kept, and has no effect."""
        kind = type(error).__name__
        logger.error("site.poison", extra={"op": name.pack().hex(), "error": kind})

    def _refill(self, number: int, shipment: Shipment) -> None:
        """Take back an own operation whose body this branch let go of with its scope."""
        envelope = shipping.envelope_of(shipment)
        if self.piece.lane is not Lane.HISTORY or envelope is None or shipment.stream is None:
            return
        retention_class = self._retention_class(envelope, shipment.stream)
        op = self.core.log.refill(
            self.ctx.txn,
            number,
            shipment,
            retention_class=retention_class,
            now_ms=self.ctx.now,
        )
        body = _body(envelope, shipment)
        if isinstance(op, Op) and body is not None:
            escrow.drop(self.ctx.txn, Group((op,)))
            self.core.apply(self.ctx.txn, op, self.core.localised(op, body))

    def _is_gone(self, target: bytes) -> bool:
        """Tell whether what an operation belongs to was destroyed here: then it goes as well."""
        if not target:
            return False
        place = self.core.log.find(self.ctx.txn, OpId.unpack(target))
        if place is None:
            return False
        record = Record.unpack(self.ctx.txn.get(LOG.key(*place)) or b"")
        return record.body_state is PartState.DESTROYED

    def _bury(self, number: int, shipment: Shipment) -> None:
        """Log an operation as destroyed: it came too late to be seen."""
        place = (number, shipment.seq)
        if self.ctx.txn.get(LOG.key(*place)) is None:
            self._receive_bare(number, shipping.bare(shipment))
            destruction.bury(self.ctx.txn, place)

    def _receive_bare(self, number: int, shipment: Shipment) -> None:
        self.core.log.receive(
            self.ctx.txn,
            number,
            shipment,
            retention_class=CONTROL,
            now_ms=self.ctx.now,
            lane=_lane(self.piece.lane, 0),
        )

    def _retention_class(self, envelope: Envelope, stream: Stream) -> int:
        spec = SPECS.get(Kind(envelope.kind)) if envelope.kind in REACH else None
        if spec is None or spec.retention_class != STANDARD:
            return CONTROL if spec is None else spec.retention_class
        known = self.core.conversations.get(stream.id)
        return STANDARD if known is None else known.retention_class

    def _is_late(self, envelope: Envelope, stream: Stream, body: BodyStruct | None) -> bool:
        """Tell whether a message sorts before another one that is shown here already."""
        if not isinstance(body, Message) or stream.kind is not StreamKind.CONVERSATION:
            return False
        if self.piece.lane is Lane.HISTORY:
            return False
        feed = self.core.streams.pseudonym(stream)
        if feed is None:
            return False
        return hlc.key(envelope.t, envelope.floor) < self.core.conversations.front(feed).key

    def _holder(self, envelope: Envelope, stream: Stream, body: BodyStruct) -> Op | None:
        """Return the operation that holds the register which an arriving one would set."""
        key = self.core.register_of(envelope.kind, stream, envelope.actor, body)
        value = None if key is None else self.ctx.txn.get(key)
        if value is None:
            return None
        try:
            return self.core.log.read(self.ctx.txn, *self.core.place_in(value))
        except PartGoneError:
            return None

    def _side(self, op: Op) -> Side:
        is_headquarters = op.id.node == self.core.sites.headquarters_node
        return Side(op.kind, self.core.body_of(op), is_headquarters)

    # --- what the directions differ in ------------------------------------------------------------

    @abstractmethod
    def origin_number(self, origin: Origin) -> int:
        """Return the local number of an origin, giving it one if need be."""

    @abstractmethod
    def confirm(self, run: Own) -> None:
        """Note that own operations have arrived at headquarters."""

    @abstractmethod
    def follow_up(self, op: Op, body: BodyStruct, number: int) -> None:
        """Do what follows from an operation that has had its effect; ``number`` is its place."""

    @abstractmethod
    def correct(self, op: Op, body: BodyStruct) -> None:
        """Say what holds instead of an operation that has no effect, where that has to be said."""

    @abstractmethod
    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        """Tell whether an operation has no effect here."""


def _lane(carried: Lane, kind: int) -> Lane:
    """Return the lane to log an operation in: the one that carried it, if that is numbered."""
    return carried if carried in NUMBERED else lane(kind)


def _in_order(piece: Piece) -> Iterator[Entry | Own]:
    """Yield entries and runs of own operations in the order of arrival."""

    def number(each: Entry | Own) -> int:
        return each.number

    return merged(piece.own, piece.entries, key=number)


def _body(envelope: Envelope, shipment: Shipment) -> BodyStruct | None:
    """Read a body; None when it did not come, or is of a newer build; raises ``FormatError``."""
    if shipment.body is None or envelope.kind not in REACH:
        return None
    try:
        return decode(envelope.kind, shipment.body)
    except (ValueError, KeyError):
        raise FormatError("a body that is none of its kind") from None
