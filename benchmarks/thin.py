"""thin: a branch of 200 people was cut off for days, and its line comes back: a thin one.

Headquarters and the branch are processes in network namespaces of their own; between them 64
kbit/s, 600 ms round trip, 5 % loss each way (``shaping``). The branch's log is filled beforehand on
a clock that goes through those days. Some people are there during all of it: two at the branch
talk with each other, one of them and one at headquarters send urgent messages both ways.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import trio

from benchmarks import pieces
from benchmarks.federation import DAY_MS, Federation, found
from benchmarks.histories import Record, Sent, Told
from benchmarks.measure import MICRO, Result, cpu_seconds, percentile, revision, rss_mib
from benchmarks.network import Network, network
from benchmarks.organisation import Founding, Person
from benchmarks.people import Crowd, Part, plan_of
from benchmarks.shaping import THIN
from store.clocks import SystemClock
from store.ids import Origin
from transports.wire import schema
from transports.wire.schema import Body, Id

PEOPLE: Final = 200
OPS_PER_PERSON_AND_DAY: Final = 65
GROUPS: Final = 60
GROUP_MEMBERS: Final = 10
PAIRS: Final = 200
GROUP_SHARE: Final = 0.7
"""Of what is said, how much goes to groups; the rest to pairs."""

LOCAL_SECONDS: Final = 2.0
URGENT_SECONDS: Final = 10.0
"""Mean pause of a sender between two messages."""

QUIET_SECONDS: Final = 30.0
"""How long people talk while the line is still cut."""

LOOK_SECONDS: Final = 2.0
TELL_SECONDS: Final = 60.0
SLOWEST_BYTES_PER_SECOND: Final = 1_000.0
MOST_BYTES_PER_OP: Final = 100
"""A catch-up that is slower than these two has failed."""

MAP_BYTES: Final = 8 << 30
LAST: Final = "this was the last one"
SEED: Final = 1


class PastClock(SystemClock):
    """The system's clocks, of a machine that is some days behind and gets there by ``advance``."""

    def __init__(self, days: float) -> None:
        super().__init__()
        self._born_ms = self._now_ms = super().wall_ms() - int(days * DAY_MS)

    def wall_ms(self) -> int:
        """Return the past in Unix milliseconds."""
        return self._now_ms

    def boot(self) -> str:
        """Return another boot than the present one, in which the servers run."""
        return "past"

    def uptime_ms(self) -> int:
        """Return the time since the machine was switched on, in milliseconds."""
        return self._now_ms - self._born_ms

    def advance(self, milliseconds: float) -> None:
        """Let time pass."""
        self._now_ms += int(milliseconds)


@dataclass(frozen=True)
class Backlog:
    """What the branch has said while it was cut off: ``origin``'s log, up to ``seq``."""

    origin: Origin
    seq: int
    ops: int
    text_bytes: int


# --- before the line comes back -------------------------------------------------------------------


def _homes() -> dict[str, int]:
    return {"hugo": 0, "nora": 1, "nils": 1} | {f"p{number:05}": 1 for number in range(PEOPLE)}


def _groups(dice: Random) -> dict[str, list[str]]:
    staff = [login for login in _homes() if login.startswith("p")]
    groups = {f"group{each}": dice.sample(staff, GROUP_MEMBERS) for each in range(GROUPS)}
    pairs = {f"pair{each}": dice.sample(staff, 2) for each in range(PAIRS)}
    return {"local": ["nora", "nils"], "across": ["nora", "hugo"], **groups, **pairs}


