"""expiry: how long messages take while 100,000 records of several hundred conversations end.

The appliance runs in this process, with real files, LMDB and the writer's thread, on a clock
that can be moved; clients are connected in memory, so their share is in the figures. They send
at a fixed rate whatever the answers do, and each latency counts from the moment at which the
message was due to be sent. A run is patient while others write, so they stop after a while: the
rest of it, in silence, tells what a destroyed record costs.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

import trio

from appliance.config import Config, LimitsSection
from appliance.context import SITE
from appliance.disposal.commands import ReadClock, SetPolicy
from appliance.server import Appliance
from appliance.site import Site, data_ports
from benchmarks.measure import MICRO, Result, percentile, revision, rss_mib
from benchmarks.organisation import BODY, MAP_BYTES, Founding, Person
from store.clocks import SystemClock
from store.vault import NoWrap
from transports.carrier import Codec
from transports.memory import MemoryNetwork, MemoryPeer
from transports.wire import codec, schema
from transports.wire.schema import Id

CONVERSATIONS: Final = 400
MEMBERS: Final = 4
PEOPLE: Final = 40
DAYS: Final = 10
MESSAGES_PER_DAY: Final = 25
"""Of each conversation; all together they are 100,000."""

SENDERS: Final = 10
PER_SECOND: Final = 100.0
"""Messages a second of all senders together, evenly spaced."""

QUIET_SECONDS: Final = 30.0
"""How long messages are timed before the run, and again after it."""

RUN_SECONDS: Final = 120.0
"""How long they are timed during the run; then they stop, and it goes on as fast as it can."""

WARM_UP_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 2.0
"""In which the server's own first look at what is due ends."""

DAY_MS: Final = 86_400_000
POLICY: Final = """
[[rule]]
name = "chat"
class = "standard"
max = "30d"
"""


class MovableClock(SystemClock):
    """The system's clocks, with wall clock and uptime ahead by as much as was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_ms = 0

    def wall_ms(self) -> int:
        """Return the moved wall clock in Unix milliseconds."""
        return super().wall_ms() + self._ahead_ms

    def uptime_ms(self) -> int:
        """Return the moved uptime in milliseconds."""
        return super().uptime_ms() + self._ahead_ms

    def advance(self, days: int) -> None:
        """Let days pass on both; the writer must be idle."""
        self._ahead_ms += days * DAY_MS


class ThreadedNetwork(MemoryNetwork):
    """A network in memory that the writer's thread may wake; made in the trio thread."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def wake(self) -> None:
        """Ask for a turn, from any thread."""
        if threading.get_ident() == self._thread:
            super().wake()
        else:
            self._token.run_sync_soon(super().wake, idempotent=True)


class Sender:
    """A signed-in person who sends on time and notes when each message was acknowledged."""

    def __init__(self, person: Person, conversation: Id) -> None:
        self._person = person
        self._conversation = conversation
        self._peer: MemoryPeer
        self._codec = codec.MSGPACK
        self._due: dict[int, float] = {}
        self._n = 0
        self.latencies: list[float] = []
        """Seconds, of every message acknowledged since the list was last cleared."""

    async def sign_in(self, network: MemoryNetwork) -> None:
        """Connect and follow events from now on."""
        self._peer = network.connect(Codec.MSGPACK)
        hello = schema.Hello(1, "bench"), schema.Auth("token", token=self._person.token)
        self._peer.send(self._codec.payload(*hello))
        while True:
            for frame in self._codec.server.decode(await self._peer.receive()):
                if isinstance(frame, schema.Welcome):
                    self._n = frame.n
                    self._peer.send(self._codec.payload(schema.Resume(frame.pos)))
                    return

    def send(self, due: float) -> None:
        """Send the next message, which was due at a time of ``perf_counter``."""
        self._n += 1
        self._due[self._n] = due
        frame = schema.Send(self._n, self._n, BODY, self._conversation)
        self._peer.send(self._codec.payload(frame))

    async def hear(self) -> None:
        """Take answers and events for ever; raises ``RuntimeError`` for a refusal."""
        while True:
            for frame in self._codec.server.decode(await self._peer.receive()):
                if isinstance(frame, schema.Ok):
                    self.latencies.append(time.perf_counter() - self._due.pop(frame.re))
                elif isinstance(frame, schema.Err):
                    raise RuntimeError(f"a message was refused: {frame.code}")


