"""Ask for this branch's lease over the link, and grant it at headquarters.

A branch asks as soon as it is linked, every ``LEASE_ASK_SECONDS``, and when it has applied a hold:
then headquarters learns that the hold is in force there. What is granted is durable at
headquarters before the branch hears of it, so headquarters always knows how long a branch may
still destroy without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from appliance.context import SITE, Actor
from appliance.sites import lease
from appliance.sites.commands import GrantLease, RecordGrant
from appliance.sites.lease import Grant
from appliance.sites.limits import LEASE_ASK_SECONDS
from store.errors import FormatError

if TYPE_CHECKING:
    from appliance.core import Core
    from appliance.sites.linking import Links

LOOK_SECONDS: Final = 1.0
"""How often a branch looks whether it has to ask."""

ASK: Final = "lease.ask"
GRANT: Final = "lease.grant"

Execute = Callable[[Actor, Any], Awaitable[Any]]
Spawn = Callable[[Callable[[], Awaitable[None]]], None]


class Leasing:
    """Belongs to the trio thread.

    Args:
        core: the site's state.
        links: carries the notes.
        execute: gives commands to the writer.
        spawn: begins a task.
        now: monotonic seconds.
    """

    def __init__(
        self,
        core: Core,
        links: Links,
        execute: Execute,
        spawn: Spawn,
        now: Callable[[], float],
    ) -> None:
        self._core = core
        self._links = links
        self._execute = execute
        self._spawn = spawn
        self._now = now
        self._asked = -LEASE_ASK_SECONDS
        self._hold_pos = -1
        self._was_up = False
        links.notes[ASK] = self._asked_for
        links.notes[GRANT] = self._granted

    async def run(self) -> None:
        """At a branch: ask whenever it is time, for ever."""
        while True:
            self.look()
            await trio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Ask, if it is time."""
        sites, hold_pos = self._core.sites, self._core.disposal.hold_pos
        is_up = self._links.state(sites.headquarters_node).is_up
        is_new = is_up and not self._was_up
        is_due = self._now() - self._asked >= LEASE_ASK_SECONDS or hold_pos != self._hold_pos
        self._was_up = is_up
        if not is_new and not (is_up and is_due):
            return
        asked = lease.ask(self._core.reading(), sites.applied)
        if self._links.note(sites.headquarters_node, ASK, lease.write_ask(asked)):
            self._asked, self._hold_pos = self._now(), hold_pos

    def _asked_for(self, node: bytes, body: bytes) -> None:
        """Grant a branch what it asks for; what is no request is not answered."""
        try:
            asked = lease.read_ask(body)
        except FormatError:
            return

        async def grant() -> None:
            granted: Grant = await self._execute(SITE, RecordGrant(node, asked))
            self._links.note(node, GRANT, lease.write_grant(granted))

        if not self._core.sites.is_branch:
            self._spawn(grant)

    def _granted(self, node: bytes, body: bytes) -> None:
        try:
            granted = lease.read_grant(body)
        except FormatError:
            return

        async def take() -> None:
            await self._execute(SITE, GrantLease(granted))

        if self._core.sites.is_branch and node == self._core.sites.headquarters_node:
            self._spawn(take)
