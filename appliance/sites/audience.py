"""Know at headquarters which branches an arrival concerns, so that no other has to look at it.

A link finds what its branch is to be sent by reading headquarters' order of arrival, and most of
that is for other branches. With a thousand of them, all would read everything. So each arrival is
looked at once, here, and noted for the branches in whose conversation it stands; what stands in no
conversation is noted for all. That is a few too many at times, never one too few: whoever reads
the piece still asks the scope. An arrival from before this was kept is found by reading the order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import TYPE_CHECKING, Final

from appliance.sites.limits import AUDIENCE_AT_START, AUDIENCE_POSITIONS
from store import order
from store.engine.contract import Reader
from store.ids import StreamKind
from store.order import Placed
from sync.pieces import Lane

if TYPE_CHECKING:
    from appliance.core import Core

EVERYBODY: Final = b""
"""Stands for all branches."""


class Audience:
    """What each branch has to be told, by position. Belongs to the trio thread."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._since = self._upto = 0
        self._count = 0
        self._noted: dict[tuple[bytes, int], array[int]] = defaultdict(lambda: array("Q"))
        """Node and lane -> positions, rising."""
        self._homes: dict[int, tuple[object, frozenset[bytes]]] = {}
        """Pseudonym of a conversation -> its members, and the branches where they are at home."""
        self._newest: dict[bytes, int] = {}
        """Node -> the number of its newest incarnation."""
        self._news: set[bytes] = set()

    def look(self, reader: Reader) -> None:
        """Take in what has arrived since; 2 to 3 us for each arrival, once."""
        applied = self._core.applied(reader)
        if applied - self._upto > AUDIENCE_AT_START:
            self._upto = applied - AUDIENCE_AT_START
            self._forget(self._upto)
        for row in order.after(reader, self._upto):
            self._take(row, self._core.log.origin(row.origin).node)
        self._upto = max(self._upto, applied)
        if self._count > AUDIENCE_POSITIONS:
            self._forget((self._since + self._upto) // 2)

    def news(self) -> set[bytes] | None:
        """Return whom anything concerns that was seen since the last call; None: everybody."""
        found, self._news = self._news, set()
        return None if EVERYBODY in found else found

    def positions(self, node: bytes, lane: Lane, after: int, upto: int) -> Iterator[int] | None:
        """Return what may concern a branch behind ``after`` up to ``upto``; None: not known."""
        if after < self._since or upto > self._upto:
            return None
        found = (self._noted.get((each, lane), _NOTHING) for each in (node, EVERYBODY))
        return merge(*(_between(each, after, upto) for each in found))

    def _take(self, row: Placed, origin: bytes) -> None:
        if self._newest.get(origin, row.origin) < row.origin:
            self._forget(row.pos - 1)  # of an earlier incarnation everything concerns its own site
        self._newest[origin] = max(row.origin, self._newest.get(origin, 0))
        for node in self._concerned(row):
            if node != origin:
                self._note(row, node)
        if row.lane == Lane.CONTROL and origin != self._core.log.node:
            self._note(row, origin)  # each branch is told where its own operations stand

    def _note(self, row: Placed, node: bytes) -> None:
        self._noted[node, row.lane].append(row.pos)
        self._news.add(node)
        self._count += 1

    def _concerned(self, row: Placed) -> Iterable[bytes]:
        """Return the branches that an arrival may concern."""
        if not row.feed:
            return ()
        core, stream = self._core, self._core.streams.stream(row.feed)
        known = None
        if stream is not None and stream.kind is StreamKind.CONVERSATION:
            known = core.conversations.get(stream.id)
        if known is None:
            self._homes.clear()  # it may say that somebody is at home elsewhere now
            return (EVERYBODY,)
        members, homes = self._homes.get(row.feed, (None, frozenset()))
        if members is not known.members:
            homes = frozenset(map(core.sites.node_of_person, known.members)) - {core.log.node}
            self._homes[row.feed] = known.members, homes
        left = (each.person for each in known.former.values() if each.changed >= row.pos)
        return homes.union(map(core.sites.node_of_person, left)) if known.former else homes

    def _forget(self, upto: int) -> None:
        """Keep only what is behind a position."""
        self._since = upto
        for key, positions in list(self._noted.items()):
            del positions[: bisect_right(positions, upto)]
            if not positions:
                del self._noted[key]
        self._count = sum(map(len, self._noted.values()))


_NOTHING: Final = array("Q")


def _between(positions: array[int], after: int, upto: int) -> Iterator[int]:
    start, end = bisect_right(positions, after), bisect_right(positions, upto)
    return (positions[index] for index in range(start, end))
