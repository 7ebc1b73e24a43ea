"""Choose whose turn it is: strict priority, with a floor for each lane that waits (sans-IO)."""

from __future__ import annotations

from collections.abc import Collection

from sync.limits import FLOOR_SHARE, PART_BYTES
from sync.pieces import Lane


class Turns:
    """The order in which lanes send over one connection.

    A lane that waits is owed a ``FLOOR_SHARE``-th of what others send meanwhile, and has its turn
    once that is a part of a piece. Otherwise the most urgent lane goes first.
    """

    def __init__(self) -> None:
        self._owed: dict[Lane, float] = {}

    def pick(self, waiting: Collection[Lane]) -> Lane:
        """Return the lane that sends next, of one or more that could."""
        owed = max(waiting, key=lambda lane: self._owed.get(lane, 0.0))
        return owed if self._owed.get(owed, 0.0) >= PART_BYTES else min(waiting)

    def sent(self, lane: Lane, size: int, waiting: Collection[Lane]) -> None:
        """Note that ``lane`` sent ``size`` bytes while ``waiting`` could have sent as well.

        A lane that had nothing to send is owed nothing.
        """
        owed = {each: self._owed.get(each, 0.0) + size / FLOOR_SHARE for each in waiting}
        owed[lane] = max(0.0, self._owed.get(lane, 0.0) - size)
        self._owed = owed
