"""A shaped line: its rate, its delay, its queue and its losses are as told, and order stays."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shaping import THIN, Direction, Shape

PACKETS = st.lists(st.tuples(st.floats(0, 2), st.integers(40, 1_400)), max_size=60)


@given(PACKETS, st.integers())
def test_packets_stay_in_order_and_take_the_delay_at_least(
    packets: list[tuple[float, int]], seed: int
) -> None:
    direction, now, last = Direction(THIN, Random(seed)), 0.0, 0.0
    for pause, size in packets:
        now += pause
        leaves_at = direction.leaves_at(size, now)
        if leaves_at is not None:
            assert leaves_at >= max(last, now + THIN.delay_seconds)
            last = leaves_at


@given(PACKETS)
def test_no_more_passes_than_the_rate_allows(packets: list[tuple[float, int]]) -> None:
    shape = Shape(bytes_per_second=1_000.0, queue_bytes=5_000)
    direction, now = Direction(shape, Random(1)), 0.0
    last = 0.0
    for pause, size in packets:
        now += pause
        last = direction.leaves_at(size, now) or last
    assert direction.packet_bytes <= 1_000.0 * last + 1e-6
    assert direction.packets + direction.lost == len(packets)


def test_what_does_not_fit_into_the_queue_is_dropped() -> None:
    direction = Direction(Shape(bytes_per_second=100.0, queue_bytes=250), Random(1))
    assert [direction.leaves_at(100, 0.0) for _ in range(3)] == [1.0, 2.0, None]
    assert direction.leaves_at(100, 1.0) == 3.0


def test_about_as_many_are_lost_as_told() -> None:
    direction = Direction(Shape(loss=0.05), Random(1))
    lost = sum(direction.leaves_at(100, 0.0) is None for _ in range(10_000))
    assert lost == direction.lost
    assert 400 < lost < 600


def test_a_line_without_a_rate_only_delays() -> None:
    direction = Direction(Shape(delay_seconds=0.5), Random(1))
    assert direction.leaves_at(1_000_000, 3.0) == 3.5
