"""Carry out what a session decides: read and write its connections, take pieces, keep time.

One driver for one link, in one trio nursery. A connection is anything that gives and takes bytes
in order (``Line``). The session decides everything; here are only tasks and waiting.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from store.errors import StoreError
from sync.backoff import pause_seconds
from sync.errors import LinkError, LostError, StoppedError
from sync.limits import (
    FAREWELL_SECONDS,
    LOOK_SECONDS,
    NEWS_SECONDS,
    PULL_SECONDS,
    SEND_BYTES,
)
from sync.session import BULK, MAIN, Effect, Ended, LinkedReplica, Moment, Role, Session, Take, Up

logger = logging.getLogger("strongroom.link")


class Line(Protocol):
    """One connection: bytes both ways, in order, until it ends."""

    async def receive(self) -> bytes:
        """Return what arrived next, empty at the end; raises ``LostError`` when it broke."""
        ...

    async def send(self, data: bytes) -> None:
        """Return once there is room for more; raises ``LostError`` when it broke."""
        ...

    async def aclose(self) -> None:
        """End it; what was sent may still leave."""
        ...


def _ignore(error: LinkError) -> None:
    del error


@dataclass(frozen=True, slots=True)
class Site:
    """What a link needs of the site at its end.

    ``replica`` is asked for once for each link. ``handle`` is told every effect but ``Take``, and
    must not wait. ``unix_ms`` is the wall clock, ``random_bytes`` unpredictable.
    """

    node: bytes
    replica: Callable[[bytes], LinkedReplica]
    """Returns this site as it stands towards a peer, by the peer's node."""
    handle: Callable[[Driver, Effect], None]
    unix_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    software: str = ""
    missed: Callable[[LinkError], None] = _ignore
    """Told why headquarters was not reached; must not wait."""

    def moment(self) -> Moment:
        """Return the present."""
        return Moment(trio.current_time(), self.unix_ms())

    def chance(self) -> float:
        """Return a random number from 0 to below 1."""
        return int.from_bytes(self.random_bytes(4)) / (1 << 32)


Dial = Callable[[int], Awaitable[Line]]
"""Opens a connection for a channel; raises ``LinkError`` when that fails."""


