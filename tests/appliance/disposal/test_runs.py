"""A run leaves the writer to others between its slices: an expiry for long, if they write."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from appliance.disposal import planner
from appliance.disposal.decide_slices import EXPIRY, RECALL
from appliance.disposal.limits import PATIENCE, SLICE_RECORDS
from appliance.disposal.runs import Progress, Runner
from appliance.pace import TICK_SECONDS
from store.ids import OpId
from tests.appliance.disposal.harness import Hospital

CHAT = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
"""
TOOK = 0.01
"""Seconds that a command takes in these tests."""


@pytest.fixture
def house() -> Hospital:
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    for number in range(SLICE_RECORDS + 1):
        house.send("alice", room, f"text {number}")
    house.pass_days(31)
    return house


def rests(house: Hospital, cause: str, *, is_busy: bool) -> list[float]:
    """Carry out a run of two slices, and return how long it wanted to rest."""
    found: list[float] = []

    async def execute(actor: Any, command: Any) -> Any:
        await trio.sleep(TOOK)
        return house.do(actor, command)

    async def rest(seconds: float) -> None:
        found.append(seconds)

    async def chat() -> None:
        room = house.group("alice", "bob")
        while True:
            await trio.sleep(TOOK / 3)
            house.send("alice", room, "new")

    async def main() -> None:
        runner = Runner(house.core, execute, house._followed, trio.current_time, rest)
        with house.reading() as reader:
            proven_ms = house.core.disposal.clock.proven_now_ms(house.core.reading())
            places = list(filter(None, planner.due(house.core, reader, proven_ms)))
        async with trio.open_nursery() as nursery:
            if is_busy:
                nursery.start_soon(chat)
            await runner.carry_out(Progress(cause, 0, len(places)), places)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return found


def test_an_expiry_rests_for_long_after_each_slice_while_others_write(house: Hospital) -> None:
    found = rests(house, EXPIRY, is_busy=True)
    assert len(found) == 2
    assert found == pytest.approx([(PATIENCE - 1) * TOOK] * 2)


def test_an_expiry_goes_on_at_once_when_nobody_writes(house: Hospital) -> None:
    assert rests(house, EXPIRY, is_busy=False) == []


def test_what_somebody_waits_for_goes_on_at_once(house: Hospital) -> None:
    assert rests(house, RECALL, is_busy=True) == []


def begun(house: Hospital) -> None:
    """Let the service look at the calendar, so that the next time is hours away."""
    house.service._expired = house.service._now()


def test_a_rest_lasts_as_long_as_asked_for(house: Hospital) -> None:
    async def main() -> float:
        begun(house)
        began = trio.current_time()
        await house.service._rest(3.5 * TICK_SECONDS)
        return trio.current_time() - began

    lasted = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert lasted == pytest.approx(3.5 * TICK_SECONDS)


@pytest.mark.parametrize("awaited", ["order", "recall", "next run"])
def test_a_rest_ends_when_something_waits_for_the_end_of_the_run(
    house: Hospital, awaited: str
) -> None:
    async def main() -> float:
        begun(house)
        began = trio.current_time()
        if awaited == "order":
            house.core.disposal.orders.append(1)
        elif awaited == "recall":
            house.core.disposal.recalled.append(OpId(bytes(16), 1, 1))
        else:
            house.clock.advance(6 * 3_600_000)
        await house.service._rest(3.5 * TICK_SECONDS)
        return trio.current_time() - began

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == 0


def test_the_clock_is_watched_while_a_run_rests(house: Hospital) -> None:
    async def main() -> None:
        begun(house)
        house.clock.set_wall_ms(house.clock.wall_ms() + 3_600_000)
        await house.service._rest(TICK_SECONDS)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert house.core.disposal.is_suspended
