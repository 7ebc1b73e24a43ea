"""Say how often a running site looks at what time brings.

A simulation gives its sites a pace of its own and changes it as it goes: so a quiet night costs it
little. What is looked at, and in which order, is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TICK_SECONDS: Final = 1.0
"""How often timers are looked at."""

PROBE_SECONDS: Final = 5.0
"""How often the writer is probed."""


@dataclass(slots=True)
class Pace:
    """Seconds between two looks; a new value counts from the next one on."""

    tick_seconds: float = TICK_SECONDS
    """At timers: sessions, urgent messages, segments, the clock, orders, requests, the calendar."""
    probe_seconds: float = PROBE_SECONDS
    """At whether a write becomes durable, for /readyz."""
