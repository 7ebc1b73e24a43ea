"""Know when a record can have been born at the latest, in proven time.

A record's own date is what its sender's site believed. What counts is the first anchor after it
in the log: everything before an anchor was there when the anchor was made. A record behind the
newest anchor has no such bound yet and is too young for everything.

Anchors are proven time, which lags true time (``appliance.policy.clock``). As long as it goes on
lagging, ages are differences of it and are never too long. But when an authority moves it
forward, a record from before gains the whole step in age, though part of the lag may be older
than the record. So a step that is announced (``clock.changed``) raises the bounds of all records
since the last confirmed anchor by as much. Records from before that keep theirs: proven time was
right at that anchor, so all of the step is time that has passed since. A margin on every bound
(``BORN_MARGIN_MS``) stands for a step too small to be announced, and for the age of the time
that headquarters signed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from appliance.policy.limits import BORN_MARGIN_MS


class Row(NamedTuple):
    """An anchor as a view keeps it: its position, its time (Unix ms), whether confirmed."""

    pos: int
    at_ms: int
    is_confirmed: bool


class BornBounds:
    """The anchors by position. One thread follows the log; any may ask."""

    __slots__ = ("_at_ms", "_confirmed", "_positions")

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._positions: list[int] = []
        self._at_ms: list[int] = []
        self._confirmed: list[bool] = []
        for row in rows:
            self.anchor(*row)

    def anchor(self, pos: int, at_ms: int, is_confirmed: bool) -> Row:
        """Follow a ``clock.anchor`` at a position beyond all others; return its row."""
        assert not self._positions or pos > self._positions[-1], "anchors come in order"
        self._at_ms.append(at_ms)
        self._confirmed.append(is_confirmed)
        self._positions.append(pos)
        return Row(pos, at_ms, is_confirmed)

    def correct(self, step_ms: int) -> list[Row]:
        """Follow a ``clock.changed`` that moved proven time forward; return the rows changed.

        ``step_ms`` is how far. Raises the bounds since the last confirmed anchor.
        """
        changed = []
        for index in reversed(range(len(self._positions))):
            if self._confirmed[index] or step_ms <= 0:
                break
            self._at_ms[index] += step_ms
            changed.append(Row(self._positions[index], self._at_ms[index], False))
        return changed[::-1]

    def restore(self, rows: Iterable[Row], count: int) -> None:
        """Put back what a transaction that was rolled back had changed.

        ``rows`` are the rows as they were, ``count`` how many anchors there were.
        """
        del self._positions[count:], self._at_ms[count:], self._confirmed[count:]
        for row in rows:
            self._at_ms[bisect_left(self._positions, row.pos)] = row.at_ms

    def rows(self) -> list[Row]:
        """Return all anchors, oldest first."""
        return [
            Row(*each) for each in zip(self._positions, self._at_ms, self._confirmed, strict=True)
        ]

    def born_hi(self, pos: int) -> int | None:
        """Return when a record at ``pos`` was there at the latest; None: not known yet.

        O(log anchors).
        """
        found = bisect_left(self._positions, pos)
        return self._at_ms[found] + BORN_MARGIN_MS if found < len(self._positions) else None

    def __len__(self) -> int:
        return len(self._positions)
