"""Decide how much may be on its way, by how long the line makes our own bytes wait (sans-IO).

Thin lines have deep queues: what a sender pours into them delays everything behind it, the urgent
too. So the round trip of pings between the bytes is measured. The shortest of the last minutes is
what the line itself takes. By what the last few are all longer, our own bytes wait; that is kept
near ``PACE_DELAY_SECONDS`` (the idea of RFC 6817). One that is longer alone tells of a loss, which
the line repairs by itself.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple

from sync.limits import (
    PACE_BASE_SECONDS,
    PACE_BYTES_MAX,
    PACE_BYTES_MIN,
    PACE_DELAY_SECONDS,
    PACE_RECENT,
    PACE_START_BYTES,
    PART_BYTES,
)

_MARKS_PER_WINDOW = 4
"""How often a window is marked, that is: a ping sent between its bytes."""


class Mark(NamedTuple):
    """A ping between the bytes: when, after how many, and how many were on their way then."""

    at: float
    sent: int
    flying: int


class Pace:
    """One direction of one connection. Bytes are those given to the line."""

    def __init__(self) -> None:
        self.window = float(PACE_START_BYTES)
        self.round_trip = 0.0
        """The last one measured, in seconds; 0 before."""
        self._sent = 0
        self._marked = 0
        self._confirmed = 0
        self._is_starting = True
        self._changed_at = -inf
        self._recent: deque[float] = deque(maxlen=PACE_RECENT)
        self._bases: deque[tuple[float, float]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether more may be sent in lanes that can wait."""
        return self._sent - self._confirmed < self.window

    @property
    def has_more_room(self) -> bool:
        """Whether more may be sent in lanes that go first."""
        return self._sent - self._confirmed < 2 * self.window

    @property
    def is_mark_due(self) -> bool:
        """Whether a ping is wanted now."""
        unmarked = self._sent - self._marked
        return unmarked >= self.window / _MARKS_PER_WINDOW or (unmarked > 0 and not self.has_room)

    def sent(self, size: int) -> None:
        """Note bytes given to the line."""
        self._sent += size

    def mark(self, now: float) -> Mark:
        """Note a ping that is sent now."""
        self._marked = self._sent
        return Mark(now, self._sent, self._sent - self._confirmed)

    def confirm(self, mark: Mark, now: float) -> None:
        """Note the answer to a ping: everything before it has arrived."""
        arrived = mark.sent - self._confirmed
        self._confirmed = mark.sent
        self.round_trip = now - mark.at
        base = self._base(self.round_trip, now)
        self._recent.append(self.round_trip)
        lasting = min(self._recent)
        delay = lasting - base
        if self.round_trip - base > PACE_DELAY_SECONDS / 2:
            self._is_starting = False
        if delay > PACE_DELAY_SECONDS:
            self._shrink(mark, (base + PACE_DELAY_SECONDS) / lasting, now)
        elif mark.flying >= self.window / 2:
            self._grow(arrived, delay)

    def _shrink(self, mark: Mark, share: float, now: float) -> None:
        """Aim at what would wait for just as long as it may; once for each round trip."""
        if mark.at >= self._changed_at:
            self.window = max(self.window * max(0.5, share), PACE_BYTES_MIN)
            self._changed_at = now

    def _grow(self, arrived: int, delay: float) -> None:
        if self._is_starting:
            more = float(arrived)
        else:
            more = arrived * PART_BYTES / self.window * (1 - delay / PACE_DELAY_SECONDS)
        self.window = min(self.window + more, PACE_BYTES_MAX)

    def _base(self, round_trip: float, now: float) -> float:
        """Return the shortest round trip of the last ``PACE_BASE_SECONDS``."""
        bases = self._bases
        while bases and bases[0][0] < now - PACE_BASE_SECONDS:
            bases.popleft()
        while bases and bases[-1][1] >= round_trip:
            bases.pop()
        bases.append((now, round_trip))
        return bases[0][1]
