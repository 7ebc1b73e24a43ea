"""storm-of-branches: a thousand that were cut off come back within a minute and are caught up.

Headquarters is a whole appliance on real files with the writer's thread. A branch is its store in
memory, its rules and its end of the link, without clients and timers; the lines are in memory.
All of it is one process: what headquarters uses is told by whose task runs.
``STRONGROOM_BENCH_BRANCHES`` says how many branches there are.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import trio

from appliance.config import Config
from appliance.context import Actor, Outcome
from appliance.server import Appliance
from appliance.site import Ports, Site, data_ports
from appliance.sites import upstream
from appliance.sites.linking import Links
from benchmarks.branches import Carrier, enrol, settle_in
from benchmarks.expiring import ThreadedNetwork
from benchmarks.measure import Result, percentile, revision, rss_mib
from benchmarks.organisation import MAP_BYTES, Founding
from store import cursors
from store.clocks import SystemClock, SystemEntropy
from store.disk import MemoryDisk
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.ids import Stream, StreamKind
from store.tables import TIMELINE
from store.vault import NoWrap
from store.writer import Completion
from sync.memory import MemoryLink
from sync.pieces import NUMBERED
from transports.wire import schema
from transports.wire.schema import Id

BRANCHES: Final = int(os.environ.get("STRONGROOM_BENCH_BRANCHES", "1000"))
MESSAGES: Final = 20
"""Messages that each side wrote in a branch's conversation while its line was cut."""

NEWCOMERS: Final = 10
"""People whom headquarters has enrolled meanwhile: every branch hears of them."""

WITHIN_SECONDS: Final = 60.0
"""In which all branches come back."""

LOOK_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 1_800.0


