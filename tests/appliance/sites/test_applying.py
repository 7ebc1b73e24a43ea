"""Enrolment over real sockets: a branch applies, waits, is let in, renews, and is revoked."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from cryptography import x509
from nacl.signing import SigningKey

from appliance import certificates
from appliance.config import Config, ListenSection
from appliance.context import SITE, Actor
from appliance.directory.commands import AcceptInvite, CreateInvite, CreatePerson
from appliance.directory.requests import canonical_json, canonical_request
from appliance.health import Probe
from appliance.network import RealNetwork
from appliance.operations import SecretSlot, Signed
from appliance.server import Appliance
from appliance.site import Ports, Site
from appliance.sites import applying, enrolment
from appliance.sites.commands import NAMES, ApproveSite, InviteSite, RevokeSite
from appliance.sites.enrolment import Invitation
from store.clocks import ManualClock, SystemClock, SystemEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.vault import NoWrap
from transports.tls import client_context
from transports.wire.errors import Refusal
from transports.wire.links import Server

SECONDS = 30.0
GRACE = SigningKey(b"g" * 32)
DAY_MS = 86_400_000


def new_site(name: str, clock: SystemClock | ManualClock | None = None) -> Site:
    entropy, engine = SystemEntropy(), MemoryEngine(Medium())
    ports = Ports(clock or SystemClock(), entropy, engine, MemoryDisk(), MemoryDisk())
    return Site.create(ports, NoWrap(), name=name)


class Headquarters:
    """A running headquarters whose administrator Grace signs what she decides."""

    def __init__(self, appliance: Appliance) -> None:
        assert isinstance(appliance.network, RealNetwork)
        self.appliance = appliance
        self.site = appliance.site
        self.server = Server("127.0.0.1", appliance.network.port)

    async def sign(self, command: InviteSite | ApproveSite | RevokeSite) -> None:
        core = self.site.core
        grace = core.directory.resolve("grace")
        assert grace is not None
        name, arguments = NAMES[type(command)], canonical_json(command)
        data = canonical_request(core.log.node, b"c" * 16, grace.id, name, arguments)
        signed = Signed(data, bytes(GRACE.sign(data).signature))
        await self.appliance.execute(Actor(grace.id, b"", signed), command)

    async def invite(self, name: str) -> Invitation:
        token = os.urandom(16)
        await self.sign(InviteSite(name, enrolment.token_hash(token)))
        pin = enrolment.pin_of(self.site.core.secrets[SecretSlot.CA_CERTIFICATE])
        return Invitation(self.server, pin, token)

    async def approve(self, branch: Site) -> None:
        await self.settled()
        name = self.site.core.sites.name_of(branch.core.log.node)
        await self.sign(ApproveSite(name, branch.core.log.node))

    async def settled(self) -> None:
        """Wait until what was submitted before has been decided."""
        await self.appliance.execute(SITE, Probe())


@asynccontextmanager
async def headquarters() -> AsyncIterator[Headquarters]:
    site = new_site("Hospital")
    site.run(SITE, CreatePerson("grace", "Grace", roles=("administrator",)))
    site.run(SITE, CreateInvite("grace", b"h" * 32))
    public_key = bytes(GRACE.verify_key)
    site.run(SITE, AcceptInvite(b"h" * 32, b"t" * 32, public_key=public_key))
    listen = ListenSection(host="127.0.0.1", port=0, names=("hq.invalid",))
    appliance = Appliance(site, Config(listen=listen))
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            yield Headquarters(appliance)
            await appliance.drain()


async def refused(branch: Site, invitation: Invitation) -> str:
    with pytest.raises(Refusal) as caught:
        await applying.apply(branch.core, invitation)
    return caught.value.code


async def enrolled(hq: Headquarters, branch: Site, name: str = "north") -> None:
    invitation = await hq.invite(name)
    assert await refused(branch, invitation) == "site.waiting"
    await hq.approve(branch)
    branch.run(SITE, await applying.apply(branch.core, invitation))


def test_a_branch_waits_for_its_approval_and_gets_what_it_needs() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            await enrolled(hq, branch)
            core, home = branch.core, hq.site.core
            known = core.sites.headquarters
            assert known is not None
            assert (known.node, known.organisation, known.name) == (
                home.log.node,
                "Hospital",
                "north",
            )
            assert known.ca == home.secrets[SecretSlot.CA_CERTIFICATE]
            assert known.addresses == (hq.server.authority, f"hq.invalid:{hq.server.port}")
            assert core.secrets[SecretSlot.TENANT] == home.secrets[SecretSlot.TENANT]
            assert core.conversations.tenant_secret == home.conversations.tenant_secret
            branch.close()

    trio.run(main)


def test_the_certificate_lets_openssl_know_the_branch_by_its_own_key() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            await enrolled(hq, branch)
            identity = certificates.site_identity(branch.core)
            node = branch.core.log.node
            assert identity.names == (certificates.site_name(node),)
            peer = await handshake(hq, identity.key_pem + identity.chain_pem)
            names = peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == [f"site.{node.hex()}"]
            branch.close()

    trio.run(main)


async def handshake(hq: Headquarters, chain_and_key: bytes) -> x509.Certificate:
    """Do a mutual TLS handshake in memory; return the certificate that the server verified."""
    path = f"/proc/self/fd/{(fd := os.memfd_create('key'))}"
    os.write(fd, chain_and_key)
    ca = certificates.ca_pem(hq.site.core)
    client = client_context(ca)
    client.load_cert_chain(path)
    os.close(fd)
    assert hq.appliance.identity is not None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = hq.appliance.identity.identity
    fd = os.memfd_create("key")
    os.write(fd, own.chain_pem + own.key_pem)
    server.load_cert_chain(f"/proc/self/fd/{fd}")
    os.close(fd)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=ca.decode("ascii"))
    one, other = trio.testing.memory_stream_pair()
    near = trio.SSLStream(one, client, server_hostname=certificates.INTERNAL_NAME)
    far = trio.SSLStream(other, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    der = far.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_a_wrong_token_or_a_used_one_is_refused() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            invitation = await hq.invite("north")
            first, second = new_site("North"), new_site("Thief")
            wrong = invitation._replace(token=b"x" * 16)
            assert await refused(first, wrong) == "site.token"
            assert await refused(first, invitation) == "site.waiting"
            await hq.settled()
            assert await refused(second, invitation) == "site.token"
            for site in (first, second):
                site.close()

    trio.run(main)


def test_another_ca_than_the_pinned_one_is_not_believed() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            invitation = (await hq.invite("north"))._replace(pin=b"p" * 16)
            assert await refused(branch, invitation) == "site.untrusted"
            branch.close()

    trio.run(main)


def test_the_token_is_not_sent_to_whom_the_pinned_ca_does_not_vouch_for() -> None:
    """The man in the middle hands out the right CA's certificate, which is public."""

    async def main() -> None:
        async with headquarters() as hq, headquarters() as false:
            invitation = await hq.invite("north")
            right_ca = hq.site.core.secrets[SecretSlot.CA_CERTIFICATE]
            false.site.core.secrets[SecretSlot.CA_CERTIFICATE] = right_ca
            branch = new_site("North")
            misled = invitation._replace(server=false.server)
            assert await refused(branch, misled) == "site.untrusted"
            assert false.site.core.sites.branches == {}
            branch.close()

    trio.run(main)


