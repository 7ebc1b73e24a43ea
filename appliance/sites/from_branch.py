"""Take in a branch's log at headquarters, and believe of it what that branch may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from appliance.context import Context
from appliance.disposal.limits import HOLDS_PER_SITE
from appliance.disposal.orders import receipt_number
from appliance.operations import (
    UNSIGNED,
    BodyStruct,
    DestructionReceipt,
    HoldPlaced,
    Kind,
    PersonHome,
    PersonProfile,
    PersonRoles,
    Verdict,
)
from appliance.sites import belief, merge
from appliance.sites.merge import Side
from appliance.sites.reach import may_come_from_branch
from store.envelope import Envelope
from store.ids import SITE_STREAM, OpId, Origin, Stream
from store.oplog import Op
from store.shipping import Shipment
from sync.errors import RejectedError
from sync.pieces import Own, Piece

if TYPE_CHECKING:
    from appliance.core import Core

from appliance.sites.intake import Intake

LOGIN_SUFFIX: Final = 6
"""Digits of a person's id behind a login name that even its site has given twice."""


class FromBranch(Intake):
    """Headquarters takes a branch's log, and believes of it what that branch may say."""

    def __init__(self, core: Core, ctx: Context, piece: Piece, origin: Origin) -> None:
        super().__init__(core, ctx, piece)
        self.node = origin.node
        if piece.origins not in ((), (origin,)) or piece.own:
            raise RejectedError("a branch tells of itself alone")
        self.number = self.origin_number(origin)

    def origin_number(self, origin: Origin) -> int:
        """Return the number of an origin of this branch; all of it comes here, signed."""
        known = self.core.log.number_of(origin)
        if known is not None:
            return known
        branch = self.core.sites.branch_of(origin.node)
        if branch is None:
            raise RejectedError("an operation of a site that is none of ours")
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

    def correct(self, op: Op, body: BodyStruct) -> None:
        """Tell every site which roles somebody has of whom the branch says too much."""
        if not isinstance(body, PersonRoles) or not self._is_of_the_branch(op):
            return
        known = self.core.directory.person(op.stream.id)
        believed = belief.believed_roles(known, body)
        if known is not None and believed != body:
            self.ctx.append(Kind.PERSON_ROLES, believed, stream=op.stream)
            verdict = Verdict(op.id.pack(), "corrected", "site.not_headquarters")
            self.ctx.append(Kind.VERDICT, verdict, stream=SITE_STREAM)

    def _is_of_the_branch(self, op: Op) -> bool:
        return belief.may_change(self.core, self.ctx.txn, self.node, op.stream)

    def confirm(self, run: Own) -> None:
        """Refuse: only headquarters tells of an order of arrival."""
        raise RejectedError("a branch knows no order of arrival")

    def tell_of_poison(self, name: OpId, error: Exception) -> None:
        """Report it, and tell every site."""
        super().tell_of_poison(name, error)
        verdict = Verdict(name.pack(), "quarantined", "request.invalid")
        self.ctx.append(Kind.VERDICT, verdict, stream=SITE_STREAM)

    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        """Tell whether the branch may not say this, or another was first."""
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
        if self._is_of_anothers_numbers(body) or self._says_too_much(shipment.stream, body):
            return True
        if envelope.kind in merge.CREDENTIALS:
            person = self.core.directory.person(shipment.stream.id)
            if person is not None and person.ended_pos > envelope.seen:
                return True
        holder = self._holder(envelope, shipment.stream, body)
        if holder is None or holder.pos <= envelope.seen or holder.id.node == self.node:
            return False
        return merge.beats(self._side(holder), Side(envelope.kind, body, is_headquarters=False))

    def _says_too_much(self, stream: Stream, body: BodyStruct) -> bool:
        """Tell whether it would give an office, or move somebody: that is headquarters' to say."""
        known = self.core.directory.person(stream.id)
        if isinstance(body, PersonRoles):
            return belief.believed_roles(known, body) != body
        if isinstance(body, PersonHome):
            return not belief.may_move(self.core, self.node, stream.id, body)
        return False

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
