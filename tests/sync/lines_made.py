"""Real ends of a link: a pump with a door on loopback, certificates, and what stands between."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sync.door import Door
from sync.link import Headquarters, run_link
from sync.pieces import NUMBERED, Lane
from sync.proxy import Proxy
from sync.reception import Reception
from tests.sync.model_site import Ends, ModelReplica
from tests.transports.tcp_peers import Echo, make_identity, router
from transports.certificates import Identity, derive_key, make_ca
from transports.limits import Limits
from transports.pump import Pump, listen
from transports.tls import LiveIdentity, site_client_context

PATIENCE_SECONDS = 40.0
BRANCH, HEADQUARTERS = b"B" * 16, b"H" * 16


@cache
def branch_identity(ca: int = 1, node: bytes = BRANCH, life_days: int = 30) -> Identity:
    """Return a branch's identity under a CA of ``make_identity``; its life may be over."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    ca_key = derive_key(bytes([ca]) * 48)
    root = make_ca(ca_key, "Tests", now, bytes([ca]) * 16)
    key = Ed25519PrivateKey.from_private_bytes(node * 2)
    until = now + timedelta(days=life_days)
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node.hex())]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(min(now, until) - timedelta(days=1))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(client, critical=False)
        .sign(ca_key, SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(key_pem, certificate.public_bytes(Encoding.PEM), until, ())


def node_of(certificate: bytes) -> bytes | None:
    """Return the node in a certificate of ``branch_identity``."""
    name = x509.load_der_x509_certificate(certificate).subject
    return bytes.fromhex(str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value))


@dataclass
class Campus:
    """Headquarters on a real port, and a branch that may reach it."""

    address: tuple[str, int]
    pump: Pump
    door: Door
    reception: Reception
    up: ModelReplica
    down: ModelReplica
    branch: Ends
    headquarters: Ends
    revoked: set[bytes]
    echo: Echo
    streams: list[trio.SocketStream] = field(default_factory=list)

    def target(
        self,
        *,
        identity: Identity | None = None,
        ca: int = 1,
        address: tuple[str, int] | None = None,
        proxy: Proxy | None = None,
        name: str = f"site.{BRANCH.hex()}",
    ) -> Headquarters:
        return Headquarters(
            HEADQUARTERS,
            (address or self.address,),
            identity or branch_identity(),
            make_identity(ca)[1],
            name,
            proxy,
        )

    @asynccontextmanager
    async def linking(
        self, target: Headquarters | None = None, bytes_per_second: float | None = None
    ) -> AsyncIterator[None]:
        """Run the branch's side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link, target or self.target(), bytes_per_second)
            yield
            nursery.cancel_scope.cancel()

    async def _link(self, target: Headquarters, bytes_per_second: float | None) -> None:
        await run_link(self.branch.site, lambda: target, bytes_per_second=bytes_per_second)

    async def raw(
        self, identity: Identity | None, name: str | None = None
    ) -> trio.SSLStream[trio.SocketStream]:
        """Return a TLS connection under the name of a site, with a certificate or without."""
        context = site_client_context(identity or branch_identity(), make_identity()[1])
        if identity is None:
            context = ssl.create_default_context(cadata=make_identity()[1].decode())
            context.check_hostname = False
            context.set_alpn_protocols(["h2"])
        tcp = await trio.open_tcp_stream(*self.address)
        name = name or f"site.{BRANCH.hex()}"
        stream = trio.SSLStream(tcp, context, server_hostname=name, https_compatible=True)
        self.streams.append(tcp)
        await stream.do_handshake()
        return stream

    def is_settled(self) -> bool:
        pairs = ((self.up, self.down), (self.down, self.up))
        return all(
            there.got[lane] == here.bodies(lane) for here, there in pairs for lane in NUMBERED
        )

    def fill(self, count: int, size: int = 100) -> None:
        for number in range(count):
            for end in (self.up, self.down):
                end.add(Lane(number % len(NUMBERED)), b"%d " % number + bytes(size))


@asynccontextmanager
async def campus(limits: Limits | None = None) -> AsyncIterator[Campus]:
    """Run headquarters on loopback."""
    live = LiveIdentity(make_identity()[0])
    revoked: set[bytes] = set()

    def authorise(certificate: bytes) -> bytes | None:
        node = node_of(certificate)
        return None if node in revoked else node

    up, down = ModelReplica(BRANCH), ModelReplica(HEADQUARTERS)
    branch = Ends(BRANCH, lambda node: up)
    headquarters = Ends(HEADQUARTERS, lambda node: down, 1)
    reception = Reception(headquarters.site)
    door = Door(live, make_identity()[1], reception, authorise)
    listener, echo = listen("127.0.0.1", 0), Echo()
    host, port = listener.getsockname()
    pump = Pump(
        echo,
        door.beside(live.choose),
        router(),
        limits=limits or Limits(),
        log=lambda *_: None,
        woken=lambda: None,
        certified=door.certified,
    )
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(pump.serve, [listener])
            nursery.start_soon(door.run)
            ends = (up, down, branch, headquarters)
            place = Campus((host, port), pump, door, reception, *ends, revoked, echo)
            yield place
            for stream in place.streams:
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is so; the sockets work meanwhile."""
    while not condition():  # noqa: ASYNC110 - what is waited for is the state of two sites
        await trio.sleep(0.002)


class Relay:
    """A TCP relay that a test can break: a proxy, a firewall, a captive portal."""

    def __init__(self) -> None:
        self.streams: list[trio.SocketStream] = []
        self.heads: list[bytes] = []
        self.is_swallowing = False
        self.connections = 0

    def cut(self) -> None:
        """End every connection with a reset."""
        streams, self.streams = self.streams, []
        for stream in streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.socket.close()

    @asynccontextmanager
    async def running(
        self, target: tuple[str, int] | None, answer: bytes = b""
    ) -> AsyncIterator[tuple[str, int]]:
        """Relay to ``target``; with an answer, first read a request's head and give that."""
        async with trio.open_nursery() as nursery:

            async def serve(stream: trio.SocketStream) -> None:
                self.connections += 1
                try:
                    await self._serve(stream, target, answer)
                except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                    pass
                finally:
                    await trio.aclose_forcefully(stream)

            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            yield listener.socket.getsockname()
            nursery.cancel_scope.cancel()

    async def _serve(
        self, stream: trio.SocketStream, target: tuple[str, int] | None, answer: bytes
    ) -> None:
        self.streams.append(stream)
        if answer:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
            self.heads.append(head)
            await stream.send_all(answer)
        if target is None:
            return
        other = await trio.open_tcp_stream(*target)
        self.streams.append(other)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, stream, other)
                await self._copy(other, stream)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(other)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some():
                if not self.is_swallowing:
                    await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return
