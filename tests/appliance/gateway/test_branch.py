"""At a branch: people hear how the line to headquarters is, and only its own people sign in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from appliance.context import SITE, Context
from appliance.core import DECISIONS
from appliance.directory import codes
from appliance.directory.commands import CreatePerson, RenewToken
from appliance.operations import Kind, PersonHome
from appliance.server import Appliance
from appliance.site import Site
from appliance.sites import lease
from appliance.sites.commands import AdoptHeadquarters, GrantLease
from appliance.sites.lease import Grant
from appliance.sites.linking import LinkState
from store.ids import Stream, StreamKind
from store.skeleton import node_id
from store.tables import TENANT
from store.vault import NoWrap
from tests.appliance.simulation import START_MS, Person, World, running
from transports.carrier import Codec
from transports.memory import MemoryNetwork
from transports.wire import schema

HEADQUARTERS = bytes(SigningKey(b"q" * 32).verify_key)
ADOPT = AdoptHeadquarters(
    node_id(TENANT, HEADQUARTERS), HEADQUARTERS, (), b"", "Hospital", 3, "north", b"", b"s" * 32
)


class Moved(NamedTuple):
    """What headquarters decided, as it arrives at the branch: a person is at home there."""

    person: bytes


def move(ctx: Context, command: Moved) -> None:
    stream = Stream(StreamKind.PERSON, command.person)
    ctx.append(Kind.PERSON_HOME, PersonHome(b""), stream=stream)


Act = Callable[[Appliance, dict[str, Person]], Awaitable[None]]


def branch(world: World, *logins: str) -> dict[str, str]:
    """Create a branch with these people, and a lease; return a device token (hex) for each."""
    site = Site.create(world.ports(), NoWrap(), name="North")
    site.run(SITE, ADOPT)
    site.run(SITE, GrantLease(Grant(lease.ask(site.core.reading(), 1), START_MS, 1)))
    tokens = {}
    for login in logins:
        site.run(SITE, CreatePerson(login, login.title()))
        token = world.entropy.bytes(codes.TOKEN_BYTES)
        site.run(SITE, RenewToken(login, codes.token_hash(token), name="test"))
        tokens[login] = token.hex()
    site.close()
    return tokens


def play(act: Act) -> None:
    async def main() -> None:
        world = World(5)
        tokens = branch(world, "ann", "ben")
        with trio.fail_after(1_000.0):
            async with running(world) as appliance:
                network = appliance.network
                assert isinstance(network, MemoryNetwork)
                people = {login: Person(network, token) for login, token in tokens.items()}
                await act(appliance, people)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_comes_hears_how_the_line_is_and_everybody_hears_of_changes() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        ann, ben = people["ann"], people["ben"]
        await ann.sign_in()
        first = await ann.until(schema.Site)
        assert (first.headquarters, first.since) == ("unreachable", START_MS)
        appliance.links.states[ADOPT.node] = LinkState(is_up=True)
        up = await ann.until(schema.Site)
        assert up.headquarters == "reachable"
        assert up.waiting == appliance.site.core.log.head.seq
        await ben.sign_in()
        assert (await ben.until(schema.Site)).headquarters == "reachable"
        await trio.sleep(60)
        appliance.links.states[ADOPT.node] = LinkState(is_up=False)
        for person in (ann, ben):
            told = await person.until(schema.Site, headquarters="unreachable")
            assert told.since >= up.since + 60_000

    play(act)


def test_what_is_not_new_is_not_told_again() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        ann = people["ann"]
        await ann.sign_in()
        await ann.until(schema.Site)
        for _ in range(5):
            appliance.line_is(is_connected=True, waiting=7)
        ann.send(schema.Ping(7))
        await ann.until(schema.Pong)
        assert sum(isinstance(frame, schema.Site) for frame in ann.others) == 1

    play(act)


def test_who_moves_away_is_signed_out_and_cannot_come_back() -> None:
    async def act(appliance: Appliance, people: dict[str, Person]) -> None:
        ann = people["ann"]
        welcome = await ann.sign_in()
        await appliance.execute(SITE, Moved(bytes(welcome.person)))
        assert (await ann.until(schema.Err)).code == "auth.revoked"
        again = Person(ann.network, ann.token)
        again.peer = again.network.connect(Codec.MSGPACK)
        again.send(schema.Hello(1, "test"), schema.Auth("token", token=again.token))
        assert (await again.until(schema.Err)).code == "auth.elsewhere"

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(DECISIONS, Moved, move)
        play(act)


def test_headquarters_tells_nobody_of_a_line() -> None:
    async def main() -> None:
        world = World(5)
        site = Site.create(world.ports(), NoWrap(), name="Headquarters")
        site.close()
        async with running(world) as appliance:
            appliance.line_is(is_connected=True, waiting=0)
            assert appliance.line is None

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