def _fill(federation: Federation, members: dict[str, list[str]], clock: PastClock, ops: int,
          days: float, dice: Random) -> Backlog:  # fmt: skip
    """Say as much as the people would have said in those days, at the times of those days."""
    site = federation.houses[1].open(clock)
    founding, text_bytes = Founding(site), 0
    authors = _authors(federation, members, dice)
    for number in range(ops):
        clock.advance(dice.expovariate(ops / (days * DAY_MS)))
        author, conv = next(authors)
        text = pieces.text(dice)
        text_bytes += len(text)
        founding.run([(author.actor, schema.Send(1, 1 + number, Body("text", text), conv))])
    last = schema.Send(1, 1, Body("text", LAST), federation.groups["across"])
    founding.run([(federation.people["nora"].actor, last)])
    log = site.core.log
    backlog = Backlog(log.own, log.head.seq, ops, text_bytes)
    site.close()
    return backlog


def _authors(
    federation: Federation, members: dict[str, list[str]], dice: Random
) -> Iterator[tuple[Person, Id]]:
    groups = [name for name in members if name.startswith("group")]
    pairs = [name for name in members if name.startswith("pair")]
    while True:
        name = dice.choice(groups if dice.random() < GROUP_SHARE else pairs)
        yield federation.people[dice.choice(members[name])], federation.groups[name]


# --- the run --------------------------------------------------------------------------------------


class Run:
    """What happens from the line's return on."""

    def __init__(self, federation: Federation, net: Network, backlog: Backlog) -> None:
        self._federation = federation
        self._net = net
        self._backlog = backlog
        self.healed_at = self.up_at = self.done_at = 0.0
        self.packet_bytes = [0, 0]
        self.cpu = [0.0, 0.0]
        self.rss = 0.0

    async def run(self, crowds: list[Crowd]) -> None:
        """Let people talk alone, give the line back, and wait until the last operation is there."""
        limit = self._backlog.ops * MOST_BYTES_PER_OP / SLOWEST_BYTES_PER_SECOND
        await trio.sleep(QUIET_SECONDS)
        houses = self._federation.houses
        pids = [house.process.pid for house in houses if house.process is not None]
        before = [cpu_seconds(pid) for pid in pids]
        self._net.heal()
        self.healed_at = time.monotonic()
        with trio.fail_after(TELL_SECONDS):
            await houses[1].until("line", "reachable")
        self.up_at = time.monotonic()
        with trio.fail_after(TELL_SECONDS + limit):
            while not self._is_done(crowds[0]):  # noqa: ASYNC110 - another process tells
                await trio.sleep(LOOK_SECONDS)
        line = self._net.lines[0]
        self.packet_bytes = [line.up.packet_bytes, line.down.packet_bytes]
        self.cpu = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
        self.rss = rss_mib(pids[0])

    def _is_done(self, headquarters: Crowd) -> bool:
        for record in headquarters.records():
            if isinstance(record, Told) and record.text == LAST:
                self.done_at = record.at
        return bool(self.done_at)


async def _measure(federation: Federation, backlog: Backlog, directory: Path) -> Result:
    parts = {
        "hugo": [_part(federation, "across", "urgent", URGENT_SECONDS)],
        "nora": [
            _part(federation, "across", "urgent", URGENT_SECONDS),
            _part(federation, "local", "normal", LOCAL_SECONDS),
        ],
        "nils": [_part(federation, "local", "normal", LOCAL_SECONDS)],
    }
    async with network(1, THIN, SEED) as net:
        crowds: list[Crowd] = []
        try:
            net.cut()
            for number, (house, station) in enumerate(
                zip(federation.houses, net.stations, strict=True)
            ):
                house.start(station)
                await house.ready()
                plan = plan_of(federation, number, parts, SEED)
                crowds.append(Crowd.gather(station, plan, directory / f"people{number}"))
            run = Run(federation, net, backlog)
            await run.run(crowds)
            records = [record for crowd in crowds for record in crowd.records()]
            for house in federation.houses:
                await house.stop()
        finally:
            for crowd in crowds:
                crowd.end()
            federation.kill()
    _verify(federation, backlog)
    return _result(run, backlog, records)


def _part(federation: Federation, group: str, priority: str, seconds: float) -> Part:
    return Part(group, bytes(federation.groups[group]), seconds, priority)


