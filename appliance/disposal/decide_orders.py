"""Decide orders of headquarters at a branch, and that no order waits for a branch any more.

What two people agreed to and headquarters judged is not judged again at a branch by age or
minimum: those it knows less well. What a hold covers there stays, out of everybody's sight
(ESCROWED), until the hold ends; then the order is carried out on the rest. The receipt is written
in the transaction that destroys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.directory.limits import REASON_CHARACTERS
from appliance.directory.names import clean_text
from appliance.disposal import escrow, gather, rights
from appliance.disposal.commands import AttestLost, CarryOrder, Slice
from appliance.disposal.decide_slices import HEADQUARTERS, Piece, destroy, record
from appliance.disposal.escrow import Kept
from appliance.disposal.judge import Judge
from appliance.disposal.orders import Order, receipt_number
from appliance.disposal.replies import Attested, OrderCarried
from appliance.messaging.model import Place
from appliance.operations import (
    DestructionOrder,
    DestructionReceipt,
    Kind,
    SiteLost,
)
from appliance.sites.authority import require_destruction
from store import destruction
from store.errors import PartGoneError
from store.ids import SITE_STREAM, OpId, StreamKind
from store.logreader import UnknownOpError
from store.oplog import Op

if TYPE_CHECKING:
    from appliance.core import Core

_OF_PERSONS: Final = (StreamKind.PERSON, StreamKind.DEVICE)


# --- at headquarters --------------------------------------------------------------------------


def attest(core: Core, ctx: Context, command: AttestLost) -> Attested:
    """Decide ``site.lost``: by an officer, of a revoked branch.

    Codes: site.unknown, site.state.
    """
    rights.signed(ctx, command)
    branch = core.sites.named(command.name)
    if branch is None:
        raise refuse("site.unknown")
    if not branch.is_revoked:
        raise refuse("site.state")
    reason = clean_text(command.reason, REASON_CHARACTERS)
    body = SiteLost(branch.site, reason, ctx.actor.signed)
    ctx.append(Kind.SITE_LOST, body, stream=SITE_STREAM)
    return Attested(branch.site, branch.name)


# --- at a branch ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What there is here of an order's targets, and what a look at them has come to.

    ``held_back`` counts records, each with all that goes with it; ``seen`` is what did.
    """

    kept: Kept
    places: list[Place] = field(default_factory=list)
    seen: set[Place] = field(default_factory=set)
    absent: int = 0
    held_back: int = 0
    left: int = 0


def carry_out(core: Core, ctx: Context, command: CarryOrder) -> OrderCarried:
    """Decide a part of an order, by the branch alone; at most ``command.most`` of its groups end.

    Codes: site.lease, run.unknown. Said again it goes on with what is left or was held.
    """
    assert ctx.actor.is_site, "only the site's own service carries out orders"
    order = core.disposal.across.known.get(command.order)
    if order is None or not core.sites.is_branch:
        raise refuse("run.unknown")
    require_destruction(ctx)
    found, piece = _targets(core, ctx, order), Piece()
    for place in found.places:
        if piece.groups == command.most:
            found.left += 1
        elif place not in found.seen:
            _end(core, ctx, piece, found, order, place)
    run = _commit(core, ctx, command, piece)
    _receipt(core, ctx, order, run, found, len(piece.parts))
    return OrderCarried(run, found.left, found.held_back, len(piece.parts))


def _targets(core: Core, ctx: Context, order: Order) -> _Found:
    """Find an order's targets in this log, and bury those that are not here for ever."""
    body = core.body_of(ctx.read(*order.place))
    assert isinstance(body, DestructionOrder)
    found = _Found(Kept(core, ctx.txn))
    names = [OpId.unpack(target) for target in body.targets]
    for name in names:
        place = core.log.find(ctx.txn, name)
        if place is None:
            found.absent += 1
        elif destruction.is_open(ctx.txn, place):
            found.places.append(place)
        else:
            destruction.bury(ctx.txn, place)
            found.absent += 1
    if order.person:
        known = set(found.places)
        erased = gather.erased(core, ctx.txn, order.person)
        found.places += [place for place in erased if place not in known]
    return found


def _end(core: Core, ctx: Context, piece: Piece, found: _Found, order: Order, place: Place) -> None:
    """Destroy one target with all that goes with it, or keep it for a hold."""
    try:
        group = found.kept.group(place)
    except (PartGoneError, UnknownOpError):
        return
    found.seen.update((op.origin, op.id.seq) for op in group.ops)
    if _is_held(core, found.kept, order, group.root):
        found.held_back += 1
        escrow.keep(core, ctx.txn, group, order.number)
        return
    escrow.drop(ctx.txn, group)
    destroy(core, ctx, Judge(core), piece, group)


def _is_held(core: Core, kept: Kept, order: Order, op: Op) -> bool:
    """Tell whether a hold covers a record, or names the person that an order erases."""
    if op.stream.kind in _OF_PERSONS:
        named = (hold.body.predicate.persons for hold in core.disposal.active_holds())
        return any(order.person in persons for persons in named)
    return kept.is_held(op)


def _commit(core: Core, ctx: Context, command: CarryOrder, piece: Piece) -> int:
    """Let the keys die with this commit; returns the branch's run, 0 when nothing died yet."""
    if not piece.locators:
        return command.run
    core.vault.doom(ctx.txn, piece.locators)
    return record(core, ctx, Slice(command.run, HEADQUARTERS, 0, ()), piece)


def _receipt(
    core: Core, ctx: Context, order: Order, run: int, found: _Found, destroyed: int
) -> None:
    """Write the receipt, unless it says what the one before said."""
    site = core.sites.number
    before = core.disposal.across.receipt(site, order.number)
    body = DestructionReceipt(
        receipt_number(site, order.number),
        order.number,
        run or (before.run if before else 0),
        core.vault.generation,
        destroyed + (before.destroyed if before else 0),
        found.held_back,
        found.absent if before is None else before.absent,
        found.left,
    )
    if before is None or destroyed or _said(before) != _said(body):
        ctx.append(Kind.DESTRUCTION_RECEIPT, body, stream=SITE_STREAM)


def _said(receipt: DestructionReceipt) -> Sequence[int]:
    return receipt.held_back, receipt.left


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    AttestLost: attest,
    CarryOrder: carry_out,
}
