"""No sequence of readings of the wall clock shortens a wait that two people have agreed to."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.disposal.commands import (
    ApproveRequest,
    PlaceHold,
    ReadClock,
    ReleaseHold,
    RequestDestruction,
    RequestReview,
    RunDestruction,
    Selection,
    Settle,
    SignRequest,
)
from appliance.evidence.decide import Page
from tests.appliance.disposal.harness import DAY_MS, Hospital
from transports.wire.errors import Refusal

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
COOLING_MS = DAY_MS
POLICY = """
clock = "{clock}"
cooling_off = "1d"
approval_expires = "2d"
[[rule]]
name = "chat"
class = "standard"
max = "1000d"
"""
BOB = Selection(persons=("bob",))

steps = st.lists(
    st.tuples(
        st.sampled_from((0, 5 * MINUTE_MS, 5 * MINUTE_MS, -5 * MINUTE_MS, 30 * DAY_MS, -DAY_MS)),
        st.sampled_from((0, 10_000, 30 * MINUTE_MS)),
        st.sampled_from(("read", "walk", "serve", "restart", "crash")),
    ),
    min_size=1,
    max_size=20,
)
"""How far the wall clock is moved, how much time passes, and what happens then."""


def walk(house: Hospital, step_ms: int, count: int) -> None:
    """Move the wall clock in steps that are too small to be noticed, each seen by the site."""
    for _ in range(count):
        house.clock.set_wall_ms(house.clock.wall_ms() + step_ms)
        house.do(SITE, ReadClock())
    house.do(SITE, Settle())


def wait(house: Hospital, step: tuple[int, int, str]) -> None:
    """Move the wall clock, let time pass, and let the site look at it or start again."""
    offset_ms, passed_ms, what = step
    house.clock.set_wall_ms(house.clock.wall_ms() + offset_ms)
    house.clock.advance(passed_ms)
    if what == "walk":
        walk(house, 5 * MINUTE_MS, 300)
    elif what == "serve":
        house.serve()
    elif what == "restart":
        house.reopen()
    elif what == "crash":
        house.clock.reboot()
        house.crash(Random(passed_ms))
    house.do(SITE, ReadClock())
    house.do(SITE, Settle())


def agreed(house: Hospital) -> int:
    """Let two officers agree to an order; return its number."""
    asked = house.officer("dave", RequestDestruction(BOB, "art. 17"))
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    return int(asked.request)


def released(house: Hospital) -> int:
    """Let two officers agree to release a hold; return its number."""
    hold = house.officer("dave", PlaceHold("Case", BOB, "court")).hold
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(hold, "settled"))
    return int(hold)


@pytest.mark.parametrize("clock", ["system", "none"])
@given(steps=steps)
@settings(max_examples=15)
def test_no_sequence_of_wall_readings_shortens_a_cooling_off(
    clock: str, steps: list[tuple[int, int, str]]
) -> None:
    """Of what the site does by itself, and of what an officer begins."""
    house = Hospital("alice", "bob", policy=POLICY.format(clock=clock))
    house.send("bob", house.group("alice", "bob"), "evidence")
    house.anchor()
    order = agreed(house) if clock == "system" else 0
    hold = released(house)
    begun_ns = house.clock.monotonic_ns()
    for step in steps:
        wait(house, step)
        assert house.clock.monotonic_ns() - begun_ns < COOLING_MS * 1_000_000
        assert hold in house.core.disposal.active
        if order:
            with pytest.raises(Refusal, match=r"approval\.cooling|clock\.unproven"):
                house.officer("dave", RunDestruction(order))
    house.close()


@pytest.mark.parametrize("clock", ["system", "none"])
@pytest.mark.parametrize("step_ms", [0, 5 * MINUTE_MS, -5 * MINUTE_MS])
def test_a_cooling_off_ends_when_its_time_has_passed(clock: str, step_ms: int) -> None:
    house = Hospital("alice", "bob", policy=POLICY.format(clock=clock))
    hold = released(house)
    for _ in range(25):
        walk(house, step_ms, 1)
        assert hold in house.core.disposal.active
        house.clock.advance(HOUR_MS)
        house.reopen() if clock == "system" else None
    walk(house, 0, 1)
    assert hold not in house.core.disposal.active


def test_where_nothing_is_proven_a_restart_begins_a_cooling_off_again() -> None:
    house = Hospital("alice", "bob", policy=POLICY.format(clock="none"))
    hold = released(house)
    house.clock.advance(23 * HOUR_MS)
    house.clock.set_wall_ms(house.clock.wall_ms() + 30 * DAY_MS)
    house.reopen()
    house.clock.advance(23 * HOUR_MS)
    house.do(SITE, Settle())
    assert hold in house.core.disposal.active
    house.clock.advance(2 * HOUR_MS)
    house.do(SITE, Settle())
    assert hold not in house.core.disposal.active


@pytest.mark.parametrize("step_ms", [5 * MINUTE_MS, -5 * MINUTE_MS])
def test_walking_the_wall_clock_moves_no_expiry(step_ms: int) -> None:
    """Nor does it keep open for ever what nobody has approved."""
    house = Hospital("alice", "bob", policy=POLICY.format(clock="system"))
    house.send("bob", house.group("alice", "bob"), "evidence")
    house.anchor()
    request = house.officer("dave", RequestDestruction(BOB, "art. 17")).request
    walk(house, step_ms, 700)
    assert house.core.disposal.requests[request].is_open
    house.clock.advance(49 * HOUR_MS)
    walk(house, step_ms, 1)
    assert house.core.disposal.requests[request].approval.state == "expired"


@pytest.mark.parametrize("step_ms", [5 * MINUTE_MS, -5 * MINUTE_MS])
def test_walking_the_wall_clock_moves_no_end_of_a_review(step_ms: int) -> None:
    house = Hospital("alice", "bob", policy=POLICY.format(clock="system"))
    house.send("bob", house.group("alice", "bob"), "evidence")
    review = house.officer("dave", RequestReview(BOB, 2, "complaint 12"))
    house.officer("erin", ApproveRequest(review.request, review.digest))
    walk(house, step_ms, 50)
    assert house.officer("dave", Page(review.request)).found
    house.clock.advance(2 * HOUR_MS + MINUTE_MS)
    walk(house, step_ms, 1)
    with pytest.raises(Refusal, match=r"review\.over"):
        house.officer("dave", Page(review.request))
