"""Join a real session to the model server in memory, with lines that can be cut at will."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

import client
from client.errors import CarrierLost, ClientError, Unreachable
from client.session import Session
from tests.client.model_server import ModelConnection, ModelServer
from transports.wire.codec import MSGPACK, Codec


class MemoryCarrier:
    """One connection to the model server."""

    name = "memory"
    codec: Codec = MSGPACK

    def __init__(self, server: ModelServer) -> None:
        self._end = ModelConnection(server)
        self._bell = trio.Event()
        self.is_muted = False
        self.moves = 0
        original = self._end.send

        def send(*frames: Any) -> None:
            original(*frames)
            self._bell.set()

        self._end.send = send  # type: ignore[method-assign]

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._end.out or self.is_muted:
            if self._end.is_closed and not self._end.out:
                raise CarrierLost
            self._bell = trio.Event()
            await self._bell.wait()
        return self._end.out.pop(0)

    async def send(self, payload: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._end.is_closed:
            raise CarrierLost
        if not self.is_muted:
            self._end.receive(payload)

    async def send_datagram(self, payload: bytes) -> None:
        await self.send(payload)

    async def migrate(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.moves += 1
        return True

    async def aclose(self) -> None:
        self.cut()
        await trio.lowlevel.checkpoint()

    def cut(self) -> None:
        self._end.close()
        self._bell.set()


class MemoryDialer:
    """Makes connections to the model server while it is reachable."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.carriers: list[MemoryCarrier] = []
        self.error: ClientError | None = None
        self.attempts = 0

    async def dial(self, nursery: trio.Nursery) -> MemoryCarrier:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        if self.error is not None:
            raise self.error
        self.carriers.append(MemoryCarrier(self.server))
        return self.carriers[-1]

    def cut(self) -> None:
        """Cut the present connection."""
        self.carriers[-1].cut()

    def vanish(self) -> None:
        """Cut the connection and let no other be made."""
        self.error = Unreachable()
        self.cut()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test on a clock that jumps to the next deadline when nothing else is to be done."""

    async def bounded() -> None:
        with trio.fail_after(3_600):
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


@asynccontextmanager
async def alice(
    server: ModelServer, **settings: Any
) -> AsyncIterator[tuple[Session, MemoryDialer]]:
    """Open alice's session with the model server."""
    dialer = MemoryDialer(server)
    given: dict[str, Any] = {"token": "token-of-alice"} if "profile" not in settings else {}
    async with client.connect("strongroom://server", dialer=dialer, **given, **settings) as session:
        yield session, dialer
