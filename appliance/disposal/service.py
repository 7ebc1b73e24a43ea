"""Watch the clock, the ledger, the requests and the calendar, and start what is due.

    every second     the clocks; recalls that destroy; orders; requests whose time has come;
                     what a crash or a full disk has left
    every hour       an anchor of trusted time, a checkpoint of the ledger
    every six hours  an expiry run, and certificates of which more is known by now

Time that matters is proven time; when it is not proven, nothing is destroyed and the log says
why. One run at a time: an expiry ends early for what somebody waits for, and goes on as another.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import trio

from appliance.context import SITE
from appliance.disposal import calendar, decide_clock, decide_requests, decide_runs, planner
from appliance.disposal.commands import KeepLedger, ReadClock, Settle
from appliance.disposal.decide_slices import EXPIRY, ORDERED, RECALL
from appliance.disposal.following import Follower
from appliance.disposal.gather import erased
from appliance.disposal.limits import SCAN_PIECE, SCAN_RECORDS, SLICE_RECORDS
from appliance.disposal.runs import Execute, Followed, Progress, Runner
from appliance.messaging.model import Place
from appliance.pace import Pace
from appliance.policy.limits import ANCHOR_MS
from appliance.sites.authority import why_no_destruction
from store import reading
from store.engine.contract import Engine, Reader
from store.errors import StoreError
from transports.wire.errors import StrongroomError

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.disposal")

SEEN_SECONDS: Final = 60.0
"""How often the clocks are noted, so that a short power cut does not look like a jump."""

LEDGER_SECONDS: Final = 3_600.0
"""How often the ledger gets a checkpoint, if it has grown."""

EXPIRY_SECONDS: Final = 6 * 3_600.0
"""How often records are looked for whose time has come: within a day of their maximum."""

REMEMBERED: Final = 100
"""Runs of which progress is remembered."""

Blocking = Callable[..., Awaitable[Any]]
"""Runs a function in a worker thread (in a simulation: at once)."""


class Disposal:
    """The service. Belongs to the trio thread.

    Args:
        core: the site's state.
        engine: where snapshots come from.
        execute: gives commands to the writer.
        blocking: runs what takes long.
        followed: waits for the key replicas.
        now: monotonic seconds.
        pace: how often the clocks, recalls, orders and requests are looked at.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Execute,
        blocking: Blocking,
        followed: Followed,
        now: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._core = core
        self._engine = engine
        self._execute = execute
        self._blocking = blocking
        self._now = now
        self._pace = pace or Pace()
        self.runner = Runner(core, execute, followed, now, self._rest, lambda: self._is_awaited)
        self.follower = Follower(core, execute, self.runner)
        self.progress: deque[Progress] = deque(maxlen=REMEMBERED)
        """What this process has carried out, oldest first."""
        self._anchored = self._kept = self._expired = self._seen = -1.0

    async def begin(self) -> None:
        """Do what comes before anybody is served: read the clock, finish what was cut off.

        Nothing of all this once the site is decommissioned.
        """
        if self._core.disposal.decommissioned is not None:
            return
        await self._execute(SITE, ReadClock(anchor=True))
        await self._execute(SITE, KeepLedger())
        now = self._now()
        self._anchored = self._kept = self._seen = now
        self._expired = now - EXPIRY_SECONDS
        for run in self._core.disposal.unfinished_runs():
            await self.runner.confirm(run.intent.run, 0)

    async def end(self) -> None:
        """Date what was written last, before the server stops in good order."""
        if self._core.disposal.decommissioned is None:
            await self._execute(SITE, ReadClock(anchor=True))

    async def run(self) -> None:
        """Look at everything once a second, for ever; a failure is logged and comes again."""
        while True:
            await trio.sleep(self._pace.tick_seconds)
            try:
                await self.tick()
            except (StrongroomError, StoreError) as error:
                logger.error("disposal.failed", extra={"error": error.code})

    async def tick(self) -> None:
        """Do what is due now; nothing is, once the site is decommissioned."""
        if self._core.disposal.decommissioned is not None:
            return
        await self._watch()
        await self.follower.follow()
        await self.runner.cut_lost()
        while self._core.disposal.orders:
            await self.order(self._core.disposal.orders.popleft())
        if self._core.disposal.recalled:
            await self.recalls()
        if self._now() - self._expired >= EXPIRY_SECONDS:
            self._expired = self._now()
            await self.expire()
            if self._is_awaited:  # then it may have ended early: go on after that
                self._expired -= EXPIRY_SECONDS
            else:
                await self._renew_certificates()

    def oldest_seconds(self) -> dict[str, float]:
        """Return the age of each class's oldest surviving record, to a day; one seek for each."""
        core, now_ms = self._core, self._core.reading().wall_ms
        known = core.disposal.policies
        found: dict[str, float] = {}
        with self._engine.snapshot() as reader:
            for name, number in known.class_numbers().items():
                day = calendar.oldest_day(reader, number)
                if day:
                    found[name] = max(0.0, (now_ms - day * calendar.DAY_MS) / 1_000)
        return found

    # --- runs -----------------------------------------------------------------------------------

    async def expire(self) -> list[Progress]:
        """Destroy everything whose time has come; returns what was done, in runs.

        Goes on until a scan finds nothing more that a run could end, or somebody waits.
        """
        done: list[Progress] = []
        while True:
            proven_ms = decide_clock.proven_ms(self._core)
            why = why_no_destruction(self._core.sites, self._core.reading())
            if proven_ms is None or why:
                logger.warning("expiry.waits", extra={"error": why or "clock.unproven"})
                return done
            places = await self._read(partial(self._due, proven_ms))
            if not places:
                return done
            progress = await self._carry_out(EXPIRY, 0, places)
            done.append(progress)
            if len(places) < SCAN_RECORDS or not progress.destroyed or self._is_awaited:
                return done

    async def recalls(self) -> Progress | None:
        """Destroy what was recalled a moment ago, where the policy says so."""
        recalled = self._core.disposal.recalled
        names = [recalled.popleft() for _ in range(len(recalled))]
        proven_ms = decide_clock.proven_ms(self._core)
        if proven_ms is None or why_no_destruction(self._core.sites, self._core.reading()):
            return None
        places = await self._read(
            lambda reader: planner.recalled(self._core, reader, names, proven_ms)
        )
        return await self._carry_out(RECALL, 0, places) if places else None

    async def order(self, number: int) -> Progress:
        """Carry out an order that an officer has told to begin."""
        request = self._core.disposal.requests[number]
        predicate = request.predicate
        proven_ms = decide_clock.proven_ms(self._core)
        found = await self._read(
            lambda reader: planner.ordered(self._core, reader, predicate, proven_ms, request.pos)
        )
        places = list(found.places)
        if request.body.act == "erase":
            places += await self._read(
                lambda reader: erased(self._core, reader, predicate.persons[0])
            )
        return await self._carry_out(ORDERED[request.body.act], number, places)

    async def _carry_out(self, cause: str, request: int, places: list[Place]) -> Progress:
        progress = Progress(cause, request, len(places))
        self.progress.append(progress)
        await self.runner.carry_out(progress, places)
        return progress

    def _due(self, proven_ms: int, reader: Reader) -> list[Place]:
        """Return what a run is to end: at least a slice of it, also when somebody waits.

        So an expiry gets on, however often somebody comes between.
        """
        found: list[Place] = []
        looked = planner.due(self._core, reader, proven_ms)
        while len(found) < SCAN_RECORDS:
            began = time.monotonic()
            some = list(islice(looked, SCAN_PIECE))
            found += (place for place in some if place is not None)
            if len(some) < SCAN_PIECE or (self._is_awaited and len(found) >= SLICE_RECORDS):
                break
            time.sleep(time.monotonic() - began)  # a worker thread: the interpreter is for others
        return found

    async def _read(self, function: Callable[[Reader], Any]) -> Any:
        return await self._blocking(reading.read, self._engine, function)

    @property
    def _is_awaited(self) -> bool:
        """Whether an order or a recall waits: an expiry stops for it behind its present slice."""
        known = self._core.disposal
        if known.orders or (known.recalled and planner.destroys_recalled(known.policies)):
            return True
        return self.follower.is_awaited

    async def _rest(self, seconds: float) -> None:
        """Let a patient run wait; what is watched every second is watched meanwhile.

        Patience ends when the next look at the calendar is due: what is old must not stay.
        """
        until = self._expired + EXPIRY_SECONDS
        while seconds > 0 and not self._is_awaited and self._now() < until:
            step = min(seconds, self._pace.tick_seconds)
            await trio.sleep(step)
            await self._watch()
            seconds -= step

    # --- watching -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        await self._watch_clock()
        await self._watch_ledger()
        if decide_requests.needs_settling(self._core):
            await self._execute(SITE, Settle())

    async def _watch_clock(self) -> None:
        core, now = self._core, self._now()
        is_due = now - self._anchored >= ANCHOR_MS / 1_000
        step = core.disposal.clock.observe(core.reading())
        if step.effects:
            logger.warning("clock.jumped")
        if is_due:
            self._anchored = now
            await self._execute(SITE, ReadClock(anchor=core.disposal.has_news(core.log.head.pos)))
        elif step.effects or now - self._seen >= SEEN_SECONDS:
            self._seen = now
            await self._execute(SITE, ReadClock())

    async def _watch_ledger(self) -> None:
        core, now = self._core, self._now()
        key = core.disposal.day_key
        is_new_day = key is None or key.day != calendar.day_of(core.reading().wall_ms)
        if is_new_day or now - self._kept >= LEDGER_SECONDS:
            self._kept = now
            await self._execute(SITE, KeepLedger())

    async def _renew_certificates(self) -> None:
        """Confirm again the runs of this process of which more is known by now.

        Each may wait for a replica, so that the next time must do where somebody waits.
        """
        for run in list(self.runner.asked):
            if self._is_awaited:
                return
            known = self._core.disposal.runs.get(run)
            confirmed = None if known is None else known.confirmed
            if confirmed is None:
                continue
            is_incomplete = confirmed.state != decide_runs.COMPLETE
            if is_incomplete or self.runner.answered(run) > confirmed.devices_answered:
                await self.runner.confirm(run, confirmed.held_back)
