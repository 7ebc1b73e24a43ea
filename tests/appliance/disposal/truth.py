"""Keep the true time of a simulated site, and how far its proven time may be behind that.

Proven time lags by what a machine's uptime may run fast, and by the time of which nothing is
known: that the machine was off, and that of another boot before the process started. Two people
who confirm the clock end the lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

DRIFT = 200 / 1_000_000


class Anchored(NamedTuple):
    """True time, lag and boot of the machine at an anchor."""

    now_ms: int = 0
    lag_ms: float = 0.0
    boot: int = 0


_NEVER = Anchored()


@dataclass(slots=True)
class Truth:
    """True time, and the most by which the site's proven time can be behind it."""

    now_ms: int
    lag_ms: float = 0.0
    boot: int = 0
    anchored: Anchored = _NEVER
    anchored_before: Anchored = _NEVER

    @property
    def proven_ms(self) -> float:
        return self.now_ms - self.lag_ms

    def passes(self, milliseconds: int) -> None:
        """Let time pass while the machine is up."""
        self.now_ms += milliseconds
        self.lag_ms += milliseconds * DRIFT

    def is_off(self, milliseconds: int) -> None:
        """Let the machine be off, and boot again."""
        self.now_ms += milliseconds
        self.boot += 1

    def starts(self) -> None:
        """Let the site's process start: of the time since an anchor of another boot none counts."""
        if self.boot != self.anchored.boot:
            self.lag_ms = self.anchored.lag_ms + self.now_ms - self.anchored.now_ms

    def anchors(self) -> None:
        """Follow an anchor."""
        self.anchored_before = self.anchored
        self.anchored = Anchored(self.now_ms, self.lag_ms, self.boot)
