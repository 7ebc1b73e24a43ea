"""Carry payloads inside one process, in a fixed order: the network of the simulator.

A peer's payloads wait until the network takes a turn; a turn hands over everything that
waited, in the order sent, then ends. Nothing here reads a clock or a random number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from transports.carrier import CloseReason, Codec, Handler

HIGH_WATER_BYTES: Final = 256 * 1024
"""Queued bytes above which ``send`` says that there is no room."""

HARD_BYTES: Final = 1024 * 1024
"""Queued bytes above which the carrier is closed as too slow."""


class MemoryCarrier:
    """The server's end of a connection in memory."""

    name = "memory"

    def __init__(self, network: MemoryNetwork, codec: Codec, peer: str) -> None:
        self.context: object = None
        self.authenticated = False
        self.keepalive_seconds = 0.0
        self.codec = codec
        self.peer = peer
        self.reason: CloseReason | None = None
        self.outbox: deque[bytes] = deque()
        self._network = network
        self._queued = 0
        self._is_waiting = False
        self._arrived = trio.Event()

    def send(self, payload: bytes) -> bool:
        """Queue a payload for the peer; see ``Carrier.send``."""
        if self.reason is not None:
            return True
        self.outbox.append(payload)
        self._queued += len(payload)
        self._arrived.set()
        if self._queued > HARD_BYTES:
            self.close(CloseReason.SLOW)
        self._is_waiting = self._queued > HIGH_WATER_BYTES
        return not self._is_waiting

    def send_datagram(self, payload: bytes) -> None:
        """Send as ``send`` does, but drop the payload when the queue is full."""
        if self._queued <= HIGH_WATER_BYTES:
            self.send(payload)

    def queued_bytes(self) -> int:
        """Return the bytes the peer has not taken."""
        return self._queued

    def close(self, reason: CloseReason, message: str = "") -> None:
        """End the connection; what is queued can still be taken."""
        del message
        if self.reason is None:
            self.reason = reason
            self._arrived.set()
            self._network.ended(self)

    def take(self) -> bytes | None:
        """Take one payload off the queue, as the peer does."""
        if not self.outbox:
            return None
        payload = self.outbox.popleft()
        self._queued -= len(payload)
        if self._is_waiting and self._queued < HIGH_WATER_BYTES // 2:
            self._is_waiting = False
            self._network.has_room(self)
        return payload

    async def wait(self) -> None:
        """Return when something is queued for the peer, or the connection has ended."""
        while not self.outbox and self.reason is None:
            self._arrived = trio.Event()
            await self._arrived.wait()


class MemoryPeer:
    """The client's end of a connection in memory."""

    def __init__(self, network: MemoryNetwork, carrier: MemoryCarrier) -> None:
        self._network = network
        self.carrier = carrier

    def send(self, payload: bytes, *, datagram: bool = False) -> None:
        """Send a payload; the server gets it in the network's next turn."""
        self._network.arrived(self.carrier, payload, datagram=datagram)

    async def receive(self) -> bytes:
        """Return the next payload; raises ``trio.EndOfChannel`` once the server has closed."""
        await self.carrier.wait()
        payload = self.carrier.take()
        if payload is None:
            raise trio.EndOfChannel
        return payload

    def close(self) -> None:
        """Break the connection without a farewell."""
        self.carrier.close(CloseReason.LOST)


class MemoryNetwork:
    """A network of peers in memory; ``serve`` runs its turns."""

    def __init__(self) -> None:
        self._events: deque[Callable[[Handler], None]] = deque()
        self._due = trio.Event()
        self.addresses: tuple[str, ...] = ("memory",)

    def connect(self, codec: Codec = Codec.MSGPACK, peer: str = "192.0.2.1") -> MemoryPeer:
        """Open a connection; the server sees it in the next turn."""
        carrier = MemoryCarrier(self, codec, peer)
        self._add(lambda handler: handler.opened(carrier))
        return MemoryPeer(self, carrier)

    def arrived(self, carrier: MemoryCarrier, payload: bytes, *, datagram: bool) -> None:
        """Note a payload from a peer."""

        def hand_over(handler: Handler) -> None:
            if carrier.reason is None:
                handler.received(carrier, payload, datagram=datagram)

        self._add(hand_over)

    def ended(self, carrier: MemoryCarrier) -> None:
        """Note that a connection is over."""
        self._add(lambda handler: handler.closed(carrier))

    def has_room(self, carrier: MemoryCarrier) -> None:
        """Note that a peer has taken enough for the server to go on sending."""

        def tell(handler: Handler) -> None:
            if carrier.reason is None:
                handler.writable(carrier)

        self._add(tell)

    def wake(self) -> None:
        """Ask for a turn."""
        self._due.set()

    async def serve(self, handler: Handler) -> None:
        """Run turns for ever; cancel to stop."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            for _ in range(len(self._events)):
                self._events.popleft()(handler)
            handler.turn_ended()
            if self._events:
                self._due.set()
            await trio.lowlevel.checkpoint()

    def stop_accepting(self) -> None:
        """Nothing to do: nobody connects by surprise in a simulation."""

    def change(self, config: object) -> None:
        """Nothing to do: queues have neither limits nor origins."""

    def _add(self, event: Callable[[Handler], None]) -> None:
        self._events.append(event)
        self._due.set()
