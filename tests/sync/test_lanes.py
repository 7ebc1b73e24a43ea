"""The urgent goes first, and nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.lanes import Turns
from sync.limits import FLOOR_SHARE, PART_BYTES
from sync.pieces import Lane


def spend(waiting: list[list[Lane]], size: int) -> list[Lane]:
    """Return who sends in each round, when ``waiting`` says who could."""
    turns, chosen = Turns(), []
    for lanes in waiting:
        lane = turns.pick(lanes)
        turns.sent(lane, size, [each for each in lanes if each is not lane])
        chosen.append(lane)
    return chosen


lanes = st.lists(st.sampled_from(Lane), min_size=1, unique=True)


@given(lanes, st.integers(1, PART_BYTES))
def test_a_lane_that_keeps_waiting_gets_its_share(waiting: list[Lane], size: int) -> None:
    rounds = 5_000
    chosen = spend([waiting] * rounds, size)
    for lane in waiting:
        sent = chosen.count(lane) * size
        assert sent >= rounds * size / FLOOR_SHARE * 0.9 - 2 * FLOOR_SHARE * PART_BYTES


@given(lanes, st.integers(1, PART_BYTES))
def test_the_most_urgent_lane_gets_most(waiting: list[Lane], size: int) -> None:
    chosen = spend([waiting] * 5_000, size)
    share = 1 - (len(waiting) - 1) / FLOOR_SHARE
    assert chosen.count(min(waiting)) >= 5_000 * share - 2 * FLOOR_SHARE * PART_BYTES / size


@given(st.lists(lanes, min_size=1, max_size=200), st.integers(1, PART_BYTES))
def test_only_a_lane_that_waits_is_chosen(waiting: list[list[Lane]], size: int) -> None:
    for lane, could in zip(spend(waiting, size), waiting, strict=True):
        assert lane in could


def test_a_lane_that_had_nothing_to_send_is_owed_nothing() -> None:
    alone, both = [Lane.CONTROL], [Lane.CONTROL, Lane.HISTORY]
    chosen = spend([alone] * 100 + [both] * FLOOR_SHARE, PART_BYTES)
    assert Lane.HISTORY not in chosen
