"""Open the first carrier that works: QUIC at once, WebSocket a moment later, the first one wins.

A network that drops UDP answers nothing, so waiting for an error would take seconds. The second
carrier is started after ``HEAD_START_SECONDS``, or as soon as the first one fails; what won is
tried first next time, until ``MEMORY_SECONDS`` have passed and QUIC gets its head start again.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from client.carriers import Carrier, Opener
from client.errors import ClientError, Unreachable, Untrusted

HEAD_START_SECONDS = 0.3
MEMORY_SECONDS = 600.0
"""How long the winner of a race goes first."""


class Race:
    """Dial by several ways at once; remembers which one works here.

    Args:
        openers: name and opener of each way, the preferred one first.
    """

    def __init__(self, openers: Sequence[tuple[str, Opener]]) -> None:
        self._openers = list(openers)
        self._winner = ""
        self._forget_at = 0.0

    async def dial(self, nursery: trio.Nursery) -> Carrier:
        """Return the first carrier that is ready; its tasks run in ``nursery``.

        Raises:
            Untrusted: a server answered, and it was not the one expected.
            Unreachable: no way leads to the server.
        """
        runner = _Heat(self._in_order(), nursery)
        carrier = await runner.run()
        self._winner = carrier.name
        self._forget_at = trio.current_time() + MEMORY_SECONDS
        return carrier

    def _in_order(self) -> list[Opener]:
        if trio.current_time() >= self._forget_at:
            self._winner = ""
        ranked = sorted(self._openers, key=lambda way: way[0] != self._winner)
        return [opener for _, opener in (ranked if self._winner else self._openers)]


class _Heat:
    """One race: starts each way after the head start of the one before."""

    def __init__(self, openers: list[Opener], nursery: trio.Nursery) -> None:
        self._openers = openers
        self._outer = nursery
        self._carrier: Carrier | None = None
        self._error: ClientError | None = None

    async def run(self) -> Carrier:
        async with trio.open_nursery() as heat:
            for opener in self._openers:
                failed = trio.Event()
                heat.start_soon(self._try, opener, failed, heat.cancel_scope)
                with trio.move_on_after(HEAD_START_SECONDS):
                    await failed.wait()
        if self._carrier is None:
            raise self._error or Unreachable()
        return self._carrier

    async def _try(self, opener: Opener, failed: trio.Event, race: trio.CancelScope) -> None:
        try:
            carrier = await opener(self._outer)
        except (Unreachable, Untrusted) as error:
            if self._error is None or isinstance(error, Untrusted):
                self._error = error
            failed.set()
            return
        if self._carrier is None:
            self._carrier = carrier
            race.cancel()
        else:
            await carrier.aclose()
