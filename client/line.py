"""Make connections for a session, one after the other, and move its payloads (the I/O shell).

One task makes connections; while there is one, one task reads from it and one writes to it. All
of them drive ``Core``, which decides; nothing here knows the protocol's rules.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from trio_websocket import ConnectionClosed

from client.carriers import Carrier
from client.core import Core, State
from client.errors import CarrierLost, ClientError, Unreachable, Untrusted
from client.notices import Ended, Hangup, Notice, Offline

DIAL_SECONDS = 15.0
"""How long one attempt to connect may take."""
BACKOFF_FIRST_SECONDS = 0.25
"""The bound of the first random pause before a new connection; it doubles with each failure."""
BACKOFF_LAST_SECONDS = 30.0
"""The largest bound of that pause."""
STEADY_SECONDS = 2.0
"""How long a connection must have been of use for the failures before it to be forgotten."""
FAREWELL_SECONDS = 1.0
"""How long saying goodbye may take."""


class Dialer(Protocol):
    """Makes connections."""

    async def dial(self, nursery: trio.Nursery) -> Carrier:
        """Return a carrier whose tasks run in ``nursery``; raises Unreachable or Untrusted."""
        ...


class Line:
    """The present connection of a session, if any, and the making of the next.

    Args:
        core: the session's state machine.
        dialer: makes connections.
        tell: takes what the core tells; must not raise.
        rng: for the pauses between attempts.
    """

    def __init__(
        self,
        core: Core,
        dialer: Dialer,
        tell: Callable[[Notice | Offline], None],
        rng: random.Random | None = None,
    ) -> None:
        self.carrier: Carrier | None = None
        self.failure: ClientError | None = None
        """Why the newest attempt to connect failed; None once one has succeeded."""
        self.attempted = trio.Event()
        """Set once the first attempt has failed."""
        self._core = core
        self._dialer = dialer
        self._tell = tell
        self._rng = rng or random.SystemRandom()
        self._scope: trio.CancelScope | None = None
        self._bell = trio.Event()
        self._failures = 0
        self._come_back_after = 0.0

    async def run(self) -> None:
        """Keep the session connected until it has ended."""
        while not self._is_over():
            try:
                await self._connect_once()
            except (Unreachable, Untrusted) as error:
                self.failure = error
                self._failures += 1
                self.attempted.set()
            if not self._is_over():
                await self._pause()

    def ring(self) -> None:
        """Have the writer look for what is to be sent."""
        self._bell.set()

    def drop(self) -> None:
        """End the present connection; another is made."""
        if self._scope is not None:
            self._scope.cancel()

    async def say_goodbye(self) -> None:
        """Close the present connection in good order, if there is one."""
        if self.carrier is not None:
            with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                await self.carrier.aclose()

    # --- one connection -----------------------------------------------------------------------

    async def _connect_once(self) -> None:
        """Make one connection and use it until it breaks."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    with trio.fail_after(DIAL_SECONDS):
                        carrier = await self._dialer.dial(nursery)
                except trio.TooSlowError:
                    raise Unreachable from None
                self.failure = None
                try:
                    await self._converse(carrier)
                finally:
                    with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                        await carrier.aclose()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            _raise_meant(group)

    async def _converse(self, carrier: Carrier) -> None:
        began = trio.current_time()
        self._core.connected(carrier.codec, began)
        self.carrier = carrier
        try:
            async with trio.open_nursery() as pair:
                self._scope = pair.cancel_scope
                pair.start_soon(self._write, carrier, pair.cancel_scope)
                pair.start_soon(self._read, carrier, pair.cancel_scope)
        finally:
            self.carrier = self._scope = None
            self._judge(began)
            if not self._is_over():
                self._act(self._core.cut(), None)

    def _judge(self, began: float) -> None:
        """Count the connection as a failure, or forget the failures before it."""
        lasted = trio.current_time() - began
        if self._core.state is State.LIVE and lasted >= STEADY_SECONDS:
            self._failures = 0
        else:
            self._failures += 1

    async def _read(self, carrier: Carrier, line: trio.CancelScope) -> None:
        try:
            while not line.cancel_called:
                payload = await carrier.receive()
                self._act(self._core.receive(payload, trio.current_time()), line)
                self.ring()
        except CarrierLost:
            line.cancel()

    async def _write(self, carrier: Carrier, line: trio.CancelScope) -> None:
        try:
            while not line.cancel_called:
                self._bell = trio.Event()
                self._act(self._core.tick(trio.current_time()), line)
                for payload in self._core.data_to_send():
                    await carrier.send(payload)
                with trio.move_on_at(self._core.next_deadline()):
                    await self._bell.wait()
        except CarrierLost:
            line.cancel()

    def _act(self, notices: Sequence[Notice], line: trio.CancelScope | None) -> None:
        for notice in notices:
            if isinstance(notice, Hangup):
                self._come_back_after = notice.after
            else:
                self._tell(notice)
            if line is not None and isinstance(notice, Hangup | Ended):
                line.cancel()

    # --- between connections --------------------------------------------------------------------

    async def _pause(self) -> None:
        """Wait before the next connection: at random, up to a bound that doubles (full jitter)."""
        bound = BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures, 16)
        pause = self._come_back_after + self._rng.uniform(0, min(BACKOFF_LAST_SECONDS, bound))
        self._come_back_after = 0.0
        self._tell(Offline(pause))
        await trio.sleep(pause)

    def _is_over(self) -> bool:
        return self._core.state is State.ENDED


_LINE_ERRORS = (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)


def _raise_meant(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise what a connection's nursery meant; a broken line alone is no error here."""
    _, rest = group.split(_LINE_ERRORS)
    while isinstance(rest, BaseExceptionGroup) and len(rest.exceptions) == 1:
        inner = rest.exceptions[0]
        if not isinstance(inner, BaseExceptionGroup):
            raise inner from None
        rest = inner
    if rest is not None:
        raise rest
