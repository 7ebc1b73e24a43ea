"""Compare a branch's logs with headquarters' over a link, before anything else travels.

Belongs to the trio thread. Nothing is kept here that may not be lost: what is suspect is durable,
and after a break the questions are asked again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from appliance.context import SITE, Actor
from appliance.sites import lineage, upstream
from appliance.sites.lineage import Lineage
from appliance.sites.settling import Follow, Settle, Settled
from appliance.sites.suspects import suspects
from appliance.sites.turn import is_overtaken
from store.engine.contract import Engine
from store.ids import Origin

if TYPE_CHECKING:
    from appliance.core import Core

COMMANDS: Final = 100_000
"""Commands in which one log is settled: 25 million operations."""


class Comparing:
    """At a branch: what headquarters has told of the log that is compared now.

    Args:
        core: the site's state.
        engine: where snapshots come from.
        execute: decides and commits a command.
        ask: sends a note to headquarters.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        ask: Callable[[str, bytes], None],
    ) -> None:
        self._core = core
        self._engine = engine
        self._execute = execute
        self._ask = ask
        self._told: Lineage | None = None
        self._followed = Origin(b"", 0)

    def is_new(self, headquarters: Origin) -> bool:
        """Tell whether headquarters goes on under another incarnation than was followed."""
        with self._engine.snapshot() as reader:
            return upstream.followed(reader) not in (None, headquarters)

    async def follow(self, headquarters: Origin) -> None:
        """Follow another incarnation of headquarters from the next link on."""
        await self._execute(SITE, Follow(headquarters))

    def begin(self, followed: Origin) -> bool:
        """Ask for the first thing to be compared; tell whether there is any.

        ``followed`` is the incarnation of this branch that headquarters follows.
        """
        self._followed = followed
        return self._begin_next()

    def _begin_next(self) -> bool:
        self._told = None
        return self._ask_on()

    def told(self, body: bytes) -> Settle | None:
        """Take an answer; return what to settle once it says enough, else ask on.

        Raises ``FormatError``.
        """
        told = lineage.read_told(body).joined(self._told)
        number = self._core.log.number_of(told.origin)
        with self._engine.snapshot() as reader:
            if number is None or number not in suspects(reader):
                return None
            self._told = told
            if lineage.is_enough(self._core.log, reader, number, told):
                is_known = bool(self._followed.node)
                return Settle(
                    told, is_known and is_overtaken(self._core.log, number, self._followed)
                )
        self._ask_on()
        return None

    async def settle(self, command: Settle) -> Settled:
        """Settle one log piece by piece, and go on with the next; ``is_over``: there is none."""
        for _ in range(COMMANDS):
            settled = await self._execute(SITE, command)
            assert isinstance(settled, Settled)
            if settled.is_over:
                return Settled(not self._begin_next(), settled.must_reopen)
        return Settled(is_over=False)

    def _ask_on(self) -> bool:
        with self._engine.snapshot() as reader:
            left = suspects(reader)
            if not left:
                return False
            body = lineage.question(self._core.log, reader, left[0], self._told)
        self._ask(lineage.WANTED, body)
        return True
