"""Fifteen years of a hospital and of a bank: nothing due outlives its slack, nothing held dies.

Each preset is driven day by day with seeded dice: people come, move, go and are erased; they
write, edit, recall and react; conversations are filed; officers hold, release, order, tighten and
loosen; the process restarts, the machine is off, and the wall clock is attacked.
"""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

import pytest

from appliance.disposal.commands import ListHolds, ListRuns, Selection
from appliance.policy.presets import PRESETS
from appliance.policy.text import write_policy
from tests.appliance.disposal.harness import AUDITOR, OFFICERS
from tests.appliance.disposal.oracle import DAY_MS, YEAR_MS, Policy, Record, Talk, Term
from tests.appliance.disposal.world import World

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
DAYS: Final = 15 * 366 + 120
"""Fifteen years as a policy counts them, and some months for the oldest records to end in."""

POLICIES: Final = {
    "hospital": Policy(
        (
            Term("chat", "standard", 0, 180 * DAY_MS),
            Term("record", "record", 6 * YEAR_MS, 15 * YEAR_MS),
            Term("audit", "audit", 6 * YEAR_MS, 10 * YEAR_MS),
        )
    ),
    "bank-eu": Policy(
        (
            Term("orders", "orders", 5 * YEAR_MS, 7 * YEAR_MS),
            Term("chat", "standard", 0, 1 * YEAR_MS),
            Term("audit", "audit", 5 * YEAR_MS, 7 * YEAR_MS),
        )
    ),
}
"""What ``compliance`` says of the presets; the product's own documents are what is set."""

SEED: Final = 4

UNITS: Final = ("ward", "desk", "office")
LABELS: Final = ("trial", "merger")


