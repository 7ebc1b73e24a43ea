"""Serve HTTP/1.1 without TLS to programs on this machine, such as a metrics collector."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

import trio

from transports.http.http1 import Http1
from transports.http.message import Request
from transports.http.router import Router
from transports.limits import Limits

CONNECTIONS: Final = 16
"""Connections served at once; others wait to be accepted."""

IDLE_SECONDS: Final = 30.0
"""How long a connection may be silent."""

READ_BYTES: Final = 16 * 1024


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Bind a loopback address; port 0 lets the system choose. Raises ``OSError``."""
    return await trio.open_tcp_listeners(port, host=host)


async def serve(listeners: list[trio.SocketListener], router: Router) -> None:
    """Answer requests for ever; cancel to stop."""
    limiter = trio.CapacityLimiter(CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            with trio.move_on_after(IDLE_SECONDS):
                await _converse(stream, router)

    await trio.serve_listeners(handle, listeners)


async def _converse(stream: trio.SocketStream, router: Router) -> None:
    machine = Http1(router, _no_upgrade, "local", Limits(), lambda: formatdate(usegmt=True))
    try:
        while True:
            output = machine.receive(await stream.receive_some(READ_BYTES))
            if output.data:
                await stream.send_all(output.data)
            if output.is_last:
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def _no_upgrade(_request: Request) -> None:
    return None
