"""Take in what another site sent: log it, decide what has effect, let the views follow.

One decision applies one piece, and moves the lane's cursor in the same transaction. So an effect
happens once, however often a piece is sent, and a crash leaves either all of it or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge as merged
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.disposal import escrow
from appliance.disposal.gather import Group
from appliance.disposal.limits import HOLDS_PER_SITE
from appliance.disposal.orders import receipt_number
from appliance.operations import (
    SPECS,
    UNSIGNED,
    BodyStruct,
    ConversationCreated,
    ConversationMember,
    DestructionReceipt,
    HoldPlaced,
    Kind,
    Message,
    PersonHome,
    PersonProfile,
    Verdict,
    decode,
)
from appliance.sites import belief, history, merge, pending, upstream
from appliance.sites.link_commands import (
    GapError,
    NoteHistory,
    PieceError,
    TakeIncarnation,
    Taken,
    TakePiece,
)
from appliance.sites.merge import Side
from appliance.sites.reach import REACH, is_only_kept, lane, may_come_from_branch
from store import cursors, destruction, hlc, shipping
from store.envelope import Envelope
from store.errors import FormatError, IntegrityError, PartGoneError, StoreError
from store.ids import SITE_STREAM, OpId, Origin, Stream, StreamKind
from store.logreader import UnknownOpError
from store.oplog import Entry as LogEntry
from store.oplog import Op
from store.records import PartState, Record
from store.shipping import Shipment
from store.tables import LOG
from store.vault import CONTROL, STANDARD
from sync.pieces import NUMBERED, Entry, Lane, Own, Piece

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.link")

_NO_KEY: Final = bytes(32)
"""Stands for the key of another branch: headquarters is trusted to have checked it."""

_OF_THE_OPERATION: Final = (FormatError, IntegrityError, UnknownOpError)
"""Errors of the store that applying one operation may cause; others are of the machine."""

LOGIN_SUFFIX: Final = 6
"""Digits of a person's id behind a login name that even its site has given twice."""


def take(core: Core, ctx: Context, command: TakePiece) -> Taken:
    """Decide ``TakePiece``, by the site alone.

    Raises ``GapError`` for a piece that leaves something out, and ``PieceError`` for one that no
    honest site sends; a refusal "site.unknown" for a peer that is not one of ours.
    """
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    piece = command.piece
    try:
        if core.sites.is_branch:
            if command.node != core.sites.headquarters_node:
                raise refuse("site.unknown")
            upstream.follow(ctx.txn, command.numbered_by)
            from_headquarters = _FromHeadquarters(core, ctx, piece)
            if piece.lane is Lane.HISTORY:
                return from_headquarters.take_history()
            taken = from_headquarters.take()
            applied = cursors.get(ctx.txn, cursors.PEER, Lane.CONTROL)
            core.sites.set_applied(applied, ctx.txn.on_rollback)
            return taken
        branch = core.sites.branch_of(command.node)
        if branch is None or not branch.is_approved:
            raise refuse("site.unknown")
        if piece.lane is Lane.HISTORY:
            raise PieceError("a branch has no history to tell")
        if command.numbered_by.node != command.node:
            raise PieceError("a branch tells of itself alone")
        return _FromBranch(core, ctx, piece, command.numbered_by).take()
    except (FormatError, IntegrityError) as error:
        raise PieceError("an operation that does not hold") from error


def note_history(core: Core, ctx: Context, command: NoteHistory) -> None:
    """Decide ``NoteHistory``, by the site alone."""
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    known = core.streams.pseudonym(command.stream)
    if known is not None:
        history.got(ctx.txn, known, command.before, is_end=command.is_end)


class _Intake:
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
                    self._enter(each)
            cursor = piece.upto
            cursors.put(txn, self.number, piece.lane, cursor)
        return Taken(cursor)

    def _enter(self, entry: Entry) -> None:
        try:
            origin = self.piece.origins[entry.origin]
        except IndexError:
            raise PieceError("an operation of an origin that is not named") from None
        number = self.origin_number(origin)
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
            is_void = entry.is_quarantined or self.is_void(origin, shipment, envelope, body)
            op = log(body, is_void=is_void)
            if isinstance(op, Op):
                self._have_effect(op, None if is_void else body, entry.number)
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

    def follow_up(self, op: Op, body: BodyStruct, number: int) -> None:
        """Do what follows from an operation that has had its effect; ``number`` is its place."""

    # --- what the directions differ in ------------------------------------------------------------

    def origin_number(self, origin: Origin) -> int:
        """Return the local number of an origin, giving it one if need be."""
        raise NotImplementedError

    def confirm(self, run: Own) -> None:
        """Note that own operations have arrived at headquarters."""
        raise NotImplementedError

    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        """Tell whether an operation has no effect here."""
        raise NotImplementedError


