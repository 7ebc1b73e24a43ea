"""Read a conversation's timeline as one person may see it, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from appliance.limits import HISTORY_ITEMS, HISTORY_OPENED
from appliance.messaging import render, targets
from appliance.messaging.membership import Membership
from appliance.messaging.state import Conversations
from appliance.operations import Message
from appliance.positions import format_key
from store import hlc
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import TIMELINE_ROW
from store.ids import OpId
from store.logreader import LogReader
from store.oplog import Op
from store.tables import TIMELINE
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import HistoryItem, Id

IsOver = Callable[[Op], bool]
"""Tells whether a message has reached its end, so that nobody reads it any more."""


def never_over(op: Op) -> bool:
    """Tell that nothing has reached its end."""
    del op
    return False


class Entry(NamedTuple):
    """One TIMELINE row: the message's key and id, and where it is."""

    key: int
    id: OpId
    origin: int
    pos: int


class Page(NamedTuple):
    """Some of a timeline, newest first; ``more``: there is more in the direction asked for."""

    items: list[HistoryItem]
    more: bool


def history(
    reader: Reader,
    log: LogReader,
    conversations: Conversations,
    person: bytes,
    conversation_id: bytes,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = HISTORY_ITEMS,
    is_over: IsOver = never_over,
) -> Page:
    """Return messages with timeline keys below ``before`` and above ``after``.

    The newest ones, or those next to ``after`` where only that is given. At most ``limit``,
    ``HISTORY_ITEMS`` and what ``HISTORY_OPENED`` operations tell. What ``is_over`` is shown as
    destroyed. Raises ``Refusal`` ("conversation.unknown") for who was never a member.
    """
    conversation = conversations.get(conversation_id)
    member = None if conversation is None else conversation.membership(person)
    if conversation is None or member is None:
        raise Refusal("conversation.unknown")
    limit = max(1, min(limit, HISTORY_ITEMS))
    ascending = after is not None and before is None
    start = 0 if after is None else after + 1
    end = hlc.LIMIT if before is None else before
    read, targeted = partial(log.read, reader), targets.Targeted(reader, reverse=not ascending)
    items: list[HistoryItem] = []
    opened, more = 0, False
    for entry in entries(
        reader, conversation.pseudonym, member.windows(), start, end, reverse=not ascending
    ):
        if len(items) == limit or opened >= HISTORY_OPENED:
            more = True
            break
        item, cost = _item(reader, read, conversations, entry, is_over, targeted)
        items.append(item)
        opened += cost
    if ascending:
        items.reverse()
    return Page(items, more)


def entries(
    reader: Reader,
    feed: int,
    windows: list[tuple[int, int]],
    start: int,
    end: int,
    *,
    reverse: bool = False,
) -> Iterator[Entry]:
    """Yield the messages with ``start <= key < end`` inside ``windows``, in order of key."""
    for first, last in reversed(windows) if reverse else windows:
        first, last = max(first, start), min(last, end)
        if first >= last:
            continue
        rows = reader.range(
            TIMELINE.prefix(feed, first), TIMELINE.prefix(feed, last), reverse=reverse
        )
        for row, value in rows:
            _, key, node, incarnation, seq = TIMELINE.columns(row)
            origin, pos = TIMELINE_ROW.unpack(value)
            yield Entry(key, OpId(node, incarnation, seq), origin, pos)  # type: ignore[arg-type]  # the node column is bytes


def heard_windows(member: Membership) -> list[tuple[int, int]]:
    """Return the ranges of keys that a member heard, ascending."""
    return [(each.since, each.until) for each in member.intervals]


def _item(
    reader: Reader,
    read: targets.Read,
    conversations: Conversations,
    entry: Entry,
    is_over: IsOver,
    targeted: targets.Targeted,
) -> tuple[HistoryItem, int]:
    """Return one entry as it stands now, and how many operations it took to tell."""
    try:
        op = read(entry.origin, entry.id.seq)
    except PartGoneError:
        return _destroyed(entry), 1
    body = targets.body_of(op)
    if not isinstance(body, Message) or is_over(op):
        return _destroyed(entry), 1
    if targets.place_of(op) not in targeted:
        return HistoryItem(render.message(op, body, conversations)), 1
    now = targets.standing(reader, read, op)
    if now.recalled:
        shown = render.message(op, msgspec.structs.replace(body, text="", data=""), conversations)
        return HistoryItem(shown, now.edits, recalled=True), 1 + now.opened
    if now.edit is not None:
        newest = now.edit
        body = msgspec.structs.replace(body, kind=newest.kind, text=newest.text, data=newest.data)
    reactions = tuple(
        schema.Reaction(emoji, tuple(map(Id, people))) for emoji, people in now.reactions.items()
    )
    shown = render.message(op, body, conversations)
    confirmed = tuple(map(Id, now.confirmed))
    return HistoryItem(shown, now.edits, False, reactions, confirmed), 1 + now.opened


def _destroyed(entry: Entry) -> HistoryItem:
    name = Id(entry.id.pack())
    at, key = hlc.millis(entry.key), format_key(entry.key)
    return HistoryItem(schema.DestroyedOp(msg=name, by=Id(b""), at=at, of=name, key=key))
