"""Headquarters and branches as whole appliances in one trio run, over lines that fail.

Everything is drawn from one seed: what people do, what lines and machines do, and when. The same
seed gives the same run, so a failure is told by its seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import trio

from appliance.context import SITE, Actor
from appliance.directory.commands import CreatePerson
from appliance.messaging import timeline
from appliance.operations import Kind, PersonHome
from appliance.pace import Pace
from appliance.positions import format_pos
from appliance.reopening import ReopenError
from appliance.server import Appliance
from appliance.site import Site
from appliance.sites.leaver import LOOK_SECONDS
from appliance.sites.leaving import outside, surviving
from appliance.sites.replica import HeadquartersReplica
from store.engine.memory import Medium
from store.ids import Stream, StreamKind
from store.limits import SEGMENT_MS
from store.vault import NoWrap
from sync.limits import PIECE_BYTES
from sync.memory import FAIR, MemoryLink, Weather
from sync.pieces import NUMBERED, Standing
from tests.appliance.simulation import CONFIG, TrioClock, World
from tests.appliance.sites import invariants
from tests.appliance.sites.harness import State, append, compare, enrol
from transports.memory import MemoryNetwork
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Body, Id

ALL = 1 << 62
"""Says that headquarters has every operation of a branch."""

SETTLE_SECONDS = 3_600.0
"""Virtual time in which everything must have arrived once all lines are whole."""

NUMBERS_SKIPPED = 1_000
"""Message numbers that a device leaves out."""

CLOCK_WRONG_MS = 120_000
"""How far a machine's clock may be off, either way: two of them stay within the 5 minutes."""

CLOCK_DRIFT = 1e-4
"""How much faster or slower a clock may run: 0.1 ms in a second."""


class WrongClock(TrioClock):
    """A wall clock that is off by some seconds, and runs a little fast or slow."""

    def __init__(self) -> None:
        self.offset_ms = 0
        self.drift = 0.0

    def wall_ms(self) -> int:
        """Return Unix milliseconds as this machine has them."""
        return super().wall_ms() + self.offset_ms + int(self.uptime_ms() * self.drift)


@dataclass
class House:
    """One site: its disks, and the appliance that runs on them now."""

    world: World
    node: bytes
    appliance: Appliance | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    is_cut: bool = False

    @property
    def site(self) -> Site:
        assert self.appliance is not None, "the house runs"
        return self.appliance.site

    @property
    def clock(self) -> WrongClock:
        """The clock of the machine."""
        assert isinstance(self.world.clock, WrongClock)
        return self.world.clock

    async def do(self, actor: Actor, command: Any) -> Any:
        """Let somebody ask; raises what the site refuses with."""
        assert self.appliance is not None
        return await self.appliance.execute(actor, command)


@dataclass
class Line:
    """The line from a branch to headquarters."""

    branch: House
    link: MemoryLink
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    async def end(self) -> None:
        """Take the line away, with whatever is at its ends."""
        self.scope.cancel()
        await self.ended.wait()


