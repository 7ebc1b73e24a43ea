"""Run a whole appliance in memory: virtual time, seeded randomness, a network of queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import trio

from appliance.config import Config, LimitsSection
from appliance.context import SITE
from appliance.directory import codes
from appliance.directory.commands import CreatePerson, RenewToken
from appliance.server import Appliance
from appliance.site import Ports, Site
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.tables import LOG
from store.vault import NoWrap
from transports.carrier import Codec
from transports.memory import MemoryNetwork, MemoryPeer
from transports.wire import codec as wire
from transports.wire import schema
from transports.wire.schema import Id

START_MS = 1_790_000_000_000
CONFIG = Config(limits=LimitsSection(sends_per_second=10_000.0))


def _seconds() -> float:
    try:
        return trio.current_time()
    except RuntimeError:  # outside of a run no time passes
        return 0.0


class TrioClock:
    """The clock port on trio's own clock, which tests can let jump; a machine may also sleep."""

    asleep_ms = 0
    """How long the machine has slept: wall clock and uptime went on, nothing else did."""

    def wall_ms(self) -> int:
        """Return virtual Unix milliseconds."""
        return START_MS + self.asleep_ms + int(_seconds() * 1000)

    def monotonic_ns(self) -> int:
        """Return trio's time in nanoseconds."""
        return int(_seconds() * 1e9)

    def boot(self) -> str:
        """Return the only boot there is."""
        return "simulated"

    def uptime_ms(self) -> int:
        """Return trio's time in milliseconds, and what was slept."""
        return self.asleep_ms + int(_seconds() * 1000)


class World:
    """What survives a crash of the simulated machine: its disks, its clock, its dice."""

    def __init__(self, seed: int) -> None:
        self.medium = Medium()
        self.data = MemoryDisk()
        self.keys = MemoryDisk()
        self.entropy = SeededEntropy(seed)
        self.clock = TrioClock()

    def ports(self) -> Ports:
        """Return ports on the same disks, as after a restart."""
        engine = MemoryEngine(self.medium)
        return Ports(self.clock, self.entropy, engine, self.data, self.keys)

    def log_hash(self) -> str:
        """Return a hash over every row of the log."""
        digest = sha256()
        with MemoryEngine(self.medium).snapshot() as reader:
            for key, value in reader.range(*LOG.span()):
                digest.update(key + value)
        return digest.hexdigest()


class Person:
    """A person at a memory peer, speaking frames."""

    def __init__(self, network: MemoryNetwork, token: str) -> None:
        self.token = token
        self.network = network
        self.events: list[schema.Event] = []
        self.others: list[schema.Frame] = []
        self.welcome: schema.Welcome | None = None
        self._requests = 0
        self._n = 0
        self.peer: MemoryPeer | None = None
        self.codec = wire.MSGPACK

    async def sign_in(self, pos: str = "") -> schema.Welcome:
        """Connect, sign in by token and follow events after ``pos``."""
        self.peer = self.network.connect(Codec.MSGPACK)
        self.send(schema.Hello(1, "test"), schema.Auth("token", token=self.token))
        welcome: schema.Welcome = await self.until(schema.Welcome)
        self.welcome = welcome
        self._n = max(self._n, welcome.n)
        self.send(schema.Resume(pos))
        return welcome

    def send(self, *frames: schema.Frame) -> None:
        """Send frames as one payload."""
        assert self.peer is not None
        self.peer.send(self.codec.payload(*frames))

    async def until(self, kind: type[Any], **fields: Any) -> Any:
        """Receive until a frame of this type with these fields comes; keep the others."""
        while True:
            for index, frame in enumerate(self.others):
                if isinstance(frame, kind) and all(
                    getattr(frame, name) == value for name, value in fields.items()
                ):
                    return self.others.pop(index)
            await self.receive()

    async def receive(self) -> None:
        """Take one payload."""
        assert self.peer is not None
        for frame in self.codec.server.decode(await self.peer.receive()):
            assert isinstance(frame, schema.Frame)
            if isinstance(frame, schema.Event):
                self.events.append(frame)
            else:
                self.others.append(frame)

    async def ask(self, frame_type: type[schema.Frame], /, **fields: Any) -> schema.Ok | schema.Err:
        """Send a command with a request id and return its reply."""
        self._requests += 1
        request = self._requests
        if "n" in frame_type.__struct_fields__ and "n" not in fields:
            self._n += 1
            fields["n"] = self._n
        self.send(frame_type(id=request, **fields))
        while True:
            for index, frame in enumerate(self.others):
                if isinstance(frame, schema.Ok | schema.Err) and frame.re == request:
                    self.others.pop(index)
                    return frame
            await self.receive()

    async def say(self, conv: Id, text: str, **fields: Any) -> schema.Ok:
        """Send a text message and return its acknowledgement."""
        reply = await self.ask(schema.Send, conv=conv, body=schema.Body("text", text), **fields)
        assert isinstance(reply, schema.Ok), reply
        return reply

    async def until_text(self, text: str) -> schema.Event:
        """Receive until an event with this message comes, and return it."""
        while True:
            for event in self.events:
                if isinstance(event.op, schema.MessageOp) and event.op.body.text == text:
                    return event
            await self.receive()


def found(world: World, *logins: str) -> dict[str, str]:
    """Create a site with these people; return a device token (hex) for each."""
    site = Site.create(world.ports(), NoWrap(), name="Simulated")
    tokens = {}
    for login in logins:
        site.run(SITE, CreatePerson(login, login.title()))
        token = world.entropy.bytes(codes.TOKEN_BYTES)
        site.run(SITE, RenewToken(login, codes.token_hash(token), name="test"))
        tokens[login] = token.hex()
    site.close()
    return tokens


@asynccontextmanager
async def running(world: World, config: Config = CONFIG) -> AsyncIterator[Appliance]:
    """Run the world's appliance; it is drained at the end."""
    network = MemoryNetwork()
    site = Site.open(world.ports(), NoWrap())
    appliance = Appliance(site, config, network=network, inline=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: appliance.run(task_status=task_status))
        yield appliance
        await appliance.drain()
