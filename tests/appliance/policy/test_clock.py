"""Proven time against a machine whose true time is known to the test only."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.policy.clock import (
    HEADQUARTERS,
    NONE,
    SYSTEM,
    Anchored,
    Clock,
    Confirmed,
    Jumped,
    Reading,
    State,
    Step,
)
from appliance.policy.limits import DRIFT_PPM, JUMP_MS, SIGNED_AGE_MS
from tests.appliance.policy.machine import MILLION, START_MS, Machine

MINUTE = 60_000
DAY = 86_400_000


def running(machine: Machine) -> Clock:
    clock = Clock(SYSTEM).observe(machine.reading()).clock
    assert clock.state is State.RUNNING
    return clock


def suspended(machine: Machine) -> Clock:
    clock = running(machine)
    machine.wall_error_ms += DAY
    clock = clock.observe(machine.reading()).clock
    assert clock.state is State.SUSPENDED
    return clock


def kinds(step: Step) -> list[str]:
    return [type(effect).__name__ for effect in step.effects]


# --- the table ------------------------------------------------------------------------------------

STATES: dict[str, Callable[[Machine], Clock]] = {
    "unproven": lambda machine: Clock(SYSTEM),
    "unproven elsewhere": lambda machine: Clock(HEADQUARTERS),
    "running": running,
    "suspended": suspended,
    "untrusting": lambda machine: running(machine).with_source(NONE),
    "untrusting and suspended": lambda machine: suspended(machine).with_source(NONE),
}
EVENTS = ["near", "ahead", "behind", "anchor", "resume", "resume far", "signed", "signed late"]

TABLE = {
    ("unproven", "near"): (State.RUNNING, ["Anchored"]),
    ("unproven", "ahead"): (State.RUNNING, ["Anchored"]),
    ("unproven", "behind"): (State.RUNNING, ["Anchored"]),
    ("unproven", "anchor"): (State.RUNNING, ["Anchored"]),
    ("unproven", "resume"): (State.RUNNING, ["Anchored"]),
    ("unproven", "resume far"): (State.RUNNING, ["Anchored"]),
    ("unproven", "signed"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("unproven", "signed late"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("unproven elsewhere", "near"): (State.UNPROVEN, []),
    ("unproven elsewhere", "ahead"): (State.UNPROVEN, []),
    ("unproven elsewhere", "behind"): (State.UNPROVEN, []),
    ("unproven elsewhere", "anchor"): (State.UNPROVEN, []),
    ("unproven elsewhere", "resume"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("unproven elsewhere", "resume far"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("unproven elsewhere", "signed"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("unproven elsewhere", "signed late"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("running", "near"): (State.RUNNING, []),
    ("running", "ahead"): (State.SUSPENDED, ["Jumped"]),
    ("running", "behind"): (State.SUSPENDED, ["Jumped"]),
    ("running", "anchor"): (State.RUNNING, ["Anchored"]),
    ("running", "resume"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("running", "resume far"): (State.SUSPENDED, ["Jumped"]),
    ("running", "signed"): (State.RUNNING, ["Anchored"]),
    ("running", "signed late"): (State.RUNNING, []),
    ("suspended", "near"): (State.SUSPENDED, []),
    ("suspended", "ahead"): (State.SUSPENDED, ["Jumped"]),
    ("suspended", "behind"): (State.SUSPENDED, ["Jumped"]),
    ("suspended", "anchor"): (State.SUSPENDED, []),
    ("suspended", "resume"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("suspended", "resume far"): (State.SUSPENDED, ["Jumped"]),
    ("suspended", "signed"): (State.RUNNING, ["Confirmed", "Anchored"]),
    ("suspended", "signed late"): (State.SUSPENDED, []),
} | {
    (state, event): (State.UNPROVEN, [])
    for state in ("untrusting", "untrusting and suspended")
    for event in EVENTS
}


def happen(clock: Clock, machine: Machine, event: str) -> Step:
    machine.run(MINUTE)
    if event in ("ahead", "resume far"):
        machine.wall_error_ms += JUMP_MS + 1
    elif event == "behind":
        machine.wall_error_ms -= JUMP_MS + 1
    reading = machine.reading()
    if event == "anchor":
        return clock.anchor(reading)
    if event.startswith("resume"):
        return clock.resume(reading)
    if event == "signed":
        return clock.headquarters(reading, machine.true_ms)
    if event == "signed late":
        return clock.headquarters(reading, machine.true_ms - MINUTE - JUMP_MS - 1_000)
    return clock.observe(reading)


def test_the_table_is_complete() -> None:
    assert set(TABLE) == {(state, event) for state in STATES for event in EVENTS}


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_every_event_in_every_state(state: str, event: str) -> None:
    machine = Machine()
    before = STATES[state](machine)
    step = happen(before, machine, event)
    assert (step.clock.state, kinds(step)) == TABLE[state, event]
    reading = machine.reading()
    is_running = step.clock.state is State.RUNNING
    assert (step.clock.proven_now_ms(reading) is not None) is is_running
    assert (step.clock.reading_ms(reading) is None) is (step.clock.state is State.UNPROVEN)


# --- single rules ---------------------------------------------------------------------------------


def test_an_anchor_tells_what_the_clock_is_restored_from() -> None:
    machine = Machine()
    clock = running(machine)
    machine.run(DAY)
    machine.wall_error_ms = MINUTE
    (anchor,) = clock.anchor(machine.reading()).effects
    lost_ms = DAY * DRIFT_PPM // MILLION
    uptime_ms = machine.uptime_ms
    expected = (START_MS + DAY - lost_ms, START_MS + DAY + MINUTE, "boot-1", uptime_ms, False)
    assert anchor == expected


def test_a_jump_tells_what_was_expected_and_seen() -> None:
    machine = Machine()
    clock = running(machine)
    machine.run(MINUTE)
    machine.wall_error_ms = -DAY
    step = clock.observe(machine.reading())
    assert step.effects == (Jumped(START_MS + MINUTE, START_MS + MINUTE - DAY),)
    machine.restart(off_ms=DAY, up_ms=3_000)
    step = step.clock.observe(machine.reading())
    seen_ms = START_MS + MINUTE + 3_000
    assert step.effects == (Jumped(seen_ms - DAY - 3_000, seen_ms),)


def test_a_confirmation_moves_proven_time_forward_and_tells_how_far() -> None:
    machine = Machine()
    clock = running(machine)
    machine.restart(off_ms=DAY)
    clock = clock.observe(machine.reading()).clock
    assert clock.lower_ms(machine.reading()) < START_MS + MINUTE
    step = clock.resume(machine.reading())
    before_ms = clock.lower_ms(machine.reading())
    assert step.effects[0] == Confirmed(before_ms, machine.true_ms)
    assert step.effects[1] == Anchored(
        machine.true_ms, machine.true_ms, "boot-2", machine.uptime_ms, True
    )
    assert step.clock.proven_now_ms(machine.reading()) == machine.true_ms


def test_a_confirmation_never_moves_proven_time_back() -> None:
    machine = Machine()
    clock = running(machine)
    machine.wall_error_ms = -DAY
    clock = clock.observe(machine.reading()).clock
    step = clock.resume(machine.reading())
    assert step.effects[0] == Confirmed(START_MS, START_MS)
    assert step.clock.proven_now_ms(machine.reading()) == START_MS


def test_a_step_by_headquarters_is_announced_when_it_is_large() -> None:
    for lag_ms, announced in ((SIGNED_AGE_MS, False), (SIGNED_AGE_MS + 1, True)):
        machine = Machine()
        clock = running(machine)
        machine.true_ms += lag_ms
        machine.wall_error_ms = -lag_ms
        step = clock.headquarters(machine.reading(), machine.true_ms)
        assert ("Confirmed" in kinds(step)) is announced
        assert step.clock.proven_now_ms(machine.reading()) == machine.true_ms
        (anchor,) = [each for each in step.effects if isinstance(each, Anchored)]
        assert anchor.is_confirmed


def test_headquarters_confirms_what_is_proven_already() -> None:
    machine = Machine()
    clock = running(machine)
    step = clock.headquarters(machine.reading(), START_MS - JUMP_MS)
    assert kinds(step) == ["Anchored"]
    assert step.clock.proven_now_ms(machine.reading()) == START_MS
    assert clock.headquarters(machine.reading(), START_MS - JUMP_MS - 1).effects == ()


def test_time_goes_on_by_uptime_while_suspended() -> None:
    machine = Machine()
    clock = suspended(machine)
    machine.run(DAY)
    assert clock.lower_ms(machine.reading()) == START_MS + DAY - DAY * DRIFT_PPM // MILLION


def test_a_slow_correction_by_network_time_is_no_jump() -> None:
    machine = Machine()
    clock = running(machine)
    for _ in range(20):
        machine.run(MINUTE)
        machine.wall_error_ms += JUMP_MS
        step = clock.observe(machine.reading())
        assert step.effects == ()
        clock = step.clock
    assert clock.proven_now_ms(machine.reading()) == pytest.approx(machine.true_ms, abs=1_000)


def test_a_wall_clock_that_never_was_set_vouches_for_nothing() -> None:
    step = Clock(SYSTEM).observe(Reading(0, "boot", 5))
    assert step.clock.state is State.UNPROVEN


# --- readers --------------------------------------------------------------------------------------


def test_readers_follow_the_wall_clock_for_five_minutes_at_most() -> None:
    machine = Machine()
    clock = running(machine)
    for error_ms, shown_ms in (
        (MINUTE, MINUTE),
        (JUMP_MS, JUMP_MS),
        (365 * DAY, JUMP_MS),
        (-365 * DAY, 0),
    ):
        machine.wall_error_ms = error_ms
        seen = clock.observe(machine.reading()).clock
        assert seen.reading_ms(machine.reading()) == START_MS + shown_ms


# --- starting again -------------------------------------------------------------------------------


def restored(anchor: Anchored, machine: Machine) -> Clock:
    return Clock.restored(SYSTEM, anchor, machine.reading(), is_suspended=False)


def anchored(machine: Machine) -> Anchored:
    (anchor,) = running(machine).anchor(machine.reading()).effects
    assert isinstance(anchor, Anchored)
    return anchor


def test_time_goes_on_through_a_restart_of_the_process() -> None:
    machine = Machine()
    anchor = anchored(machine)
    machine.run(DAY)
    clock = restored(anchor, machine)
    assert clock.lower_ms(machine.reading()) == START_MS + DAY - DAY * DRIFT_PPM // MILLION
    assert clock.observe(machine.reading()).effects == ()


def test_after_a_restart_of_the_machine_time_goes_on_from_the_first_reading() -> None:
    machine = Machine()
    anchor = anchored(machine)
    machine.restart(off_ms=3 * MINUTE, up_ms=MINUTE)
    clock = restored(anchor, machine)
    assert clock.lower_ms(machine.reading()) == START_MS
    assert clock.observe(machine.reading()).effects == ()
    machine.run(MINUTE)
    passed_ms = MINUTE - MINUTE * DRIFT_PPM // MILLION
    assert clock.lower_ms(machine.reading()) == START_MS + passed_ms


def test_a_machine_that_was_off_for_longer_suspends_destruction() -> None:
    machine = Machine()
    anchor = anchored(machine)
    machine.restart(off_ms=JUMP_MS + 1)
    (jumped,) = restored(anchor, machine).observe(machine.reading()).effects
    assert isinstance(jumped, Jumped)


def test_data_that_moves_to_a_machine_which_has_been_up_for_long_is_no_older_for_it() -> None:
    machine = Machine()
    anchor = anchored(machine)
    machine.move(up_ms=300 * DAY)
    clock = restored(anchor, machine)
    assert clock.lower_ms(machine.reading()) == START_MS
    assert clock.observe(machine.reading()).effects == ()
    machine.run(MINUTE)
    assert clock.lower_ms(machine.reading()) <= machine.true_ms


def test_a_later_reading_tells_what_to_expect_and_proves_nothing() -> None:
    machine = Machine()
    anchor = anchored(machine)
    machine.run(50 * MINUTE)
    seen = machine.reading()
    machine.restart(off_ms=MINUTE)
    now = machine.reading()
    clock = Clock.restored(SYSTEM, anchor, now, is_suspended=False, seen=seen)
    assert clock.observe(now).effects == ()
    assert clock.lower_ms(now) == START_MS
    alone = Clock.restored(SYSTEM, anchor, now, is_suspended=False)
    assert kinds(alone.observe(now)) == ["Jumped"]
    forged = seen._replace(uptime_ms=seen.uptime_ms + 400 * DAY)
    assert Clock.restored(SYSTEM, anchor, now, is_suspended=False, seen=forged).lower_ms(now) == (
        START_MS
    )


def test_an_anchor_without_a_boot_counts_from_now_on() -> None:
    machine = Machine()
    anchor = anchored(machine)._replace(boot="")
    machine.run(MINUTE)
    clock = restored(anchor, machine)
    assert clock.lower_ms(machine.reading()) == START_MS
    machine.run(MINUTE)
    lost_ms = MINUTE * DRIFT_PPM // MILLION
    assert clock.lower_ms(machine.reading()) == START_MS + MINUTE - lost_ms


def test_where_no_boot_is_named_time_counts_while_the_process_runs() -> None:
    clock = Clock(SYSTEM).observe(Reading(START_MS, "", 10_000)).clock
    assert clock.lower_ms(Reading(0, "", 10_000 + MINUTE)) == START_MS + MINUTE - 12
    woken = clock.woken(Reading(START_MS, "", 99_000))
    assert woken.lower_ms(Reading(0, "", 99_000)) == START_MS
    assert woken.lower_ms(Reading(0, "", 99_000 + MINUTE)) == START_MS + MINUTE - 12


def test_suspended_stays_suspended_through_a_restart() -> None:
    machine = Machine()
    anchor = anchored(machine)
    clock = Clock.restored(SYSTEM, anchor, machine.reading(), is_suspended=True)
    assert clock.state is State.SUSPENDED
    assert clock.observe(machine.reading()).clock.state is State.SUSPENDED


def test_a_clock_survives_being_stored() -> None:
    clock = suspended(Machine())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(clock), type=Clock) == clock


# --- against every machine ------------------------------------------------------------------------

spans = st.sampled_from([0, 1, 999, MINUTE, JUMP_MS, JUMP_MS + 1, DAY, 400 * DAY])
lies = st.one_of(
    st.sampled_from([0, JUMP_MS, JUMP_MS + 1, -JUMP_MS, -JUMP_MS - 1, 4 * MINUTE, 400 * DAY]),
    st.integers(-START_MS, 1 << 50),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), spans),
        st.tuples(st.just("off"), spans),
        st.tuples(st.just("move"), spans),
        st.tuples(st.just("lie"), lies),
        st.tuples(st.just("creep"), st.sampled_from([JUMP_MS, 4 * MINUTE, -JUMP_MS])),
        st.tuples(st.just("anchor"), st.just(0)),
        st.tuples(st.just("wake"), st.just(0)),
        st.tuples(st.just("restore"), st.just(0)),
        st.tuples(st.just("confirm"), st.just(0)),
        st.tuples(st.just("signed"), st.integers(0, SIGNED_AGE_MS)),
    ),
    max_size=25,
)


def move(machine: Machine, what: str, value: int) -> None:
    if what == "run":
        machine.run(value)
    elif what == "off":
        machine.restart(value)
    elif what == "move":
        machine.move(value)
    elif what == "lie":
        machine.wall_error_ms = value
    elif what == "creep":
        machine.wall_error_ms += value


@settings(max_examples=200)
@given(st.integers(-DRIFT_PPM, DRIFT_PPM), steps)
def test_proven_time_never_runs_ahead_nor_back_and_every_jump_is_noticed(
    drift_ppm: int, found: list[tuple[str, int]]
) -> None:
    machine = Machine(drift_ppm)
    clock = running(machine)
    anchor = anchored(machine)
    shown_ms = 0
    last = machine.reading()
    for what, value in found:
        move(machine, what, value)
        reading = machine.reading()
        if what == "wake":
            clock = clock.woken(reading)
        elif what == "restore":
            clock = Clock.restored(SYSTEM, anchor, reading, is_suspended=clock.is_suspended)
            assert clock.lower_ms(reading) >= anchor.at_ms
            shown_ms = clock.lower_ms(reading)
            last = Reading(anchor.wall_ms, anchor.boot, anchor.uptime_ms)
        elif what == "signed":
            clock = clock.headquarters(reading, machine.true_ms - value).clock
            last = reading if machine.true_ms - value >= shown_ms - JUMP_MS else last
        step = take(clock, machine, what)
        is_same = reading.boot == last.boot
        passed_ms = reading.uptime_ms - last.uptime_ms if is_same else 0
        if what != "confirm":
            is_jump = abs(reading.wall_ms - last.wall_ms - passed_ms) > JUMP_MS
            assert ("Jumped" in kinds(step)) is is_jump
        clock, last = step.clock, machine.reading()
        lower_ms = clock.lower_ms(last)
        assert shown_ms <= lower_ms <= machine.true_ms
        reading_ms = clock.reading_ms(last)
        assert reading_ms is not None
        assert lower_ms <= reading_ms <= lower_ms + JUMP_MS
        shown_ms = lower_ms
        anchor = next((each for each in step.effects if isinstance(each, Anchored)), anchor)


def take(clock: Clock, machine: Machine, what: str) -> Step:
    """Let the clock see the machine; two people confirm it once the wall clock is right."""
    if what == "anchor":
        return clock.anchor(machine.reading())
    step = clock.observe(machine.reading())
    if what != "confirm":
        return step
    machine.wall_error_ms = 0
    clock = step.clock.observe(machine.reading()).clock
    step = clock.resume(machine.reading())
    assert step.clock.state is State.RUNNING
    return step


@given(st.integers(-DRIFT_PPM, DRIFT_PPM), st.lists(st.integers(0, DAY), max_size=30))
def test_proven_time_loses_little_while_the_machine_runs(drift_ppm: int, found: list[int]) -> None:
    machine = Machine(drift_ppm)
    clock = running(machine)
    for milliseconds in found:
        machine.run(milliseconds)
        clock = clock.anchor(machine.reading()).clock
    lost_ms = machine.true_ms - clock.lower_ms(machine.reading())
    passed_ms = machine.true_ms - START_MS
    assert lost_ms <= passed_ms * 2 * DRIFT_PPM // MILLION + 2
