"""Any history of a site that destroys: what is held or young is there, what is gone never opens.

Hypothesis draws the acts, power cuts at any step of the devices among them; the oracle looks on.
At the end the views are rebuilt from the log, the runs are accounted for, and a thief comes with
every byte that was ever written and the present root.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.disposal.commands import Selection
from tests.appliance.disposal.harness import OFFICERS
from tests.appliance.disposal.oracle import DAY_MS, Policy, Record, Talk, Term
from tests.appliance.disposal.thief import Thief
from tests.appliance.disposal.world import World

HOUR_MS = 3_600_000
LATE_MS = 32 * HOUR_MS
"""Power cuts put a night off by some hours, and what follows something ends a run later."""

UNITS = ("ward", "desk")
LABELS = ("trial", "merger")

TERMS = (
    Term("chat", "standard", 0, 20 * DAY_MS, recall="destroy"),
    Term("record", "record", 30 * DAY_MS, 60 * DAY_MS),
    Term("audit", "audit", 15 * DAY_MS, 25 * DAY_MS),
)
VARIANTS = (
    TERMS,
    (TERMS[0]._replace(max_ms=5 * DAY_MS), *TERMS[1:]),
    (*TERMS, Term("ward", unit="ward", min_ms=40 * DAY_MS)),
    (*TERMS, Term("trial", label="trial", min_ms=10 * DAY_MS, max_ms=50 * DAY_MS)),
    (TERMS[0], TERMS[1]._replace(min_ms=DAY_MS), TERMS[2]),
)
"""Policies that tighten and loosen each other."""

chosen = st.integers(0, 1_000)
selections = st.sampled_from(("person", "conversation", "unit", "label", "dates"))


class Site(RuleBasedStateMachine):
    """One site; people and conversations are chosen by number among those there are."""

    @initialize()
    def begin(self) -> None:
        self.world = World(Policy(TERMS, 0), retain=True)
        self.world.late_ms = LATE_MS
        self.people = [self.world.hire(UNITS[number % 2]) for number in range(3)]
        self.talks: list[Talk] = []
        self.words = 0
        self.open(0)
        self.open(1)

    # --- messages -------------------------------------------------------------------------------

    def text(self) -> str:
        self.words += 1
        return f"<the words number {self.words:06}>"

    def member(self, talk: Talk, number: int) -> str | None:
        known = [each for each in self.people if self.world.house.people[each] in talk.members]
        return known[number % len(known)] if known else None

    def pick(self, number: int) -> Record | None:
        found = [
            each
            for each in self.world.oracle.alive.values()
            if each.talk is not None and not each.is_copy
        ]
        return found[number % len(found)] if found else None

    @rule(number=chosen)
    def open(self, number: int) -> None:
        first = self.people[number % len(self.people)]
        others = [each for each in self.people if each != first][: 1 + number % 2]
        talk = self.world.open("group", first, *others)
        if talk is not None:
            self.talks.append(talk)

    @rule(where=chosen, who=chosen, count=st.integers(1, 4))
    def chat(self, where: int, who: int, count: int) -> None:
        for number in range(count):
            self.say(where + number // 2, who + number)

    def say(self, where: int, who: int) -> None:
        talk = self.talks[where % len(self.talks)]
        login = self.member(talk, who)
        if login is not None:
            self.world.say(login, talk, self.text())

    @rule(which=chosen, who=chosen, what=st.sampled_from(("edit", "recall", "react", "read")))
    def touch(self, which: int, who: int, what: str) -> None:
        record = self.pick(which)
        if record is None or record.talk is None:
            return
        author = self.world.oracle.people[record.author].login
        reader = self.member(record.talk, who)
        if what == "edit":
            self.world.edit(author, record, self.text())
        elif what == "recall":
            self.world.recall(author, record)
        elif reader is not None and what == "react":
            self.world.react(reader, record, "+")
        elif reader is not None:
            self.world.read(reader, record.talk)

    @rule(
        where=chosen,
        kind=st.sampled_from(("standard", "record")),
        labels=st.sets(st.sampled_from(LABELS)),
    )
    def file(self, where: int, kind: str, labels: set[str]) -> None:
        self.world.file(self.talks[where % len(self.talks)], kind, *labels)

    # --- people and officers --------------------------------------------------------------------

    @rule(who=chosen, unit=st.sampled_from(UNITS))
    def move(self, who: int, unit: str) -> None:
        self.world.move(self.people[who % len(self.people)], unit)

    def selection(self, what: str, number: int) -> Selection:
        if what == "person":
            return Selection(persons=(self.people[number % len(self.people)],))
        if what == "conversation":
            return Selection(conversations=(self.talks[number % len(self.talks)].id.hex(),))
        if what == "unit":
            return Selection(units=(UNITS[number % 2],))
        if what == "label":
            return Selection(labels=(LABELS[number % 2],))
        from_ms = self.world.truth.now_ms - number % 30 * DAY_MS
        return Selection(from_ms=from_ms, until_ms=from_ms + 10 * DAY_MS)

    @rule(what=selections, number=chosen)
    def hold(self, what: str, number: int) -> None:
        self.world.hold(OFFICERS[0], self.selection(what, number))

    @rule(number=chosen)
    def release(self, number: int) -> None:
        holds = sorted(self.world.oracle.holds)
        if holds:
            request = self.world.ask_release(OFFICERS[0], holds[number % len(holds)])
            self.world.approve(OFFICERS[1], request)

    def carry_out(self, selection: Selection, *, erase: bool = False) -> None:
        number = self.world.order(OFFICERS[0], selection, erase=erase)
        if number and self.world.approve(OFFICERS[1], number):
            self.world.run(OFFICERS[0], number)
            self.world.serve()

    @rule(what=selections, number=chosen)
    def order(self, what: str, number: int) -> None:
        self.carry_out(self.selection(what, number))

    @rule(who=chosen)
    def erase(self, who: int) -> None:
        login = self.people.pop(who % len(self.people))
        self.people.append(self.world.hire(UNITS[who % 2]))
        self.world.remove(login)
        self.carry_out(Selection(persons=(login,)), erase=True)
        if all(not self.member(talk, 0) for talk in self.talks):
            self.open(who)

    @rule(terms=st.sampled_from(VARIANTS))
    def set_policy(self, terms: tuple[Term, ...]) -> None:
        number = self.world.ask_policy(OFFICERS[0], Policy(terms, 0))
        if number:
            self.world.approve(OFFICERS[1], number)

    # --- time and machines ----------------------------------------------------------------------

    @rule(days=st.integers(1, 40))
    def days(self, days: int) -> None:
        """Let days pass, each with its night if anything comes to its end."""
        self.world.serve()
        for _ in range(days):
            self.world.passes(DAY_MS)
            if self.world.oracle.has_due(self.world.truth.proven_ms):
                self.world.night()
        self.world.night()

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(hours=st.sampled_from((0.02, 5, 100)))
    def reboot(self, hours: float) -> None:
        self.world.reboot(int(hours * HOUR_MS))

    @rule(days=st.sampled_from((-100, 1, 100)))
    def attack(self, days: int) -> None:
        self.world.set_wall(days * DAY_MS)

    @rule()
    def resume(self) -> None:
        self.world.resume()

    @rule(
        act=st.sampled_from(("say", "night", "night", "night")),
        step=st.integers(0, 30),
        seed=st.integers(0, 50),
        lose=st.booleans(),
        where=chosen,
    )
    def cut_power(self, act: str, step: int, seed: int, lose: bool, where: int) -> None:
        def say() -> None:
            self.say(where, seed)

        acts: dict[str, Callable[[], None]] = {"say": say, "night": self.world.serve}
        if act == "night":
            self.world.serve()
            self.pass_until_due()
        if not self.world.cut_power(acts[act], step, Random(seed), lose_newest_meta=lose):
            self.world.passes(6 * HOUR_MS)
        self.world.night()

    def pass_until_due(self) -> None:
        """Let days pass until something comes to its end, at most 30."""
        for _ in range(30):
            self.world.passes(DAY_MS)
            if self.world.oracle.has_due(self.world.truth.proven_ms):
                break

    def serve_and_wait(self, days: int) -> None:
        """Let the site look at everything, and then do nothing for some days."""
        self.world.serve()
        self.world.passes(days * DAY_MS)

    # --- what must hold -------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def survivors_are_read_and_nothing_comes_back(self) -> None:
        self.world.look(list(self.world.oracle.dead.values()))

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.account()
        assert world.house.problems() == []
        thief = Thief.of(world.medium, world.house.keys)
        found = thief.everything()
        for record in world.oracle.alive.values():
            assert record.text.encode() in found
        for record in world.oracle.dead.values():
            for words in (record.text, *record.words):
                assert not words or words.encode() not in found, record
        world.house.close()


Site.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TestSite = Site.TestCase


def test_a_suspended_clock_leaves_open_for_weeks_when_something_was_written() -> None:
    """So a hold by dates keeps it, though it was written long after them: no end is late."""
    site = Site()
    site.begin()
    site.attack(days=-100)
    site.serve_and_wait(30)
    site.hold("dates", 203)
    site.days(47)
    site.resume()
    written = len(site.world.oracle.alive)
    site.days(27)
    assert site.world.oracle.blocked
    assert len(site.world.oracle.alive) >= written
    site.release(0)
    site.days(1)
    assert not site.world.oracle.blocked
    site.teardown()