def test_nobody_there_is_told_as_such() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            invitation = (await hq.invite("north"))._replace(server=Server("127.0.0.1", 1))
            assert await refused(branch, invitation) == "site.unreachable"
            branch.close()

    trio.run(main)


def test_a_branch_renews_by_its_key_after_a_year_and_with_any_clock() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            clock = ManualClock(SystemClock().wall_ms())
            branch = new_site("North", clock)
            await enrolled(hq, branch)
            for away_ms in (365 * DAY_MS, -10 * 365 * DAY_MS):
                clock.set_wall_ms(SystemClock().wall_ms() + away_ms)
                before = branch.core.secrets[SecretSlot.LINK_CERTIFICATE]
                known = branch.core.sites.headquarters
                assert known is not None
                branch.run(SITE, await applying.renew(branch.core, known))
                assert branch.core.secrets[SecretSlot.LINK_CERTIFICATE] != before
            branch.close()

    trio.run(main)


def test_a_certificate_is_due_when_a_third_of_its_life_remains() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            await enrolled(hq, branch)
            now_ms = SystemClock().wall_ms()
            due = [
                certificates.is_site_renewal_due(branch.core, now_ms + days * DAY_MS)
                for days in (0, 59, 61, 400)
            ]
            assert due == [False, False, True, True]
            branch.close()

    trio.run(main)


def test_a_revoked_branch_gets_no_certificate() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch = new_site("North")
            await enrolled(hq, branch)
            await hq.sign(RevokeSite("north", "stolen"))
            known = branch.core.sites.headquarters
            assert known is not None
            with pytest.raises(Refusal) as caught:
                await applying.renew(branch.core, known)
            assert caught.value.code == "site.revoked"
            branch.close()

    trio.run(main)
