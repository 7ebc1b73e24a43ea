"""Take in headquarters' order of arrival at a branch, whose own operations wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.context import Context
from appliance.operations import (
    BodyStruct,
    ConversationCreated,
    ConversationMember,
    PersonHome,
)
from appliance.sites import history, merge, pending, upstream
from appliance.sites.link_commands import (
    Taken,
)
from appliance.sites.merge import Side
from store import shipping
from store.envelope import Envelope
from store.ids import Origin
from store.oplog import Op
from store.shipping import Shipment
from sync.pieces import Own, Piece

if TYPE_CHECKING:
    from appliance.core import Core

from appliance.sites.intake import Intake
from store.origins import UNKNOWN_KEY


class FromHeadquarters(Intake):
    """A branch takes what headquarters has decided; its own waits for headquarters' order."""

    def __init__(self, core: Core, ctx: Context, piece: Piece) -> None:
        super().__init__(core, ctx, piece)
        self._opening: dict[int, int] = {}
        """The number of the newest operation of each opening, by the conversation's pseudonym."""

    def origin_number(self, origin: Origin) -> int:
        """Return the number of any origin; headquarters vouches for those that are not its own."""
        known = self.core.log.number_of(origin)
        if known is not None:
            return known
        headquarters = self.core.sites.headquarters
        is_theirs = headquarters is not None and headquarters.node == origin.node
        key = headquarters.public_key if headquarters is not None and is_theirs else UNKNOWN_KEY
        return self.core.log.add_origin(self.ctx.txn, origin, key, is_whole=False)

    def take(self) -> Taken:
        """Apply what is new in the piece, move the cursor, and note how far it goes."""
        taken = super().take()
        if self.piece.entries:
            last = self.piece.entries[-1]
            origin = self.piece.origins[last.origin]
            digest = shipping.bones(origin, last.shipment)[1]
            upstream.note_newest(self.ctx.txn, last.number, digest)
        return taken

    def take_history(self) -> Taken:
        """Apply operations from before their conversation came into scope."""
        for entry in self.piece.entries:
            self.enter(entry)
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

    def correct(self, op: Op, body: BodyStruct) -> None:
        """Say nothing: headquarters has decided."""

    def confirm(self, run: Own) -> None:
        """Note that headquarters has ordered own operations."""
        pending.confirm(self.ctx.txn, self.core.log, run)

    def is_void(
        self, origin: Origin, shipment: Shipment, envelope: Envelope, body: BodyStruct | None
    ) -> bool:
        """Tell whether an own operation that is still pending stands against this one."""
        assert shipment.stream is not None
        if body is None:
            return False
        holder = self._holder(envelope, shipment.stream, body)
        if holder is None or not pending.is_pending(self.ctx.txn, self.core.log, holder):
            return False
        if origin.node == self.core.log.node:  # of an earlier incarnation, so before it
            return True
        is_headquarters = origin.node == self.core.sites.headquarters_node
        arriving = Side(envelope.kind, body, is_headquarters)
        return not merge.beats(arriving, self._side(holder))
