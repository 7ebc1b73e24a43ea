"""Decide what urgent messages need: confirmations, repetitions and passing them on.

Without a chain of duty an unconfirmed message repeats ``REPEATS`` times and then goes, once,
to an owner of the group who has not confirmed, or back to its sender: nobody outside the
conversation may learn of it. A message to a duty goes on along the duty's chain, as a copy in
the direct conversation of its sender with the next person, and back to the sender at the end
of the chain. Everything is an operation, so a restart loses nothing.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from msgspec import structs

from appliance.context import SITE, Actor, Context
from appliance.limits import REPEATS, SECOND_MS, TICK_URGENT
from appliance.messaging import answers, checks, opening, targets, urgents
from appliance.messaging.commands import Tick, Ticked
from appliance.messaging.messages import URGENT
from appliance.messaging.model import Conversation
from appliance.messaging.urgency import Urgent
from appliance.operations import Confirm, Escalation, Kind, Message
from store import tables
from store.errors import PartGoneError
from store.oplog import Op
from transports.wire import schema
from transports.wire.errors import Refusal


def confirm(ctx: Context, frame: schema.Confirm) -> schema.Ok:
    """Decide the frame ``confirm``: by anybody who reads the message but its sender.

    A second confirmation gets the answer of the first; a late one is kept all the same.
    """
    target = checks.message(ctx, frame.msg)
    if target.body.priority != URGENT or target.op.actor == ctx.actor.person:
        raise Refusal("message.not_urgent")
    checks.not_recalled(ctx, target)
    open_one = ctx.conversations.urgent(target.place)
    if open_one is None or ctx.actor.person not in open_one.waiting:
        earlier = _confirmed(ctx, target)
        if earlier is not None:
            return answers.done(frame.id, earlier)
    op = ctx.append(
        Kind.CONFIRM,
        Confirm(target.op.key),
        stream=target.conversation.stream,
        conversation=target.conversation.id,
        target=target.op.id.pack(),
        retention_class=target.conversation.retention_class,
    )
    return answers.done(frame.id, op)


def tick(ctx: Context, command: Tick) -> Ticked:
    """Repeat or pass on what is due, at most ``TICK_URGENT`` messages."""
    del command
    if not ctx.actor.is_site:
        raise Refusal("permission.denied")
    start, _ = tables.URGENT.span()
    rows = ctx.txn.range(start, tables.URGENT.prefix(ctx.now + 1))
    due = [tables.URGENT.columns(key) for key, _ in islice(rows, TICK_URGENT)]
    for _, origin, seq in due:
        known = ctx.conversations.urgent((origin, seq))
        if known is not None:
            _attend_or_drop(ctx, known)
    return Ticked(len(due), _next_due(ctx))


def attend(ctx: Context, known: Urgent) -> None:
    """Do what an unconfirmed urgent message needs now."""
    seconds = urgents.step_seconds(ctx.conversations, known.duty)
    if seconds:
        if ctx.now < known.step_ms + seconds * SECOND_MS:
            _repeat(ctx, known)
        else:
            pass_on(ctx, known, _next_person(ctx, known))
    elif known.repeats < REPEATS:
        _repeat(ctx, known)
    else:
        _escalate(ctx, known, _owner(ctx, known))


def pass_on(ctx: Context, known: Urgent, person: bytes) -> None:
    """Let an urgent message to a duty go on to ``person``; to its sender: it ends there."""
    if person != known.sender and not _copy(ctx, known, person):
        person = known.sender
    _escalate(ctx, known, person)


def pass_to_holder(ctx: Context, duty: bytes, holder: bytes) -> None:
    """Let the open urgent messages of a duty go on to its new holder."""
    mine = (each for each in ctx.conversations.open_urgent() if each.duty == duty)
    for known in islice(mine, TICK_URGENT):
        if holder not in known.asked and holder != known.sender:
            pass_on(ctx, known, holder)


# --- parts ------------------------------------------------------------------------------------


def _attend_or_drop(ctx: Context, known: Urgent) -> None:
    """Attend to a message, or stop following it when it was destroyed meanwhile."""
    try:
        attend(ctx, known)
    except PartGoneError:
        ctx.conversations.put_urgent(ctx.txn, known, None)


def _next_due(ctx: Context) -> int:
    for key, _ in ctx.txn.range(*tables.URGENT.span(), limit=1):
        return tables.URGENT.columns(key)[0]
    return 0


def _repeat(ctx: Context, known: Urgent) -> None:
    _say(ctx, ctx.read(*known.current), Escalation(b"", known.step))


def _escalate(ctx: Context, known: Urgent, person: bytes) -> None:
    _say(ctx, ctx.read(*known.root), Escalation(person, known.step + 1))


def _say(ctx: Context, about: Op, body: Escalation) -> None:
    """Append what the site itself says about an urgent message."""
    known = ctx.conversations.get(about.conversation)
    if known is None:
        return
    replace(ctx, actor=SITE).append(
        Kind.ESCALATION,
        Escalation(body.to, body.step, about.key),
        stream=known.stream,
        conversation=known.id,
        target=about.id.pack(),
        retention_class=known.retention_class,
    )


def _copy(ctx: Context, known: Urgent, person: bytes) -> bool:
    """Say the message again, on its sender's behalf, to the next person.

    No device stands behind the copy. Returns False when nothing is left to pass on.
    """
    try:
        root = ctx.read(*known.root)
    except PartGoneError:
        return False
    body = targets.body_of(root)
    if not isinstance(body, Message):
        return False
    newest = targets.standing(ctx.txn, ctx.read, root).edit
    if newest is not None:
        body = structs.replace(body, kind=newest.kind, text=newest.text, data=newest.data)
    behalf = replace(ctx, actor=Actor(known.sender))
    destination = opening.ensure_direct(behalf, person)
    behalf.append(
        Kind.MESSAGE,
        structs.replace(body, reply=b"", mentions=()),
        stream=destination.stream,
        conversation=destination.id,
        target=root.id.pack(),
        retention_class=destination.retention_class,
        in_timeline=True,
    )
    return True


def _next_person(ctx: Context, known: Urgent) -> bytes:
    """Return who is next in the duty's chain; the sender when nobody is."""
    duty = ctx.conversations.duty(known.duty)
    for person in duty.chain if duty is not None else ():
        account = ctx.directory.person(person)
        is_new = person not in known.asked and person != known.sender
        if is_new and account is not None and account.is_active:
            return person
    return known.sender


def _owner(ctx: Context, known: Urgent) -> bytes:
    """Return an owner whose confirmation is missing, longest-standing first, or the sender."""
    conversation = ctx.conversations.get(known.conversation)
    if conversation is None or conversation.is_direct:
        return known.sender
    owners = sorted(_missing_owners(conversation, known))
    return owners[0][1] if owners else known.sender


def _missing_owners(conversation: Conversation, known: Urgent) -> list[tuple[int, bytes]]:
    return [
        (each.intervals[-1].since, each.person)
        for each in conversation.owners()
        if each.person in known.waiting
    ]


def _confirmed(ctx: Context, target: checks.Target) -> Op | None:
    """Return the actor's earlier confirmation of a message."""
    for op in targets.of(ctx.txn, ctx.read, target.place):
        if op.kind == Kind.CONFIRM and op.actor == ctx.actor.person:
            return op
    return None
