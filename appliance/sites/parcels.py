"""Export and import parcels on a running site, one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

from appliance.context import Actor
from appliance.core import Core
from appliance.sites.linking import Links
from appliance.sites.sending_parcels import Sender, Sent
from appliance.sites.taking_parcels import Taken, Taker
from store.engine.contract import Engine
from store.ports import Clock, Entropy
from sync.errors import FencedError, ForkedError
from transports.wire.errors import Refusal

IDLE: Final = (0, 0)


class Parcels:
    """Belongs to the trio thread; the arguments are those of ``Sender``, and the links."""

    def __init__(
        self,
        core: Core,
        engine: Engine,
        clock: Clock,
        entropy: Entropy,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        blocking: Callable[..., Awaitable[Any]],
        links: Links,
        software: str,
    ) -> None:
        self._core = core
        self._links = links
        self._turn = trio.Lock()
        self._sender = Sender(core, engine, clock, entropy, execute, blocking, software)
        self._taker = Taker(core, engine, execute, blocking)
        self._work: Sender | Taker | None = None

    @property
    def progress(self) -> tuple[int, int]:
        """How much is done of how much, of what goes on now."""
        return IDLE if self._work is None else self._work.progress

    async def send(self, name: str, path: Path, *, is_all: bool) -> Sent:
        """Write a file for a branch by its name, or for headquarters; raises as ``Sender``."""
        node = self._node_of(name)
        async with self._turn:
            self._work = self._sender
            try:
                live = self._links.peers.get(node)
                return await self._sender.send(node, path, live, is_all=is_all)
            except (FencedError, ForkedError) as error:
                raise self._contradicted(error) from error
            finally:
                self._work = None

    async def take(self, path: Path) -> Taken:
        """Take a file in; raises as ``Taker``."""
        async with self._turn:
            self._work = self._taker
            try:
                return await self._taker.take(path)
            except (FencedError, ForkedError) as error:
                raise self._contradicted(error) from error
            finally:
                self._work = None

    def _contradicted(self, error: FencedError | ForkedError) -> Refusal:
        """Go on under a new incarnation, as after a link that ended so; the file waits."""
        self._links.take_incarnation(error)
        return Refusal(error.code)

    def _node_of(self, name: str) -> bytes:
        sites = self._core.sites
        if sites.is_branch:
            if name:
                raise Refusal("site.not_headquarters")
            return sites.headquarters_node
        branch = sites.named(name)
        if branch is None or not branch.is_approved:
            raise Refusal("site.unknown")
        return branch.node
