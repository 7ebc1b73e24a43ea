"""Decide messages and what targets them: send, edit, recall, react."""

from __future__ import annotations

from appliance.context import Context
from appliance.limits import (
    EMOJI_BYTES,
    MENTIONS,
    OPEN_URGENT_PER_PERSON,
    SEEN_AHEAD_MS,
    TARGETS_PER_MESSAGE,
)
from appliance.messaging import answers, checks, opening, targets
from appliance.messaging.checks import Target
from appliance.messaging.model import Conversation
from appliance.operations import Edit, Kind, Message, Reaction, Recall
from appliance.positions import parse_key
from store import hlc
from store.oplog import Op
from transports.wire import schema
from transports.wire.errors import Refusal

NORMAL = "normal"
URGENT = "urgent"
DUTY_PREFIX = "duty:"


def send(ctx: Context, frame: schema.Send) -> schema.Ok:
    """Decide the frame ``send``: into a conversation, or to the present holder of a duty."""
    if bool(frame.conv) == bool(frame.to):
        raise Refusal("frame.invalid")
    body = _message(ctx, frame)
    again = answers.first_answer(
        ctx, frame.id, frame.n, lambda op: _is_same_message(op, frame, body)
    )
    if again is not None:
        return again
    known = _destination(ctx, body) if body.duty else checks.writable(ctx, frame.conv)
    _check_references(ctx, frame, known, body)
    if body.priority == URGENT:
        _check_urgent(ctx)
    op = ctx.append(
        Kind.MESSAGE,
        body,
        stream=known.stream,
        conversation=known.id,
        counter=frame.n if ctx.actor.device else 0,
        retention_class=known.retention_class,
        floor=_floor(ctx, frame, known),
    )
    return answers.done(frame.id, op)


def edit(ctx: Context, frame: schema.Edit) -> schema.Ok:
    """Decide the frame ``edit``: by the author, as long as the message is not recalled."""
    checks.body(frame.body)
    content = frame.body.kind, frame.body.text, frame.body.data
    again = answers.first_answer(
        ctx, frame.id, frame.n, lambda op: _is_same_edit(op, frame, content)
    )
    if again is not None:
        return again
    target = _changeable(ctx, frame.msg)
    if target.op.actor != ctx.actor.person:
        raise Refusal("message.not_author")
    return _append(ctx, frame, target, Kind.EDIT, Edit(*content, key=target.op.key))


def recall(ctx: Context, frame: schema.Recall) -> schema.Ok:
    """Decide the frame ``recall``: by the author or, in groups, who manages them.

    Copies that passed an urgent message on are recalled with it.
    """
    again = answers.first_answer(
        ctx, frame.id, frame.n, lambda op: op.kind == Kind.RECALL and op.target == frame.msg
    )
    if again is not None:
        return again
    target = checks.message(ctx, frame.msg)
    if target.op.actor != ctx.actor.person and (
        target.conversation.is_direct
        or not checks.may_manage(ctx, target.conversation, ctx.actor.person)
    ):
        raise Refusal("message.not_author")
    checks.not_recalled(ctx, target)
    copies = [op for op in targets.of(ctx.txn, ctx.read, target.place) if op.kind == Kind.MESSAGE]
    answer = _append(ctx, frame, target, Kind.RECALL, Recall(target.op.key))
    for copy in copies:
        _recall_copy(ctx, copy)
    return answer


def react(ctx: Context, frame: schema.React) -> schema.Ok:
    """Decide the frame ``react``: a register of (message, person, emoji)."""
    emoji = frame.emoji
    if len(emoji) > EMOJI_BYTES or not emoji.strip() or not checks.is_line(emoji):
        raise Refusal("reaction.invalid")
    if len(emoji.encode()) > EMOJI_BYTES:
        raise Refusal("reaction.invalid")
    again = answers.first_answer(ctx, frame.id, frame.n, lambda op: _is_same_react(op, frame))
    if again is not None:
        return again
    target = _changeable(ctx, frame.msg)
    body = Reaction(emoji, frame.on, target.op.key)
    return _append(ctx, frame, target, Kind.REACTION, body)


# --- parts ------------------------------------------------------------------------------------


