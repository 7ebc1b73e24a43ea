"""Records whose minimum or maximum ends within the hour around a run: none goes early, none late.

Proven time lags true time by minutes, and a record counts as born at the first anchor behind it.
So a rule that were an hour too short or too long only shows where records are dated at once, and
looked at shortly before and after their end: nights that dice place hardly ever do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

import pytest

from appliance.disposal import judge
from appliance.disposal.commands import ListHolds, Selection
from appliance.policy import decision
from appliance.policy.bounds import Bounds
from appliance.policy.decision import Facts, Verdict
from tests.appliance.disposal.harness import AUDITOR, OFFICERS
from tests.appliance.disposal.oracle import DAY_MS, Policy, Record, Term
from tests.appliance.disposal.world import World

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

POLICY: Final = Policy(
    (
        Term("chat", "standard", max_ms=10 * DAY_MS, recall="destroy"),
        Term("ward", unit="ward", min_ms=20 * DAY_MS, recall="destroy"),
        Term("staff", role="administrator", min_ms=16 * DAY_MS, recall="destroy"),
        Term("trial", label="trial", min_ms=25 * DAY_MS, max_ms=28 * DAY_MS, recall="destroy"),
        Term("trail", "audit", min_ms=12 * DAY_MS, max_ms=14 * DAY_MS),
    ),
    cooling_ms=0,
)
EARLY: Final = (40, 20, 2)
"""Minutes before an end at which nothing must go yet."""

LATE: Final = 20
"""Minutes after an end by which proven time has reached it: it lags 5, and 17 seconds a day."""

ROUNDS: Final = 12


class Edges:
    """A site in which everything is looked at just before and just after it ends."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.world = World(POLICY)
        self.logins = [self.world.hire(unit) for unit in ("ward", "desk", "office")]
        self.world.set_roles(self.logins[2], "administrator")
        talks = [self.world.open("group", *self.logins) for _ in range(3)]
        self.talks = [talk for talk in talks if talk is not None]
        self.world.file(self.talks[2], "standard", "trial")
        self.ends: list[tuple[int, int, bool]] = []

    def live(self) -> None:
        """Write records that are dated at once, then be there when each of them ends."""
        for _ in range(ROUNDS):
            self.world.passes(self.dice.randrange(61, 600) * MINUTE_MS)
            self.write()
            self.world.serve()
        while self.ends:
            at_ms, number, is_over = heapq.heappop(self.ends)
            self.wait(at_ms)
            self.look(number, is_over=is_over)

    def wait(self, until_ms: int) -> None:
        """Let time pass until then, with a run at least every half day."""
        while (left_ms := until_ms - self.world.truth.now_ms) > 0:
            self.world.passes(min(left_ms, 12 * HOUR_MS))
            if left_ms > 12 * HOUR_MS:
                self.world.night()

    def write(self) -> None:
        login, talk = self.dice.choice(self.logins), self.dice.choice(self.talks)
        record = self.world.say(login, talk, f"text {len(self.ends)}")
        assert record is not None
        if self.dice.random() < 0.5:
            self.world.recall(login, record)
        self.expect(record)
        if self.dice.random() < 0.3:
            self.world.officer(AUDITOR, ListHolds())
            self.expect(list(self.world.oracle.alive.values())[-1])

    def expect(self, record: Record) -> None:
        """Plan to look at a record shortly before and after its minimum and its maximum."""
        longest = 14 * DAY_MS if record.talk is None else 10 * DAY_MS
        for span_ms in {record.minimum_ms, max(record.minimum_ms, longest)} - {0}:
            for minutes in EARLY:
                at_ms = record.born_ms + span_ms - minutes * MINUTE_MS
                heapq.heappush(self.ends, (at_ms, len(self.ends), False))
            at_ms = record.born_ms + span_ms + LATE * MINUTE_MS
            heapq.heappush(self.ends, (at_ms, len(self.ends), True))

    def look(self, number: int, *, is_over: bool) -> None:
        """Let a run begin, or officers order everything, which takes no record's minimum."""
        world = self.world
        if not is_over and number % 2:
            order = world.order(OFFICERS[0], Selection(persons=tuple(self.logins)))
            if order and world.approve(OFFICERS[1], order):
                world.run(OFFICERS[0], order)
        elif not is_over and number % 5 == 0:
            world.restart()
        world.run_now()


def live(seed: int) -> World:
    edges = Edges(seed)
    try:
        edges.live()
        edges.world.account()
    finally:
        edges.world.house.close()
    return edges.world


@pytest.mark.parametrize("seed", range(2))
def test_nothing_goes_an_hour_early_or_stays_an_hour_long(seed: int) -> None:
    world = live(seed)
    assert world.counts["destroyed standard"] > ROUNDS // 2
    assert world.counts["destroyed audit"] > 2


def minimum_short_for_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let orders and recalls, which wait for no maximum, begin an hour before a minimum is over."""
    right = decision._is_young
    monkeypatch.setattr(
        decision,
        "_is_young",
        lambda born_ms, bounds, now_ms: right(born_ms, bounds, now_ms + HOUR_MS),
    )


def minimum_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every minimum be an hour shorter than the policy says."""

    def shorter(facts: Facts, bounds: Bounds, now_ms: int | None) -> Verdict:
        min_ms = max(0, bounds.min_ms - HOUR_MS)
        return decision.decide(facts, replace(bounds, min_ms=min_ms), now_ms)

    monkeypatch.setattr(judge, "decide", shorter)


def shifted(monkeypatch: pytest.MonkeyPatch, shift_ms: int) -> None:
    """Judge as if it were as much later."""

    def later(facts: Facts, bounds: Bounds, now_ms: int | None) -> Verdict:
        return decision.decide(facts, bounds, None if now_ms is None else now_ms + shift_ms)

    monkeypatch.setattr(judge, "decide", later)


MUTANTS: Final[dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]]] = {
    "requests": (minimum_short_for_requests, r"destroyed by .* with a minimum of"),
    "minimum": (minimum_short, r"destroyed by .* with a minimum of"),
    "early": (partial(shifted, shift_ms=HOUR_MS), r"destroyed by .* with a m..imum of"),
    "late": (partial(shifted, shift_ms=-HOUR_MS), r"survives its maximum|ends .* late"),
}
"""Rules that are an hour wrong, and what is said of them."""


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("seed", range(2))
def test_a_rule_that_is_an_hour_wrong_is_caught(
    seed: int, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it, said = MUTANTS[mutant]
    break_it(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        live(seed)