class Years:
    """One site's life, day after day."""

    def __init__(self, preset: str, seed: int, *, busy: float, acts: int) -> None:
        self.dice = Random(f"{preset}/{seed}")
        self.world = World(POLICIES[preset], write_policy(PRESETS[preset]))
        self.filed = next(
            term.kind for term in POLICIES[preset].terms if term.kind not in ("standard", "audit")
        )
        self.base = POLICIES[preset]
        self.busy, self.acts = busy, acts
        self.day = 0
        self.people: list[str] = []
        self.talks: list[Talk] = []
        self.recent: list[Record] = []
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.numbers = count()
        self.open_holds: list[int] = []
        self._idle_ms = 0
        for _ in range(5):
            self.hire()
        for _ in range(3):
            self.open()
        self.world.duty("ward-round", *self.people[:3])

    # --- days -----------------------------------------------------------------------------------

    def live(self, days: int) -> None:
        """Live through some days, looking at everything now and then."""
        looks, deep = days // 40, days // 3
        for self.day in range(days):
            try:
                self.live_a_day()
                if self.day % looks == looks - 1:
                    self.catch_up()
                    self.look()
                if self.day % deep == deep - 1:
                    assert self.world.house.problems() == []
            except AssertionError as error:
                raise AssertionError(f"on day {self.day}: {error}") from error

    def live_a_day(self) -> None:
        """Let a day pass: with its acts, or only its night if anything may be due."""
        agenda = self.agenda and self.agenda[0][0] <= self.world.truth.now_ms + DAY_MS
        if agenda or self.dice.random() < self.busy:
            self.catch_up()
            self.act_for_a_day()
        elif self.world.oracle.has_due(self.world.truth.proven_ms + self._idle_ms + DAY_MS):
            self._idle_ms += DAY_MS
            self.catch_up()
            self.world.night()
        else:
            self._idle_ms += DAY_MS

    def catch_up(self) -> None:
        """Let the days pass on which nothing happened."""
        if self._idle_ms:
            idle_ms, self._idle_ms = self._idle_ms, 0
            self.world.passes(idle_ms)

    def act_for_a_day(self) -> None:
        hours = sorted(self.dice.randrange(1, 18) for _ in range(3))
        at = 0
        for hour in hours:
            self.world.passes((hour - at) * HOUR_MS + self.dice.randrange(MINUTE_MS))
            at = hour
            while self.agenda and self.agenda[0][0] <= self.world.truth.now_ms:
                heapq.heappop(self.agenda)[2]()
            for _ in range(self.dice.randrange(1, self.acts)):
                self.act()
            if self.dice.random() < 0.4:
                self.world.serve()
        self.world.passes((24 - at) * HOUR_MS)
        self.world.night()

    def look(self) -> None:
        dead = list(self.world.oracle.dead.values())
        self.world.look(self.dice.sample(dead, min(200, len(dead))))

    def later(self, days: float, act: Callable[[], None]) -> None:
        at_ms = self.world.truth.now_ms + int(days * DAY_MS)
        heapq.heappush(self.agenda, (at_ms, next(self.numbers), act))

    # --- acts -----------------------------------------------------------------------------------

    def act(self) -> None:
        (act,) = self.dice.choices(list(ACTS), list(ACTS.values()))
        act(self)

    def hire(self) -> None:
        if len(self.people) < 12:
            self.people.append(self.world.hire(self.dice.choice(UNITS)))

    def move(self) -> None:
        self.world.move(self.dice.choice(self.people), self.dice.choice(UNITS))

    def promote(self) -> None:
        roles = self.dice.choice(((), ("administrator",)))
        self.world.set_roles(self.dice.choice(self.people), *roles)

    def leave(self) -> None:
        """Let somebody go; some ask to be erased."""
        if len(self.people) > 4:
            login = self.people.pop(self.dice.randrange(len(self.people)))
            self.world.remove(login)
            if self.dice.random() < 0.5:
                self.order(Selection(persons=(login,)), erase=True)

    def open(self) -> None:
        kind = self.dice.choice(("group", "group", "direct"))
        some = self.dice.sample(self.people, 2 if kind == "direct" else self.dice.randrange(2, 5))
        talk = self.world.open(kind, *some)
        if talk is not None and talk not in self.talks:
            self.talks.append(talk)
            if self.dice.random() < 0.4:
                self.world.file(talk, self.filed)
        if len(self.talks) > 10:
            self.talks.pop(0)

    def file(self) -> None:
        """Give a conversation a class and labels; hardly ever the shorter class again."""
        talk = self.dice.choice(self.talks)
        kind = talk.filings[-1].kind if self.dice.random() < 0.6 else self.filed
        if self.dice.random() < 0.05:
            kind = "standard"
        self.world.file(talk, kind, *self.dice.sample(LABELS, self.dice.randrange(2)))

    def join(self) -> None:
        talk, login = self.dice.choice(self.talks), self.dice.choice(self.people)
        owner = self.member(talk)
        if owner:
            op = self.dice.choice(("add", "add", "remove", "leave", "rename"))
            person = self.world.house.ids(login)[0]
            title = f"title {next(self.numbers)}"
            self.world.change(owner, talk, op, person=person, title=title)

    def member(self, talk: Talk) -> str:
        """Return somebody who is in a conversation; empty when nobody is any more."""
        known = [each for each in self.people if self.world.house.people[each] in talk.members]
        return self.dice.choice(known) if known else ""

    def say(self) -> None:
        talk = self.dice.choice(self.talks)
        login = self.member(talk)
        if login:
            record = self.world.say(login, talk, f"text {next(self.numbers)}")
            if record is not None:
                self.recent = [*self.recent[-20:], record]

    def call(self) -> None:
        """Send an urgent message to a duty; it is passed on, for nobody confirms it."""
        login = self.dice.choice(self.people)
        text = f"urgent {next(self.numbers)}"
        record = self.world.say(login, None, text, to="duty:ward-round", priority="urgent")
        if record is not None and self.dice.random() < 0.8:
            for _ in range(3):
                self.world.passes(2 * MINUTE_MS)
                self.world.tick()

    def touch(self) -> None:
        """Let somebody edit, recall or react to something recent, or read."""
        record = self.dice.choice(self.recent) if self.recent else None
        if record is None or record.talk is None or record.died_ms:
            return
        login = self.world.oracle.people[record.author].login
        what = self.dice.choice(
            ("edit", "edit", "edit", "react", "react", "recall", "read", "read", "read")
        )
        if what == "edit":
            self.world.edit(login, record, f"edit {next(self.numbers)}")
        elif what == "recall":
            self.world.recall(login, record)
        else:
            other = self.member(record.talk)
            if other and what == "react":
                self.world.react(other, record, self.dice.choice("+-"))
            elif other:
                self.world.read(other, record.talk)

    # --- officers -------------------------------------------------------------------------------

    def selection(self) -> Selection:
        dice, world = self.dice, self.world
        what = dice.choice(("persons", "conversations", "units", "labels", "dates", "both"))
        if what == "persons":
            return Selection(persons=(dice.choice(self.people),))
        if what == "conversations":
            return Selection(conversations=(dice.choice(self.talks).id.hex(),))
        if what == "units":
            return Selection(units=(dice.choice(UNITS),))
        if what == "labels":
            return Selection(labels=(dice.choice(LABELS),))
        now_ms = world.truth.now_ms
        from_ms = now_ms - dice.randrange(1, 700) * DAY_MS
        until_ms = from_ms + dice.randrange(1, 400) * DAY_MS
        if what == "dates":
            return Selection(from_ms=from_ms, until_ms=until_ms)
        return Selection(persons=(dice.choice(self.people),), from_ms=from_ms)

    def hold(self) -> None:
        number = self.world.hold(self.dice.choice(OFFICERS), self.selection())
        self.later(self.dice.randrange(5, 100), lambda: self.release(number))

    def release(self, hold: int) -> None:
        """Ask for a release, and again where it was not agreed to."""
        if hold in self.world.oracle.holds:
            first, second = self.dice.sample(OFFICERS, 2)
            number = self.world.ask_release(first, hold)
            if number and self.dice.random() < 0.8:
                self.later(self.dice.random() * 3, lambda: self.agree(second, number))
            self.later(self.dice.randrange(8, 30), lambda: self.release(hold))

    def agree(self, login: str, number: int) -> None:
        self.world.approve(login, number)

    def order(self, selection: Selection, *, erase: bool = False) -> None:
        first, second = self.dice.sample(OFFICERS, 2)
        number = self.world.order(first, selection, erase=erase)
        if not number:
            return
        fate = self.dice.random()
        if fate < 0.1:
            self.later(0.5, lambda: self.world.reject(second, number))
        elif fate < 0.9:
            self.later(self.dice.random() * 3, lambda: self.carry_out(first, second, number))

    def carry_out(self, first: str, second: str, number: int) -> None:
        if self.world.approve(second, number):
            self.later(self.dice.random() * 4, lambda: self.world.run(first, number))

    def order_some(self) -> None:
        self.order(self.selection())

    def change_policy(self) -> None:
        """Set the first policy again, or one that is stricter here and looser there."""
        terms = list(self.base.terms)
        if self.dice.random() < 0.7:
            at = self.dice.randrange(len(terms))
            terms[at] = self.bent(terms[at])
        if self.dice.random() < 0.3:
            terms.append(self.extra())
        cooling_ms = self.dice.choice((DAY_MS, DAY_MS, 2 * DAY_MS))
        first, second = self.dice.sample(OFFICERS, 2)
        number = self.world.ask_policy(first, Policy(tuple(terms), cooling_ms))
        if number:
            self.later(self.dice.random() * 3, lambda: self.agree(second, number))

    def bent(self, term: Term) -> Term:
        recall = self.dice.choice(("hide", "hide", "hide", "destroy"))
        return term._replace(
            min_ms=int(term.min_ms * self.dice.choice((0.5, 1, 1, 1.2))) // 1000 * 1000,
            max_ms=int(term.max_ms * self.dice.choice((0.6, 1, 1, 1.1))) // 1000 * 1000,
            recall=recall,
        )

    def extra(self) -> Term:
        span_ms = self.dice.randrange(1, 400) * DAY_MS
        return self.dice.choice(
            (
                Term("trial", label="trial", min_ms=span_ms, max_ms=3 * span_ms),
                Term("unit", unit="ward", min_ms=span_ms),
                Term("staff", role="administrator", min_ms=span_ms),
                Term("desk", "standard", unit="desk", max_ms=2 * span_ms),
            )
        )

    def read_trail(self) -> None:
        self.world.officer(AUDITOR, self.dice.choice((ListHolds(), ListRuns())))

    # --- machines -------------------------------------------------------------------------------

    def restart(self) -> None:
        self.world.restart()

    def reboot(self) -> None:
        """Let the machine be off: for minutes, which nobody need confirm, or for days."""
        off_ms = self.dice.choice((MINUTE_MS, 4 * MINUTE_MS, HOUR_MS, 3 * DAY_MS, 20 * DAY_MS))
        if self.dice.random() < 0.5:
            self.world.reboot(off_ms)
        else:
            self.world.lose_power(off_ms, self.dice)
        if self.world.is_suspended:
            self.later(self.dice.random() * 5, self.world.resume)

    def attack(self) -> None:
        """Let somebody set the wall clock; officers notice some time after."""
        days = self.dice.choice((-400, -1, 1, 30, 400, 4_000))
        self.world.set_wall(days * DAY_MS)
        if self.dice.random() < 0.3:
            self.world.restart()
        self.later(self.dice.random() * 5, self.world.resume)


