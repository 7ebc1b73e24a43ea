"""Watch at a branch which conversations have left it, and let go of them piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from appliance.context import SITE, Actor
from appliance.messaging.model import Conversation
from appliance.sites.leaving import LeaveConversation, outside, surviving
from store import reading
from store.engine.contract import Engine

if TYPE_CHECKING:
    from appliance.core import Core

LOOK_SECONDS: Final = 60.0
"""How often a branch looks whether a conversation has left it."""


class Leaver:
    """Belongs to the trio thread.

    Args:
        core: the site's state.
        engine: where snapshots come from.
        execute: gives commands to the writer.
        blocking: runs what takes long.
        acknowledged: the last own operation that headquarters has for sure.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        blocking: Callable[..., Awaitable[Any]],
        acknowledged: Callable[[], int],
    ) -> None:
        self._core = core
        self._engine = engine
        self._execute = execute
        self._blocking = blocking
        self._acknowledged = acknowledged
        self._seen: dict[bytes, tuple[int, int, object]] = {}

    async def look(self) -> None:
        """Let go of what left since the last look: of all that, if nothing new comes meanwhile."""
        core, upto = self._core, self._acknowledged()
        for conversation in outside(core):
            front = core.conversations.front(conversation.pseudonym)
            state = (front.pos, upto, core.disposal.active)
            if self._seen.get(conversation.id) == state:
                continue
            await self._leave(conversation, upto)
            self._seen[conversation.id] = state

    async def _leave(self, conversation: Conversation, upto: int) -> None:
        after, is_over = 0, False
        while not is_over:
            find = partial(
                surviving, self._core, conversation=conversation, acknowledged=upto, after=after
            )
            places, after = await self._blocking(reading.read, self._engine, find)
            if places:
                command = LeaveConversation(conversation.id, tuple(places), upto)
                await self._execute(SITE, command)
            is_over = not after
