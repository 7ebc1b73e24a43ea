"""Send connections that are behind what they have missed, from the log, a step at a time.

This serves ``resume`` and slow readers alike. A step reads events after the connection's
position from one snapshot; when it reaches the snapshot's end the connection is live again:
whatever was committed later is still to be fanned out, in this same thread.
"""

from __future__ import annotations

from collections import deque

from appliance.core import Core
from appliance.gateway.client import Client, Shared
from appliance.gateway.fanout import Fanout
from appliance.gateway.limits import (
    CATCH_UP_BYTES,
    CATCH_UP_EVENTS,
    CATCH_UP_SESSIONS,
    GAP_EVENTS,
)
from appliance.messaging import feed, render
from appliance.positions import format_pos
from store.engine.contract import Engine, Reader
from transports.wire import schema


class CatchUp:
    """The queue of connections that are behind. Belongs to the trio thread."""

    def __init__(self, core: Core, engine: Engine, fanout: Fanout) -> None:
        self._core = core
        self._engine = engine
        self._fanout = fanout
        self._behind: deque[Client] = deque()

    def __len__(self) -> int:
        """Return how many connections await a step."""
        return len(self._behind)

    def follow(self, client: Client, pos: int) -> None:
        """Let a connection follow the events after ``pos``."""
        client.pos = pos
        client.is_live = False
        self._behind.append(client)

    def step(self, now: float) -> bool:
        """Advance some connections; returns whether there is more to do at once.

        Reads from one snapshot for all of them; bounded by ``CATCH_UP_SESSIONS`` times
        ``CATCH_UP_EVENTS`` events.
        """
        if not self._behind:
            return False
        with self._engine.snapshot() as reader:
            head = self._core.applied(reader)
            for _ in range(min(CATCH_UP_SESSIONS, len(self._behind))):
                client = self._behind.popleft()
                if client.is_live or not client.session.is_known or client.is_blocked:
                    continue
                self._advance(reader, client, head, now)
                if not client.is_live:
                    self._behind.append(client)
        return bool(self._behind)

    def _advance(self, reader: Reader, client: Client, head: int, now: float) -> None:
        if head - client.pos > GAP_EVENTS:
            gap = schema.Gap(format_pos(client.pos), format_pos(head))
            self._fanout.reply(client, gap)
            client.pos = head
        found = feed.events_after(
            reader,
            self._core.log,
            self._core.conversations,
            client.person,
            client.pos,
            CATCH_UP_EVENTS,
        )
        sent_bytes = 0
        for pos, op in found:
            client.pos = pos
            event = render.event(op, self._core.conversations)
            if event is not None:
                shared = Shared(event)
                sent_bytes += len(shared.encoded(client.codec))
                self._fanout.event(client, shared, now, is_urgent=render.is_urgent(event))
            if sent_bytes >= CATCH_UP_BYTES:
                return
        if len(found) < CATCH_UP_EVENTS:
            client.pos = max(client.pos, head)
            client.is_live = True
