"""Read what a person missed: the events after a position, in order and without gaps.

A table in memory of each conversation's newest position picks those that moved; one ordered
seek in each, and a merge, give the events in the order they were applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from heapq import merge
from typing import Final, NamedTuple

from appliance.messaging import render, targets
from appliance.messaging.membership import Membership
from appliance.messaging.state import Conversations
from appliance.operations import Edit, Kind, Message
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.ids import OpId
from store.logreader import LogReader
from store.oplog import Op
from store.tables import FEED

_END: Final = 1 << 63
"""A position beyond every other."""


class _Row(NamedTuple):
    """One FEED row; ``member`` is None for the feed of a duty."""

    pos: int
    origin: int
    seq: int
    key: int
    member: Membership | None


def events_after(
    reader: Reader,
    log: LogReader,
    conversations: Conversations,
    person: bytes,
    pos: int,
    limit: int,
) -> list[tuple[int, Op]]:
    """Return what ``person`` may hear of after ``pos``, at most ``limit``; fewer: all of it.

    Everything returned is in ``reader``'s view, hence durable. What was said in a message that
    has been recalled since is withheld. Costs one seek for each conversation that moved, and
    opens each operation returned.
    """
    read = partial(log.read, reader)
    found: list[tuple[int, Op]] = []
    for row in merge(*_rows(reader, conversations, person, pos)):
        op = _heard(reader, read, conversations, row)
        if op is not None:
            found.append((row.pos, op))
            if len(found) == limit:
                break
    return found


def _rows(
    reader: Reader, conversations: Conversations, person: bytes, pos: int
) -> Iterator[Iterator[_Row]]:
    for conversation_id in conversations.moved(person, pos):
        conversation = conversations.get(conversation_id)
        member = None if conversation is None else conversation.membership(person)
        if conversation is None or member is None:
            continue
        end = _END if member.is_current else member.changed + 1
        if pos + 1 < end:
            yield _feed(reader, conversation.pseudonym, pos + 1, end, member)
    for duty in conversations.duties():
        if conversations.front(duty.pseudonym).pos > pos:
            yield _feed(reader, duty.pseudonym, pos + 1, _END, None)


def _feed(
    reader: Reader, feed: int, start: int, end: int, member: Membership | None
) -> Iterator[_Row]:
    for row, value in reader.range(FEED.key(feed, start), FEED.key(feed, end)):
        origin, seq, key = FEED_ROW.unpack(value)
        if member is None or member.hears(key) or member.left_at(key):
            yield _Row(FEED.columns(row)[1], origin, seq, key, member)


def _heard(
    reader: Reader, read: targets.Read, conversations: Conversations, row: _Row
) -> Op | None:
    """Open an operation, if the person hears of it."""
    try:
        op = read(row.origin, row.seq)
    except PartGoneError:
        return None
    body = targets.body_of(op)
    if row.member is None:
        return op if op.kind == Kind.DUTY_HOLDER else None
    if body is None or not render.concerns(row.member, op, body):
        return None
    if isinstance(body, Message | Edit):
        root = _root(reader, conversations, op)
        if root is not None and targets.is_recalled(reader, read, root):
            return targets.withheld(op)
    return op


def _root(reader: Reader, conversations: Conversations, op: Op) -> tuple[int, int] | None:
    if op.kind == Kind.MESSAGE:
        return targets.place_of(op)
    return conversations.place(reader, OpId.unpack(op.target))
