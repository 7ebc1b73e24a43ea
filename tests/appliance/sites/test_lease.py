"""Leases: every state, act and profile; ages that no clock makes smaller; notes as written."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.clock import Reading
from appliance.sites import lease
from appliance.sites.lease import Act, Ask, Grant, Mark, Profile, State
from store.errors import FormatError

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START = Reading(1_790_000_000_000, "one", 1_000_000)
ALWAYS = {Act.MESSAGE, Act.PRESERVE}


def granted(reading: Reading = START, applied: int = 5, known: int = 5) -> Mark:
    asked = lease.ask(reading, applied)
    mark = lease.accept(None, Grant(asked, reading.wall_ms, known), reading)
    assert mark is not None
    return mark


def later(milliseconds: int, reading: Reading = START) -> Reading:
    """Return what the clocks say when the machine stayed up and nobody touched them."""
    return Reading(reading.wall_ms + milliseconds, reading.boot, reading.uptime_ms + milliseconds)


def rebooted(reading: Reading, *, off_ms: int, up_ms: int = 0) -> Reading:
    return Reading(reading.wall_ms + off_ms + up_ms, reading.boot + "+", up_ms)


# --- what is allowed ------------------------------------------------------------------------------

ALLOWED = {
    (State.FRESH, "hospital"): set(Act),
    (State.FRESH, "bank"): set(Act),
    (State.AGED, "hospital"): ALWAYS | {Act.LOGIN, Act.DESTROY},
    (State.AGED, "bank"): ALWAYS | {Act.LOGIN, Act.DESTROY},
    (State.EXPIRED, "hospital"): ALWAYS | {Act.LOGIN},
    (State.EXPIRED, "bank"): ALWAYS,
}


@pytest.mark.parametrize(
    ("state", "profile", "act"), [*product(State, get_args(Profile), Act)], ids=str
)
def test_every_act_is_allowed_or_not_in_every_state(
    state: State, profile: Profile, act: Act
) -> None:
    assert lease.is_allowed(act, state, profile) is (act in ALLOWED[state, profile])


@pytest.mark.parametrize("profile", get_args(Profile))
def test_age_gives_nothing_back(profile: Profile) -> None:
    states = (State.FRESH, State.AGED, State.EXPIRED)
    refused = [lease.REFUSED[state, profile] for state in states]
    assert refused[0] <= refused[1] <= refused[2]


# --- how old it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ms", "state"),
    [
        (0, State.FRESH),
        (DAY_MS - 1, State.FRESH),
        (DAY_MS, State.AGED),
        (7 * DAY_MS - 1, State.AGED),
        (7 * DAY_MS, State.EXPIRED),
        (3_650 * DAY_MS, State.EXPIRED),
    ],
)
def test_a_lease_ages_by_uptime(age_ms: int, state: State) -> None:
    assert lease.state_of(granted(), later(age_ms)) is state


def test_a_branch_that_was_never_granted_one_has_none() -> None:
    assert lease.state_of(None, START) is State.EXPIRED
    assert not lease.may_destroy(None, 5, START)


def test_a_lease_counts_from_the_asking_and_not_from_the_answer() -> None:
    asked = lease.ask(START, 5)
    answered = later(DAY_MS)
    mark = lease.accept(None, Grant(asked, START.wall_ms, 5), answered)
    assert mark is not None
    assert mark.state is State.AGED


@pytest.mark.parametrize("wall_ms", [0, START.wall_ms - 365 * DAY_MS, START.wall_ms + 365 * DAY_MS])
def test_no_wall_clock_matters_while_the_machine_is_up(wall_ms: int) -> None:
    for age_ms, state in ((DAY_MS - 1, State.FRESH), (DAY_MS, State.AGED)):
        assert lease.state_of(granted(), later(age_ms)._replace(wall_ms=wall_ms)) is state


def test_a_restart_counts_by_the_wall_clock() -> None:
    for off_ms, state in ((HOUR_MS, State.FRESH), (2 * DAY_MS, State.AGED)):
        assert lease.state_of(granted(), rebooted(START, off_ms=off_ms)) is state


def test_a_restart_counts_at_least_the_time_up_since() -> None:
    slow = rebooted(START, off_ms=0, up_ms=2 * DAY_MS)._replace(wall_ms=START.wall_ms + HOUR_MS)
    assert lease.state_of(granted(), slow) is State.AGED


def test_a_clock_set_back_over_a_restart_ends_the_lease_for_good() -> None:
    back = rebooted(START, off_ms=-1)
    mark = granted().at(back)
    assert mark.state is State.EXPIRED
    assert mark.at(later(HOUR_MS, back)).state is State.EXPIRED
    assert mark.at(rebooted(back, off_ms=DAY_MS)).state is State.EXPIRED


def test_a_machine_that_names_no_boot_counts_as_restarted_each_time() -> None:
    nameless = Mark(0, START.wall_ms, "", START.uptime_ms)
    assert nameless.at(START._replace(boot="", uptime_ms=DAY_MS)).state is State.AGED


READINGS = st.builds(
    Reading,
    st.integers(0, 2 * START.wall_ms),
    st.sampled_from(("one", "two", "three", "")),
    st.integers(0, 30 * DAY_MS),
)


@given(st.lists(READINGS, max_size=12))
def test_no_clock_makes_a_lease_younger(readings: list[Reading]) -> None:
    mark = granted()
    for reading in readings:
        after = mark.at(reading)
        assert after.age_ms >= mark.age_ms
        mark = after


@given(st.lists(st.tuples(st.integers(0, DAY_MS), st.integers(0, DAY_MS)), max_size=8))
def test_with_honest_clocks_the_age_is_the_time_that_passed(
    spans: list[tuple[int, int]],
) -> None:
    mark, reading, total = granted(), START, 0
    for up_ms, off_ms in spans:
        mark = mark.at(reading := later(up_ms, reading))
        mark = mark.at(reading := rebooted(reading, off_ms=off_ms))
        total += up_ms + off_ms
    assert mark.age_ms == total


@given(st.lists(READINGS, max_size=6))
def test_it_does_not_matter_how_often_it_is_looked_at(readings: list[Reading]) -> None:
    """While one boot lasts; over a restart looking more often can only find more."""
    same = sorted(reading.uptime_ms for reading in readings)
    mark = granted(START._replace(uptime_ms=0))
    looked = mark
    for uptime_ms in same:
        looked = looked.at(Reading(0, "one", uptime_ms))
    end = Reading(0, "one", 31 * DAY_MS)
    assert looked.at(end).age_ms == mark.at(end).age_ms


# --- destroying ---------------------------------------------------------------------------------


def test_destroying_takes_a_lease_and_every_hold_of_headquarters() -> None:
    mark = granted(applied=4, known=5)
    assert not lease.may_destroy(mark, 4, START)
    assert lease.may_destroy(mark, 5, START)
    assert lease.may_destroy(mark, 6, later(6 * DAY_MS))
    assert not lease.may_destroy(mark, 6, later(7 * DAY_MS))


# --- grants ---------------------------------------------------------------------------------------


def test_a_grant_that_another_boot_asked_for_counts_for_nothing() -> None:
    grant = Grant(lease.ask(START, 5), START.wall_ms, 5)
    assert lease.accept(None, grant, rebooted(START, off_ms=0, up_ms=2_000_000)) is None


def test_a_grant_from_the_future_or_played_back_changes_nothing() -> None:
    grant = Grant(lease.ask(later(HOUR_MS), 5), START.wall_ms, 5)
    assert lease.accept(None, grant, START) is None
    old = Grant(lease.ask(START, 5), START.wall_ms, 5)
    present = granted(later(HOUR_MS))
    assert lease.accept(present, old, later(2 * HOUR_MS)) is None


def test_a_new_grant_makes_an_expired_branch_fresh_again() -> None:
    now = later(30 * DAY_MS)
    mark = lease.accept(granted().at(now), Grant(lease.ask(now, 7), 1, 7), now)
    assert mark == Mark(0, *now, 7, 7)


# --- bytes ----------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 1 << 62)
ASKS = st.builds(Ask, NUMBERS, st.text(max_size=16), NUMBERS, NUMBERS)


@given(ASKS, NUMBERS, NUMBERS)
def test_notes_are_read_as_they_were_written(asked: Ask, at_ms: int, hold: int) -> None:
    assert lease.read_ask(lease.write_ask(asked)) == asked
    grant = Grant(asked, at_ms, hold)
    assert lease.read_grant(lease.write_grant(grant)) == grant
    assert lease.operation(grant).hold == asked.hold


@given(st.builds(Mark, NUMBERS, NUMBERS, st.text(max_size=16), NUMBERS, NUMBERS, NUMBERS))
def test_a_row_is_read_as_it_was_written(mark: Mark) -> None:
    assert lease.unpack(lease.pack(mark)) == mark


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for read in (lease.read_ask, lease.read_grant, lease.unpack):
        with suppress(FormatError):
            read(data)


def test_a_note_is_not_taken_for_the_other() -> None:
    asked = lease.ask(START, 5)
    with pytest.raises(FormatError):
        lease.read_grant(lease.write_ask(asked))
    with pytest.raises(FormatError):
        lease.read_ask(lease.write_grant(Grant(asked, 1, 2)))
    with pytest.raises(FormatError):
        lease.read_ask(lease.write_ask(asked._replace(boot="b" * 65)))
    with pytest.raises(FormatError):
        lease.read_ask(lease.write_ask(asked._replace(uptime_ms=-1)))