def _verify(federation: Federation, backlog: Backlog) -> None:
    """Raise ``AssertionError`` unless headquarters has the whole log."""
    site = federation.houses[0].open()
    try:
        number = site.core.log.number_of(backlog.origin)
        assert number is not None
        with site.ports.engine.snapshot() as reader:
            held = site.core.log.prefix(reader, number).seq
        assert held >= backlog.seq, (held, backlog.seq)
    finally:
        site.close()


# --- the figures ----------------------------------------------------------------------------------


def _delays(records: list[Record], by: str, to: str, priority: str) -> dict[float, float]:
    """Return when each message was sent, and after how many seconds the other was told of it."""
    told = {each.text: each.at for each in records if isinstance(each, Told) and each.who == to}
    return {
        each.at: told[each.text] - each.at
        for each in records
        if isinstance(each, Sent)
        if (each.who, each.priority) == (by, priority) and each.text in told
    }


def _between(delays: dict[float, float], begin: float, end: float) -> list[float]:
    return [delay for at, delay in delays.items() if begin <= at < end]


def _result(run: Run, backlog: Backlog, records: list[Record]) -> Result:
    seconds = run.done_at - run.up_at
    local = _delays(records, "nora", "nils", "normal") | _delays(records, "nils", "nora", "normal")
    up = _delays(records, "nora", "hugo", "urgent")
    down = _delays(records, "hugo", "nora", "urgent")
    early = [at + delay - run.up_at for way in (up, down) for at, delay in way.items()
             if at < run.up_at]  # fmt: skip
    before = _between(local, 0.0, run.healed_at)
    during = _between(local, run.up_at, run.done_at)
    ups, downs = (_between(way, run.up_at, run.done_at) for way in (up, down))
    details = {
        "days": backlog.ops / (PEOPLE * OPS_PER_PERSON_AND_DAY),
        "catch_up_seconds": seconds,
        "link_up_seconds": run.up_at - run.healed_at,
        "text_bytes_per_op": backlog.text_bytes / backlog.ops,
        "line_bytes_per_op": run.packet_bytes[0] / backlog.ops,
        "line_bytes_per_second": run.packet_bytes[0] / seconds,
        "back_bytes_per_op": run.packet_bytes[1] / backlog.ops,
        "ops_per_second": backlog.ops / seconds,
        "urgent_at_link_up_seconds": max(early, default=0.0),
        "urgent_up_p50_seconds": percentile(ups, 0.5),
        "urgent_up_max_seconds": max(ups, default=0.0),
        "urgent_down_p50_seconds": percentile(downs, 0.5),
        "urgent_down_max_seconds": max(downs, default=0.0),
        "urgent_messages": float(len(ups) + len(downs)),
        "local_messages": float(len(during)),
        "local_before_p50_ms": percentile(before, 0.5) * 1e3,
        "local_before_max_ms": max(before, default=0.0) * 1e3,
        "local_max_ms": max(during, default=0.0) * 1e3,
    }
    return Result(
        "thin",
        "-",
        backlog.ops,
        round(run.cpu[0] / backlog.ops * MICRO, 2),
        round(run.cpu[1] / backlog.ops * MICRO, 2),
        round(percentile(during, 0.50) * 1e3, 3),
        round(percentile(during, 0.99) * 1e3, 3),
        round(run.rss, 1),
        revision(),
        {name: round(each, 3) for name, each in details.items()},
    )


def run(days: float, carrier: str, directory: Path) -> Result:
    """Cut a branch off for some days, and measure what its return takes."""
    del carrier
    ops, dice = int(PEOPLE * OPS_PER_PERSON_AND_DAY * days), Random(SEED)
    members, clock = _groups(dice), PastClock(days)
    federation = found(directory, 1, _homes(), members, clock=clock, map_bytes=MAP_BYTES)
    began = time.process_time()
    backlog = _fill(federation, members, clock, ops, days, dice)
    print(f"{ops} operations in {time.process_time() - began:.0f} s of CPU", file=sys.stderr)
    return trio.run(partial(_measure, federation, backlog, directory))
