"""Let go of a conversation at a branch when nobody at home there is in it any more.

Its messages and what targets them lose their bodies here: their keys die, their state is DROPPED,
and they may be fetched again. Headquarters has them all. What a hold covers stays, out of
everybody's sight, until the hold ends. The branch keeps who was in the conversation and what it is
called, so that it goes on when somebody joins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.disposal import escrow, gather
from appliance.disposal.gather import Group
from appliance.disposal.judge import holding
from appliance.messaging.model import Conversation, Place
from appliance.operations import Kind, ScopeLeft
from store import destruction
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.ids import AUDIT_STREAM
from store.oplog import Op
from store.records import PartState, Record
from store.skeleton import OpClass
from store.tables import FEED, HISTORY, LOG

if TYPE_CHECKING:
    from appliance.core import Core

PIECE_OPERATIONS: Final = 512
"""Operations that one command lets go of."""

SCANNED_ROWS: Final = 20_000
"""Rows of a conversation that one look passes."""


@dataclass(frozen=True, slots=True)
class LeaveConversation:
    """At a branch: let go of some operations of a conversation that nobody here is in.

    ``acknowledged`` is the last own operation that headquarters has for sure.
    """

    conversation: bytes
    places: tuple[Place, ...]
    acknowledged: int


def outside(core: Core) -> list[Conversation]:
    """Return the conversations in which nobody is at home at this branch; O(memberships)."""
    known = (core.conversations.get(each) for each in core.conversations.ids())
    return [each for each in known if each is not None and not is_inside(core, each)]


def is_inside(core: Core, conversation: Conversation) -> bool:
    """Tell whether somebody at home here is in a conversation."""
    return any(map(core.sites.is_home, conversation.members))


def surviving(
    core: Core, reader: Reader, conversation: Conversation, acknowledged: int, after: int = 0
) -> tuple[list[Place], int]:
    """Return what there still is of a conversation, and the position to go on after (0: all seen).

    What headquarters may not have yet is left out.
    """
    found: list[Place] = []
    start, end = FEED.key(conversation.pseudonym, after + 1), FEED.span(conversation.pseudonym)[1]
    for looked, (key, value) in enumerate(reader.range(start, end), start=1):
        origin, seq, _ = FEED_ROW.unpack(value)
        if _is_here(reader, (origin, seq)) and not _is_pending(core, origin, seq, acknowledged):
            found.append((origin, seq))
        if len(found) == PIECE_OPERATIONS or looked == SCANNED_ROWS:
            return found, FEED.columns(key)[1]
    return found, 0


def leave(core: Core, ctx: Context, command: LeaveConversation) -> int:
    """Decide ``LeaveConversation``, by the branch alone; returns how many bodies went.

    Codes: permission.denied, conversation.unknown, site.state when somebody is in it by now.
    """
    if not ctx.actor.is_site or not ctx.sites.is_branch:
        raise refuse("permission.denied")
    known = core.conversations.get(command.conversation)
    if known is None:
        raise refuse("conversation.unknown")
    if is_inside(core, known):
        raise refuse("site.state")
    doomed, held = [], 0
    for op in _messages(core, ctx, command):
        if any(holding(core, each) for each in _with_roots(core, ctx, op)):
            held += op.body is not None
            escrow.keep(core, ctx.txn, Group((op,)), escrow.SCOPE)
            continue
        escrow.drop(ctx.txn, Group((op,)))
        doomed.append(
            destruction.destroy_body(ctx.txn, core.log, core.vault, op, ctx.now, PartState.DROPPED)
        )
        if op.body is not None:
            core.forget(ctx.txn, op)
    ctx.txn.delete(HISTORY.key(known.pseudonym))
    if doomed:
        core.vault.doom(ctx.txn, doomed)
    if doomed or held:
        body = ScopeLeft(known.id, len(doomed), held, core.vault.generation)
        ctx.append(Kind.SCOPE_LEFT, body, stream=AUDIT_STREAM)
    return len(doomed)


def _messages(core: Core, ctx: Context, command: LeaveConversation) -> Iterator[Op]:
    """Yield what is here, all that belongs to one message behind it."""
    ops = []
    for place in command.places:
        if not _is_here(ctx.txn, place) or _is_pending(core, *place, command.acknowledged):
            continue
        try:
            op = ctx.read(*place)
        except PartGoneError:
            continue
        if op.op_class is OpClass.MESSAGE and op.conversation == command.conversation:
            ops.append(op)
    yield from ops


def _with_roots(core: Core, ctx: Context, op: Op) -> Iterator[Group]:
    """Yield an operation and what it targets: a hold on either keeps it."""
    yield Group((op,))
    for above in gather.above(core, ctx.txn, op):
        yield Group((above,))


def _is_here(reader: Reader, place: Place) -> bool:
    record = Record.unpack(reader.get(LOG.key(*place)) or b"")
    is_message = record.skeleton[1] == OpClass.MESSAGE
    return is_message and record.body_state in (PartState.PRESENT, PartState.ESCROWED)


def _is_pending(core: Core, origin: int, seq: int, acknowledged: int) -> bool:
    if origin == core.log.head.origin:
        return seq > acknowledged
    return core.log.is_own(origin)


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {LeaveConversation: leave}
"""Decisions that get the core itself."""
