"""Read and print how long records are kept: ``0``, ``30s``, ``15m``, ``12h``, ``180d``, ``6y``.

A duration is one whole number and one unit, nothing else: no sum, no fraction, no space, so that
two people who read a policy read the same. Zero is written ``0``, without a unit.

    unit   milliseconds        is
    s      1,000               a second
    m      60,000              a minute
    h      3,600,000           an hour
    d      86,400,000          24 hours, whatever the calendar does to the day
    y      31,622,400,000      366 days

A year counts 366 days so that a minimum is never short, wherever its leap days fall: ``6y`` is
2,196 days, and no six years of the calendar have more than 2,192. A maximum in years comes later
by the same few days; who needs the exact day writes days.
"""

from __future__ import annotations

import re
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
YEAR_MS: Final = 366 * DAY_MS

LONGEST_MS: Final = 1_000 * YEAR_MS
"""Longest duration, in ms: what is meant to be for ever has no maximum instead."""

UNITS: Final = {"y": YEAR_MS, "d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS}
"""Units by their letter, in ms, largest first."""

_FORM: Final = re.compile(r"(?:0|([1-9][0-9]{0,14})([smhdy]))", re.ASCII)


class DurationError(ValueError):
    """A text is no duration, or a number of ms cannot be written as one."""


def parse_duration(text: str) -> int:
    """Return a duration in ms; raises ``DurationError`` for every other text."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise DurationError(
            'must be "0", or a whole number and one of s, m, h, d, y: "12h", "180d", "6y"'
        )
    if found[1] is None:
        return 0
    milliseconds = int(found[1]) * UNITS[found[2]]
    if milliseconds > LONGEST_MS:
        raise DurationError(f"must be at most {print_duration(LONGEST_MS)}")
    return milliseconds


def print_duration(milliseconds: int) -> str:
    """Return the shortest text that reads back as just this duration.

    Raises ``DurationError`` unless it is a whole number of seconds from 0 to ``LONGEST_MS``.
    """
    if not 0 <= milliseconds <= LONGEST_MS or milliseconds % SECOND_MS:
        raise DurationError("must be a whole number of seconds from 0 to 1000y")
    if not milliseconds:
        return "0"
    letter, unit_ms = next(each for each in UNITS.items() if milliseconds % each[1] == 0)
    return f"{milliseconds // unit_ms}{letter}"