class Federation:
    """Headquarters, which is the first of ``houses``, and its branches."""

    @property
    def acts(self) -> tuple[tuple[Any, int], ...]:
        """What happens, and how often compared with the rest."""
        return ACTS

    def __init__(self, seed: int, branches: int, people: dict[str, int]) -> None:
        self.dice = Random(seed)
        self.seed = seed
        self.people = people
        self.sent: dict[tuple[str, bytes], list[bytes]] = defaultdict(list)
        self._numbers: dict[str, int] = defaultdict(int)
        worlds = [World(seed * 100 + number) for number in range(branches + 1)]
        for world in worlds:
            world.clock, world.medium = WrongClock(), self.new_medium()
        sites = [Site.create(world.ports(), NoWrap(), name="House") for world in worlds]
        self.houses = [
            House(world, site.core.log.node) for world, site in zip(worlds, sites, strict=True)
        ]
        hub = sites[0]
        for number, site in enumerate(sites[1:], start=1):
            enrol(hub, site, number)
        for login, home in people.items():
            hub.run(SITE, CreatePerson(login, login.title()))
            person = hub.core.directory.resolve(login)
            assert person is not None
            if home:
                stream = Stream(StreamKind.PERSON, person.id)
                append(hub, Kind.PERSON_HOME, PersonHome(self.houses[home].node), stream)
        for site in sites:
            site.close()
        self.lines: dict[int, Line] = {}
        self.weather = FAIR
        self.pace = Pace()
        self._nursery: trio.Nursery

    def new_medium(self) -> Medium:
        """Return the medium of a site."""
        return Medium()

    # --- running ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every house and every line."""
        async with trio.open_nursery() as self._nursery:
            for house in self.houses:
                await self._start(house)
            self._lay_lines(FAIR)
            yield
            for line in self.lines.values():
                await line.end()
            for house in self.houses:
                house.scope.cancel()
                await house.ended.wait()

    async def _start(self, house: House) -> None:
        site = Site.open(house.world.ports(), NoWrap())
        house.appliance = Appliance(
            site, CONFIG, network=MemoryNetwork(), inline=True, pace=self.pace
        )
        house.scope, house.ended, house.is_cut = trio.CancelScope(), trio.Event(), False
        await self._nursery.start(self._run_house, house)

    async def _run_house(self, house: House, *, task_status: trio.TaskStatus[None]) -> None:
        assert house.appliance is not None
        try:
            with house.scope:
                await house.appliance.run(task_status=task_status)
        except ReopenError:
            self._nursery.start_soon(self._reopen, house)
        except Exception:
            if not house.is_cut:
                raise
        finally:
            house.ended.set()

    async def _reopen(self, house: House) -> None:
        """Start a machine's program again, as its service manager does."""
        for line in self.lines.values():
            if line.branch is house:
                await line.end()
        await self._start(house)
        self._lay_lines(self.weather)

    async def _stop(self, house: House) -> None:
        """Cut the power of a machine; its lines end with it."""
        house.is_cut = True
        for line in self.lines.values():
            if house in (line.branch, self.houses[0]):
                await line.end()
        house.world.medium.crash(self.dice)
        for disk in (house.world.data, house.world.keys):
            disk.crash(self.dice)
        house.scope.cancel()
        await house.ended.wait()

    def _lay_lines(self, weather: Weather) -> None:
        """Lay a line from each branch to headquarters where none is any more."""
        hub = self.houses[0].appliance
        assert hub is not None
        for number, house in enumerate(self.houses[1:]):
            line = self.lines.get(number)
            if line is not None and not line.scope.cancel_called:
                continue
            assert house.appliance is not None
            link = MemoryLink(
                house.appliance.links.site,
                hub.links.reception,
                hub.site.core.log.node,
                Random(self.dice.random()),
                weather,
            )
            line = self.lines[number] = Line(house, link)
            self._nursery.start_soon(self._run_line, line)

    async def _run_line(self, line: Line) -> None:
        try:
            with line.scope:
                await line.link.run()
        finally:
            line.ended.set()

    # --- what happens -----------------------------------------------------------------------------

    def actor(self, login: str) -> tuple[House, Actor] | None:
        """Return somebody's site, and who they are there; None while they are not known."""
        house = self.houses[self.people[login]]
        person = house.site.core.directory.resolve(login)
        if person is None:
            return None
        return house, Actor(person.id, person.id[:15] + b"\1")

    def ids(self, *logins: str) -> tuple[Id, ...]:
        """Return people's ids, as headquarters knows them."""
        known = (self.houses[0].site.core.directory.resolve(login) for login in logins)
        return tuple(Id(person.id) for person in known if person is not None)

    async def ask(self, login: str, frame: Any) -> schema.Ok | None:
        """Let somebody ask their site; None when it refuses."""
        found = self.actor(login)
        if found is None:
            return None
        house, actor = found
        try:
            reply = await house.do(actor, frame)
        except Refusal:
            return None
        assert isinstance(reply, schema.Ok)
        return reply

    async def send(self, login: str, conv: Id, text: str, *, urgent: bool = False) -> None:
        """Let somebody say something, and remember it once it is acknowledged."""
        self._numbers[login] += 1
        priority = "urgent" if urgent else "normal"
        frame = schema.Send(
            1, self._numbers[login], Body("text", text), conv=conv, priority=priority
        )
        reply = await self.ask(login, frame)
        if reply is not None:
            assert reply.msg is not None
            self.sent[login, bytes(conv)].append(bytes(reply.msg))

    def conversations(self, login: str) -> list[Id]:
        """Return the conversations that somebody is in, as their site knows."""
        found = self.actor(login)
        if found is None:
            return []
        house, actor = found
        return [Id(each) for each in sorted(house.site.core.conversations.current(actor.person))]

    async def live(self, steps: int, weather: Weather) -> None:
        """Let people and machines do so many things, a few seconds apart."""
        self.weather = weather
        for line in self.lines.values():
            line.link.weather = weather
        acts = [act for act, weight in self.acts for _ in range(weight)]
        for _ in range(steps):
            await self.dice.choice(acts)(self)
            await trio.sleep(self.dice.expovariate(1 / 3.0))

    @contextmanager
    def quiet(self, seconds: float) -> Iterator[None]:
        """Let the sites look at their timers only so often for a while."""
        before = self.pace.tick_seconds, self.pace.probe_seconds
        self.pace.tick_seconds = self.pace.probe_seconds = seconds
        try:
            yield
        finally:
            self.pace.tick_seconds, self.pace.probe_seconds = before

    def someone(self) -> str:
        """Return one of the people."""
        return self.dice.choice(sorted(self.people))

    def somewhere(self, login: str) -> Id | None:
        """Return a conversation that somebody is in."""
        known = self.conversations(login)
        return self.dice.choice(known) if known else None

    def some_message(self, login: str) -> Id | None:
        """Return a message that somebody's site shows."""
        conv, found = self.somewhere(login), self.actor(login)
        if conv is None or found is None:
            return None
        house, actor = found
        core = house.site.core
        with house.site.ports.engine.snapshot() as reader:
            page = timeline.history(reader, core.log, core.conversations, actor.person, conv)
        shown = [each.op.msg for each in page.items if isinstance(each.op, schema.MessageOp)]
        return self.dice.choice(shown) if shown else None

    def number(self, login: str) -> int:
        """Return the next message number of somebody's device."""
        self._numbers[login] += 1
        return self._numbers[login]

    async def _open(self) -> None:
        login, others = self.someone(), self.dice.sample(sorted(self.people), 3)
        if self.dice.random() < 0.5:
            others = [each for each in others if each != login][:1]
            await self.ask(login, schema.Open(1, "direct", self.ids(*others)))
        else:
            await self.ask(login, schema.Open(1, "group", self.ids(*others), title="group"))

    async def _say(self) -> None:
        login = self.someone()
        conv = self.somewhere(login)
        if conv is not None:
            text = self.dice.choice(("one", "two", "three"))
            await self.send(login, conv, text, urgent=self.dice.random() < 0.1)

    async def _alter(self) -> None:
        login = self.someone()
        name = self.some_message(login)
        if name is None:
            return
        number = self.number(login)
        frame = self.dice.choice(
            (
                schema.Edit(1, number, name, Body("text", "edited")),
                schema.Recall(1, number, name),
                schema.React(1, number, name, "👍", self.dice.random() < 0.6),
            )
        )
        await self.ask(login, frame)

    async def _read(self) -> None:
        login = self.someone()
        conv, found = self.somewhere(login), self.actor(login)
        if conv is not None and found is not None:
            house, _actor = found
            known = house.site.core.conversations.get(conv)
            assert known is not None
            front = house.site.core.conversations.front(known.pseudonym)
            await self.ask(login, schema.Read(conv, format_pos(front.pos), 1))

    async def _change(self) -> None:
        login = self.someone()
        conv = self.somewhere(login)
        if conv is None:
            return
        change = self.dice.choice(("add", "remove", "leave", "rename", "archive", "role"))
        is_about_somebody = change in ("add", "remove", "role")
        person = self.ids(self.someone())[0] if is_about_somebody else None
        role, on = self.dice.choice(("owner", "member")), self.dice.random() < 0.5
        frame = schema.Conv(1, conv, change, person=person, title=f"by {login}", role=role, on=on)
        await self.ask(login, frame)

    async def _cut(self) -> None:
        self.dice.choice(self.lines).link.cut()

    async def _heal(self) -> None:
        self.dice.choice(self.lines).link.heal()

    async def _wait(self) -> None:
        await trio.sleep(self.dice.choice((1.0, 70.0, 700.0)))

    async def _crash(self) -> None:
        """Cut the power of one machine and start it again on what its devices have kept."""
        house = self.dice.choice(self.houses)
        await self._stop(house)
        await self._start(house)
        self._lay_lines(self.weather)

    async def _set_clock(self) -> None:
        """Put one machine's clock wrong, by less than what nobody believes any more."""
        clock = self.dice.choice(self.houses).clock
        clock.offset_ms = self.dice.randrange(-CLOCK_WRONG_MS, CLOCK_WRONG_MS)
        clock.drift = self.dice.uniform(-CLOCK_DRIFT, CLOCK_DRIFT)

    def kept(self, house: House) -> State:
        """Return a copy of everything that a machine's devices hold now."""
        return house.world.medium.copied(), deepcopy((house.world.data, house.world.keys))

    async def set_back(self, house: House, state: State) -> None:
        """Stop a machine and start it on an earlier state of all its devices, silently."""
        await self._stop(house)
        house.world.medium = state[0].copied()
        house.world.data, house.world.keys = deepcopy(state[1])
        await self._start(house)
        self._lay_lines(self.weather)

    def forget_numbers(self, login: str) -> None:
        """Let somebody's device go on with numbers that it has not used under any incarnation."""
        self._numbers[login] += NUMBERS_SKIPPED

    # --- settling ---------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Make every line whole, and wait until all that was said is everywhere."""
        self.weather = FAIR
        for line in self.lines.values():
            line.link.weather = FAIR
            line.link.heal()
        with trio.fail_after(SETTLE_SECONDS):
            for _ in range(2):  # the second time, what left a branch has left it
                while not self.is_settled():  # noqa: ASYNC110 - virtual time, many owners of it
                    await trio.sleep(1.0)
                await trio.sleep(2 * LOOK_SECONDS)
            await trio.sleep(2 * SEGMENT_MS / 1_000)  # the last segments close and are proven
            while not self.is_settled():  # noqa: ASYNC110 - virtual time, and many owners of it
                await trio.sleep(1.0)

    def is_settled(self) -> bool:
        """Tell whether each branch has all of headquarters' order, and headquarters all of it."""
        return all(map(self._is_settled, self.houses[1:]))

    def _is_settled(self, house: House) -> bool:
        hub = self.houses[0]
        assert house.appliance is not None
        assert hub.appliance is not None
        branch = house.appliance.links._replica(hub.node)
        ours, theirs = branch.standing(), hub.appliance.links._replica(house.node).standing()
        if theirs.peer != house.site.core.log.own or ours.peer != hub.site.core.log.own:
            return False
        if min(theirs.cursors) < house.site.core.log.head.seq:
            return False
        if min(ours.cursors) < hub.site.core.log.head.pos and self._is_owed(house, ours):
            return False
        return not branch.owed()  # type: ignore[union-attr]

    def _is_owed(self, house: House, standing: Standing) -> bool:
        """Tell whether anything of headquarters' order is missing at a branch.

        By reading all of the order, not by what headquarters keeps in mind of whom it concerns.
        """
        hub = self.houses[0].site
        replica = HeadquartersReplica(hub.core, hub.ports.engine, _never, house.node)
        replica.begin(standing)
        for lane, after in zip(NUMBERED, standing.cursors, strict=True):
            while (piece := replica.read(lane, after, PIECE_BYTES)) is not None:
                if piece.entries or piece.own:
                    return True
                after = piece.upto
        return False

    def verify(self) -> None:
        """Prove that all sites agree, with each other and with themselves; that nothing is lost."""
        hub = self.houses[0].site
        for house in self.houses[1:]:
            compare(hub, house.site)
            with house.site.ports.engine.snapshot() as reader:
                for conversation in outside(house.site.core):
                    left, more = surviving(house.site.core, reader, conversation, ALL)
                    held = [place for place in left if invariants.is_kept(house.site, place)]
                    assert (left, more) == (held, 0), "a branch holds what nobody there is in"
        invariants.all_hold(house.site for house in self.houses)
        for (_login, conv), names in self.sent.items():
            invariants.acknowledged_stands_in_order(hub, conv, names)


async def _never(actor: Actor, command: Any) -> Any:
    raise AssertionError("what a branch lacks is looked at, and nothing is taken")


ACTS: tuple[tuple[Any, int], ...] = (
    (Federation._open, 4),
    (Federation._say, 30),
    (Federation._alter, 10),
    (Federation._read, 8),
    (Federation._change, 8),
    (Federation._cut, 3),
    (Federation._heal, 4),
    (Federation._wait, 2),
    (Federation._crash, 1),
    (Federation._set_clock, 1),
)
"""What happens, and how often compared with the rest."""
