"""Say an operation as clients hear it, and who hears of it.

One operation is rendered once, whoever it goes to and in whichever codec. Live fan-out and
catching up follow the same rule, ``concerns``, so that both tell everybody the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from appliance.messaging.membership import Membership
from appliance.messaging.state import Conversations
from appliance.operations import (
    BodyStruct,
    Confirm,
    ConversationCreated,
    ConversationMember,
    ConversationSettings,
    ConversationTitle,
    ConversationWiped,
    DutyHolder,
    Edit,
    Escalation,
    Kind,
    Mark,
    Message,
    Reaction,
    Recall,
)
from appliance.positions import format_key, format_pos
from store.ids import StreamKind
from store.oplog import Op
from transports.wire import schema
from transports.wire.schema import Event, Id, Occurrence


class _Everyone(Collection[bytes]):
    """All people: larger than any set, so that callers walk the other one."""

    def __contains__(self, person: object) -> bool:
        return True

    def __len__(self) -> int:
        return sys.maxsize

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("everyone cannot be walked; walk who is online")


EVERYONE: Final[Collection[bytes]] = _Everyone()
"""The audience of what concerns the whole site; only ``in`` and ``len`` work on it."""

_NOBODY: Final[Collection[bytes]] = frozenset()


def conversation_of(op: Op) -> bytes:
    """Return the id of the conversation an operation belongs to; empty for none."""
    if op.conversation:
        return op.conversation
    return op.stream.id if op.stream.kind is StreamKind.CONVERSATION else b""


def event(op: Op, body: BodyStruct | None, conversations: Conversations) -> Event | None:
    """Render an operation that says ``body``; None for what clients do not hear of."""
    build = None if body is None else _BUILDERS.get(type(body))
    occurrence = build(op, body, conversations) if build is not None else None
    if occurrence is None:
        return None
    return Event(format_pos(op.pos), Id(conversation_of(op)), occurrence, op.late)


def is_urgent(event: Event) -> bool:
    """Tell whether an event passes background and quiet modes at once."""
    op = event.op
    if isinstance(op, schema.MessageOp):
        return op.priority == "urgent"
    return isinstance(op, schema.EscalatedOp)


def audience(op: Op, body: BodyStruct | None, conversations: Conversations) -> Collection[bytes]:
    """Return who hears of an operation that says ``body``.

    O(1) unless membership changed since it happened, or it concerns former members too.
    """
    if isinstance(body, DutyHolder):
        return EVERYONE
    conversation = conversations.get(conversation_of(op))
    if body is None or conversation is None:
        return _NOBODY
    if isinstance(body, Mark) and body.quiet:
        return (op.actor,)
    root_key = getattr(body, "key", 0) or op.key
    is_for_members = not isinstance(body, ConversationWiped)
    if is_for_members and conversation.changed_key < min(op.key, root_key):
        return conversation.members
    people = (*conversation.members.values(), *conversation.former.values())
    return tuple(each.person for each in people if concerns(each, op, body))


def concerns(member: Membership, op: Op, body: BodyStruct) -> bool:
    """Tell whether somebody hears of an operation of a conversation they are or were in.

    They must be a member when it happens and, where it targets a message, may read that one.
    Who is removed hears of it; the first members hear of the opening instead. Of what was wiped
    everybody hears who may have a copy, long after they left.
    """
    if isinstance(body, ConversationWiped):
        return member.may_have_read(body.ranges, op.key)
    if isinstance(body, ConversationMember):
        if body.opening:
            return False
        if body.person == member.person and member.left_at(op.key):
            return True
    if isinstance(body, ConversationTitle) and body.opening:
        return False
    if isinstance(body, Mark) and body.quiet:
        return op.actor == member.person
    root_key = getattr(body, "key", 0)
    return member.hears(op.key) and (not root_key or member.reads(root_key))


# --- one builder for each body ----------------------------------------------------------------


def message(op: Op, body: Message, conversations: Conversations) -> schema.MessageOp:
    """Render a message."""
    duty = conversations.duty(body.duty) if body.duty else None
    return schema.MessageOp(
        msg=Id(op.id.pack()),
        by=Id(op.actor),
        at=op.received_ms,
        key=format_key(op.key),
        body=schema.Body(body.kind, body.text, body.data),
        device=Id(op.device),
        n=op.counter,
        priority=body.priority,
        reply=Id(body.reply) if body.reply else None,
        mentions=tuple(map(Id, body.mentions)),
        duty=duty.name if duty is not None else "",
    )


def _common(op: Op) -> dict[str, Any]:
    return {"msg": Id(op.id.pack()), "by": Id(op.actor), "at": op.received_ms}


def _edit(op: Op, body: Edit, _: Conversations) -> Occurrence:
    content = schema.Body(body.kind, body.text, body.data)
    return schema.EditedOp(**_common(op), of=Id(op.target), body=content)


def _recall(op: Op, _body: Recall, _: Conversations) -> Occurrence:
    return schema.RecalledOp(**_common(op), of=Id(op.target))


def _reaction(op: Op, body: Reaction, _: Conversations) -> Occurrence:
    return schema.ReactionOp(**_common(op), of=Id(op.target), emoji=body.emoji, on=body.on)


def _confirm(op: Op, _body: Confirm, _: Conversations) -> Occurrence:
    return schema.ConfirmedOp(**_common(op), of=Id(op.target))


def _escalation(op: Op, body: Escalation, _: Conversations) -> Occurrence:
    to = Id(body.to) if body.to else None
    return schema.EscalatedOp(**_common(op), of=Id(op.target), to=to, step=body.step)


def _mark(op: Op, body: Mark, _: Conversations) -> Occurrence:
    kind = _MARKS[op.kind]
    return kind(**_common(op), key=format_key(body.upto))


def _created(op: Op, body: ConversationCreated, conversations: Conversations) -> Occurrence | None:
    """Render an opening with its first members and its first title, unless renamed since.

    Who has left meanwhile must not learn a later title.
    """
    conversation = conversations.get(op.stream.id)
    if conversation is None or conversation.created.id != op.id:
        return None
    members = tuple(map(Id, conversation.first_members()))
    title = conversation.first_title
    return schema.OpenedOp(**_common(op), kind=body.kind, title=title, members=members)


def _title(op: Op, body: ConversationTitle, _: Conversations) -> Occurrence | None:
    return None if body.opening else schema.RenamedOp(**_common(op), title=body.title)


def _member(op: Op, body: ConversationMember, _: Conversations) -> Occurrence | None:
    if body.opening:
        return None
    return schema.MemberOp(**_common(op), person=Id(body.person), role=body.role)


def _settings(op: Op, body: ConversationSettings, _: Conversations) -> Occurrence:
    return schema.SettingsOp(**_common(op), archived=body.archived, history=body.history)


def _wiped(op: Op, body: ConversationWiped, _: Conversations) -> Occurrence:
    ranges = tuple((format_key(first), format_key(last)) for first, last in body.ranges)
    return schema.WipeOp(**_common(op), certificate=body.run, ranges=ranges)


def _duty(op: Op, body: DutyHolder, conversations: Conversations) -> Occurrence | None:
    duty = conversations.duty(op.stream.id)
    if duty is None:
        return None
    holder = Id(body.holder) if body.holder else None
    return schema.DutyOp(**_common(op), duty=duty.name, holder=holder)


_BUILDERS: Final[dict[type, Callable[[Op, Any, Conversations], Occurrence | None]]] = {
    Message: message,
    Edit: _edit,
    Recall: _recall,
    Reaction: _reaction,
    Confirm: _confirm,
    Escalation: _escalation,
    Mark: _mark,
    ConversationCreated: _created,
    ConversationTitle: _title,
    ConversationMember: _member,
    ConversationSettings: _settings,
    ConversationWiped: _wiped,
    DutyHolder: _duty,
}

_MARKS: Final[dict[int, type[schema.DeliveredOp | schema.ReadOp]]] = {
    Kind.READ: schema.ReadOp,
    Kind.DELIVERED: schema.DeliveredOp,
}