class Driver:
    """One link at one end.

    Args:
        site: this end.
        role: which end it is.
        peer_node: who the peer has proved to be.
        session: 16 random bytes that the branch made.
        news_seconds: how long news of one moment may gather before they are looked for.
    """

    def __init__(
        self,
        site: Site,
        role: Role,
        peer_node: bytes,
        session: bytes,
        news_seconds: Callable[[], float] = lambda: NEWS_SECONDS,
    ) -> None:
        self._site = site
        self._replica = site.replica(peer_node)
        self.session = Session(
            role, self._replica, peer_node=peer_node, session=session, software=site.software
        )
        self.was_up = False
        self._news_seconds = news_seconds
        self._has_news = False
        self._news_at = -math.inf
        self._look_at = -math.inf
        self._nursery: trio.Nursery | None = None
        self._changes = trio.Event()
        self._over = trio.Event()
        self._lines: dict[int, trio.CancelScope] = {}

    async def run(self, line: Line, dial: Dial | None = None) -> LinkError:
        """Run the link until it is over, and return why.

        Args:
            line: the main connection.
            dial: opens channel 1 when it is needed; None at headquarters, where they come in.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.attach, MAIN, line)
            nursery.start_soon(self._keep_time)
            if dial is not None:
                nursery.start_soon(self._keep_bulk, dial)
            await self._over.wait()
            with trio.move_on_after(FAREWELL_SECONDS):
                while self._lines:
                    await self._changed()
            for scope in self._lines.values():
                scope.cancel()
            nursery.cancel_scope.cancel()
        assert self.session.error is not None, "a link that is over has a reason"
        return self.session.error

    async def attach(self, channel: int, line: Line) -> None:
        """Run one connection of the link until it ends, instead of an older one; closes it."""
        while channel in self._lines:
            self._lines[channel].cancel()
            await self._changed()
        try:
            if self.session.error is None:
                await self._serve(channel, line)
        finally:
            with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                await line.aclose()

    async def _serve(self, channel: int, line: Line) -> None:
        with trio.CancelScope() as scope:
            self._lines[channel] = scope
            self._do(self.session.opened(channel, self._site.moment()))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, channel, line)
                    await self._write(channel, line)
                    nursery.cancel_scope.cancel()
            finally:
                del self._lines[channel]
                self._do(self.session.closed(channel, self._site.moment()))

    def changed(self) -> None:
        """There may be something new to send; it is looked for at once, or soon after the last."""
        if not self._has_news:
            self._has_news = True
            self._wake()

    def stop(self, error: LinkError | None = None) -> None:
        """End the link from here."""
        self._do(self.session.stop(self._site.moment(), error or StoppedError()))

    @contextmanager
    def order(self) -> Iterator[Session]:
        """Give the session for a note or a question, then let it go on."""
        try:
            yield self.session
        finally:
            self._wake()

    # --- tasks --------------------------------------------------------------------------------

    async def _read(self, channel: int, line: Line) -> None:
        while channel in self._lines:
            try:
                data = await line.receive()
            except LostError:
                data = b""
            if not data:
                self._do(self.session.closed(channel, self._site.moment()))
                return
            self._do(self.session.received(channel, data, self._site.moment()))

    async def _write(self, channel: int, line: Line) -> None:
        """Give the connection what the session has, until neither has more to say."""
        while True:
            data = self._pull(channel)
            if data:
                try:
                    await line.send(data)
                except LostError:
                    return
            elif self.session.error is not None or not self.session.has_channel(channel):
                return
            else:
                # What is paced or has no credit waits for an answer, which is a change.
                due = self.session.pull_due() if channel == MAIN else math.inf
                with trio.move_on_at(max(due, trio.current_time() + PULL_SECONDS)):
                    await self._changed()

    def _pull(self, channel: int) -> bytes:
        try:
            return self.session.pull(channel, SEND_BYTES, self._site.moment())
        except Exception as error:  # noqa: BLE001 - a link's failure is its own; it is reported
            self._fail(error)
            return self.session.pull(channel, SEND_BYTES, self._site.moment())

    async def _take(self, take: Take) -> None:
        try:
            cursor = await self._replica.take(take.piece)
        except Exception as error:  # noqa: BLE001 - a link's failure is its own; it is reported
            self._fail(error)
        else:
            self._do(self.session.taken(take, cursor, self._site.moment()))

    async def _keep_time(self) -> None:
        while True:
            self._look_for_news()
            if trio.current_time() >= self.session.due():
                self._do(self.session.tick(self._site.moment()))
                await trio.lowlevel.checkpoint()
            news_at = self._news_at if self._has_news else self._look_at
            with trio.move_on_at(min(news_at, self.session.due())):
                await self._changed()

    def _look_for_news(self) -> None:
        now = trio.current_time()
        if now >= (self._news_at if self._has_news else self._look_at):
            self._has_news = False
            self._news_at = now + self._news_seconds()
            self._look_at = now + LOOK_SECONDS
            self.session.changed()
            self._wake()

    async def _keep_bulk(self, dial: Dial) -> None:
        """Open channel 1 whenever there is a use for it."""
        failures = 0
        while True:
            while not self.session.wants_bulk:
                await self._changed()
            try:
                line = await _reach(dial, BULK)
            except LinkError as error:
                await trio.sleep(pause_seconds(error, failures, self._site.chance()))
                failures += 1
                continue
            failures = 0
            await self.attach(BULK, line)

    # --- waking -------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, LinkError | StoreError):
            logger.error("link.failed", extra={"error": type(error).__name__})
        self._do(self.session.failed(error, self._site.moment()))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Take):
                assert self._nursery is not None, "pieces come over lines, which have a nursery"
                self._nursery.start_soon(self._take, effect)
                continue
            self.was_up |= isinstance(effect, Up)
            if isinstance(effect, Ended):
                self._over.set()
            self._tell(effect)
        self._wake()

    def _tell(self, effect: Effect) -> None:
        try:
            self._site.handle(self, effect)
        except Exception as error:  # noqa: BLE001 - a link's failure is its own; it is reported
            self._fail(error)

    def _wake(self) -> None:
        changes, self._changes = self._changes, trio.Event()
        changes.set()

    async def _changed(self) -> None:
        await self._changes.wait()


async def keep_linked(site: Site, headquarters: bytes, dial: Dial) -> None:
    """Keep a branch linked to headquarters, until cancelled.

    Args:
        site: the branch.
        headquarters: the node that the connections have proved to lead to.
        dial: opens a connection for a channel.
    """
    failures = 0
    while True:
        driver: Driver | None = None
        try:
            line = await _reach(dial, MAIN)
        except LinkError as reason:
            error = reason
            site.missed(error)
        else:
            driver = Driver(site, Role.BRANCH, headquarters, site.random_bytes(16))
            error = await driver.run(line, dial)
        failures = 0 if driver is not None and driver.was_up else failures + 1
        await trio.sleep(pause_seconds(error, failures, site.chance()))


async def _reach(dial: Dial, channel: int) -> Line:
    """Dial; whatever else goes wrong is reported and counts as a failure of ours."""
    try:
        return await dial(channel)
    except LinkError:
        raise
    except Exception as error:  # noqa: BLE001 - the next attempt may go better
        logger.error("link.dial_failed", extra={"error": type(error).__name__})
        raise LinkError("headquarters could not be dialled") from None
