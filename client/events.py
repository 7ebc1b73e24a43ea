"""Hold what happened until the application takes it, without growing beyond a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from client.errors import ClientError
from client.notices import AppEvent, Offline, Online

MAX_WAITING = 10_000
"""Events held for an application that is busy; then the rest is left to a later resume."""


class EventQueue:
    """A bounded queue with one taker.

    When it is full, the session ignores further events, and resumes where it stopped on a new
    connection once the application has caught up. So nothing is lost, memory is bounded (by the
    capacity and one payload), and answers are never held up by events nobody takes.
    """

    def __init__(self, capacity: int = MAX_WAITING) -> None:
        self._capacity = capacity
        self._waiting: deque[AppEvent] = deque()
        self._arrival = trio.Event()
        self._error: ClientError | None = None
        self._is_taken = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> AppEvent | None:
        """Return the oldest event without taking it; None when there is none."""
        return self._waiting[0] if self._waiting else None

    @property
    def is_full(self) -> bool:
        """Whether no further event from the server should be taken."""
        return len(self._waiting) >= self._capacity

    def put(self, event: AppEvent) -> None:
        """Hold an event; news of the line itself is dropped when there is no room."""
        if self.is_full and isinstance(event, Online | Offline):
            return
        self._waiting.append(event)
        self._arrival.set()

    def end(self, error: ClientError) -> None:
        """Raise ``error`` to the taker once everything held is taken."""
        self._error = self._error or error
        self._arrival.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Be the one taker for the block; RuntimeError when there is one already."""
        if self._is_taken:
            raise RuntimeError("the session's events are being taken by another task")
        self._is_taken = True
        try:
            yield
        finally:
            self._is_taken = False

    async def take(self) -> AppEvent:
        """Return the oldest event, waiting for one; raises what ``end`` was given."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._arrival = trio.Event()
            await self._arrival.wait()
        return self._waiting.popleft()
