"""A reload takes everything that a running server can take, or nothing at all."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from hypothesis import given
from msgspec.structs import replace

from appliance import certificates, reload
from appliance.config import SETTINGS, Config, ConfigError, build, contradictions
from appliance.network import RealNetwork
from appliance.problems import Problem
from appliance.reload import plan
from appliance.server import Appliance
from appliance.site import Site, data_ports
from store.clocks import SystemEntropy
from store.vault import NoWrap
from tests.appliance.simulation import Person, World, found, running
from tests.appliance.test_config import TREES
from tests.appliance.test_network import LISTEN, MAP_BYTES, SECONDS, leaf_at
from transports import certificates as x509s
from transports.certificates import CertificateError
from transports.memory import MemoryNetwork

ENTROPY = SystemEntropy()
NAME = "chat.hospital.example"
MONTH = timedelta(days=30)


@given(TREES, TREES)
def test_a_plan_takes_what_reloads_and_leaves_the_rest(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    running, wanted = build(before), build(after)
    found = plan(running, wanted)
    differing = {n for n, s in SETTINGS.items() if s.of(running) != s.of(wanted)}
    assert {*found.changed, *found.waiting} == differing
    for name, setting in SETTINGS.items():
        source = wanted if name in found.changed else running
        assert setting.of(found.config) == setting.of(source)
    assert plan(found.config, wanted).changed == []


@given(TREES, TREES)
def test_no_plan_leads_to_a_contradiction(before: dict[str, Any], after: dict[str, Any]) -> None:
    running, wanted = build(before), build(after)
    if not contradictions(running) and not contradictions(wanted):
        assert contradictions(plan(running, wanted).config) == []


def test_changing_from_the_internal_ca_to_an_own_certificate_takes_a_restart() -> None:
    own = build({"tls.certificate": "a", "tls.key": "b"})
    assert plan(Config(), own).waiting == ["tls.certificate", "tls.key"]
    other = build({"tls.certificate": "c", "tls.key": "b"})
    assert plan(own, other).changed == ["tls.certificate"]


class Server:
    """A running appliance whose configuration can be changed under it."""

    def __init__(self, site: Site, config: Config) -> None:
        self.wanted: Config | Exception = config
        self.seen: list[Config] = []
        self.appliance = Appliance(site, config, reread=self._reread, reloaded=self.seen.append)
        assert isinstance(self.appliance.network, RealNetwork)
        self.port = self.appliance.network.port

    def _reread(self) -> Config:
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.create(
        data_ports(tmp_path / "data", tmp_path / "keys", MAP_BYTES), NoWrap(), name="Reload test"
    )


def run(site: Site, config: Config, act: Any) -> None:
    """Run a server, and ``act`` with it."""

    async def main() -> None:
        server = Server(site, config)
        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                await nursery.start(
                    lambda task_status: server.appliance.run(task_status=task_status)
                )
                await act(server)
                await server.appliance.drain()

    trio.run(main)


def own_files(folder: Path, site: Site, names: tuple[str, ...], life: timedelta = MONTH) -> bytes:
    """Write a certificate of another authority; returns the authority's certificate."""
    now = certificates.at(site.ports.clock.wall_ms())
    ca_key = x509s.derive_key(ENTROPY.bytes(48))
    ca = x509s.make_ca(ca_key, "Hospital IT", now, ENTROPY.bytes(16))
    leaf_key = x509s.derive_key(ENTROPY.bytes(48))
    identity = x509s.issue_leaf(ca_key, ca, leaf_key, names, now, ENTROPY.bytes(16), life)
    (folder / "chain.pem").write_bytes(identity.chain_pem)
    (folder / "key.pem").write_bytes(identity.key_pem)
    return x509s.certificate_pem(ca)


def with_files(folder: Path) -> Config:
    tls = {"tls.certificate": str(folder / "chain.pem"), "tls.key": str(folder / "key.pem")}
    return replace(build(tls), listen=LISTEN)


def test_new_names_are_in_the_internal_certificate_at_once_and_after_renewals(site: Site) -> None:
    config = Config(listen=LISTEN)

    async def act(server: Server) -> None:
        ca = certificates.ca_pem(site.core)
        with pytest.raises(trio.BrokenResourceError) as refused:
            await leaf_at(server.port, ca, "new.example")
        assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)
        server.wanted = replace(config, listen=replace(LISTEN, names=(NAME, "new.example")))
        assert server.appliance.reload().changed == ["listen.names"]
        await leaf_at(server.port, ca, "new.example")
        identity = server.appliance.identity
        assert identity is not None
        now = certificates.at(site.ports.clock.wall_ms())
        assert identity.renew_if_due(now + timedelta(days=89))
        assert "new.example" in identity.identity.names

    run(site, config, act)


