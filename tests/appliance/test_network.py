"""Check the appliance's one port and its certificates with real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509

from appliance import certificates
from appliance.config import Config, ListenSection, QuicSection, TlsSection
from appliance.network import PortTakenError, RealNetwork
from appliance.server import Appliance
from appliance.site import Site, data_ports
from store.clocks import SystemEntropy
from store.vault import NoWrap
from sync.door import Door
from sync.session import Ended
from tests.sync.lines_made import campus, node_of, until
from tests.transports.tcp_peers import make_identity, router
from transports import certificates as x509s
from transports.tls import LiveIdentity

MAP_BYTES = 64 << 20
SECONDS = 20.0
LISTEN = ListenSection(host="127.0.0.1", port=0, names=("chat.hospital.example",))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.create(
        data_ports(tmp_path / "data", tmp_path / "keys", MAP_BYTES), NoWrap(), name="Port test"
    )


@asynccontextmanager
async def running(site: Site, config: Config) -> AsyncIterator[tuple[Appliance, int]]:
    """Run an appliance on a port of its own; drained at the end."""
    appliance = Appliance(site, config)
    assert isinstance(appliance.network, RealNetwork)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            yield appliance, appliance.network.port
            await appliance.drain()


async def leaf_at(port: int, ca_pem: bytes, name: str) -> x509.Certificate:
    """Shake hands as a client that trusts one CA and expects a name; return the leaf."""
    context = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    async with trio.SSLStream(tcp, context, server_hostname=name, https_compatible=True) as stream:
        await stream.do_handshake()
        assert stream.version() == "TLSv1.3"
        der = stream.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_the_leaf_renews_while_the_server_runs(site: Site) -> None:
    async def main() -> None:
        async with running(site, Config(listen=LISTEN)) as (appliance, port):
            ca = certificates.ca_pem(site.core)
            live, now_ms = appliance.identity, site.ports.clock.wall_ms()
            assert live is not None
            assert not live.renew_if_due(certificates.at(now_ms))
            then_ms = now_ms - int(x509s.LEAF_LIFETIME.total_seconds() * 750)
            aged = certificates.live_identity(
                site.core, site.ports.entropy, then_ms, ("chat.hospital.example",)
            )
            live.replace(aged.identity)
            live.renew_if_due(certificates.at(now_ms))  # unless the appliance did it meanwhile
            first = x509.load_pem_x509_certificates(aged.identity.chain_pem)[0]
            second = await leaf_at(port, ca, certificates.INTERNAL_NAME)
            assert second.serial_number != first.serial_number
            assert second.issuer == first.issuer
            assert certificates.ca_pem(site.core) == ca

    trio.run(main)


def test_an_administrators_own_certificate_is_presented(site: Site, tmp_path: Path) -> None:
    entropy, now = SystemEntropy(), certificates.at(site.ports.clock.wall_ms())
    ca_key = x509s.derive_key(entropy.bytes(48))
    ca = x509s.make_ca(ca_key, "Bank", now, entropy.bytes(16))
    leaf_key = x509s.derive_key(entropy.bytes(48))
    names = ["chat.bank.example"]
    own = x509s.issue_leaf(ca_key, ca, leaf_key, names, now, entropy.bytes(16), timedelta(days=90))
    (tmp_path / "chain.pem").write_bytes(own.chain_pem)
    (tmp_path / "key.pem").write_bytes(own.key_pem)
    tls = TlsSection(certificate=str(tmp_path / "chain.pem"), key=str(tmp_path / "key.pem"))

    async def main() -> None:
        async with running(site, Config(listen=LISTEN, tls=tls)) as (_, port):
            leaf = await leaf_at(port, x509s.certificate_pem(ca), "chat.bank.example")
            assert leaf == x509.load_pem_x509_certificates(own.chain_pem)[0]
            for_branches = certificates.ca_pem(site.core)
            await leaf_at(port, for_branches, certificates.INTERNAL_NAME)
            with pytest.raises(trio.BrokenResourceError):
                await leaf_at(port, for_branches, "chat.hospital.example")

    trio.run(main)


def test_a_branch_is_let_in_on_the_port_that_clients_use() -> None:
    async def main() -> None:
        async with campus() as place:
            live = LiveIdentity(make_identity()[0])
            door = Door(live, make_identity()[1], place.reception, node_of)
            config = Config(listen=LISTEN, quic=QuicSection(enabled=False))
            network = RealNetwork(config, live, router(), reset_key=bytes(32), door=door)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(network.serve, place.echo)
                place.fill(20)
                async with place.linking(place.target(address=("127.0.0.1", network.port))):
                    await until(place.is_settled)
                    await network.leave()
                    await until(lambda: place.branch.count(Ended) == 1)
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_taken_port_is_told_at_once(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = Config(listen=ListenSection(host="127.0.0.1", port=taken.getsockname()[1]))
        with pytest.raises(PortTakenError):
            Appliance(site, config)
    site.close()


def test_tcp_and_udp_share_the_port(site: Site) -> None:
    async def main() -> None:
        async with running(site, Config(listen=LISTEN)) as (_, port):
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
                pytest.raises(OSError, match="in use"),
            ):
                udp.bind(("127.0.0.1", port))

    trio.run(main)
