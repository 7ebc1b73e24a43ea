"""The service in a running appliance: it destroys while people chat, and stops when it must."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from appliance.context import SITE
from appliance.disposal.commands import SetPolicy
from appliance.site import Site
from store.vault import NoWrap
from tests.appliance.simulation import Person, World, found, running
from transports.memory import MemoryNetwork
from transports.wire import schema

POLICY = """
[[rule]]
name = "chat"
class = "standard"
max = "2h"
recall = "destroy"
"""
MESSAGES = 400
STEPS = 10_000
"""Most turns of waiting for a run to begin."""


def simulated(main: Any) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def begun(world: World) -> dict[str, str]:
    tokens = found(world, "alice", "bob")
    site = Site.open(world.ports(), NoWrap())
    site.run(SITE, SetPolicy(POLICY, 0, "as begun"))
    site.close()
    return tokens


async def opened(appliance: Any, tokens: dict[str, str]) -> tuple[Person, schema.Id]:
    assert isinstance(appliance.network, MemoryNetwork)
    alice = Person(appliance.network, tokens["alice"])
    bob = Person(appliance.network, tokens["bob"])
    await alice.sign_in()
    welcome = await bob.sign_in("0")
    reply = await alice.ask(schema.Open, kind="direct", members=(welcome.person,))
    assert isinstance(reply, schema.Ok)
    assert reply.conv is not None
    return alice, reply.conv


def test_records_end_by_themselves_and_a_recall_ends_one_at_once() -> None:
    async def main() -> None:
        world = World(3)
        tokens = begun(world)
        async with running(world) as appliance:
            alice, conv = await opened(appliance, tokens)
            recalled = await alice.say(conv, "oops")
            await alice.say(conv, "text")
            await alice.ask(schema.Recall, msg=recalled.msg)
            await trio.sleep(3)
            disposal = appliance.site.core.disposal
            assert [run.intent.cause for run in disposal.runs.values()] == ["recall"]
            await trio.sleep(7 * 3_600)
            assert [run.intent.cause for run in disposal.runs.values()] == ["recall", "expiry"]
            assert disposal.unfinished_runs() == []
            bob = Person(appliance.network, tokens["bob"])  # type: ignore[arg-type]
            await bob.sign_in("0")
            await bob.ask(schema.History, conv=conv, limit=10)
            texts = [e.op for e in bob.events if isinstance(e.op, schema.MessageOp)]
            assert texts == []
            assert any(isinstance(e.op, schema.WipeOp) for e in bob.events)

    simulated(main)


def test_a_server_that_is_stopped_during_a_run_stops_and_confirms_at_its_next_start() -> None:
    async def main() -> None:
        world = World(4)
        tokens = begun(world)
        async with running(world) as appliance:
            alice, conv = await opened(appliance, tokens)
            for number in range(MESSAGES):
                await alice.say(conv, f"text {number}")
            await trio.sleep(4 * 3_600)
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(appliance.disposal.expire)
                    for _ in range(STEPS):
                        if appliance.site.core.disposal.runs:
                            break
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            assert appliance.site.core.disposal.unfinished_runs()
        async with running(world) as appliance:
            assert appliance.site.core.disposal.unfinished_runs() == []

    simulated(main)