class _FromBranch(_Intake):
    """Headquarters takes a branch's log, and believes of it what that branch may say."""

    def __init__(self, core: Core, ctx: Context, piece: Piece, origin: Origin) -> None:
        super().__init__(core, ctx, piece)
        self.node = origin.node
        if piece.origins not in ((), (origin,)) or piece.own:
            raise PieceError("a branch tells of itself alone")
        self.number = self.origin_number(origin)

    def origin_number(self, origin: Origin) -> int:
        known = self.core.log.number_of(origin)
        if known is not None:
            return known
        branch = self.core.sites.branch_of(origin.node)
        if branch is None:
            raise PieceError("an operation of a site that is none of ours")
        return self.core.log.add_origin(self.ctx.txn, origin, branch.public_key, is_whole=True)

    def follow_up(self, op: Op, body: BodyStruct, number: int) -> None:
        """Give somebody another login name when another site was first with theirs."""
        if not isinstance(body, PersonProfile):
            return
        holder = self.core.directory.resolve(body.login)
        if holder is None or holder.id == op.stream.id:
            return
        stream, name = op.stream, self.core.sites.name_of(self.node)
        login = f"{body.login}@{name}"
        if self.core.directory.resolve(login) is not None:
            login = f"{login}-{op.stream.id.hex()[:LOGIN_SUFFIX]}"
        corrected = msgspec.structs.replace(body, login=login, signed=UNSIGNED)
        self.ctx.append(Kind.PERSON_PROFILE, corrected, stream=stream)
        verdict = Verdict(op.id.pack(), "corrected", "person.exists")
        self.ctx.append(Kind.VERDICT, verdict, stream=SITE_STREAM)

    def confirm(self, run: Own) -> None:
        raise PieceError("a branch knows no order of arrival")

    def tell_of_poison(self, name: OpId, error: Exception) -> None:
        super().tell_of_poison(name, error)
        verdict = Verdict(name.pack(), "quarantined", "request.invalid")
        self.ctx.append(Kind.VERDICT, verdict, stream=SITE_STREAM)

    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        assert shipment.stream is not None
        actor = envelope.actor
        if (
            actor
            and self.core.sites.node_of_person(actor) != self.node
            and not self._is_new(envelope)
        ):
            return True
        if not may_come_from_branch(envelope.kind):
            return True
        if not belief.may_change(self.core, self.ctx.txn, self.node, shipment.stream):
            return True
        if body is None:
            return False
        if not belief.is_well_formed(envelope.kind, shipment.stream, body):
            return True
        if self._is_of_anothers_numbers(body):
            return True
        if envelope.kind in merge.CREDENTIALS:
            person = self.core.directory.person(shipment.stream.id)
            if person is not None and person.ended_pos > envelope.seen:
                return True
        holder = self._holder(envelope, shipment.stream, body)
        if holder is None or holder.pos <= envelope.seen or holder.id.node == self.node:
            return False
        return merge.beats(self._side(holder), Side(envelope.kind, body, is_headquarters=False))

    def _is_of_anothers_numbers(self, body: BodyStruct) -> bool:
        """Tell whether it would change a hold, or be a receipt, of another site."""
        branch = self.core.sites.branch_of(self.node)
        site = 0 if branch is None else branch.site
        if isinstance(body, HoldPlaced):
            return body.hold // HOLDS_PER_SITE != site
        if isinstance(body, DestructionReceipt):
            return body.receipt != receipt_number(site, body.order)
        return False

    def _is_new(self, envelope: Envelope) -> bool:
        """Tell whether the actor is not known here yet: their first operation is on its way."""
        return self.core.directory.person(envelope.actor) is None


class _FromHeadquarters(_Intake):
    """A branch takes what headquarters has decided; its own waits for headquarters' order."""

    def __init__(self, core: Core, ctx: Context, piece: Piece) -> None:
        super().__init__(core, ctx, piece)
        self._opening: dict[int, int] = {}
        """The number of the newest operation of each opening, by the conversation's pseudonym."""

    def origin_number(self, origin: Origin) -> int:
        known = self.core.log.number_of(origin)
        if known is not None:
            return known
        headquarters = self.core.sites.headquarters
        is_theirs = headquarters is not None and headquarters.node == origin.node
        key = headquarters.public_key if headquarters is not None and is_theirs else _NO_KEY
        return self.core.log.add_origin(self.ctx.txn, origin, key, is_whole=False)

    def take_history(self) -> Taken:
        """Apply operations from before their conversation came into scope."""
        for entry in self.piece.entries:
            self._enter(entry)
        return Taken(self.piece.upto)

    def follow_up(self, op: Op, body: BodyStruct, number: int) -> None:
        """Note whose history is to be asked for, when somebody at home here joins."""
        sites = self.core.sites
        is_first = self._is_of_opening(op, body, number)
        if isinstance(body, ConversationMember):
            is_joining = body.role and (body.opening or body.since in (0, op.key))
            if is_joining and not is_first and sites.is_home(body.person):
                history.owe(self.ctx.txn, op.pseudonym, number)
        elif isinstance(body, PersonHome) and body.node == sites.node:
            for each in self.core.conversations.current(op.stream.id):
                known = self.core.conversations.get(each)
                if known is not None:
                    history.owe(self.ctx.txn, known.pseudonym, number)

    def _is_of_opening(self, op: Op, body: BodyStruct, number: int) -> bool:
        """Tell whether nothing can have been said in a conversation before this operation.

        So it is when it follows its beginning, in this piece and with nothing in between.
        """
        if isinstance(body, ConversationCreated) or self._opening.get(op.pseudonym) == number - 1:
            self._opening[op.pseudonym] = number
            return True
        return False

    def confirm(self, run: Own) -> None:
        pending.confirm(self.ctx.txn, self.core.log, run)

    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        assert shipment.stream is not None
        if body is None:
            return False
        holder = self._holder(envelope, shipment.stream, body)
        if holder is None or not pending.is_pending(self.ctx.txn, self.core.log, holder):
            return False
        is_headquarters = origin.node == self.core.sites.headquarters_node
        arriving = Side(envelope.kind, body, is_headquarters)
        return not merge.beats(arriving, self._side(holder))


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


def take_incarnation(core: Core, ctx: Context, command: TakeIncarnation) -> None:
    """Decide ``TakeIncarnation``, by the site alone; nothing is done when it has another."""
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    if core.log.own.incarnation == command.instead_of:
        core.log.renew(ctx.txn)
        core.succeed(ctx.txn, command.reason, ctx.now)


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    TakePiece: take,
    NoteHistory: note_history,
    TakeIncarnation: take_incarnation,
}