class Traffic:
    """All senders together."""

    def __init__(self, senders: list[Sender]) -> None:
        self._senders = senders

    async def flow(
        self, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Send at the fixed rate until its scope is cancelled; what was late is sent at once."""
        began, sent = time.perf_counter(), 0
        with trio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                due = began + sent / PER_SECOND
                await trio.sleep(max(0.0, due - time.perf_counter()))
                self._senders[sent % len(self._senders)].send(due)
                sent += 1

    def begin(self) -> None:
        """Forget what was measured before."""
        for sender in self._senders:
            sender.latencies.clear()

    def latencies(self) -> list[float]:
        """Return what was measured since ``begin``, in seconds."""
        return [each for sender in self._senders for each in sender.latencies]


class Span:
    """The figures of one stretch of time."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        traffic.begin()
        self._at, self._cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Take the figures."""
        self.seconds = time.perf_counter() - self._at
        self.cpu_seconds = time.process_time() - self._cpu
        latencies = self._traffic.latencies()
        self.messages = len(latencies)
        self.p50_ms = percentile(latencies, 0.50) * 1e3
        self.p99_ms = percentile(latencies, 0.99) * 1e3
        self.max_ms = max(latencies, default=0.0) * 1e3


class Ended:
    """What has been destroyed since the start: records, and the roots that it took."""

    def __init__(self, appliance: Appliance) -> None:
        self.records = sum(each.destroyed for each in appliance.disposal.progress)
        self.switches = appliance.site.core.vault.generation

    def since(self, before: Ended) -> Ended:
        """Return the difference."""
        self.records -= before.records
        self.switches -= before.switches
        return self


def run(carrier: str, directory: Path) -> Result:
    """Store 100,000 messages, let them come of age, and measure before, during and after."""
    clock = MovableClock()
    ports = data_ports(directory / "data", directory / "data-keys", MAP_BYTES)
    ports.clock = clock
    site = Site.create(ports, NoWrap(), name="Benchmark")
    people, groups = _fill(site, clock)
    return trio.run(_measure, site, clock, people, groups, carrier)


def _fill(site: Site, clock: MovableClock) -> tuple[list[Person], list[Id]]:
    founding = Founding(site)
    founding.run([(SITE, SetPolicy(POLICY, 0, "benchmark")), (SITE, ReadClock(anchor=True))])
    people = founding.people(PEOPLE)
    numbers = range(CONVERSATIONS)
    members = [[people[(each + more) % PEOPLE] for more in range(MEMBERS)] for each in numbers]
    groups = founding.groups(members)
    for day in range(DAYS):
        for first, author in enumerate(people):
            own = groups[first::PEOPLE] * MESSAGES_PER_DAY
            founding.messages(author, own, 1 + day * len(own))
        founding.run([(SITE, ReadClock(anchor=True))])
        clock.advance(1)
        founding.run([(SITE, ReadClock(anchor=True))])
    return people, groups


async def _measure(
    site: Site, clock: MovableClock, people: list[Person], groups: list[Id], carrier: str
) -> Result:
    network = ThreadedNetwork()
    config = Config(limits=LimitsSection(sends_per_second=10_000.0))
    appliance = Appliance(site, config, network=network)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: appliance.run(task_status=task_status))
        await trio.sleep(SETTLE_SECONDS)
        clock.advance(31)
        await appliance.execute(SITE, ReadClock(anchor=True))
        senders = [Sender(people[each], groups[each]) for each in range(SENDERS)]
        async with trio.open_nursery() as clients:
            for sender in senders:
                await sender.sign_in(network)
                clients.start_soon(sender.hear)
            traffic = Traffic(senders)
            result = await _timed(appliance, traffic, clients, carrier)
            clients.cancel_scope.cancel()
        await appliance.drain()
    return result


async def _timed(
    appliance: Appliance, traffic: Traffic, clients: trio.Nursery, carrier: str
) -> Result:
    """Measure before the run, during its first minutes, its rest in silence, and after it."""
    flow = await clients.start(traffic.flow)
    await trio.sleep(WARM_UP_SECONDS)
    before = await _span(traffic, QUIET_SECONDS)
    born = Ended(appliance)
    async with trio.open_nursery() as running:
        running.start_soon(appliance.disposal.expire)
        during = await _span(traffic, RUN_SECONDS)
        flow.cancel()
        ended = Ended(appliance)
        silent = Span(traffic)
    silent.end()
    rest = Ended(appliance).since(ended)
    flow = await clients.start(traffic.flow)
    await trio.sleep(WARM_UP_SECONDS)
    after = await _span(traffic, QUIET_SECONDS)
    flow.cancel()
    details = {
        "p50_before_ms": before.p50_ms,
        "p99_before_ms": before.p99_ms,
        "p50_after_ms": after.p50_ms,
        "p99_after_ms": after.p99_ms,
        "p99_ratio": 2 * during.p99_ms / (before.p99_ms + after.p99_ms),
        "max_before_ms": before.max_ms,
        "max_ms": during.max_ms,
        "messages_per_second": during.messages / during.seconds,
        "records_meanwhile": ended.records,
        "root_switches_meanwhile": ended.switches - born.switches,
        "silent_seconds": silent.seconds,
        "silent_root_switches": rest.switches,
    }
    return Result(
        "expiry",
        carrier,
        rest.records,
        round(silent.cpu_seconds / max(1, rest.records) * MICRO, 2),
        0.0,
        round(during.p50_ms, 3),
        round(during.p99_ms, 3),
        round(rss_mib(os.getpid()), 1),
        revision(),
        {name: round(each, 3) for name, each in details.items()},
    )


async def _span(traffic: Traffic, seconds: float) -> Span:
    span = Span(traffic)
    await trio.sleep(seconds)
    span.end()
    return span
