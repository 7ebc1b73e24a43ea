"""Let the state of urgent messages follow the log, and read it back at start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from appliance.messaging import targets, urgency
from appliance.messaging.model import Conversation
from appliance.messaging.urgency import Urgent
from appliance.operations import BodyStruct, Escalation, Kind, Message
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import PartGoneError
from store.ids import OpId
from store.logreader import LogReader
from store.oplog import Op
from store.tables import URGENT

if TYPE_CHECKING:
    from appliance.messaging.state import Conversations


def follow_message(txn: Txn, conversations: Conversations, op: Op, body: Message) -> None:
    """Begin to follow an urgent message, or note the copy that passes one on."""
    if op.target:
        known = _known(txn, conversations, op)
        if known is not None:
            copies = (*known.copies, targets.place_of(op))
            conversations.put_urgent(txn, known, replace(known, copies=copies))
        return
    conversation = conversations.get(op.conversation)
    if conversation is None:
        return
    waiting = frozenset(conversation.members) - {op.actor}
    if waiting:
        begun = _begun(op, body, waiting, op.received_ms)
        due_ms = begun.next_ms(op.received_ms, step_seconds(conversations, begun.duty))
        conversations.put_urgent(txn, None, replace(begun, due_ms=due_ms))


def follow_confirm(conversations: Conversations, txn: Txn, op: Op, body: BodyStruct) -> None:
    """Note a confirmation."""
    del body
    known = _known(txn, conversations, op)
    if known is not None:
        conversations.put_urgent(txn, known, known.confirmed(op.actor))


def follow_recall(conversations: Conversations, txn: Txn, op: Op, body: BodyStruct) -> None:
    """Stop following a message that was recalled; its copies are recalled on their own."""
    del body
    known = _known(txn, conversations, op)
    if known is not None and conversations.place(OpId.unpack(op.target)) == known.root:
        conversations.put_urgent(txn, known, None)


def follow_escalation(conversations: Conversations, txn: Txn, op: Op, body: BodyStruct) -> None:
    """Note a repetition, or that a message went on."""
    escalation = cast("Escalation", body)
    known = _known(txn, conversations, op)
    if known is None:
        return
    seconds = step_seconds(conversations, known.duty)
    if not escalation.to:
        after: Urgent | None = known.repeated(op.received_ms, seconds)
    else:
        after = known.passed_on(escalation.to, op.received_ms, seconds)
    conversations.put_urgent(txn, known, after)


def step_seconds(conversations: Conversations, duty: bytes) -> int:
    """Return how long a step of a duty's chain lasts; 0 without a chain."""
    known = conversations.duty(duty)
    return known.step_seconds if known is not None and known.chain else 0


def load(reader: Reader, log: LogReader, conversations: Conversations) -> Iterator[Urgent]:
    """Yield the open urgent messages; opens each and what targets it."""
    read = partial(log.read, reader)
    for key, value in reader.range(*URGENT.span()):
        due_ms, origin, seq = URGENT.columns(key)
        try:
            root = read(origin, seq)
        except PartGoneError:
            continue
        body = targets.body_of(root)
        conversation = conversations.get(root.conversation)
        if not isinstance(body, Message) or conversation is None:
            continue
        step, repeats, step_ms = urgency.unpack(value)
        begun = _begun(root, body, _members_at(conversation, root), step_ms)
        begun = replace(begun, step=step, repeats=repeats, due_ms=due_ms)
        yield _caught_up(begun, targets.of(reader, read, begun.root))


def _begun(op: Op, body: Message, waiting: frozenset[bytes], step_ms: int) -> Urgent:
    return Urgent(
        targets.place_of(op),
        op.key,
        op.conversation,
        op.actor,
        body.duty,
        waiting,
        waiting if body.duty else frozenset(),
        step=0,
        repeats=0,
        step_ms=step_ms,
        due_ms=0,
    )


def _members_at(conversation: Conversation, op: Op) -> frozenset[bytes]:
    """Return who has been a member since the message, its sender excepted."""
    return frozenset(
        each.person
        for each in conversation.members.values()
        if each.intervals[-1].since <= op.key and each.person != op.actor
    )


def _caught_up(urgent: Urgent, ops: Iterator[Op]) -> Urgent:
    """Return the state once confirmations, copies and persons asked are known."""
    confirmed: set[bytes] = set()
    asked: set[bytes] = set()
    copies = []
    for op in ops:
        body = targets.body_of(op)
        if op.kind == Kind.CONFIRM:
            confirmed.add(op.actor)
        elif isinstance(body, Escalation) and body.to:
            asked.add(body.to)
        elif isinstance(body, Message):
            copies.append(targets.place_of(op))
    return replace(
        urgent,
        waiting=(urgent.waiting | asked) - confirmed,
        asked=urgent.asked | asked,
        copies=tuple(copies),
    )


def _known(txn: Txn, conversations: Conversations, op: Op) -> Urgent | None:
    place = conversations.place(OpId.unpack(op.target))
    return None if place is None else conversations.urgent(place)