def test_renewed_files_are_presented_to_new_connections(site: Site, tmp_path: Path) -> None:
    first_ca = own_files(tmp_path, site, (NAME,))

    async def act(server: Server) -> None:
        first = await leaf_at(server.port, first_ca, NAME)
        second_ca = own_files(tmp_path, site, (NAME,), 2 * MONTH)
        assert server.appliance.reload() == (server.appliance.config, ())
        second = await leaf_at(server.port, second_ca, NAME)
        assert second.not_valid_after_utc > first.not_valid_after_utc
        assert server.appliance.health.certificate_until == second.not_valid_after_utc

    run(site, with_files(tmp_path), act)


def _other_key(folder: Path, _site: Site) -> None:
    key = x509s.derive_key(ENTROPY.bytes(48))
    (folder / "key.pem").write_bytes(x509s._key_pem(key))


def _expired(folder: Path, site: Site) -> None:
    own_files(folder, site, (NAME,), timedelta(minutes=-1))


BAD_FILES = {
    "absent": lambda folder, _site: (folder / "chain.pem").unlink(),
    "no certificate": lambda folder, _site: (folder / "chain.pem").write_bytes(b"nonsense"),
    "another's key": _other_key,
    "an empty key": lambda folder, _site: (folder / "key.pem").write_bytes(b""),
    "expired": _expired,
}


@pytest.mark.parametrize("spoil", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_certificate_leaves_everything_as_it_was(
    site: Site, tmp_path: Path, spoil: Any
) -> None:
    ca, config = own_files(tmp_path, site, (NAME,)), with_files(tmp_path)

    async def act(server: Server) -> None:
        before: x509.Certificate = await leaf_at(server.port, ca, NAME)
        spoil(tmp_path, site)
        server.wanted = replace(config, sessions=replace(config.sessions, idle_seconds=60))
        with pytest.raises(CertificateError):
            server.appliance.reload()
        assert server.appliance.config == config
        assert server.seen == []
        assert await leaf_at(server.port, ca, NAME) == before

    run(site, config, act)


def test_a_bad_configuration_leaves_everything_as_it_was(site: Site) -> None:
    config = Config(listen=LISTEN)

    async def act(server: Server) -> None:
        server.wanted = ConfigError([Problem("log.level", "unknown")])
        with pytest.raises(ConfigError):
            server.appliance.reload()
        assert server.appliance.config == config
        assert server.seen == []

    run(site, config, act)


def test_limits_lifetimes_and_origins_hold_for_who_comes_next(site: Site) -> None:
    config = Config(listen=LISTEN)

    async def act(server: Server) -> None:
        values = {
            "limits.connections": 1,
            "limits.sends_per_second": 3.0,
            "sessions.idle_seconds": 61,
            "listen.origins": ("https://a.example",),
            "quic.retry": "always",
            "store.map_bytes": 1 << 30,
        }
        wanted = build(values)
        server.wanted = replace(wanted, listen=replace(LISTEN, origins=("https://a.example",)))
        done = server.appliance.reload()
        assert done.waiting == ["store.map_bytes"]
        quic = server.appliance.network._quic  # type: ignore[attr-defined]
        assert (quic.admission.limits.connections, quic.admission.limits.retry_from) == (1, 0)
        assert server.appliance.config.store == config.store
        assert server.seen == [done.config]
        assert site.core.directory.lifetimes == reload.lifetimes_of(wanted.sessions)
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as first:
            await trio.testing.wait_all_tasks_blocked()
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as second:
                assert await second.receive_some(1) == b""
            await first.send_all(b"")

    run(site, config, act)


def test_who_signs_in_after_a_reload_gets_other_limits_and_another_idle_time() -> None:
    world = World(1)
    tokens = found(world, "alice", "bob")
    wanted = build({"limits.sends_per_second": 3.0, "sessions.idle_seconds": 60})

    async def main() -> None:
        async with running(world) as appliance:
            assert isinstance(appliance.network, MemoryNetwork)
            alice = Person(appliance.network, tokens["alice"])
            before = await alice.sign_in()
            appliance.reread = lambda: wanted
            appliance.reload()
            bob = Person(appliance.network, tokens["bob"])
            after = await bob.sign_in()
            assert before.limits.sends_per_second != 3.0
            assert after.limits.sends_per_second == 3.0
            assert appliance.gateway._sessions.lifetimes.idle_ms == 60_000

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
