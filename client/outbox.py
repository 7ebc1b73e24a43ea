"""Keep what is not yet acknowledged, in the order in which it was written (sans-IO).

Every entry has the device's message number ``n``, the key under which the server recognises a
repetition, and a lane: the conversation it belongs to. Within a lane at most ``window`` entries
are under way. With a window of 1 the order in a conversation is the order of writing, whatever
the server refuses for the moment; a larger window trades that, when the server is overloaded,
for speed over long lines. Lost connections never change the order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from transports.wire.schema import Edit, Open, React, Recall, Send

NumberedFrame = Send | Edit | Recall | React | Open
MAX_ENTRIES = 100_000
"""Entries kept; beyond, ``Outbox.add`` refuses."""


@dataclass(slots=True)
class Entry:
    """One frame on its way: ``id`` is its request id and ``n`` its number."""

    frame: NumberedFrame
    lane: Hashable
    is_durable: bool = False
    """Kept in the profile until the server has answered."""

    @property
    def id(self) -> int:
        """Return the request id."""
        return self.frame.id

    @property
    def n(self) -> int:
        """Return the message number."""
        return self.frame.n


@dataclass(slots=True)
class _Lane:
    waiting: list[Entry] = field(default_factory=list)
    under_way: list[Entry] = field(default_factory=list)


class Outbox:
    """Entries by lane; knows which may be sent now.

    Args:
        window: how many entries of one lane may be under way at once; at least 1.
    """

    def __init__(self, window: int = 1) -> None:
        if window < 1:
            raise ValueError("the window is at least 1")
        self._window = window
        self._lanes: dict[Hashable, _Lane] = {}
        self._entries: dict[int, Entry] = {}
        self._open: dict[Hashable, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=_number))

    def __contains__(self, request: int) -> bool:
        return request in self._entries

    @property
    def is_under_way(self) -> bool:
        """Whether an answer is awaited for some entry; O(lanes in use)."""
        return any(lane.under_way for lane in self._lanes.values())

    def is_clear_up_to(self, request: int) -> bool:
        """Tell whether nothing that was added up to this request waits for its answer."""
        return next(iter(self._entries), request + 1) > request

    def add(self, entry: Entry) -> None:
        """Put an entry in its place in its lane; request ids ascend from one to the next.

        Raises OverflowError beyond ``MAX_ENTRIES``.
        """
        if len(self._entries) >= MAX_ENTRIES:
            raise OverflowError("the outbox is full")
        self._entries[entry.id] = entry
        insort(self._lanes.setdefault(entry.lane, _Lane()).waiting, entry, key=_number)
        self._open[entry.lane] = None

    def take(self) -> list[Entry]:
        """Return the entries that may be sent now, by lane in order; they are under way then."""
        taken: list[Entry] = []
        for key in self._open:
            lane = self._lanes[key]
            room = self._window - len(lane.under_way)
            if room > 0:
                first, lane.waiting = lane.waiting[:room], lane.waiting[room:]
                lane.under_way += first
                taken += first
        self._open.clear()
        return taken

    def answered(self, request: int) -> Entry | None:
        """Remove an entry that got its final answer; None when it is unknown."""
        entry = self._entries.pop(request, None)
        if entry is not None:
            lane = self._lanes[entry.lane]
            (lane.under_way if entry in lane.under_way else lane.waiting).remove(entry)
            self._tidy(entry.lane, lane)
        return entry

    def put_back(self, request: int) -> None:
        """Let an entry that was refused for the moment be sent again, before its successors."""
        entry = self._entries[request]
        lane = self._lanes[entry.lane]
        if entry in lane.under_way:
            lane.under_way.remove(entry)
            insort(lane.waiting, entry, key=_number)
            self._open[entry.lane] = None

    def cut(self) -> None:
        """Consider nothing under way any more: the connection is gone."""
        for key, lane in self._lanes.items():
            lane.waiting = sorted(lane.under_way + lane.waiting, key=_number)
            lane.under_way = []
            self._open[key] = None

    def _tidy(self, key: Hashable, lane: _Lane) -> None:
        if lane.waiting:
            self._open[key] = None
        elif not lane.under_way:
            del self._lanes[key]
            self._open.pop(key, None)


def _number(entry: Entry) -> int:
    return entry.n
