"""Answer commands: the reply to an operation, and the first answer again to a retry."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from appliance.context import Context
from appliance.limits import COUNTER_LIMIT
from appliance.messaging import render, targets
from appliance.messaging.model import Conversation
from appliance.operations import BodyStruct
from appliance.positions import format_key, format_pos
from store.errors import PartGoneError
from store.ids import Stream, StreamKind
from store.oplog import Op
from store.tables import IDEMPOTENCY
from transports.wire.errors import Refusal
from transports.wire.schema import Id, Ok

DESTROYED: Final = 1
"""State of an idempotency row whose operation was destroyed."""

_ROW = struct.Struct(">IQB")


def done(request: int, op: Op) -> Ok:
    """Return the answer that names an operation and its place in the order."""
    conversation = render.conversation_of(op)
    return Ok(
        re=request,
        msg=Id(op.id.pack()),
        conv=Id(conversation) if conversation else None,
        pos=format_pos(op.pos),
        key=format_key(op.key),
        at=op.received_ms,
    )


def opened(request: int, conversation: Conversation) -> Ok:
    """Return the answer to opening a conversation, whoever opened it first."""
    created = conversation.created
    return Ok(
        re=request,
        msg=Id(created.id.pack()),
        conv=Id(conversation.id),
        pos=format_pos(created.pos),
        key=format_key(created.key),
        at=created.at,
    )


def nothing_to_do(request: int, conversation: Conversation) -> Ok:
    """Return the answer when everything is already as the command wants it."""
    return Ok(re=request, conv=Id(conversation.id))


def first_answer(
    ctx: Context, request: int, number: int, is_same: Callable[[Op], bool]
) -> Ok | None:
    """Return the answer given before to the device's message ``number``; None if it is new.

    Raises ``Refusal``: "send.conflict" when the number stands for something else than
    ``is_same`` accepts, "frame.invalid" when it is no message number.
    """
    if not ctx.actor.device:
        return None
    if not 0 < number < COUNTER_LIMIT:
        raise Refusal("frame.invalid")
    device = ctx.conversations.streams.pseudonym(Stream(StreamKind.DEVICE, ctx.actor.device))
    row = None if device is None else ctx.txn.get(IDEMPOTENCY.key(device, number))
    if row is None:
        return None
    origin, seq, state = _ROW.unpack(row)
    op = None if state == DESTROYED else _survivor(ctx, origin, seq)
    if op is None:
        return Ok(re=request, destroyed=True)
    if not is_same(op):
        raise Refusal("send.conflict")
    return done(request, op)


def says(op: Op, kind: int, body: BodyStruct) -> bool:
    """Tell whether an operation is of this kind and says this."""
    return op.kind == kind and targets.body_of(op) == body


def _survivor(ctx: Context, origin: int, seq: int) -> Op | None:
    try:
        op = ctx.read(origin, seq)
    except PartGoneError:
        return None
    return None if op.body is None else op
