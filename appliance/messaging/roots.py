"""Find the newest messages of a conversation in its timeline."""

from __future__ import annotations

from typing import Final

from appliance.messaging.model import NO_ROOT, Root
from appliance.messaging.targets import Read
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import TIMELINE_ROW
from store.tables import TIMELINE

ROOTS_OPENED: Final = 64
"""Messages opened in search of one by somebody else; further back, one is assumed."""


def look_up(reader: Reader, read: Read, feed: int) -> Root:
    """Return the newest message, and the newest one that is not by its author.

    Opens messages, newest first, until a second author appears, at most ``ROOTS_OPENED``.
    """
    root = NO_ROOT
    rows = reader.range(*TIMELINE.span(feed), reverse=True, limit=ROOTS_OPENED + 1)
    for number, (row, value) in enumerate(rows):
        key = TIMELINE.columns(row)[1]
        origin, pos = TIMELINE_ROW.unpack(value)
        author = _author(read, origin, TIMELINE.columns(row)[4])
        if number == 0:
            root = Root(pos, key, author, 0, 0)
        elif author != root.author or number == ROOTS_OPENED:
            return root._replace(other_pos=pos, other_key=key)
    return root


def _author(read: Read, origin: int, seq: int) -> bytes:
    try:
        return read(origin, seq).actor
    except PartGoneError:
        return b""
