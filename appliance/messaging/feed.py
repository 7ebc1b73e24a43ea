"""Read what a person missed: the events after a position, in order and without gaps.

A table in memory of each conversation's newest position picks those that moved; one ordered
seek in each, and a merge, give the events in the order they were applied.

Who left a conversation still hears which of its messages were destroyed: their devices may
hold copies. The newest wipe of a conversation is a register, so nothing is searched where
there was none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from heapq import merge
from typing import Final, NamedTuple

from appliance.messaging import render, targets
from appliance.messaging.membership import Membership
from appliance.messaging.state import Conversations
from appliance.messaging.timeline import IsOver, never_over
from appliance.operations import Edit, Kind, Message
from store import records
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.ids import OpId
from store.logreader import LogReader, UnknownOpError
from store.oplog import Op
from store.records import Record
from store.skeleton import OpClass
from store.tables import FEED, LOG, REGISTER

_END: Final = 1 << 63
"""A position beyond every other."""

ROWS: Final = 1_000
"""Rows that one call looks at, whether the person hears of them or not."""

_PLACE: Final = struct.Struct(">IQ")
_CLASS_OFFSET: Final = 1
"""Where a skeleton tells its class: to unpack all of it takes three times as long."""


class _Row(NamedTuple):
    """One FEED row; ``member`` is None for the feed of a duty.

    ``is_absent``: it is of a time when they were no member, and may tell of a destruction.
    """

    pos: int
    origin: int
    seq: int
    member: Membership | None
    is_absent: bool = False


class Missed(NamedTuple):
    """Events after a position, in order: everything up to ``upto``; None: all there is."""

    events: list[tuple[int, Op]]
    upto: int | None


def events_after(
    reader: Reader,
    log: LogReader,
    conversations: Conversations,
    person: bytes,
    pos: int,
    limit: int,
    is_over: IsOver = never_over,
) -> Missed:
    """Return what ``person`` may hear of after ``pos``, at most ``limit`` events.

    Everything returned is in ``reader``'s view, hence durable. What was said in a message that
    has been recalled since is withheld; a message that ``is_over`` is left out. Costs one seek
    for each conversation that moved, and looks at ``ROWS`` rows at most: of what a member hears
    each is opened, of a time of absence what may tell of a destruction.
    """
    read = partial(log.read, reader)
    found: list[tuple[int, Op]] = []
    rows = merge(*_rows(reader, conversations, person, pos))
    for looked, row in enumerate(rows, start=1):
        op = _heard(reader, read, conversations, row, is_over)
        if op is not None:
            found.append((row.pos, op))
        if len(found) == limit or looked == ROWS:
            return Missed(found, row.pos)
    return Missed(found, None)


def _rows(
    reader: Reader, conversations: Conversations, person: bytes, pos: int
) -> Iterator[Iterator[_Row]]:
    for conversation_id in conversations.moved(person, pos):
        conversation = conversations.get(conversation_id)
        member = None if conversation is None else conversation.membership(person)
        if conversation is not None and member is not None:
            yield _feed(reader, conversation.pseudonym, pos + 1, member)
    for duty in conversations.duties():
        if conversations.front(duty.pseudonym).pos > pos:
            for_everybody = _between(reader, duty.pseudonym, pos + 1, _END)
            yield (_Row(*row[:3], None) for row in for_everybody)


def _feed(reader: Reader, feed: int, start: int, member: Membership) -> Iterator[_Row]:
    """Yield a conversation's rows from position ``start`` that a member may hear of."""
    was_away = not member.is_current or len(member.intervals) > 1
    wiped = _newest_wipe(reader, feed) if was_away else 0
    end = _END if member.is_current else max(member.changed, wiped) + 1
    if start >= end:
        return
    for pos, origin, seq, key in _between(reader, feed, start, end):
        if member.hears(key) or member.left_at(key):
            yield _Row(pos, origin, seq, member)
        elif pos <= wiped:
            yield _Row(pos, origin, seq, member, is_absent=True)


def _between(
    reader: Reader, feed: int, start: int, end: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield position, origin, seq and key of a feed's rows."""
    for row, value in reader.range(FEED.key(feed, start), FEED.key(feed, end)):
        yield FEED.columns(row)[1], *FEED_ROW.unpack(value)


def _newest_wipe(reader: Reader, feed: int) -> int:
    """Return the position of a conversation's newest wipe; 0 for none."""
    place = reader.get(REGISTER.key(feed, Kind.CONVERSATION_WIPED, 0))
    row = None if place is None else reader.get(LOG.key(*_PLACE.unpack(place)))
    return 0 if row is None else Record.unpack(row).pos


def _is_control(reader: Reader, row: _Row) -> bool:
    """Tell whether an operation is of class control, as wipes are; opens nothing."""
    value = reader.get(LOG.key(row.origin, row.seq))
    if value is None:
        return False
    return records.skeleton_of(value)[_CLASS_OFFSET] == OpClass.CONTROL


def _heard(
    reader: Reader,
    read: targets.Read,
    conversations: Conversations,
    row: _Row,
    is_over: IsOver,
) -> Op | None:
    """Open an operation, if the person hears of it."""
    if row.is_absent and not _is_control(reader, row):
        return None
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
        root = op if isinstance(body, Message) else _root(reader, read, conversations, op)
        if root is not None and is_over(root):
            return None
        if root is not None and targets.is_recalled(reader, read, targets.place_of(root)):
            return targets.withheld(op)
    return op


def _root(reader: Reader, read: targets.Read, conversations: Conversations, edit: Op) -> Op | None:
    """Open the message that was edited; None when it is not there to be opened."""
    place = conversations.place(OpId.unpack(edit.target))
    try:
        return None if place is None else read(*place)
    except (PartGoneError, UnknownOpError):
        return None
