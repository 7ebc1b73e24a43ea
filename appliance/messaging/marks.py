"""Decide marks: what a person's devices have received, and what the person has read.

A mark is an operation only when it advances past a message of somebody else, so that marks
never answer marks.
"""

from __future__ import annotations

from appliance.context import Context
from appliance.limits import DELIVERED_MEMBERS, MARK_MEMBERS, MARKS_PER_GOT
from appliance.messaging import answers, checks, receipts
from appliance.messaging.model import Conversation
from appliance.messaging.receipts import Receipt
from appliance.operations import Kind, Mark
from appliance.positions import parse_pos
from store.oplog import Op
from transports.wire import schema


def read(ctx: Context, frame: schema.Read) -> schema.Ok:
    """Decide the frame ``read``: everything up to an event's position has been read."""
    known = checks.conversation(ctx, frame.conv)
    upto = min(parse_pos(frame.upto), ctx.conversations.front(known.pseudonym).pos)
    receipt = _receipt(ctx, known)
    key = _advance(ctx, known, receipt.read_key, receipt.read_pos, upto)
    if not key:
        return answers.nothing_to_do(frame.id, known)
    quiet = len(known.members) > MARK_MEMBERS
    op = _append(ctx, known, Kind.READ, Mark(key, upto, quiet))
    return answers.done(frame.id, op)


def got(ctx: Context, frame: schema.Got) -> None:
    """Decide the frame ``got``: one mark in each conversation that has something new by others.

    At most ``MARKS_PER_GOT``, the longest waiting first; the next ``got`` goes on there.
    """
    conversations, person = ctx.conversations, ctx.actor.person
    upto = parse_pos(frame.pos)
    after = conversations.got(person)
    moved = sorted(
        (conversations.front(conversations.ever(person)[each]).pos, each)
        for each in conversations.moved(person, after)
    )
    handled, marks = after, 0
    for pos, each in moved:
        if marks == MARKS_PER_GOT:
            break
        marks += _deliver(ctx, each, min(upto, pos))
        handled = pos
    if min(handled, upto) > after:
        conversations.set_got(person, min(handled, upto), ctx.txn.on_rollback)


def _deliver(ctx: Context, conversation_id: bytes, upto: int) -> bool:
    """Append a delivered mark where it advances; tell whether it did."""
    known = ctx.conversations.get(conversation_id)
    if known is None or ctx.actor.person not in known.members:
        return False
    if len(known.members) > DELIVERED_MEMBERS:
        return False
    receipt = _receipt(ctx, known)
    key = _advance(ctx, known, receipt.delivered_key, receipt.delivered_pos, upto)
    if key:
        _append(ctx, known, Kind.DELIVERED, Mark(key, upto))
    return bool(key)


def _advance(ctx: Context, known: Conversation, key: int, pos: int, upto: int) -> int:
    """Return the timeline key to mark, or 0 when nothing by others is new up to ``upto``."""
    newest = ctx.conversations.known_root(ctx.txn, ctx.read, known.pseudonym)
    if upto <= pos or newest.of_others(ctx.actor.person) <= pos:
        return 0
    found = newest.key
    if upto < newest.pos:
        found = receipts.newest_key(ctx.txn, known.pseudonym, upto)
    if found > key:
        return found
    came_late = pos < receipts.newest_late(ctx.txn, known.pseudonym) <= upto
    return key if came_late else 0


def _receipt(ctx: Context, known: Conversation) -> Receipt:
    pseudonym = known.members[ctx.actor.person].pseudonym
    return receipts.get(ctx.txn, known.pseudonym, pseudonym)


def _append(ctx: Context, known: Conversation, kind: Kind, body: Mark) -> Op:
    return ctx.append(kind, body, stream=known.stream, conversation=known.id)
