"""Speak one tunnel over an open channel of the pump: the server's end of a link between sites."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from transports.carrier import CloseReason
from transports.channel import Channel
from transports.http.tunnel import Tunnel


class TunnelSession:
    """The layer above a channel whose peer showed a certificate.

    What arrives waits here until it is taken; then the peer may send more. All in the trio thread.

    Args:
        channel: the connection, with TLS established.
        answer: gives the status for a request's method and path.
        opened: called once, when the request was answered with 200.
    """

    def __init__(
        self,
        channel: Channel,
        answer: Callable[[str, str], int],
        opened: Callable[[TunnelSession], None],
    ) -> None:
        self._channel = channel
        self._tunnel = Tunnel.respond(answer)
        self._opened = opened
        self._is_opened = False
        self._by = channel.host.now + channel.host.limits.first_request_seconds
        self._changes = trio.Event()

    # --- for the channel ----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take decrypted bytes."""
        self._tunnel.receive(data)
        self._push()
        if self._tunnel.is_open and not self._is_opened:
            self._is_opened = True
            self._channel.host.admit(self._channel)
            self._channel.reconsider()
            self._opened(self)

    def due(self, now: float) -> float:
        """Close when no request came in time; later the link keeps its own time."""
        if self._is_opened:
            return math.inf
        if now >= self._by:
            self._channel.finish(CloseReason.IDLE)
        return self._by

    def has_room(self) -> None:
        """Let who waits write on."""
        self._wake()

    def leave(self, reason: CloseReason) -> None:
        """End the stream and the connection."""
        self._tunnel.end()
        self._push()
        self._channel.finish(reason)

    def ended(self, reason: CloseReason) -> None:
        """The channel is closed."""
        del reason
        self._tunnel.receive(b"")
        self._wake()

    # --- for the link -------------------------------------------------------------------------

    async def receive_some(self) -> bytes:
        """Return what arrived next, empty at the end."""
        while True:
            data = self._tunnel.take()
            if data:
                self._push()
                return data
            if self._tunnel.is_over:
                return b""
            await self._changes.wait()

    async def send_all(self, data: bytes) -> bool:
        """Send, and return once there is room for more; False when it is over."""
        self._tunnel.write(data)
        self._push()
        while not self._tunnel.is_over and self._is_full():
            await self._changes.wait()
        await trio.lowlevel.checkpoint()
        return not self._tunnel.is_over

    def close(self) -> None:
        """End the stream and the connection; what was sent still leaves."""
        self.leave(CloseReason.NORMAL)

    def _is_full(self) -> bool:
        """Tell whether to wait: the peer's windows, or the channel, then tell when to go on."""
        high_water_bytes = self._channel.host.limits.high_water_bytes
        return self._tunnel.unsent_bytes > 0 or self._channel.queued_bytes() > high_water_bytes

    def _push(self) -> None:
        output = self._tunnel.output()
        if output:
            self._channel.write(output)
        if self._tunnel.is_over:
            self._channel.finish(CloseReason.NORMAL)
        self._wake()

    def _wake(self) -> None:
        changes, self._changes = self._changes, trio.Event()
        changes.set()
