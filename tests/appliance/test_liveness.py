"""An appliance lives while its writer answers, and is ready while what it writes is durable."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from appliance.health import PROBE_SECONDS, STALE_SECONDS
from store.errors import StoreError
from tests.appliance.simulation import World, found, running

LATER_SECONDS = STALE_SECONDS + 2 * PROBE_SECONDS


async def states(execute: Any) -> list[tuple[bool, bool]]:
    """Return (ready, alive) while the writer works, and when ``execute`` has long replaced it."""
    world = World(1)
    found(world, "alice")
    async with running(world) as appliance:
        await trio.sleep(LATER_SECONDS)
        seen = [(appliance.readiness().is_ready, appliance.is_alive())]
        appliance.execute = execute  # type: ignore[method-assign]
        await trio.sleep(LATER_SECONDS)
        seen.append((appliance.readiness().is_ready, appliance.is_alive()))
    return seen


def run(execute: Any) -> list[tuple[bool, bool]]:
    """Look at the states in virtual time."""
    return trio.run(states, execute, clock=trio.testing.MockClock(autojump_threshold=0))


async def refuse(*_: object) -> None:
    """Answer as a writer does that can store nothing."""
    await trio.lowlevel.checkpoint()
    raise StoreError


async def hang(*_: object) -> None:
    """Answer as a writer does whose disk never comes back."""
    await trio.sleep_forever()


def test_a_writer_that_can_store_nothing_is_not_ready_but_alive() -> None:
    assert run(refuse) == [(True, True), (False, True)]


def test_a_writer_that_hangs_is_not_alive() -> None:
    assert run(hang) == [(True, True), (False, False)]
