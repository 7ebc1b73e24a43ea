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
from appliance.messaging import feed, render, targets
from appliance.positions import format_pos
from store import reading
from store.engine.contract import Engine, Reader
from store.vault import StaleSnapshotError
from transports.wire import schema


class CatchUp:
    """The queue of connections that are behind. Belongs to the trio thread."""

    def __init__(self, core: Core, engine: Engine, fanout: Fanout) -> None:
        self._core = core
        self._engine = engine
        self._fanout = fanout
        self._behind: deque[Client] = deque()
        self.failed: list[Client] = []
        """Connections that could not be read for, to be ended: they come back where they were."""

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
        ``CATCH_UP_EVENTS`` events. When a destruction makes that snapshot stale, those who have
        not taken their step yet take it from a new one.
        """
        if not self._behind:
            return False
        count = min(CATCH_UP_SESSIONS, len(self._behind))
        taking = deque(self._behind.popleft() for _ in range(count))
        try:
            reading.read(self._engine, lambda reader: self._take_turns(reader, taking, now))
        except StaleSnapshotError:
            self.failed.append(taking.popleft())
            self._behind.extendleft(reversed(taking))
        return bool(self._behind)

    def _take_turns(self, reader: Reader, taking: deque[Client], now: float) -> None:
        """Let each take its step; who is done is taken out, so that nobody takes it twice."""
        head = self._core.applied(reader)
        while taking:
            client = taking[0]
            if not client.is_live and client.session.is_known and not client.is_blocked:
                self._advance(reader, client, head, now)
                if not client.is_live:
                    self._behind.append(client)
            taking.popleft()

    def _advance(self, reader: Reader, client: Client, head: int, now: float) -> None:
        if head - client.pos > GAP_EVENTS:
            gap = schema.Gap(format_pos(client.pos), format_pos(head))
            self._fanout.reply(client, gap)
            client.pos = head
        missed = feed.events_after(
            reader,
            self._core.log,
            self._core.conversations,
            client.person,
            client.pos,
            CATCH_UP_EVENTS,
            self._core.is_over(),
        )
        sent_bytes = 0
        for pos, op in missed.events:
            client.pos = pos
            event = render.event(op, targets.body_of(op), self._core.conversations)
            if event is not None:
                shared = Shared(event)
                sent_bytes += len(shared.encoded(client.codec))
                self._fanout.event(client, shared, now, is_urgent=render.is_urgent(event))
            if sent_bytes >= CATCH_UP_BYTES:
                return
        client.is_live = missed.upto is None
        client.pos = max(client.pos, head if missed.upto is None else missed.upto)
