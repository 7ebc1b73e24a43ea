"""What the tests of the TCP side share: a pump on a real port, a clock that stands still, peers."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import trio
import trio.testing

from transports.carrier import Carrier, CloseReason
from transports.certificates import Identity, certificate_pem, derive_key, issue_leaf, make_ca
from transports.http import pages
from transports.http.message import Request, Response
from transports.http.router import Router
from transports.limits import Limits
from transports.mask import mask_as_integer
from transports.pump import Pump, listen
from transports.tls import LiveIdentity, client_context

PATIENCE_SECONDS = 40.0
"""A test that hangs fails after this; nothing is measured by it."""
UPGRADE = (
    "GET /v1/session HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
    "Sec-WebSocket-Protocol: strongroom.v1.{codec}\r\n\r\n"
)


@cache
def make_identity(number: int = 1) -> tuple[Identity, bytes]:
    """Return a server's identity and its CA's certificate as PEM; other numbers, other CAs."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    ca_key = derive_key(bytes([number]) * 48)
    ca = make_ca(ca_key, "Tests", now, bytes([number]) * 16)
    leaf_key = derive_key(bytes([number + 100]) * 48)
    names = ["localhost", "127.0.0.1"]
    return issue_leaf(ca_key, ca, leaf_key, names, now, bytes(16)), certificate_pem(ca)