def _message(ctx: Context, frame: schema.Send) -> Message:
    """Return the body to store; whatever can be refused without looking around is."""
    checks.body(frame.body)
    if frame.priority not in (NORMAL, URGENT):
        raise Refusal("send.priority")
    mentions = tuple(dict.fromkeys(map(bytes, frame.mentions))) if frame.mentions else ()
    if len(mentions) > MENTIONS:
        raise Refusal("frame.invalid")
    return Message(
        frame.body.kind,
        frame.body.text,
        frame.body.data,
        frame.priority,
        bytes(frame.reply) if frame.reply else b"",
        mentions,
        _duty(ctx, frame.to) if frame.to else b"",
    )


def _duty(ctx: Context, address: str) -> bytes:
    if not address.startswith(DUTY_PREFIX):
        raise Refusal("frame.invalid")
    duty = ctx.conversations.duty_named(address.removeprefix(DUTY_PREFIX))
    if duty is None:
        raise Refusal("duty.unknown")
    return duty.id


def _destination(ctx: Context, body: Message) -> Conversation:
    """Return the direct conversation with a duty's holder, opened if need be."""
    duty = ctx.conversations.duty(body.duty)
    if duty is None or not duty.holder:
        raise Refusal("duty.vacant")
    if duty.holder == ctx.actor.person:
        raise Refusal("conversation.members")
    if body.reply or body.mentions:
        raise Refusal("frame.invalid")
    return opening.ensure_direct(ctx, duty.holder)


def _check_references(ctx: Context, frame: schema.Send, known: Conversation, body: Message) -> None:
    if body.reply:
        checks.not_recalled(ctx, checks.message(ctx, body.reply, known))
    if not known.members.keys() >= set(body.mentions):
        raise Refusal("conversation.member")


def _floor(ctx: Context, frame: schema.Send, known: Conversation) -> int:
    """Return the timeline key that a message has to sort after, 0 for what is known here.

    Somebody who was at another site a moment ago may have seen more than has come here yet, but
    nothing further ahead than any clock is believed to be.
    """
    after = parse_key(frame.after) if frame.after else 0
    if after <= ctx.conversations.front(known.pseudonym).key:
        return 0
    if hlc.millis(after) > ctx.now + SEEN_AHEAD_MS:
        raise Refusal("send.position")
    return after


def _check_urgent(ctx: Context) -> None:
    mine = sum(each.sender == ctx.actor.person for each in ctx.conversations.open_urgent())
    if mine >= OPEN_URGENT_PER_PERSON:
        raise Refusal("rate.limited")


def _changeable(ctx: Context, name: bytes) -> Target:
    """Return a message that may get one more edit or reaction."""
    target = checks.message(ctx, name)
    if target.conversation.archived:
        raise Refusal("conversation.archived")
    checks.not_recalled(ctx, target)
    if targets.count(ctx.txn, target.place, TARGETS_PER_MESSAGE) == TARGETS_PER_MESSAGE:
        raise Refusal("message.crowded")
    return target


def _append(
    ctx: Context,
    frame: schema.Edit | schema.Recall | schema.React,
    target: Target,
    kind: Kind,
    body: Edit | Recall | Reaction,
) -> schema.Ok:
    op = ctx.append(
        kind,
        body,
        stream=target.conversation.stream,
        conversation=target.conversation.id,
        target=target.op.id.pack(),
        counter=frame.n if ctx.actor.device else 0,
        retention_class=target.conversation.retention_class,
    )
    return answers.done(frame.id, op)


def _recall_copy(ctx: Context, copy: Op) -> None:
    known = ctx.conversations.get(copy.conversation)
    if known is None or ctx.conversations.is_recalled(ctx.txn, ctx.read, targets.place_of(copy)):
        return
    ctx.append(
        Kind.RECALL,
        Recall(copy.key),
        stream=known.stream,
        conversation=known.id,
        target=copy.id.pack(),
        retention_class=known.retention_class,
    )


def _is_same_message(op: Op, frame: schema.Send, body: Message) -> bool:
    """Tell whether ``op`` is what ``frame`` asks for; a duty's holder may have changed since."""
    return answers.says(op, Kind.MESSAGE, body) and (
        not frame.conv or op.conversation == frame.conv
    )


def _is_same_edit(op: Op, frame: schema.Edit, content: tuple[str, str, str]) -> bool:
    body = targets.body_of(op)
    return (
        isinstance(body, Edit)
        and op.target == frame.msg
        and (body.kind, body.text, body.data) == content
    )


def _is_same_react(op: Op, frame: schema.React) -> bool:
    body = targets.body_of(op)
    return (
        isinstance(body, Reaction)
        and op.target == frame.msg
        and (body.emoji, body.on) == (frame.emoji, frame.on)
    )
