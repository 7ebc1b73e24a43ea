"""A server that cannot serve is unready; only one whose writer is silent is to be ended."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from appliance.findings import Finding, Severity
from appliance.health import STALE_SECONDS, STUCK_SECONDS, Health
from appliance.pace import PROBE_SECONDS
from store.engine.memory import MemoryEngine
from store.errors import EngineFullError
from tests.appliance.simulation import World, found, running


async def _full(*_: Any) -> NoReturn:
    raise EngineFullError("the disk is full")


async def _silent(*_: Any) -> NoReturn:
    await trio.sleep_forever()


@pytest.mark.parametrize(("writer", "is_alive"), [(_full, True), (_silent, False)])
def test_a_writer_that_refuses_is_alive_and_one_that_is_silent_is_not(
    writer: Any, is_alive: bool
) -> None:
    async def main() -> tuple[bool, bool, bool, bool]:
        world = World(1)
        found(world, "alice")
        async with running(world) as appliance:
            await trio.sleep(2 * PROBE_SECONDS)
            before = appliance.readiness().is_ready, appliance.is_alive()
            real, appliance.execute = appliance.execute, writer  # type: ignore[method-assign]
            await trio.sleep(STUCK_SECONDS + STALE_SECONDS)
            after = appliance.readiness().is_ready, appliance.is_alive()
            appliance.execute = real  # type: ignore[method-assign]
        return *before, *after

    told = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert told == (True, True, False, is_alive)


def test_a_deep_examination_is_remembered_by_what_it_contradicts() -> None:
    health = Health(MemoryEngine(), None)
    assert (health.examined_ms, health.contradictions) == (0, 0)
    severities = (Severity.NOTICE, Severity.FAILURE, Severity.INTEGRITY, Severity.INTEGRITY)
    health.examined([Finding("x", each, "", "") for each in severities], 7)
    assert (health.examined_ms, health.contradictions) == (7, 2)
    assert health.ledger_contradictions == 0
    health.examined([Finding("log.leaf", Severity.INTEGRITY, "", "")], 8)
    assert (health.contradictions, health.ledger_contradictions) == (1, 1)
    health.examined([], 9)
    assert (health.examined_ms, health.contradictions) == (9, 0)
