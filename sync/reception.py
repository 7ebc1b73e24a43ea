"""Receive branches at headquarters: join connections to links; the newest link of a site wins."""

from __future__ import annotations

from collections.abc import Collection

import trio

from sync import frames
from sync.driver import Driver, Line, Site
from sync.errors import LinkError, LostError, ReplacedError, StrangerError, UnexpectedError
from sync.frames import Bye, Hello
from sync.limits import (
    FAREWELL_SECONDS,
    HANDSHAKE_SECONDS,
    NEWS_SECONDS,
    NEWS_SECONDS_PER_LINK,
)
from sync.session import LANES, MAIN, Role


class Reception:
    """The links of all branches.

    Args:
        site: headquarters.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.links: dict[bytes, Driver] = {}
        """Node -> its link."""

    async def serve(self, node: bytes, line: Line) -> None:
        """Run one connection, whose peer has proved to be ``node``, until it ends; closes it."""
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                hello, begun = await _first(line)
            if hello.stand.node != node or hello.channel not in LANES:
                raise StrangerError("it says to be another site than it has proved to be")
            await self._join(node, hello, _Begun(begun, line))
        except LinkError as error:
            await _turn_away(line, error)
        except trio.TooSlowError:
            await line.aclose()

    def changed(self, nodes: Collection[bytes] | None = None) -> None:
        """There may be something new for these branches, or for all."""
        for node in self.links if nodes is None else nodes:
            if node in self.links:
                self.links[node].changed()

    def _news_seconds(self) -> float:
        """Return how long news gather: with many links, looking for them takes its time."""
        return max(NEWS_SECONDS, len(self.links) * NEWS_SECONDS_PER_LINK)

    def stop(self, error: LinkError, node: bytes | None = None) -> None:
        """End the link of one branch, which was revoked for example, or of all."""
        for each, driver in list(self.links.items()):
            if node in (None, each):
                driver.stop(error)

    async def _join(self, node: bytes, hello: Hello, line: Line) -> None:
        present = self.links.get(node)
        if hello.channel != MAIN:
            if present is None or present.session.session != hello.session:
                raise UnexpectedError("a connection of no link that stands")
            await present.attach(hello.channel, line)
            return
        driver = self.links[node] = Driver(
            self._site, Role.HEADQUARTERS, node, hello.session, self._news_seconds
        )
        if present is not None:
            present.stop(ReplacedError())
        try:
            await driver.run(line)
        finally:
            if self.links.get(node) is driver:
                del self.links[node]


class _Begun:
    """A line of which something was read already."""

    def __init__(self, begun: bytes, line: Line) -> None:
        self._begun = begun
        self._line = line
        self.send = line.send
        self.aclose = line.aclose

    async def receive(self) -> bytes:
        """Return what was read already, then what follows."""
        begun, self._begun = self._begun, b""
        return begun or await self._line.receive()


async def _first(line: Line) -> tuple[Hello, bytes]:
    """Return the Hello and all bytes read so far; at most one frame too many is held."""
    begun = b""
    while True:
        data = await line.receive()
        if not data:
            raise LostError("the connection ended before a Hello")
        begun += data
        hello = frames.peek_hello(begun)
        if hello is not None:
            return hello, begun


async def _turn_away(line: Line, error: LinkError) -> None:
    with trio.move_on_after(FAREWELL_SECONDS):
        try:
            await line.send(frames.encode(Bye(error.code)))
        except LostError:
            return
        finally:
            await line.aclose()
