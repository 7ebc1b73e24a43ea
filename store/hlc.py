"""Count hybrid logical time: 48 bits of Unix milliseconds, then a 16-bit counter.

A value never goes back, whatever the wall clock does: within one millisecond, or while the
wall clock is behind, the counter grows and carries into the milliseconds. Values from 2^63
on are malformed, so that a value always fits a signed 64-bit integer.
"""

from __future__ import annotations

from store.limits import CLOCK_AHEAD_MS

COUNTER_BITS = 16
LIMIT = 1 << 63
"""First malformed value; a time, a floor and a timeline key are all below it."""


def check(value: int) -> int:
    """Return ``value``; raises ``ValueError("malformed")`` unless ``0 <= value < 2^63``."""
    if not 0 <= value < LIMIT:
        raise ValueError("malformed")
    return value


def tick(last: int, wall_ms: int) -> int:
    """Return the time of a new event: later than ``last``, not earlier than the wall clock.

    ``wall_ms`` is in Unix milliseconds; raises ``ValueError`` when the result is malformed.
    """
    return check(max(last + 1, wall_ms << COUNTER_BITS))


def observe(last: int, seen: int, wall_ms: int) -> int:
    """Return the newest known time after an event of another origin arrived.

    A time more than ``CLOCK_AHEAD_MS`` ahead of our wall clock does not advance ours.
    Raises ``ValueError`` when ``seen`` is malformed.
    """
    if millis(check(seen)) > wall_ms + CLOCK_AHEAD_MS:
        return last
    return max(last, seen)


def key(t: int, floor: int) -> int:
    """Return the timeline key of an event at ``t`` whose author had seen up to ``floor``.

    An answer sorts after its question even when its author's clock is behind. Raises
    ``ValueError`` when either is malformed or nothing follows the floor.
    """
    return check(max(check(t), check(floor) + 1))


def millis(t: int) -> int:
    """Return the Unix milliseconds in a time or timeline key."""
    return t >> COUNTER_BITS
