"""Connections to a server: QUIC and WebSocket, and the race between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from transports.wire.codec import Codec

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""The longest payload taken from a server."""


class Carrier(Protocol):
    """One connection to a server, ready for payloads."""

    @property
    def name(self) -> str:
        """Return ``quic`` or ``websocket``."""
        ...

    @property
    def codec(self) -> Codec:
        """Return how payloads are encoded."""
        ...

    async def receive(self) -> bytes:
        """Return the next payload; raises CarrierLost when the connection has ended."""
        ...

    async def send(self, payload: bytes) -> None:
        """Send one payload, waiting while the line is full; raises CarrierLost."""
        ...

    async def send_datagram(self, payload: bytes) -> None:
        """Send unreliably where the carrier can, else as ``send``; raises CarrierLost."""
        ...

    async def migrate(self) -> bool:
        """Go on from a new local address; False when this kind of connection cannot."""
        ...

    async def aclose(self) -> None:
        """Say goodbye and end; never raises for the state of the line."""
        ...


Opener = Callable[[trio.Nursery], Awaitable[Carrier]]
"""Opens one carrier; its tasks run in the nursery given. Raises CarrierLost, Unreachable or
Untrusted."""
