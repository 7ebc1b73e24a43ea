"""Decide changes of groups: the frame ``conv`` as a table of rights.

    op                             who                 direct
    rename add role archive        managers            refused
    history
    remove                         managers            refused
    leave                          any member          refused

Managers are the owners (``checks.may_manage``). The last owner cannot step down, nor leave
while others stay: they name another owner first. What is already as wanted is answered with
``ok`` and changes nothing, so that a repeated command does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from appliance.context import Context
from appliance.limits import MEMBERS
from appliance.messaging import answers, checks, opening
from appliance.messaging.membership import GONE, MEMBER, OWNER, Membership, changing, joining
from appliance.messaging.model import Conversation
from appliance.operations import BodyStruct, ConversationSettings, ConversationTitle, Kind
from transports.wire import schema
from transports.wire.errors import Refusal


def change(ctx: Context, frame: schema.Conv) -> schema.Ok:
    """Decide the frame ``conv``."""
    if frame.op == "leave":
        return _leave(ctx, frame)
    decide = _CHANGES.get(frame.op)
    if decide is None:
        raise Refusal("frame.invalid")
    known = checks.conversation(ctx, frame.conv)
    if known.is_direct:
        raise Refusal("conversation.direct")
    if not checks.may_manage(ctx, known, ctx.actor.person):
        raise Refusal("conversation.not_owner")
    change = decide(ctx, frame, known)
    if change is None:
        return answers.nothing_to_do(frame.id, known)
    return _append(ctx, frame, known, *change)


Change = tuple[Kind, BodyStruct]


def _append(
    ctx: Context, frame: schema.Conv, known: Conversation, kind: Kind, body: BodyStruct
) -> schema.Ok:
    op = ctx.append(kind, body, stream=known.stream, conversation=known.id)
    return answers.done(frame.id, op)


def _rename(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    del ctx
    title = checks.title(frame.title)
    if title == known.title:
        return None
    return Kind.CONVERSATION_TITLE, ConversationTitle(title)


def _add(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    person = checks.participant(ctx, frame.person)
    if person in known.members:
        return None
    if len(known.members) >= MEMBERS:
        raise Refusal("conversation.members")
    opening.room_for(ctx, person)
    role = _role(frame.role or MEMBER)
    read_from = known.created.key if known.history else 0
    return Kind.CONVERSATION_MEMBER, joining(person, role, known.former.get(person), read_from)


def _remove(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    member = known.members.get(frame.person or b"")
    if member is None:
        if (frame.person or b"") in known.former:
            return None
        raise Refusal("conversation.member")
    _keep_an_owner(ctx, known, member)
    return Kind.CONVERSATION_MEMBER, changing(member, GONE)


def _set_role(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    member = known.members.get(frame.person or b"")
    if member is None:
        raise Refusal("conversation.member")
    role = _role(frame.role)
    if role == member.role:
        return None
    if role != OWNER:
        _require_another_owner(ctx, known, member)
    return Kind.CONVERSATION_MEMBER, changing(member, role)


def _archive(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    del ctx
    if frame.on == known.archived:
        return None
    return Kind.CONVERSATION_SETTINGS, ConversationSettings(frame.on, known.history)


def _set_history(ctx: Context, frame: schema.Conv, known: Conversation) -> Change | None:
    """Let those who are added from now on read what was before them, or not."""
    del ctx
    if frame.on == known.history:
        return None
    return Kind.CONVERSATION_SETTINGS, ConversationSettings(known.archived, frame.on)


def _leave(ctx: Context, frame: schema.Conv) -> schema.Ok:
    """Leave a group; the last member may, too."""
    known = ctx.conversations.get(frame.conv)
    if known is not None and ctx.actor.person in known.former:
        return answers.nothing_to_do(frame.id, known)
    known = checks.conversation(ctx, frame.conv)
    if known.is_direct:
        raise Refusal("conversation.direct")
    member = known.members[ctx.actor.person]
    _keep_an_owner(ctx, known, member)
    return _append(ctx, frame, known, Kind.CONVERSATION_MEMBER, changing(member, GONE))


def _keep_an_owner(ctx: Context, known: Conversation, going: Membership) -> None:
    """Raise "conversation.last_owner" when nobody would own the group that others stay in."""
    if going.role == OWNER and len(known.members) > 1:
        _require_another_owner(ctx, known, going)


def _require_another_owner(ctx: Context, known: Conversation, going: Membership) -> None:
    others = (each.person for each in known.owners() if each.person != going.person)
    if not any(checks.is_active(ctx, person) for person in others):
        raise Refusal("conversation.last_owner")


def _role(role: str) -> str:
    if role not in (OWNER, MEMBER):
        raise Refusal("frame.invalid")
    return role


_Decide = Callable[[Context, schema.Conv, Conversation], Change | None]

_CHANGES: Final[dict[str, _Decide]] = {
    "rename": _rename,
    "add": _add,
    "remove": _remove,
    "role": _set_role,
    "archive": _archive,
    "history": _set_history,
}