class Home:
    """A branch that lives in this process: what its link asks for is done at once."""

    def __init__(self, hub: Site, founding: Founding, number: int) -> None:
        disks = MemoryDisk(), MemoryDisk()
        ports = Ports(SystemClock(), SystemEntropy(), MemoryEngine(), *disks)
        branch = enrol(hub, ports, number)
        skip(branch.site, hub)
        (self.person,) = settle_in(founding, hub, branch, 1)
        self.branch, self.site = branch, branch.site
        self._done: deque[Completion[Outcome]] = deque()
        self._nursery: trio.Nursery | None = None
        self.links = Links(
            self.site.core,
            ports.engine,
            ports.clock,
            ports.entropy,
            self._execute,
            spawn=self._spawn,
        )
        self.conversation = b""
        self.caught_up_at = self.began_at = 0.0

    async def live(self, appliance: Appliance, after_seconds: float) -> None:
        """Come back after a while, and stay linked."""
        self.site.attach(self._done.extend, _fail)
        await trio.sleep(after_seconds)
        self.began_at = time.perf_counter()
        async with trio.open_nursery() as self._nursery:
            hub = appliance.site.core.log.node
            reception = appliance.links.reception
            await MemoryLink(self.links.site, reception, hub, Random(self.branch.number)).run()

    async def _execute(self, actor: Actor, command: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.site.writer.submit(actor, command, None)
        while self.site.writer.run_pending():
            pass
        self.links.changed()
        done = self._done.pop()
        if done.error is not None:
            raise done.error
        assert done.outcome is not None
        return done.outcome.reply

    def _spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(task)

    def shows(self, site: Site) -> int:
        """Return how many messages of its conversation a site shows."""
        stream = Stream(StreamKind.CONVERSATION, self.conversation)
        feed = site.core.streams.pseudonym(stream)
        if feed is None:
            return 0
        with site.ports.engine.snapshot() as reader:
            return sum(1 for _ in reader.range(*TIMELINE.span(feed)))

    def is_caught_up(self, hub: Site, newest: str) -> bool:
        """Tell whether all that was said is at both ends, and the newest person known here."""
        if self.site.core.directory.resolve(newest) is None:
            return False
        return self.shows(hub) == self.shows(self.site) == 2 * MESSAGES


class Shares(trio.abc.Instrument):
    """How much of this thread's time tasks of branches take, in seconds."""

    def __init__(self) -> None:
        self.branches = 0.0
        self._at = 0.0
        self._known: dict[int, bool] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._at = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_of_branch(task):
            self.branches += time.thread_time() - self._at

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._known.pop(id(task), None)

    def _is_of_branch(self, task: trio.lowlevel.Task) -> bool:
        """Tell by whom a task was begun: a line's end at headquarters is headquarters'."""
        known = self._known.get(id(task))
        if known is None:
            nursery = task.parent_nursery
            if task.name.endswith("Reception.serve") or nursery is None:
                known = False
            elif task.name.endswith("Home.live"):
                known = True
            else:
                known = self._is_of_branch(nursery.parent_task)
            self._known[id(task)] = known
        return known


def run(carrier: str, directory: Path) -> Result:
    """Found all sites, let both sides write, and let all branches come back."""
    ports = data_ports(directory / "hub", directory / "hub-keys", MAP_BYTES)
    hub = Site.create(ports, NoWrap(), name="House")
    founding = Founding(hub)
    (officer,) = founding.people(1, "hub")
    homes = [Home(hub, founding, number) for number in range(1, BRANCHES + 1)]
    for home in homes:
        _begin(hub, founding, home, officer.actor)
    counter = 0
    for home in homes:
        skip(home.site, hub)
    for home in homes:
        conversation = Id(home.conversation)
        counter += MESSAGES
        founding.messages(officer, [conversation] * MESSAGES, counter - MESSAGES + 1)
        home.branch.groups = [(conversation, [Actor(home.person, home.person[:15] + b"\1")])]
        home.branch.talk(MESSAGES)
    founding.people(NEWCOMERS, "new")
    shares = Shares()
    return trio.run(_storm, hub, homes, shares, carrier, instruments=[shares])


def _begin(hub: Site, founding: Founding, home: Home, officer: Actor) -> None:
    """Begin the conversation of a branch and headquarters, and let the branch know all of it."""
    opened = founding.run([(officer, schema.Open(1, "direct", (Id(home.person),)))])
    home.conversation = bytes(opened[0].conv)
    Carrier(hub, founding, home.branch).bring()


def skip(site: Site, hub: Site) -> None:
    """Let a branch have been told of everything until now, which mostly is who else there is.

    A thousand branches that learn of a thousand people each are another benchmark.
    """
    engine = site.ports.engine
    with engine.snapshot() as reader:
        txn = Txn(reader)
        upstream.follow(txn, hub.core.log.own)
        for lane in NUMBERED:
            cursors.put(txn, cursors.PEER, lane, hub.core.log.head.pos)
        engine.batch(txn.writes, site.token)


async def _storm(hub: Site, homes: list[Home], shares: Shares, carrier: str) -> Result:
    appliance = Appliance(hub, Config(), network=ThreadedNetwork())
    newest, waiting = f"new{NEWCOMERS - 1:05}", list(homes)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: appliance.run(task_status=task_status))
        began, cpu, branches = time.perf_counter(), time.process_time(), shares.branches
        for number, home in enumerate(homes):
            nursery.start_soon(home.live, appliance, number * WITHIN_SECONDS / len(homes))
        with trio.fail_after(GIVE_UP_SECONDS):
            while waiting:
                await trio.sleep(LOOK_SECONDS)
                for home in [each for each in waiting if each.is_caught_up(hub, newest)]:
                    home.caught_up_at = time.perf_counter()
                    waiting.remove(home)
        seconds, total = time.perf_counter() - began, time.process_time() - cpu
        links = len(appliance.links.reception.links)
        nursery.cancel_scope.cancel()
    took = [home.caught_up_at - home.began_at for home in homes]
    ops = len(homes) * (2 * MESSAGES + 3 * NEWCOMERS)
    at_branches = shares.branches - branches
    return Result(
        "storm-of-branches",
        carrier,
        ops,
        round((total - at_branches) / ops * 1e6, 2),
        round(at_branches / ops * 1e6, 2),
        round(percentile(took, 0.50) * 1e3, 1),
        round(percentile(took, 0.99) * 1e3, 1),
        round(rss_mib(os.getpid()), 1),
        revision(),
        {
            "branches": len(homes),
            "linked": links,
            "seconds": round(seconds, 1),
            "server_cpu_ms_per_branch": round((total - at_branches) / len(homes) * 1e3, 2),
            "longest_ms": round(max(took) * 1e3, 1),
        },
    )


def _fail(error: BaseException) -> None:
    raise error