ACTS: Final[dict[Callable[[Years], None], float]] = {
    Years.say: 60,
    Years.touch: 30,
    Years.call: 0.5,
    Years.open: 3,
    Years.join: 3,
    Years.file: 1,
    Years.hire: 1,
    Years.move: 0.6,
    Years.promote: 0.4,
    Years.leave: 0.8,
    Years.hold: 0.2,
    Years.order_some: 0.5,
    Years.change_policy: 0.5,
    Years.read_trail: 0.5,
    Years.restart: 0.3,
    Years.reboot: 0.3,
    Years.attack: 0.15,
}


def live(preset: str, seed: int, *, busy: float, acts: int) -> World:
    """Live through all days; whatever is wrong names the preset, the seed and the day.

    ``busy`` is the share of days on which people act, ``acts`` bounds the acts of some hours.
    """
    years = Years(preset, seed, busy=busy, acts=acts)
    try:
        years.live(DAYS)
        years.look()
        years.world.account()
    except AssertionError as error:
        raise AssertionError(f"{preset}, seed {seed}, {error}") from error
    finally:
        years.world.house.close()
    return years.world


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep thousands of warnings that the clock has jumped out of what a failure shows."""
    caplog.set_level(logging.CRITICAL, "strongroom")


@pytest.mark.parametrize("preset", POLICIES)
def test_fifteen_years(preset: str) -> None:
    world = live(preset, SEED, busy=0.1, acts=6)
    for term in POLICIES[preset].terms:
        assert world.counts[f"destroyed {term.kind}"] > 50
    for what in ("holds", "erased", "jumps"):
        assert world.counts[what] > 5


@pytest.mark.soak
def test_fifteen_years_of_many_sites() -> None:
    end = time.monotonic() + float(os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    while time.monotonic() < end:
        seed = Random().randrange(1 << 30)
        for preset in POLICIES:
            live(preset, seed, busy=0.2, acts=7)
