"""Check what commands may name: conversations, messages, people, bodies and lines of text."""

from __future__ import annotations

from typing import NamedTuple

from appliance.context import Context
from appliance.directory.roles import MEMBER
from appliance.limits import BODY_BYTES, BODY_KIND_CHARACTERS, TITLE_CHARACTERS
from appliance.messaging import targets
from appliance.messaging.model import Conversation, Place
from appliance.operations import Message
from store.errors import PartGoneError
from store.ids import OP_ID_BYTES, OpId
from store.oplog import Op, UnknownOpError
from transports.wire import schema
from transports.wire.errors import Refusal

_BIDI = frozenset(range(0x202A, 0x202F)) | frozenset(range(0x2066, 0x206A))
"""Code points that turn the direction of writing and so can disguise a name."""


class Target(NamedTuple):
    """A message that a command names, with its conversation."""

    conversation: Conversation
    op: Op
    body: Message

    @property
    def place(self) -> Place:
        """Where the message is in this site's log."""
        return targets.place_of(self.op)


def conversation(ctx: Context, conversation_id: bytes | None) -> Conversation:
    """Return a conversation that the actor is in; raises "conversation.unknown"."""
    known = ctx.conversations.get(conversation_id or b"")
    if known is None or ctx.actor.person not in known.members:
        raise Refusal("conversation.unknown")
    return known


def writable(ctx: Context, conversation_id: bytes | None) -> Conversation:
    """Return a conversation that the actor may write in; also raises "conversation.archived"."""
    known = conversation(ctx, conversation_id)
    if known.archived:
        raise Refusal("conversation.archived")
    return known


def message(ctx: Context, name: bytes, within: Conversation | None = None) -> Target:
    """Return a message that the actor may read now, wherever or ``within`` a conversation.

    Raises "message.unknown" for everything else, and does not tell why.
    """
    op = _named(ctx, name)
    body = None if op is None else targets.body_of(op)
    if op is None or not isinstance(body, Message):
        raise Refusal("message.unknown")
    known = ctx.conversations.get(op.conversation)
    member = None if known is None else known.members.get(ctx.actor.person)
    if known is None or member is None or not member.reads(op.key):
        raise Refusal("message.unknown")
    if within is not None and within.id != known.id:
        raise Refusal("message.unknown")
    return Target(known, op, body)


def not_recalled(ctx: Context, target: Target) -> None:
    """Raise "message.recalled" when the message was recalled."""
    if ctx.conversations.is_recalled(ctx.txn, ctx.read, target.place):
        raise Refusal("message.recalled")


def participant(ctx: Context, person: bytes | None) -> bytes:
    """Return the id of somebody who may write and read; raises "person.unknown"."""
    known = ctx.directory.person(bytes(person or b""))
    if known is None or not known.is_active or MEMBER not in known.roles:
        raise Refusal("person.unknown")
    return known.id


def acting_participant(ctx: Context) -> None:
    """Raise "permission.denied" unless the actor may write and read, as of this moment."""
    known = ctx.directory.person(ctx.actor.person)
    if known is None or not known.is_active or MEMBER not in known.roles:
        raise Refusal("permission.denied")


def is_active(ctx: Context, person: bytes) -> bool:
    """Tell whether somebody's account is active."""
    known = ctx.directory.person(person)
    return known is not None and known.is_active


def may_manage(ctx: Context, known: Conversation, person: bytes) -> bool:
    """Tell whether somebody manages a group: its owners do.

    When no owner's account is active any more, the longest-standing active member does.
    """
    member = known.members.get(person)
    if member is None:
        return False
    if member in known.owners():
        return True
    if any(is_active(ctx, each.person) for each in known.owners()):
        return False
    return person == _longest_standing(ctx, known)


def body(body: schema.Body) -> None:
    """Raise "send.empty", "send.too_large" or "frame.invalid" unless a body can be stored."""
    kind = body.kind
    if kind != "text" and (not 0 < len(kind) <= BODY_KIND_CHARACTERS or not is_line(kind)):
        raise Refusal("frame.invalid")
    try:
        size = len(body.text.encode()) + len(body.data.encode())
    except UnicodeEncodeError:
        raise Refusal("frame.invalid") from None
    if size > BODY_BYTES:
        raise Refusal("send.too_large")
    if not (body.text.strip() or (body.data and kind != "text")):
        raise Refusal("send.empty")


def title(text: str) -> str:
    """Return a title without outer space; raises "conversation.title"."""
    text = text.strip()
    if not 0 < len(text) <= TITLE_CHARACTERS or not is_line(text):
        raise Refusal("conversation.title")
    return text


def is_line(text: str) -> bool:
    """Tell whether a text is one line of valid Unicode without control and disguise."""
    for character in text:
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029):
            return False
        if code in _BIDI or 0xD800 <= code < 0xE000:
            return False
    return True


def _named(ctx: Context, name: bytes) -> Op | None:
    if len(name) != OP_ID_BYTES:
        return None
    op_id = OpId.unpack(name)
    place = ctx.conversations.place(op_id)
    if place is None:
        return None
    try:
        return ctx.read(*place)
    except (PartGoneError, UnknownOpError):
        return None


def _longest_standing(ctx: Context, known: Conversation) -> bytes:
    standing = (
        (each.intervals[-1].since, each.person)
        for each in known.members.values()
        if is_active(ctx, each.person)
    )
    return min(standing, default=(0, b""))[1]
