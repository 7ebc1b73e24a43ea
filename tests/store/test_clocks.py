"""Check the clocks and the entropy, the system's and the simulated ones."""

from __future__ import annotations

import time

import pytest

from store.clocks import ManualClock, SeededEntropy, SystemClock, SystemEntropy


def test_the_system_clock_counts_milliseconds_and_nanoseconds() -> None:
    clock = SystemClock()
    before, now, after = time.time_ns(), clock.wall_ms(), time.time_ns()
    assert before // 1_000_000 <= now <= after // 1_000_000
    assert clock.monotonic_ns() <= clock.monotonic_ns() <= time.monotonic_ns()


def test_system_entropy_has_the_length_asked_for_and_does_not_repeat() -> None:
    entropy = SystemEntropy()
    assert [len(entropy.bytes(count)) for count in (0, 1, 32)] == [0, 1, 32]
    assert len({entropy.bytes(16) for _ in range(100)}) == 100


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(wall_ms=1000)
    assert (clock.wall_ms(), clock.monotonic_ns()) == (1000, 0)
    clock.advance(5)
    assert (clock.wall_ms(), clock.monotonic_ns()) == (1005, 5_000_000)
    clock.set_wall_ms(10)
    assert (clock.wall_ms(), clock.monotonic_ns()) == (10, 5_000_000)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_a_seed_repeats_itself_and_no_other() -> None:
    def run(seed: int | str) -> list[bytes]:
        entropy = SeededEntropy(seed)
        return [entropy.bytes(count) for count in (16, 0, 16, 1000)]

    assert run(1) == run(1)
    first, empty, second, long = run(1)
    assert (len(first), empty, len(long)) == (16, b"", 1000)
    assert len({first, second, long[:16], run(2)[0], run("1")[0]}) == 5
