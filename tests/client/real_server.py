"""The model server behind the real transports: the pump and the QUIC endpoint on one port."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.client.model_server import ModelConnection, ModelServer
from tests.transports.quic_peers import make_identity
from transports.carrier import Carrier
from transports.http import pages
from transports.http.router import Router
from transports.limits import Limits
from transports.pump import Pump, listen
from transports.quic import QuicEndpoint
from transports.tls import server_context
from transports.wire.codec import JSON, MSGPACK
from transports.wire.links import format_pin

PATIENCE_SECONDS = 30.0


@dataclass
class Bridge:
    """A handler that gives each carrier a connection to the model server."""

    server: ModelServer
    carriers: list[Carrier] = field(default_factory=list)
    opened_count: int = 0

    def opened(self, carrier: Carrier) -> None:
        codec = {"json": JSON, "msgpack": MSGPACK}[carrier.codec.name.lower()]
        connection = ModelConnection(self.server, codec)

        def send(*frames: Any) -> None:
            carrier.send(codec.payload(*frames))

        connection.send = send  # type: ignore[method-assign]
        carrier.context = connection
        carrier.authenticated = True
        self.carriers.append(carrier)
        self.opened_count += 1

    def received(self, carrier: Carrier, payload: bytes, *, datagram: bool = False) -> None:
        assert isinstance(carrier.context, ModelConnection)
        carrier.context.receive(payload)

    def writable(self, carrier: Carrier) -> None:
        pass

    def closed(self, carrier: Carrier) -> None:
        assert isinstance(carrier.context, ModelConnection)
        carrier.context.close()
        self.carriers.remove(carrier)

    def turn_ended(self) -> None:
        pass


@dataclass
class RealServer:
    """What runs, and how to reach it."""

    model: ModelServer
    bridge: Bridge
    port: int
    pin: str
    ca_pem: bytes

    @property
    def url(self) -> str:
        return f"strongroom://127.0.0.1:{self.port}"

    def carrier_names(self) -> list[str]:
        return [carrier.name for carrier in self.bridge.carriers]


@asynccontextmanager
async def real_server(
    model: ModelServer | None = None, *, port: int = 0, tcp: bool = True, udp: bool = True
) -> AsyncIterator[RealServer]:
    """Serve around the block; without ``udp``, datagrams vanish as behind a firewall."""
    model = model or ModelServer()
    bridge = Bridge(model)
    identity, ca_pem = make_identity()
    listener = listen("127.0.0.1", port)
    port = listener.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", port))
    context = server_context(identity)
    router = Router({"/v1/ca.pem": {"GET": pages.certificate(lambda: ca_pem)}})
    pump = Pump(
        bridge,
        lambda _name: context,
        router,
        limits=Limits(),
        log=lambda *_: None,
        woken=lambda: None,
    )
    der = x509.load_pem_x509_certificate(ca_pem).public_bytes(Encoding.DER)
    pin = format_pin(hashlib.sha256(der).digest())
    try:
        async with trio.open_nursery() as nursery:
            if tcp:
                await nursery.start(pump.serve, [listener])
            if udp:
                nursery.start_soon(QuicEndpoint([datagrams], bridge, identity).run)
            yield RealServer(model, bridge, port, pin, ca_pem)
            nursery.cancel_scope.cancel()
    finally:
        listener.close()
        datagrams.close()
