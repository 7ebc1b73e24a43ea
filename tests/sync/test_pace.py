"""What is on its way adapts to the line: thin lines stay fast, wide ones are filled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.limits import PACE_BYTES_MAX, PACE_BYTES_MIN, PART_BYTES
from sync.pace import Mark, Pace


def settle(rate: float, delay: float, seconds: float) -> tuple[Pace, float, float]:
    """Run a line of a rate (bytes a second) and a round trip, always with more to send.

    Returns the pace, the longest round trip of the second half, and the bytes sent a second.
    """
    pace, now, free_at, sent, worst = Pace(), 0.0, 0.0, 0, 0.0
    flying: list[tuple[float, Mark]] = []
    while now < seconds:
        while pace.has_room:
            pace.sent(PART_BYTES)
            sent += PART_BYTES
            free_at = max(free_at, now) + PART_BYTES / rate
            if pace.is_mark_due:
                flying.append((free_at + delay, pace.mark(now)))
        now, mark = flying.pop(0)
        pace.confirm(mark, now)
        if now > seconds / 2:
            worst = max(worst, pace.round_trip)
    return pace, worst, sent / now


@pytest.mark.parametrize(
    ("rate", "delay"), [(8_000, 0.6), (50_000, 0.1), (1_000_000, 0.05), (10_000, 0.02)]
)
def test_a_line_is_used_well_and_our_own_bytes_wait_little(rate: float, delay: float) -> None:
    _, worst, used = settle(rate, delay, 120)
    least = PACE_BYTES_MIN / rate
    assert worst <= delay + 3 * max(least, 0.25) + PART_BYTES / rate
    assert used >= 0.7 * rate


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 50))))
def test_the_window_keeps_its_bounds(steps: list[tuple[int, float]]) -> None:
    pace, now = Pace(), 0.0
    for size, seconds in steps:
        pace.sent(size)
        mark = pace.mark(now)
        now += seconds
        pace.confirm(mark, now)
        assert PACE_BYTES_MIN <= pace.window <= PACE_BYTES_MAX


def test_what_is_answered_is_no_longer_on_its_way() -> None:
    pace = Pace()
    pace.sent(200_000)
    assert (pace.has_room, pace.is_mark_due) == (False, True)
    pace.confirm(pace.mark(1.0), 1.1)
    assert (pace.has_room, pace.is_mark_due) == (True, False)
