"""Bounds on births: no age ever comes out longer than it truly is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.policy.born import BornBounds, Row
from appliance.policy.clock import SYSTEM, Anchored, Clock, Confirmed, Step
from appliance.policy.limits import BORN_MARGIN_MS, DRIFT_PPM, JUMP_MS, SIGNED_AGE_MS
from tests.appliance.policy.machine import Machine

MINUTE = 60_000
DAY = 86_400_000


def test_the_first_anchor_at_or_after_a_record_bounds_its_birth() -> None:
    born = BornBounds([Row(5, 100, True), Row(9, 200, False)])
    bounds = [born.born_hi(pos) for pos in (1, 5, 6, 9)]
    assert bounds == [at + BORN_MARGIN_MS for at in (100, 100, 200, 200)]


def test_beyond_the_newest_anchor_nothing_is_known() -> None:
    assert BornBounds().born_hi(1) is None
    assert BornBounds([Row(5, 100, True)]).born_hi(6) is None


def test_a_step_raises_the_bounds_since_the_last_confirmed_anchor() -> None:
    rows = [Row(1, 100, False), Row(2, 200, True), Row(3, 300, False), Row(4, 400, False)]
    born = BornBounds(rows)
    assert born.correct(50) == [Row(3, 350, False), Row(4, 450, False)]
    assert born.rows() == [*rows[:2], Row(3, 350, False), Row(4, 450, False)]
    assert born.correct(0) == []


def test_a_step_before_anything_was_confirmed_raises_all_bounds() -> None:
    born = BornBounds([Row(1, 100, False), Row(2, 200, False)])
    assert born.correct(50) == [Row(1, 150, False), Row(2, 250, False)]


def test_what_was_rolled_back_is_as_before() -> None:
    rows = [Row(2, 200, True), Row(3, 300, False)]
    born = BornBounds(rows)
    born.correct(50)
    born.anchor(4, 400, True)
    born.restore(rows[1:], 2)
    assert born.rows() == rows
    assert len(born) == 2


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("run"), st.sampled_from([1, MINUTE, JUMP_MS, DAY, 90 * DAY])),
        st.tuples(st.just("off"), st.sampled_from([1, MINUTE, JUMP_MS, DAY, 90 * DAY])),
        st.tuples(st.just("lie"), st.sampled_from([0, -DAY, DAY, -4 * MINUTE, -90 * DAY])),
        st.tuples(st.just("anchor"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("confirm"), st.just(0)),
        st.tuples(st.just("signed"), st.integers(0, SIGNED_AGE_MS)),
    ),
    max_size=40,
)


class Site:
    """A log of positions, the true birth of each record, and clock and bounds as they follow."""

    def __init__(self, drift_ppm: int) -> None:
        self.machine = Machine(drift_ppm)
        self.born = BornBounds()
        self.births: dict[int, int] = {}
        self.pos = 0
        self.newest: Anchored | None = None
        self.clock = Clock(SYSTEM)
        self.follow(self.clock.observe(self.machine.reading()))

    def follow(self, step: Step) -> None:
        self.clock = step.clock
        for effect in step.effects:
            self.pos += 1
            if isinstance(effect, Anchored):
                self.born.anchor(self.pos, effect.at_ms, effect.is_confirmed)
                self.newest = effect
            elif isinstance(effect, Confirmed):
                self.born.correct(effect.after_ms - effect.before_ms)

    def do(self, what: str, value: int) -> None:
        machine = self.machine
        if what == "write":
            self.pos += 1
            self.births[self.pos] = machine.true_ms
        elif what == "run":
            machine.run(value)
        elif what == "off":
            machine.restart(value)
        elif what == "lie":
            machine.wall_error_ms = value
        elif what == "restart":
            assert self.newest is not None
            is_suspended = self.clock.is_suspended
            self.clock = Clock.restored(
                SYSTEM, self.newest, machine.reading(), is_suspended=is_suspended
            )
        elif what == "anchor":
            self.follow(self.clock.anchor(machine.reading()))
        elif what == "signed":
            self.follow(self.clock.headquarters(machine.reading(), machine.true_ms - value))
        elif what == "confirm":
            machine.wall_error_ms = 0
            self.follow(self.clock.observe(machine.reading()))
            self.follow(self.clock.resume(machine.reading()))

    def check(self) -> None:
        proven_ms = self.clock.lower_ms(self.machine.reading())
        for pos, birth_ms in self.births.items():
            born_ms = self.born.born_hi(pos)
            if born_ms is not None:
                assert proven_ms - born_ms <= self.machine.true_ms - birth_ms


@settings(max_examples=200)
@given(st.integers(-DRIFT_PPM, DRIFT_PPM), steps)
def test_no_age_is_longer_than_it_truly_is(drift_ppm: int, found: list[tuple[str, int]]) -> None:
    site = Site(drift_ppm)
    for step in found:
        site.do(*step)
        site.check()
