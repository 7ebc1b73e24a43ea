"""Answer ``list``: a person's conversations with what is unread, and the duties."""

from __future__ import annotations

from functools import partial

from appliance.messaging import receipts, unread
from appliance.messaging.model import Conversation, Duty
from appliance.messaging.receipts import NOTHING, Receipt
from appliance.messaging.state import Conversations
from appliance.positions import format_key, format_pos
from store import feeds
from store.engine.contract import Reader
from store.logreader import LogReader
from transports.wire.schema import ConversationItem, DutyItem, Id, Member


def conversations(
    reader: Reader, log: LogReader, state: Conversations, person: bytes
) -> list[ConversationItem]:
    """Return the conversations that ``person`` is in now, the one with the newest events first.

    O(conversations + their members); what is unread is counted as ``unread.count`` says.
    """
    found = []
    for conversation_id in state.current(person):
        item = conversation(reader, log, state, person, conversation_id)
        if item is not None:
            found.append(item)
    return sorted(found, key=lambda item: (-int(item.pos, 16), item.conv))


def conversation(
    reader: Reader, log: LogReader, state: Conversations, person: bytes, conversation_id: bytes
) -> ConversationItem | None:
    """Return one conversation as ``person`` sees it; None for who is not a member."""
    known = state.get(conversation_id)
    member = None if known is None else known.members.get(person)
    if known is None or member is None:
        return None
    table = receipts.of_conversation(reader, known.pseudonym)
    receipt = table.get(member.pseudonym, NOTHING)
    root = state.root(reader, partial(log.read, reader), known.pseudonym)
    return ConversationItem(
        conv=Id(known.id),
        kind=known.kind,
        title=known.title,
        members=_members(known, table),
        unread=unread.count(reader, log, state, known, member, receipt),
        pos=format_pos(feeds.head(reader, known.pseudonym).pos),
        key=format_key(root.key) if root.key else "",
        archived=known.archived,
        history=known.history,
    )


def duty(known: Duty) -> DutyItem:
    """Return a duty as clients see it."""
    holder = Id(known.holder) if known.holder else None
    return DutyItem(known.name, known.title, holder, tuple(map(Id, known.chain)))


def duties(state: Conversations) -> list[DutyItem]:
    """Return all duties, by name."""
    return [duty(each) for each in state.duties()]


def _members(known: Conversation, table: dict[int, Receipt]) -> tuple[Member, ...]:
    items = []
    for each in known.members.values():
        receipt = table.get(each.pseudonym, NOTHING)
        delivered = format_key(receipt.delivered_key) if receipt.delivered_key else ""
        read = format_key(receipt.read_key) if receipt.read_key else ""
        items.append(Member(Id(each.person), each.role, delivered, read))
    return tuple(sorted(items, key=lambda item: item.person))
