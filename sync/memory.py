"""Link two sites inside one trio run, over lines that fail as lines do: the simulator's network.

A line is ordered bytes with a delay and a rate. What goes wrong is drawn from a seed for each
connection: it is cut after some bytes, at the boundary of a frame or within one; and either end may
not notice (half open), so that the branch connects again while headquarters still keeps the old
connection. Time is trio's, so that a clock that jumps makes years of links cheap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import Final

import trio

from sync.driver import Driver, Line, Site, keep_linked
from sync.errors import LostError
from sync.frames import HEAD_BYTES
from sync.reception import Reception
from sync.session import Effect, Up

QUEUE_BYTES: Final = 32 * 1024
"""Bytes that a line holds for a reader that does not read."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What lines are like.

    Args:
        delay_seconds: one way.
        bytes_per_second: of each direction.
        cut_bytes: a connection lives for about so many bytes of both directions (exponential).
        cut_in_frame: how likely the cut is within a frame and not behind one.
        half_open: how likely an end does not notice the cut.
        refused: how likely a connection does not come about.
    """

    delay_seconds: float = 0.0
    bytes_per_second: float = inf
    cut_bytes: float = inf
    cut_in_frame: float = 0.5
    half_open: float = 0.3
    refused: float = 0.0


FAIR: Final = Weather()
"""Nothing goes wrong."""


class _Direction:
    """One direction of a line."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._free_at = 0.0
        self._is_ended = False
        self._changes = trio.Event()

    async def put(self, data: bytes) -> None:
        """Send, waiting as long as the line takes and while the reader is too far behind."""
        now = trio.current_time()
        start = max(now, self._free_at)
        self._free_at = start + len(data) / self._weather.bytes_per_second
        self._queue.append((self._free_at + self._weather.delay_seconds, data))
        self._queued_bytes += len(data)
        self._wake()
        await trio.sleep_until(self._free_at)
        while self._queued_bytes > QUEUE_BYTES and not self._is_ended:
            await self._changes.wait()

    async def get(self) -> bytes:
        """Return what arrives next, empty at the end."""
        while not self._queue:
            if self._is_ended:
                return b""
            await self._changes.wait()
        at, data = self._queue.popleft()
        await trio.sleep_until(at)
        self._queued_bytes -= len(data)
        self._wake()
        return data

    def end(self, *, keep: bool) -> None:
        """Nothing follows; ``keep`` what is on its way or lose it."""
        self._is_ended = True
        if not keep:
            self._queue.clear()
            self._queued_bytes = 0
        self._wake()

    def _wake(self) -> None:
        changes, self._changes = self._changes, trio.Event()
        changes.set()


class _Cable:
    """One connection: two directions, and when it breaks."""

    def __init__(self, weather: Weather, random: Random) -> None:
        self.up, self.down = _Direction(weather), _Direction(weather)
        self.is_broken = False
        self._weather = weather
        self._random = random
        self._left = random.expovariate(1 / weather.cut_bytes) if weather.cut_bytes < inf else inf

    def carry(self, data: bytes) -> bytes | None:
        """Count bytes of either direction; return what still gets through when it breaks here."""
        self._left -= len(data)
        if self._left > 0:
            return None
        cut = max(0, int(self._left) + len(data))
        if self._random.random() >= self._weather.cut_in_frame:
            cut = _boundary(data, cut)
        return data[:cut]

    def cut(self) -> None:
        """Break it. An end that does not notice goes on sending into the void."""
        if not self.is_broken:
            self.is_broken = True
            for direction in (self.up, self.down):
                if self._random.random() >= self._weather.half_open:
                    direction.end(keep=False)


class _End:
    """One end's view of a cable."""

    def __init__(self, cable: _Cable, incoming: _Direction, outgoing: _Direction) -> None:
        self._cable = cable
        self._incoming = incoming
        self._outgoing = outgoing
        self._is_closed = False

    async def receive(self) -> bytes:
        """Return what arrived next, empty at the end."""
        return await self._incoming.get()

    async def send(self, data: bytes) -> None:
        """Send; into the void when the cable is broken."""
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise LostError("the line was closed")
        if self._cable.is_broken:
            return
        rest = self._cable.carry(data)
        if rest is None:
            await self._outgoing.put(data)
        else:
            if rest:
                await self._outgoing.put(rest)
            self._cable.cut()

    async def aclose(self) -> None:
        """End this end; the other reads what is on its way."""
        await trio.lowlevel.checkpoint()
        self._is_closed = True
        self._incoming.end(keep=False)
        if not self._cable.is_broken:
            self._outgoing.end(keep=True)


def _boundary(data: bytes, cut: int) -> int:
    """Return the last end of a frame that is not behind ``cut``; what is sent is whole frames."""
    start = 0
    while True:
        end = start + HEAD_BYTES + int.from_bytes(data[start + 1 : start + HEAD_BYTES])
        if end > cut or start >= len(data):
            return start
        start = end


class MemoryLink:
    """The line between a branch and headquarters.

    Args:
        branch: the branch.
        reception: headquarters.
        headquarters: its node.
        random: draws what goes wrong.
        weather: how lines are; may be replaced at any time, for connections made later.
    """

    def __init__(
        self,
        branch: Site,
        reception: Reception,
        headquarters: bytes,
        random: Random,
        weather: Weather = FAIR,
    ) -> None:
        self.weather = weather
        self.driver: Driver | None = None
        """The branch's end of the newest link."""
        self._branch = replace(branch, handle=self._handle)
        self._told = branch.handle
        self._reception = reception
        self._headquarters = headquarters
        self._random = random
        self._cables: list[_Cable] = []
        self._is_whole = True
        self._nursery: trio.Nursery | None = None
        self._attempt: trio.CancelScope | None = None

    async def run(self) -> None:
        """Keep the two linked as far as the line allows, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                while True:
                    with trio.CancelScope() as self._attempt:
                        await keep_linked(self._branch, self._headquarters, self._dial)
        finally:
            self._nursery = None

    def connect(self) -> None:
        """Let the branch connect at once, as if it had forgotten any link it has.

        The old connection stays half open at headquarters, until the new one replaces it.
        """
        for cable in self._cables:
            cable.is_broken = True
        if self._attempt is not None:
            self._attempt.cancel()

    def cut(self) -> None:
        """Break every connection, and let none come about until ``heal``."""
        self._is_whole = False
        for cable in self._cables:
            cable.cut()

    def heal(self) -> None:
        """Let connections come about again; the branch tries at its own time."""
        self._is_whole = True

    def changed(self) -> None:
        """There may be something new at either end."""
        self._reception.changed()
        if self.driver is not None:
            self.driver.changed()

    def _handle(self, driver: Driver, effect: Effect) -> None:
        if isinstance(effect, Up):
            self.driver = driver
        self._told(driver, effect)

    async def _dial(self, channel: int) -> Line:
        del channel
        await trio.sleep(2 * self.weather.delay_seconds)
        if not self._is_whole or self._random.random() < self.weather.refused:
            raise LostError("no connection")
        assert self._nursery is not None, "the link is running"
        cable = _Cable(self.weather, self._random)
        self._cables = [*(each for each in self._cables if not each.is_broken), cable]
        branch = _End(cable, cable.down, cable.up)
        headquarters = _End(cable, cable.up, cable.down)
        self._nursery.start_soon(self._reception.serve, self._branch.node, headquarters)
        return branch