@dataclass
class Echo:
    """A handler that answers each payload with itself, and keeps notes."""

    trusts: bool = True
    carriers: list[Carrier] = field(default_factory=list)
    reasons: list[CloseReason | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_payload: Callable[[Carrier, bytes], None] | None = None
    change: trio.Event = field(default_factory=trio.Event)

    def opened(self, carrier: Carrier) -> None:
        carrier.authenticated = self.trusts
        self.carriers.append(carrier)
        self.note("opened")

    def received(self, carrier: Carrier, payload: bytes, *, datagram: bool = False) -> None:
        self.note("received")
        if self.on_payload is not None:
            self.on_payload(carrier, payload)
        else:
            carrier.send(payload)

    def writable(self, carrier: Carrier) -> None:
        self.note("writable")

    def closed(self, carrier: Carrier) -> None:
        self.reasons.append(carrier.reason)
        self.note("closed")

    def turn_ended(self) -> None:
        if self.notes and self.notes[-1] != "turn":
            self.note("turn")

    def note(self, what: str) -> None:
        self.notes.append(what)
        self.change.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when the condition holds, looking after each note."""
        while not is_so():
            self.change = trio.Event()
            await self.change.wait()


@dataclass
class Serving:
    """A running pump and what surrounds it."""

    pump: Pump
    echo: Echo
    address: tuple[str, int]
    ca_pem: bytes
    clock: trio.testing.MockClock
    live: LiveIdentity
    listener: socket.socket
    log: list[tuple[str, Mapping[str, str | int]]]
    woken: list[int]
    streams: list[trio.SocketStream] = field(default_factory=list)

    async def elapse(self, seconds: float) -> None:
        """Let time pass for the server: nothing else moves its clock."""
        self.clock.jump(seconds + 2 * self.pump.limits.tick_seconds)
        await trio.testing.wait_all_tasks_blocked()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when the condition holds; the server works meanwhile."""
        while not is_so():
            await trio.lowlevel.checkpoint()

    async def tcp(self) -> trio.SocketStream:
        """Connect without TLS."""
        stream = await trio.open_tcp_stream(*self.address)
        self.streams.append(stream)
        return stream

    async def tls(self, *protocols: str) -> Client:
        """Connect with TLS."""
        context = client_context(self.ca_pem)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        stream = trio.SSLStream(await self.tcp(), context, server_hostname="localhost")
        await stream.do_handshake()
        return Client(stream)

    async def websocket(self, codec: str = "msgpack") -> Client:
        """Connect and upgrade."""
        client = await self.tls()
        await client.stream.send_all(UPGRADE.replace("{codec}", codec).encode())
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return client


@dataclass
class Client:
    """The client's end: bytes, and just enough WebSocket to be rude."""

    stream: trio.SSLStream[trio.SocketStream]
    buffer: bytes = b""

    async def until(self, mark: bytes) -> bytes:
        """Return what arrives up to and with the mark."""
        while mark not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self._more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        if not data:
            raise EOFError
        self.buffer += bytes(data)

    async def rest(self) -> bytes:
        """Return everything up to the end of the connection, however it ends."""
        try:
            while True:
                await self._more()
        except (EOFError, trio.BrokenResourceError):
            return self.buffer

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame's first byte and payload."""
        first, length = await self.exactly(2)
        if length == 126:
            length = int.from_bytes(await self.exactly(2))
        elif length == 127:
            length = int.from_bytes(await self.exactly(8))
        return first, await self.exactly(length)

    async def close_code(self) -> int:
        """Skip to the close frame and return its code."""
        while True:
            first, payload = await self.frame()
            if first == 0x88:
                return int.from_bytes(payload[:2])


@dataclass
class Typist:
    """A program that reads what we type, one line at a time, and shows what it gets."""

    process: trio.Process
    shown: bytes = b""

    @classmethod
    @asynccontextmanager
    async def of(cls, command: list[str]) -> AsyncIterator[Typist]:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()

    async def type(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        for line in lines:
            await self.process.stdin.send_all(line)

    async def until(self, mark: bytes) -> bytes:
        assert self.process.stdout is not None
        while mark not in self.shown:
            data = await self.process.stdout.receive_some()
            if not data:
                raise EOFError(self.shown)
            self.shown += data
        head, _, self.shown = self.shown.partition(mark)
        return head + mark


def frame(first: int, payload: bytes = b"", *, is_masked: bool = True) -> bytes:
    """Return a client's frame with this first byte."""
    length, flag = len(payload), 0x80 if is_masked else 0
    if length < 126:
        head = bytes((first, flag | length))
    elif length < 65_536:
        head = bytes((first, flag | 126)) + length.to_bytes(2)
    else:
        head = bytes((first, flag | 127)) + length.to_bytes(8)
    key = os.urandom(4)
    return head + (key + mask_as_integer(payload, key) if is_masked else payload)


def router() -> Router:
    """Return routes enough to see each behaviour."""

    def length(request: Request) -> Response:
        return Response(200, str(len(request.body)).encode())

    def large(_request: Request) -> Response:
        return Response(200, bytes(200_000), "application/octet-stream")

    return Router(
        {
            "/livez": {"GET": pages.live},
            "/length": {"POST": length},
            "/large": {"GET": large},
        }
    )


@asynccontextmanager
async def serving(
    clock: trio.testing.MockClock, limits: Limits, echo: Echo
) -> AsyncIterator[Serving]:
    identity, ca_pem = make_identity()
    live = LiveIdentity(identity)
    log: list[tuple[str, Mapping[str, str | int]]] = []
    woken: list[int] = []
    pump = Pump(
        echo,
        live.choose,
        router(),
        limits=limits,
        log=lambda event, fields: log.append((event, fields)),
        woken=lambda: woken.append(threading.get_ident()),
    )
    listener = listen("127.0.0.1", 0)
    address = listener.getsockname()
    async with trio.open_nursery() as nursery:
        await nursery.start(pump.serve, [listener])
        served = Serving(pump, echo, address, ca_pem, clock, live, listener, log, woken)
        try:
            yield served
        finally:
            for stream in served.streams:
                stream.socket.close()
            nursery.cancel_scope.cancel()


def run(
    test: Callable[[Serving], Awaitable[None]],
    *,
    limits: Limits | None = None,
    echo: Echo | None = None,
    may_log: bool = False,
) -> None:
    """Run a test against a pump whose clock moves only by ``Serving.elapse``.

    Unless ``may_log``, whatever the pump reported is a failure.
    """
    clock = trio.testing.MockClock()

    async def main() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            watchdog = threading.Timer(PATIENCE_SECONDS, lambda: token.run_sync_soon(scope.cancel))
            watchdog.daemon = True
            watchdog.start()
            try:
                async with serving(clock, limits or Limits(), echo or Echo()) as served:
                    await test(served)
                    assert may_log or not served.log
            finally:
                watchdog.cancel()
        assert not scope.cancelled_caught, "the test hung"

    trio.run(main, clock=clock)


def cipher_context(ca_pem: bytes, *protocols: str) -> ssl.SSLContext:
    """Return a client's context with these ALPN protocols."""
    context = client_context(ca_pem)
    context.set_alpn_protocols(list(protocols))
    return context
