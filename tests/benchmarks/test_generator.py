"""The load generator counts and reckons as it says."""

from __future__ import annotations

import pytest

from benchmarks.churning import slope
from benchmarks.fleet import CrewError, Fleet, dealt
from benchmarks.lines import Wire


def test_the_slope_of_points_on_a_line_is_the_lines() -> None:
    assert slope([(hour, 3 + 2.5 * hour) for hour in range(5)]) == pytest.approx(2.5)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 9.0)]])
def test_too_few_points_have_no_slope(points: list[tuple[float, float]]) -> None:
    assert slope(points) == 0


def test_things_are_dealt_evenly_and_none_is_lost() -> None:
    hands = dealt(range(7), 3)
    assert sorted(map(len, hands)) == [2, 2, 3]
    assert sorted(each for hand in hands for each in hand) == list(range(7))


def test_what_has_travelled_since_is_a_difference() -> None:
    assert Wire(10, 2, 30, 4).since(Wire(1, 1, 10, 1)) == Wire(9, 1, 20, 3)


class Counter:
    """A crew that counts."""

    def __init__(self, start: int) -> None:
        self._value = start

    def add(self, more: int) -> int:
        self._value += more
        return self._value

    def fail(self) -> None:
        raise OSError("no way")

    def end(self) -> None:
        raise SystemExit

    def turn(self) -> None:
        pass


def test_every_process_of_a_fleet_answers_for_its_own_crew() -> None:
    with Fleet(Counter, [(1,), (10,)]) as fleet:
        assert fleet.ask("add", 5) == [6, 15]
        with pytest.raises(CrewError, match="no way"):
            fleet.ask("fail")


def test_a_process_that_has_ended_is_noticed() -> None:
    with Fleet(Counter, [(1,)]) as fleet, pytest.raises(CrewError, match="ended"):
        fleet.ask("end")
