"""Ask headquarters for this branch's lease over the link, and answer the branches that ask.

A branch asks whenever the line comes up, when a hold or policy arrives, and then every hour; every
minute while there is no answer, or until it can say that it knows every hold. Nothing is kept of
a question: the answer repeats it. What is granted is durable at headquarters before the branch
hears of it, so headquarters always knows how long a branch may still destroy without it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from appliance.context import SITE, Actor
from appliance.core import Core
from appliance.operations import LeaseGranted
from appliance.sites import lease
from appliance.sites.commands import GrantLease, RecordGrant
from appliance.sites.limits import LEASE_ASK_SECONDS, LEASE_RETRY_SECONDS
from appliance.sites.linking import Links
from store.errors import FormatError, StoreError
from transports.wire.errors import StrongroomError

logger = logging.getLogger("strongroom.lease")

ASK: Final = "lease.ask"
GRANT: Final = "lease.grant"
"""Kinds of notes."""


class Leasing:
    """The leases of a site: asked for at a branch, granted at headquarters. In the trio thread.

    Args:
        core: the site's state.
        links: what carries the notes.
        execute: decides and commits a command.
        spawn: runs a task of the appliance.
    """

    def __init__(
        self,
        core: Core,
        links: Links,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._core = core
        self._links = links
        self._execute = execute
        self._spawn = spawn
        self._up = trio.Event()
        self._is_up = False
        self._ruled = 0
        links.notes[ASK] = self._asked
        links.notes[GRANT] = self._granted

    # --- at a branch ------------------------------------------------------------------------------

    def line_changed(self) -> None:
        """Ask at once when the line came up, and when what may be destroyed has changed."""
        was_up, self._is_up = self._is_up, self._state_is_up()
        ruled, self._ruled = self._ruled, self._core.disposal.ruled_pos
        if self._is_up and (not was_up or ruled != self._ruled):
            self._up.set()

    async def run(self) -> None:
        """Ask for the lease as long as this branch runs."""
        while True:
            before, self._up = self._core.sites.lease, trio.Event()
            self._ask()
            with trio.move_on_after(LEASE_RETRY_SECONDS) as waiting:
                await self._up.wait()
            if waiting.cancelled_caught and self._is_settled(before):
                with trio.move_on_after(LEASE_ASK_SECONDS - LEASE_RETRY_SECONDS):
                    await self._up.wait()

    def _is_settled(self, before: LeaseGranted | None) -> bool:
        """Tell whether there was an answer, to a branch that knew of every hold already."""
        known = self._core.sites.lease
        if known is None or known is before:
            return False
        return known.hold >= known.headquarters_hold

    def _ask(self) -> bool:
        """Send a question; False when the line is down."""
        asked = lease.ask(self._core.reading(), self._core.sites.applied)
        node = self._core.sites.headquarters_node
        return self._links.note(node, ASK, lease.write_ask(asked))

    def _state_is_up(self) -> bool:
        return self._links.state(self._core.sites.headquarters_node).is_up

    def _granted(self, node: bytes, body: bytes) -> None:
        """Take headquarters' answer."""
        if not self._core.sites.is_branch or node != self._core.sites.headquarters_node:
            return
        try:
            command = GrantLease(lease.read_grant(body))
        except FormatError:
            logger.warning("lease.malformed")
            return

        async def take() -> None:
            try:
                await self._execute(SITE, command)
            except (StrongroomError, StoreError) as error:
                logger.error("lease.failed", extra={"error": error.code})

        self._spawn(take)

    # --- at headquarters --------------------------------------------------------------------------

    def _asked(self, node: bytes, body: bytes) -> None:
        """Grant an approved branch what it asks for.

        The grant is durable here before the branch hears of it, so headquarters always knows how
        long a branch may still destroy without hearing of a hold.
        """
        branch = self._core.sites.branch_of(node)
        if branch is None or not branch.is_approved:
            return
        try:
            asked = lease.read_ask(body)
        except FormatError:
            logger.warning("lease.malformed", extra={"site": node.hex()})
            return

        async def grant() -> None:
            try:
                granted = await self._execute(SITE, RecordGrant(node, asked))
            except (StrongroomError, StoreError) as error:
                logger.error("lease.failed", extra={"error": error.code})
            else:
                self._links.note(node, GRANT, lease.write_grant(granted))

        self._spawn(grant)
