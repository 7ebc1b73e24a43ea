"""Check a whole appliance in memory: two people chat, restarts lose nothing, seeds repeat."""

from __future__ import annotations

import trio
import trio.testing

from appliance.check import check
from appliance.site import Site
from store.vault import NoWrap
from tests.appliance.simulation import Person, World, found, running
from transports.memory import MemoryNetwork
from transports.wire import schema


def network_of(appliance: object) -> MemoryNetwork:
    """Return the memory network of a simulated appliance."""
    network = getattr(appliance, "network", None)
    assert isinstance(network, MemoryNetwork)
    return network


async def chat(seed: int) -> tuple[str, list[str]]:
    """Let two people chat, restart in between; return the log's hash and what bob heard."""
    world = World(seed)
    tokens = found(world, "alice", "bob")
    async with running(world) as appliance:
        alice = Person(network_of(appliance), tokens["alice"])
        bob = Person(network_of(appliance), tokens["bob"])
        await alice.sign_in()
        welcome = await bob.sign_in()
        opened = await alice.ask(schema.Open, kind="direct", members=(welcome.person,))
        assert isinstance(opened, schema.Ok)
        assert opened.conv is not None
        for number in range(3):
            await alice.say(opened.conv, f"before {number}")
        await bob.until_text("before 2")
        pos = bob.events[-1].pos
    async with running(world) as appliance:
        alice.network = bob.network = network_of(appliance)
        await alice.sign_in()
        for number in range(3):
            await alice.say(opened.conv, f"after {number}")
        await bob.sign_in(pos)
        await bob.until_text("after 2")
    site = Site.open(world.ports(), NoWrap())
    with site.ports.engine.snapshot() as reader:
        assert check(site.core, reader) == []
    site.close()
    texts = [e.op.body.text for e in bob.events if isinstance(e.op, schema.MessageOp)]
    return world.log_hash(), texts


def simulate(seed: int) -> tuple[str, list[str]]:
    """Run the chat in virtual time."""
    return trio.run(chat, seed, clock=trio.testing.MockClock(autojump_threshold=0))


def test_two_people_chat_and_a_restart_loses_and_repeats_nothing() -> None:
    _, texts = simulate(1)
    assert texts == [f"before {n}" for n in range(3)] + [f"after {n}" for n in range(3)]


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    first, again, other = simulate(7), simulate(7), simulate(8)
    assert first == again
    assert first[0] != other[0]
    assert first[1] == other[1]
