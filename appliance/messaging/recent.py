"""Remember which feeds moved last, so that who was away for a moment is not searched for.

The writer notes each operation, any thread may ask. Newest last, and in order: a position that
is lower than one before it (a part that was filled in, a batch that was rolled back) counts as
that one. So what is told may name a feed too many, never one too few.
"""

from __future__ import annotations

from collections import deque
from typing import Final

REMEMBERED: Final = 4_096
"""Operations of which it is remembered where they were."""


class Recent:
    """The feeds of the newest operations."""

    __slots__ = ("_moves", "_newest")

    def __init__(self) -> None:
        self._moves: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._newest = 0

    def note(self, pos: int, feed: int) -> None:
        """Remember that the operation at ``pos`` was in ``feed``."""
        if pos > self._newest:
            self._newest = pos
        self._moves.append((self._newest, feed))

    def since(self, pos: int, most: int) -> set[int] | None:
        """Return the feeds with something after ``pos``; looks at ``most`` operations at most.

        None when that does not reach back as far as ``pos``.
        """
        # By index, as the writer may append meanwhile: then one is seen twice, and none missed.
        moves, found = self._moves, set[int]()
        for back in range(1, min(most, len(moves)) + 1):
            at, feed = moves[-back]
            if at <= pos:
                return found
            found.add(feed)
        return None
