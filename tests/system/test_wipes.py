"""What a site destroys, devices drop and answer for: the real client on a whole appliance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

import client
from appliance.context import SITE
from appliance.disposal.commands import SetPolicy
from appliance.server import Appliance
from appliance.site import Site
from client import CarrierLost, Profile, Session
from client.profile import Account
from store.vault import NoWrap
from tests.appliance.simulation import World, found, running
from transports.memory import MemoryNetwork, MemoryPeer
from transports.wire import schema
from transports.wire.codec import MSGPACK
from transports.wire.schema import Id

LOGINS = ("alice", "bob", "carol")
PATIENCE_SECONDS = 600.0
POLICY = """
[[rule]]
name = "recalls"
recall = "destroy"
"""


class PeerCarrier:
    """One connection of the client over the simulated network."""

    name = "memory"
    codec = MSGPACK

    def __init__(self, peer: MemoryPeer) -> None:
        self._peer = peer

    async def receive(self) -> bytes:
        try:
            return await self._peer.receive()
        except trio.EndOfChannel:
            raise CarrierLost from None

    async def send(self, payload: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._peer.send(payload)

    async def send_datagram(self, payload: bytes) -> None:
        await self.send(payload)

    async def migrate(self) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async def aclose(self) -> None:
        self._peer.close()
        await trio.lowlevel.checkpoint()


class Device:
    """Somebody's device: a profile, and an application that keeps messages until told to drop."""

    def __init__(self, network: MemoryNetwork, profile: Profile) -> None:
        self._network = network
        self._profile = profile
        self.kept: dict[tuple[bytes, str], str] = {}
        self.wipes: list[int] = []

    async def dial(self, nursery: trio.Nursery) -> PeerCarrier:
        await trio.lowlevel.checkpoint()
        return PeerCarrier(self._network.connect())

    @asynccontextmanager
    async def online(self) -> AsyncIterator[Session]:
        """Be signed in, dealing with what happens, for the block and a moment more."""
        session = client.connect("strongroom://memory", profile=self._profile, dialer=self)
        async with session as me, trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, me)
            yield me
            await trio.sleep(5)
            nursery.cancel_scope.cancel()

    async def _listen(self, me: Session) -> None:
        async for event in me.events():
            if not isinstance(event, schema.Event):
                continue
            if isinstance(event.op, schema.MessageOp):
                self.kept[event.conv, event.op.key] = event.op.body.text
            elif isinstance(event.op, schema.WipeOp):
                self.wipes.append(event.op.certificate)
                for conv, key in list(self.kept):
                    if conv == event.conv and event.op.covers(key):
                        del self.kept[conv, key]


class Ward:
    """An appliance whose policy lets recalls destroy, and three devices."""

    def __init__(self, appliance: Appliance, devices: dict[str, Device]) -> None:
        self.appliance = appliance
        self.alice, self.bob, self.carol = (devices[login] for login in LOGINS)

    def answered(self, login: str) -> int:
        """Return the newest certificate that somebody's device has answered for."""
        core = self.appliance.site.core
        known = core.directory.resolve(login)
        assert known is not None
        (device,) = known.devices
        return core.disposal.wiped.get(device, 0)


def play(folder: Path, act: Callable[[Ward], Awaitable[None]]) -> None:
    """Run a scene in virtual time."""

    async def main() -> None:
        world = World(11)
        tokens = found(world, *LOGINS)
        site = Site.open(world.ports(), NoWrap())
        site.run(SITE, SetPolicy(POLICY, 0, "as begun"))
        site.close()
        with trio.fail_after(PATIENCE_SECONDS):
            async with running(world) as appliance:
                network = appliance.network
                assert isinstance(network, MemoryNetwork)
                devices = {
                    login: Device(network, profile(folder, appliance, login, tokens[login]))
                    for login in LOGINS
                }
                await act(Ward(appliance, devices))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def profile(folder: Path, appliance: Appliance, login: str, token: str) -> Profile:
    """Return the profile of a device that has signed in before."""
    known = appliance.site.core.directory.resolve(login)
    assert known is not None
    (device,) = known.devices
    made = Profile(folder / login)
    made.save(Account("strongroom://memory", login, known.id, device, token))
    return made


def test_whoever_is_there_drops_what_is_destroyed_and_answers(tmp_path: Path) -> None:
    async def act(ward: Ward) -> None:
        async with ward.alice.online() as alice, ward.bob.online():
            room = await alice.open_direct("bob")
            sent = await room.send("bed 12: potassium 6.1")
            await room.send("stays")
            await trio.sleep(5)
            assert sorted(ward.bob.kept.values()) == ["bed 12: potassium 6.1", "stays"]
            await room.recall(sent.msg)
            await trio.sleep(5)
            for device in (ward.alice, ward.bob):
                assert list(device.kept.values()) == ["stays"]
                assert len(device.wipes) == 1
            run = ward.bob.wipes[0]
            assert (ward.answered("alice"), ward.answered("bob")) == (run, run)

    play(tmp_path, act)


@pytest.mark.parametrize("is_member", [True, False])
def test_whoever_was_away_drops_it_on_coming_back_even_a_former_member(
    tmp_path: Path, *, is_member: bool
) -> None:
    async def act(ward: Ward) -> None:
        async with ward.alice.online() as alice:
            room = await alice.open_group("Ward 3", ["bob", "carol"])
            async with ward.carol.online() as carol:
                sent = await room.send("bed 12: potassium 6.1")
                who = carol.person
            assert list(ward.carol.kept.values()) == ["bed 12: potassium 6.1"]
            if not is_member:
                await room.remove(Id(who))
            await room.send("while carol is away")
            await room.recall(sent.msg)
            await trio.sleep(5)
            assert len(ward.alice.wipes) == 1
            assert ward.answered("carol") == 0
            async with ward.carol.online():
                pass
            assert ward.carol.wipes == ward.alice.wipes
            said = ["while carol is away"] if is_member else []
            assert list(ward.carol.kept.values()) == said
            assert ward.answered("carol") == ward.carol.wipes[0]
            async with ward.carol.online():
                pass
            assert len(ward.carol.wipes) == 1

    play(tmp_path, act)


def test_who_never_had_it_hears_nothing_and_is_not_counted(tmp_path: Path) -> None:
    async def act(ward: Ward) -> None:
        async with ward.alice.online() as alice, ward.carol.online():
            room = await alice.open_group("Ward 3", ["bob"])
            sent = await room.send("before carol")
            await room.recall(sent.msg)
            await trio.sleep(5)
            carol = ward.appliance.site.core.directory.resolve("carol")
            assert carol is not None
            await room.add(Id(carol.id))
            again = await room.send("with carol")
            await room.recall(again.msg)
            await trio.sleep(5)
            assert len(ward.alice.wipes) == 2
            assert ward.carol.wipes == ward.alice.wipes[1:]

    play(tmp_path, act)
