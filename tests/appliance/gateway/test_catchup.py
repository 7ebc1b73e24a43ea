"""Reading goes on while keys are destroyed: no event is lost or told twice, no answer wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from appliance.gateway import catchup
from appliance.messaging import feed
from appliance.server import Appliance
from store.reading import READ_ATTEMPTS
from tests.appliance.restless import RestlessEngine
from tests.appliance.simulation import Person, World, found, running
from transports.carrier import CloseReason
from transports.memory import MemoryNetwork
from transports.wire import schema
from transports.wire.schema import Id

PATIENCE_SECONDS = 600.0
LOGINS = ("alice", "bob", "carol")
READS = 12
"""A snapshot becomes stale somewhere in its first so many reads, or not at all."""


def sometimes(seed: int) -> Callable[[], int]:
    """Plan destructions at random, with a quiet snapshot in time for every read."""
    rng = Random(seed)
    in_a_row = 0

    def plan() -> int:
        nonlocal in_a_row
        in_a_row = 0 if in_a_row == READ_ATTEMPTS - 1 or rng.random() < 0.3 else in_a_row + 1
        return rng.randrange(1, READS) if in_a_row else 0

    return plan


@contextmanager
def restless(appliance: Appliance, plan: Callable[[], int]) -> Iterator[RestlessEngine]:
    """Let the root change while the gateway reads; some read must come too late."""
    gateway: Any = appliance.gateway
    engine = appliance.site.ports.engine
    changing = RestlessEngine(appliance.site, plan)
    gateway._engine = gateway.catch_up._engine = changing
    try:
        yield changing
    finally:
        gateway._engine = gateway.catch_up._engine = engine
    assert changing.stale > 0


def play(act: Callable[[Appliance, dict[str, Person]], Awaitable[None]]) -> None:
    """Run a scene in virtual time; nobody is online yet."""

    async def main() -> None:
        world = World(5)
        tokens = found(world, *LOGINS)
        with trio.fail_after(PATIENCE_SECONDS):
            async with running(world) as appliance:
                assert isinstance(appliance.network, MemoryNetwork)
                people = {login: Person(appliance.network, tokens[login]) for login in LOGINS}
                await act(appliance, people)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def group(appliance: Appliance, alice: Person) -> Id:
    """Let alice sign in and open a group of all three."""
    await alice.sign_in()
    members = []
    for login in LOGINS[1:]:
        known = appliance.site.core.directory.resolve(login)
        assert known is not None
        members.append(Id(known.id))
    opened = await alice.ask(schema.Open, kind="group", members=tuple(members), title="Ward")
    assert isinstance(opened, schema.Ok)
    assert opened.conv is not None
    return opened.conv


def texts(person: Person) -> list[str]:
    return [e.op.body.text for e in person.events if isinstance(e.op, schema.MessageOp)]


def positions(person: Person) -> list[int]:
    return [int(event.pos, 16) for event in person.events]


@pytest.mark.parametrize("seed", range(6))
def test_whoever_catches_up_while_keys_are_destroyed_hears_everything_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "CATCH_UP_EVENTS", 5)
    monkeypatch.setattr(feed, "ROWS", 4)

    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice, bob, carol = people.values()
        conv = await group(appliance, alice)
        said = [f"message {number}" for number in range(40)]
        for text in said[:30]:
            await alice.say(conv, text)
        with restless(appliance, sometimes(seed)):
            await bob.sign_in("1")
            await carol.sign_in("1")
            for text in said[30:]:
                await alice.say(conv, text)
            for person in (bob, carol):
                await person.until_text(said[-1])
        for person in (bob, carol):
            assert texts(person) == said
            assert positions(person) == sorted(set(positions(person)))

    play(act)


def test_questions_are_answered_while_keys_are_destroyed() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice = people["alice"]
        conv = await group(appliance, alice)
        for number in range(20):
            await alice.say(conv, f"message {number}")
        with restless(appliance, sometimes(3)):
            for _ in range(20):
                page = await alice.ask(schema.History, conv=conv, limit=20)
                assert isinstance(page, schema.Ok)
                assert page.items is not None
                said = [item["op"]["body"]["text"] for item in page.items]
                assert said == [f"message {number}" for number in reversed(range(20))]
                listed = await alice.ask(schema.List, what="conversations")
                assert isinstance(listed, schema.Ok)

    play(act)


def test_a_question_that_is_always_too_late_may_be_asked_again() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice = people["alice"]
        conv = await group(appliance, alice)
        await alice.say(conv, "there")
        with restless(appliance, lambda: 1):
            refused = await alice.ask(schema.History, conv=conv)
        assert isinstance(refused, schema.Err)
        assert (refused.code, refused.retryable) == ("server.failed", True)
        assert isinstance(await alice.ask(schema.History, conv=conv), schema.Ok)

    play(act)


def test_a_connection_that_cannot_be_read_for_ends_and_comes_back_where_it_was() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice, bob, carol = people.values()
        conv = await group(appliance, alice)
        await alice.say(conv, "one")
        await bob.sign_in("1")
        await bob.until_text("one")
        pos = bob.events[-1].pos
        assert bob.peer is not None
        bob.peer.close()
        await alice.say(conv, "two")
        with restless(appliance, lambda: 1):
            await bob.sign_in(pos)
            error = await bob.until(schema.Err)
            assert (error.code, error.retryable) == ("server.failed", True)
            assert error.after > 0
            with pytest.raises(trio.EndOfChannel):
                await bob.receive()
            assert bob.peer is not None
            assert bob.peer.carrier.reason is CloseReason.INTERNAL
        assert len(appliance.gateway.catch_up) == 0
        for person, begin in ((bob, pos), (carol, "1")):
            await person.sign_in(begin)
            await person.until_text("two")
            assert texts(person) == ["one", "two"]
        await alice.say(conv, "three")
        assert (await bob.until_text("three")).conv == conv

    play(act)


def test_one_that_cannot_be_read_for_holds_up_nobody_else() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice, bob, carol = people.values()
        conv = await group(appliance, alice)
        await alice.say(conv, "one")
        for person in (bob, carol):
            person.peer = person.network.connect()
            person.send(schema.Hello(1), schema.Auth("token", token=person.token))
            await person.until(schema.Welcome)

        def until_bob_is_gone() -> int:
            assert bob.peer is not None
            return 1 if bob.peer.carrier.reason is None else 0

        with restless(appliance, until_bob_is_gone) as engine:
            bob.send(schema.Resume("1"))
            carol.send(schema.Resume("1"))
            await carol.until_text("one")
            assert (await bob.until(schema.Err)).code == "server.failed"
        assert engine.stale == READ_ATTEMPTS
        assert len(appliance.gateway.catch_up) == 0
        assert texts(carol) == ["one"]

    play(act)


def test_a_client_answers_for_a_certificate_through_the_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from appliance import core
    from appliance.context import Context

    heard: list[tuple[bytes, schema.Wiped]] = []

    def decide(ctx: Context, frame: schema.Wiped) -> schema.Ok:
        heard.append((ctx.actor.device, frame))
        return schema.Ok(frame.id)

    monkeypatch.setitem(core.DECISIONS, schema.Wiped, decide)

    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        alice = people["alice"]
        welcome = await alice.sign_in()
        assert isinstance(await alice.ask(schema.Wiped, certificate=7), schema.Ok)
        alice.send(schema.Wiped(8))
        assert isinstance(await alice.ask(schema.List, what="people"), schema.Ok)
        assert [(device, frame.certificate) for device, frame in heard] == [
            (welcome.device, 7),
            (welcome.device, 8),
        ]
        assert not [frame for frame in alice.others if isinstance(frame, schema.Ok | schema.Err)]

    play(act)
