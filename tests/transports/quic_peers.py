"""What the tests of QUIC share: a certificate, a server that echoes, and ways to reach it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

import trio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
)

from client.carriers import Carrier as ClientCarrier
from client.carriers import quic
from client.trust import Trust
from transports.carrier import Carrier, CloseReason
from transports.certificates import Identity, certificate_pem, derive_key, issue_leaf, make_ca
from transports.quic import QuicEndpoint, QuicLimits
from transports.wire.links import SERVER_NAME, Server

T = TypeVar("T", bound=QuicEvent)
PATIENCE_SECONDS = 20.0
"""A test that hangs fails after this; nothing is measured by it."""


@cache
def make_identity(number: int = 1) -> tuple[Identity, bytes]:
    """Return a server's identity and its CA's certificate as PEM; other numbers, other CAs."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    ca_key = derive_key(bytes([number]) * 48)
    ca = make_ca(ca_key, "Tests", now, bytes([number]) * 16)
    leaf_key = derive_key(bytes([number + 100]) * 48)
    names = [SERVER_NAME, "localhost", "127.0.0.1"]
    return issue_leaf(ca_key, ca, leaf_key, names, now, bytes(16)), certificate_pem(ca)


@dataclass
class Echo:
    """A handler that answers each payload with itself, and keeps notes."""

    notes: list[str] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    reasons: list[CloseReason | None] = field(default_factory=list)
    turns: int = 0
    is_trusting: bool = True
    received_payload: Callable[[Carrier, bytes], None] | None = None
    change: trio.Event = field(default_factory=trio.Event)

    def opened(self, carrier: Carrier) -> None:
        carrier.authenticated = self.is_trusting
        self.carriers.append(carrier)
        self.note("opened")

    def received(self, carrier: Carrier, payload: bytes, *, datagram: bool = False) -> None:
        if self.received_payload is not None:
            self.received_payload(carrier, payload)
        elif datagram:
            carrier.send_datagram(payload)
        else:
            carrier.send(payload)

    def writable(self, carrier: Carrier) -> None:
        self.note("writable")

    def closed(self, carrier: Carrier) -> None:
        self.reasons.append(carrier.reason)
        self.carriers.remove(carrier)
        self.note("closed")

    def turn_ended(self) -> None:
        self.turns += 1

    def note(self, what: str) -> None:
        self.notes.append(what)
        self.change.set()
        self.change = trio.Event()

    async def until(self, what: str, count: int = 1) -> None:
        """Return once ``what`` was noted ``count`` times."""
        with trio.fail_after(PATIENCE_SECONDS):
            while self.notes.count(what) < count:
                await self.change.wait()


@dataclass
class Serving:
    """A running endpoint."""

    endpoint: QuicEndpoint
    handler: Echo
    port: int
    failures: list[BaseException]
    nursery: trio.Nursery

    async def dial(self, ca_number: int = 1) -> quic.QuicCarrier:
        """Connect with the SDK's carrier."""
        trust = Trust(make_identity(ca_number)[1], SERVER_NAME)
        carrier: ClientCarrier = await quic.opener(Server("127.0.0.1", self.port), trust)(
            self.nursery
        )
        assert isinstance(carrier, quic.QuicCarrier)
        return carrier


_OPENED: list[socket.socket] = []


def udp_socket() -> socket.socket:
    """Return a bound, non-blocking UDP socket on the loopback; `close_sockets` closes it."""
    fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fresh.bind(("127.0.0.1", 0))
    fresh.setblocking(False)
    _OPENED.append(fresh)
    return fresh


def close_sockets() -> None:
    """Close every socket a test has opened here."""
    while _OPENED:
        _OPENED.pop().close()


@asynccontextmanager
async def serving(handler: Echo | None = None, **limits: float) -> AsyncIterator[Serving]:
    """Run an endpoint on the loopback around the block."""
    sock = udp_socket()
    port: int = sock.getsockname()[1]
    failures: list[BaseException] = []
    echo = handler or Echo()
    bounds = replace(QuicLimits(), **limits)  # type: ignore[arg-type]
    endpoint = QuicEndpoint([sock], echo, make_identity()[0], limits=bounds, failed=failures.append)
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(endpoint.run)
                yield Serving(endpoint, echo, port, failures, nursery)
                nursery.cancel_scope.cancel()
    finally:
        close_sockets()


class RawClient:
    """aioquic's client on a socket of its own, moved by hand: for peers that misbehave."""

    def __init__(self, port: int, *, ca_number: int = 1, **settings: object) -> None:
        configuration = QuicConfiguration(
            alpn_protocols=["strongroom/1"],
            server_name=SERVER_NAME,
            cadata=make_identity(ca_number)[1],
            max_datagram_frame_size=65_536,
            **settings,  # type: ignore[arg-type]
        )
        self.server = ("127.0.0.1", port)
        self.quic = QuicConnection(configuration=configuration)
        self.socket = udp_socket()
        self.events: list[QuicEvent] = []
        self.received = bytearray()

    def rebind(self) -> None:
        """Take another local port, as a NAT does behind the client's back."""
        self.socket.close()
        self.socket = udp_socket()

    async def connect(self) -> RawClient:
        """Do the handshake."""
        self.quic.connect(self.server, trio.current_time())
        await self.until(lambda: self.saw(HandshakeCompleted) is not None)
        return self

    def saw(self, kind: type[T]) -> T | None:
        """Return the first event of a kind that has happened."""
        return next((event for event in self.events if isinstance(event, kind)), None)

    def flush(self) -> None:
        """Send what the engine wants sent."""
        for data, _ in self.quic.datagrams_to_send(trio.current_time()):
            self.socket.sendto(data, self.server)

    async def until(self, done: Callable[[], bool]) -> None:
        """Send and receive until ``done``."""
        self.flush()
        while not done():
            timer = self.quic.get_timer() or trio.current_time() + 1
            with trio.move_on_at(timer):
                await trio.lowlevel.wait_readable(self.socket)
            self._take()
            if (self.quic.get_timer() or float("inf")) <= trio.current_time():
                self.quic.handle_timer(trio.current_time())
            self._note()
            self.flush()

    def _take(self) -> None:
        while True:
            try:
                data = self.socket.recv(65_536)
            except BlockingIOError:
                return
            self.quic.receive_datagram(data, self.server, trio.current_time())

    def _note(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, StreamDataReceived):
                self.received += event.data

    async def until_ended(self) -> ConnectionTerminated:
        """Return how the server ended the connection."""
        await self.until(lambda: self.saw(ConnectionTerminated) is not None)
        ended = self.saw(ConnectionTerminated)
        assert ended is not None
        return ended

    async def echo(self, payload: bytes) -> bytes:
        """Send one message and return the answer."""
        self.received.clear()
        self.quic.send_stream_data(0, message(payload))
        await self.until(lambda: len(self.received) >= 4 + len(payload))
        return bytes(self.received[4:])


def message(payload: bytes) -> bytes:
    """Return a payload as it stands on the stream."""
    return len(payload).to_bytes(4, "big") + payload
