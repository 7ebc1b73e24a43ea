"""Decide the opening of conversations.

Two people have one direct conversation, whoever opens it and at whichever site: its id comes
from the two of them. A group is new each time; who opens it is its owner. Nobody opens a
direct conversation with themselves.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from appliance.context import Context
from appliance.limits import CONVERSATIONS_PER_PERSON, OPEN_MEMBERS
from appliance.messaging import answers, checks, targets
from appliance.messaging.membership import MEMBER, OWNER
from appliance.messaging.model import DIRECT, GROUP, Conversation, Created
from appliance.operations import (
    BodyStruct,
    ConversationCreated,
    ConversationMember,
    ConversationSettings,
    ConversationTitle,
    Kind,
)
from store.errors import PartGoneError
from store.ids import ID_BYTES, Stream, StreamKind
from store.oplog import Op, UnknownOpError
from store.vault import STANDARD
from transports.wire import schema
from transports.wire.errors import Refusal

_SALT_BYTES = 16


def open_conversation(ctx: Context, frame: schema.Open) -> schema.Ok:
    """Decide the frame ``open``.

    Its number is optional, and is not used up when the direct conversation was there already.
    """
    if frame.kind not in (DIRECT, GROUP):
        raise Refusal("frame.invalid")
    others = tuple(dict.fromkeys(bytes(each) for each in frame.members))
    others = tuple(each for each in others if each != ctx.actor.person)
    if frame.kind == DIRECT:
        return _open_direct(ctx, frame, others)
    if len(others) > OPEN_MEMBERS:
        raise Refusal("conversation.members")
    return _open_group(ctx, frame, others)


def direct_id(secret: bytes, first: bytes, second: bytes) -> bytes:
    """Return the id of the direct conversation of two people, the same at every site."""
    return hmac.digest(secret, b"".join(sorted((first, second))), "sha256")[:ID_BYTES]


def ensure_direct(ctx: Context, other: bytes, counter: int = 0) -> Conversation:
    """Return the direct conversation of the actor and ``other``, opening it if need be."""
    conversation_id = direct_id(ctx.conversations.tenant_secret, ctx.actor.person, other)
    known = ctx.conversations.get(conversation_id)
    if known is not None:
        return known
    stream = Stream(StreamKind.CONVERSATION, conversation_id)
    body = ConversationCreated(DIRECT, STANDARD, (), ctx.entropy.bytes(_SALT_BYTES))
    op = ctx.append(
        Kind.CONVERSATION_CREATED,
        body,
        stream=stream,
        conversation=conversation_id,
        counter=counter,
    )
    for person in sorted((ctx.actor.person, other)):
        first = ConversationMember(person, MEMBER, since=op.key, opening=True)
        ctx.append(Kind.CONVERSATION_MEMBER, first, stream=stream, conversation=conversation_id)
    known = ctx.conversations.get(conversation_id)
    assert known is not None
    return known


def room_for(ctx: Context, person: bytes) -> None:
    """Raise "conversation.limit" when somebody is in as many conversations as can be."""
    if len(ctx.conversations.ever(person)) < CONVERSATIONS_PER_PERSON:
        return
    if len(ctx.conversations.current(person)) >= CONVERSATIONS_PER_PERSON:
        raise Refusal("conversation.limit")


def _open_direct(ctx: Context, frame: schema.Open, others: tuple[bytes, ...]) -> schema.Ok:
    if len(others) != 1:
        raise Refusal("conversation.members")
    conversation_id = direct_id(ctx.conversations.tenant_secret, ctx.actor.person, others[0])
    if frame.n:
        again = answers.first_answer(
            ctx,
            frame.id,
            frame.n,
            lambda op: op.kind == Kind.CONVERSATION_CREATED and op.stream.id == conversation_id,
        )
        if again is not None:
            return again
    if ctx.conversations.get(conversation_id) is None:
        checks.participant(ctx, others[0])
        for person in (ctx.actor.person, others[0]):
            room_for(ctx, person)
    return answers.opened(frame.id, ensure_direct(ctx, others[0], _counter(ctx, frame)))


def _open_group(ctx: Context, frame: schema.Open, others: tuple[bytes, ...]) -> schema.Ok:
    title = checks.title(frame.title) if frame.title.strip() else ""
    if frame.n:
        again = answers.first_answer(
            ctx, frame.id, frame.n, lambda op: _is_retry(ctx, op, frame, title, others)
        )
        if again is not None:
            return again
    for person in others:
        checks.participant(ctx, person)
    for person in (ctx.actor.person, *others):
        room_for(ctx, person)
    body = ConversationCreated(GROUP, STANDARD, (), ctx.entropy.bytes(_SALT_BYTES))
    op = ctx.append(Kind.CONVERSATION_CREATED, body, stream=None, counter=_counter(ctx, frame))
    for kind, part in _parts(ctx.actor.person, others, title, frame.history, op.key):
        ctx.append(kind, part, stream=op.stream, conversation=op.stream.id)
    return answers.opened(frame.id, _just_opened(ctx, op))


def _counter(ctx: Context, frame: schema.Open) -> int:
    return frame.n if ctx.actor.device else 0


def _just_opened(ctx: Context, op: Op) -> Conversation:
    known = ctx.conversations.get(op.stream.id)
    assert known is not None
    assert known.created == Created(op.id, op.key, op.pos, op.received_ms)
    return known


def _parts(
    opener: bytes, others: tuple[bytes, ...], title: str, history: bool, key: int
) -> Iterator[tuple[Kind, BodyStruct]]:
    """Yield the operations that follow a group's first one, in order."""
    if title:
        yield Kind.CONVERSATION_TITLE, ConversationTitle(title, opening=True)
    if history:
        yield Kind.CONVERSATION_SETTINGS, ConversationSettings(archived=False, history=True)
    for person in (opener, *others):
        role = OWNER if person == opener else MEMBER
        member = ConversationMember(person, role, since=key, opening=True)
        yield Kind.CONVERSATION_MEMBER, member


def _is_retry(
    ctx: Context, op: Op, frame: schema.Open, title: str, others: tuple[bytes, ...]
) -> bool:
    """Tell whether the group begun by ``op`` is the one that ``frame`` asks for.

    Its operations follow each other in the log; parts that are gone count as the same.
    """
    body = targets.body_of(op)
    if not isinstance(body, ConversationCreated) or body.kind != GROUP:
        return False
    seq = op.id.seq
    for kind, part in _parts(ctx.actor.person, others, title, frame.history, op.key):
        seq += 1
        try:
            found = ctx.read(op.origin, seq)
        except PartGoneError:
            continue
        except UnknownOpError:
            return False
        if found.conversation != op.stream.id:
            return False
        if found.body is not None and not answers.says(found, kind, part):
            return False
    return not _is_opening(ctx, op, seq + 1)


def _is_opening(ctx: Context, op: Op, seq: int) -> bool:
    """Tell whether the operation at ``seq`` still belongs to the opening by ``op``."""
    try:
        found = ctx.read(op.origin, seq)
    except (PartGoneError, UnknownOpError):
        return False
    body = targets.body_of(found)
    return (
        isinstance(body, ConversationMember) and body.opening and found.conversation == op.stream.id
    )
