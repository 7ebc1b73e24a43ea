"""How the load generator connects to the appliance, by the carrier's name."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import Final

from aioquic.quic.configuration import QuicConfiguration

from benchmarks.lines import Line
from benchmarks.quic_line import SOCKET_BUFFER_BYTES, QuicLine
from benchmarks.server import Server
from benchmarks.websocket_line import WebSocketLine
from transports.tls import client_context
from transports.wire.codec import ALPN

Connect = Callable[[Server, str, str], Line]
"""Makes a line to a server whose CA is given in PEM, from a local address (empty: any)."""


@cache
def _context(ca_pem: str) -> ssl.SSLContext:
    context = client_context(ca_pem.encode())
    context.check_hostname = False
    return context


def _websocket(server: Server, ca_pem: str, source: str) -> Line:
    return WebSocketLine((server.host, server.port), _context(ca_pem), source)


def _quic(server: Server, ca_pem: str, source: str) -> Line:
    configuration = QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=True,
        server_name=server.host,
        cadata=ca_pem.encode(),
        max_data=SOCKET_BUFFER_BYTES,
        max_stream_data=SOCKET_BUFFER_BYTES,
        idle_timeout=3_600.0,
    )
    return QuicLine((server.host, server.port), configuration, source)


CARRIERS: Final[dict[str, Connect]] = {"websocket": _websocket, "quic": _quic}
"""How to connect, by the carrier's name."""
