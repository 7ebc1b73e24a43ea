"""Keep one deadline per item, coarsely, with constant cost for setting and dropping (sans-IO)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Item = TypeVar("_Item", bound=Hashable)


class TimerWheel(Generic[_Item]):
    """Deadlines rounded up to ``tick_seconds``; an item is due once, then forgotten."""

    def __init__(self, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        self._slots: dict[int, set[_Item]] = {}
        self._slot_of: dict[_Item, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def set(self, item: _Item, deadline: float) -> None:
        """Give the item this deadline (seconds on the caller's clock) instead of any other."""
        self.drop(item)
        slot = int(deadline / self._tick_seconds) + 1
        self._slot_of[item] = slot
        self._slots.setdefault(slot, set()).add(item)

    def drop(self, item: _Item) -> None:
        """Forget the item; no effect when it has no deadline."""
        slot = self._slot_of.pop(item, None)
        if slot is None:
            return
        items = self._slots[slot]
        items.discard(item)
        if not items:
            del self._slots[slot]

    def expire(self, now: float) -> list[_Item]:
        """Take out and return the items whose deadline has passed by up to one tick, or more.

        Cost: one step per slot in use plus one per item returned.
        """
        current = int(now / self._tick_seconds)
        due = sorted(slot for slot in self._slots if slot <= current)
        items = [item for slot in due for item in self._slots.pop(slot)]
        for item in items:
            del self._slot_of[item]
        return items
