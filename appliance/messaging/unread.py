"""Count what a member has not read: always computed from positions, never kept.

Unread is a message by somebody else that the member heard, that was not recalled, and that
arrived after the position of their read mark. A message that arrives late and sorts before
others is thereby unread, too.
"""

from __future__ import annotations

from functools import partial

from appliance.limits import UNREAD, UNREAD_OPENED
from appliance.messaging import receipts, targets, timeline
from appliance.messaging.membership import Membership
from appliance.messaging.model import Conversation
from appliance.messaging.receipts import Receipt
from appliance.messaging.state import Conversations
from appliance.operations import Kind
from store import hlc
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.logreader import LogReader


def count(
    reader: Reader,
    log: LogReader,
    conversations: Conversations,
    conversation: Conversation,
    member: Membership,
    receipt: Receipt,
) -> int:
    """Return the number of unread messages, at most ``UNREAD``.

    O(1) when nothing by others came since the mark; else each message since it is opened, at
    most ``UNREAD_OPENED``.
    """
    read = partial(log.read, reader)
    feed = conversation.pseudonym
    newest = conversations.root(reader, read, feed).of_others(member.person)
    came_late = receipts.newest_late(reader, feed) > receipt.read_pos
    if newest <= receipt.read_pos and not came_late:
        return 0
    start = 0 if came_late else receipt.read_key + 1
    windows = timeline.heard_windows(member)
    unread = opened = 0
    for entry in timeline.entries(reader, feed, windows, start, hlc.LIMIT, reverse=True):
        if entry.pos <= receipt.read_pos:
            continue
        if unread == UNREAD or opened == UNREAD_OPENED:
            break
        opened += 1
        unread += _counts(reader, read, (entry.origin, entry.id.seq), member.person)
    return unread


def _counts(reader: Reader, read: targets.Read, place: tuple[int, int], person: bytes) -> bool:
    try:
        op = read(*place)
    except PartGoneError:
        return False
    is_theirs = op.kind == Kind.MESSAGE and op.actor != person and op.body is not None
    return is_theirs and not targets.is_recalled(reader, read, place)
