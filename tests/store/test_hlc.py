"""Hybrid logical time never goes back, and never leaves its range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import hlc
from store.limits import CLOCK_AHEAD_MS

WALL = st.integers(min_value=0, max_value=(1 << 47) - 1)
TIME = st.integers(min_value=0, max_value=hlc.LIMIT - 2)


@given(st.lists(WALL, min_size=1, max_size=30), TIME)
def test_time_grows_strictly_under_any_clock(walls: list[int], start: int) -> None:
    last = start
    for wall in walls:
        if last + 1 == hlc.LIMIT:
            return
        now = hlc.tick(last, wall)
        assert now > last
        assert hlc.millis(now) >= wall
        last = now


def test_a_clock_ahead_of_the_log_sets_the_time() -> None:
    assert hlc.tick(5, 1_000) == 1_000 << 16


def test_the_counter_carries_into_the_milliseconds() -> None:
    last = (7 << 16) | 0xFFFF
    assert hlc.tick(last, 7) == 8 << 16


@given(TIME, TIME)
def test_a_key_is_not_before_its_time_and_after_its_floor(t: int, floor: int) -> None:
    key = hlc.key(t, floor)
    assert key >= t
    assert key > floor
    assert key in (t, floor + 1)


@pytest.mark.parametrize(
    ("t", "floor"),
    [(hlc.LIMIT, 0), (0, hlc.LIMIT), (-1, 0), (0, -1), (0, hlc.LIMIT - 1)],
)
def test_times_beyond_63_bits_are_malformed(t: int, floor: int) -> None:
    with pytest.raises(ValueError, match="malformed"):
        hlc.key(t, floor)


def test_the_last_time_has_no_successor() -> None:
    assert hlc.tick(hlc.LIMIT - 2, 0) == hlc.LIMIT - 1
    with pytest.raises(ValueError, match="malformed"):
        hlc.tick(hlc.LIMIT - 1, 0)
    with pytest.raises(ValueError, match="malformed"):
        hlc.tick(0, 1 << 47)


def test_a_foreign_time_advances_ours_only_up_to_the_bound() -> None:
    wall = 1_000_000
    bound = (wall + CLOCK_AHEAD_MS) << 16
    assert hlc.observe(3, bound, wall) == bound
    assert hlc.observe(3, bound + (1 << 16), wall) == 3
    assert hlc.observe(bound, 4, wall) == bound
    with pytest.raises(ValueError, match="malformed"):
        hlc.observe(3, hlc.LIMIT, wall)
