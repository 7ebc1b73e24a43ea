"""Attack the real server as slow, broken and hostile peers do: others must not notice."""

from __future__ import annotations

import random
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from cli.running import OWN_FILES
from client.carriers import Carrier, quic, websocket
from client.errors import ClientError
from tests.system import harness
from tests.system.harness import HOST, Organisation, ServerProcess
from transports.wire import schema
from transports.wire.codec import MSGPACK
from transports.wire.links import SERVER_NAME
from transports.wire.schema import Body, Id

SECONDS = 60.0
STRANGERS = 1_500
GARBAGE_ROUNDS = 60
FLOOD = 400
HALF_OPEN = 20
GROWTH_BYTES = 96 << 20
"""Growth of the server's resident memory that any of these attacks may cause."""


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    settings: dict[str, dict[str, object]] = {
        "limits": {"sends_per_second": 200.0, "unauthenticated": 1_000}
    }
    found = harness.found(tmp_path, ["alice", "bob", "dora", "mallory"], settings=settings)
    with harness.opened(found) as site:
        alice, bob, mallory = (found.people[each] for each in ("alice", "bob", "mallory"))
        found.conversations["pair"] = harness.open_direct(site, alice, bob)
        others = [bob, found.people["dora"], mallory]
        found.conversations["all"] = harness.open_group(site, alice, others, "All")
    return found


@asynccontextmanager
async def attacked(organisation: Organisation) -> AsyncIterator[ServerProcess]:
    """Serve two people who chat before and after the block, in bounded memory."""
    conv = organisation.conversations["pair"]
    with trio.fail_after(SECONDS):
        async with (
            harness.serving(organisation) as server,
            harness.online(organisation, "alice", "quic") as alice,
            harness.online(organisation, "bob", "websocket") as bob,
        ):
            await harness.chat(alice, bob, conv, "before")
            before, files = server.resident_bytes(), server.descriptors()
            yield server
            await harness.chat(alice, bob, conv, "after")
            assert server.resident_bytes() - before < GROWTH_BYTES
            assert server.descriptors() < files + 1_200
            assert (await server.get("/readyz")).startswith(b"HTTP/1.1 200 ")
            assert b"failed" not in server.output()


@asynccontextmanager
async def carrier_of(organisation: Organisation, name: str) -> AsyncIterator[Carrier]:
    """Open a bare carrier, not signed in."""
    openers = {
        "quic": quic.opener(organisation.address, organisation.trust),
        "websocket": websocket.opener(
            organisation.address, organisation.trust, "strongroom.v1.msgpack"
        ),
    }
    async with trio.open_nursery() as nursery:
        carrier = await openers[name](nursery)
        try:
            yield carrier
        finally:
            await carrier.aclose()
            nursery.cancel_scope.cancel()


async def sign_in(carrier: Carrier, organisation: Organisation, login: str) -> schema.Welcome:
    """Say hello with a token; return the welcome."""
    auth = schema.Auth("token", token=organisation.people[login].token)
    await carrier.send(MSGPACK.payload(schema.Hello(1, "hostile"), auth))
    frame = MSGPACK.server.decode(await carrier.receive())[0]
    assert isinstance(frame, schema.Welcome)
    return frame


async def tls(organisation: Organisation) -> trio.SSLStream[trio.SocketStream]:
    """Open TLS to the server's port."""
    tcp = await trio.open_tcp_stream(HOST, organisation.port)
    stream = trio.SSLStream(
        tcp, organisation.trust.context(), server_hostname=SERVER_NAME, https_compatible=True
    )
    await stream.do_handshake()
    return stream


async def until_ended(carrier: Carrier, payload: bytes) -> None:
    """Send a payload, and read until the carrier says that it has ended."""
    await carrier.send(payload)
    while True:
        await carrier.receive()


def run(organisation: Organisation, attack: Callable[[ServerProcess], Awaitable[None]]) -> None:
    """Carry out an attack between two people's chats."""

    async def main() -> None:
        async with attacked(organisation) as server:
            await attack(server)

    trio.run(main)


def test_peers_that_never_sign_in_hold_nothing_up(organisation: Organisation) -> None:
    async def attack(server: ServerProcess) -> None:
        del server
        streams: list[socket.socket] = []
        refused = 0
        try:
            for number in range(STRANGERS):
                source = (f"127.0.0.{2 + number % 4}", 0)
                sock = socket.create_connection(_at(organisation), 5, source)
                streams.append(sock)
                if len(streams) % 50 == 0:
                    await trio.lowlevel.checkpoint()
            async with harness.online(organisation, "mallory", "websocket"):
                for sock in streams:
                    sock.setblocking(False)
                    with suppress(BlockingIOError, ConnectionError):
                        refused += sock.recv(1) == b""
            assert refused > 0
        finally:
            for sock in streams:
                sock.close()

    with harness.descriptors(STRANGERS + 1_000) as allowed:
        if allowed < STRANGERS + 500:
            pytest.skip("this machine allows too few open files")
        run(organisation, attack)


def test_garbage_ends_its_connection_only(organisation: Organisation) -> None:
    dice = random.Random(20)

    async def attack(server: ServerProcess) -> None:
        del server
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(GARBAGE_ROUNDS):
                data = dice.randbytes(dice.randrange(1, 1_400))
                udp.sendto(bytes((dice.choice((0xC0, 0x40, data[0])),)) + data, _at(organisation))
                with suppress(OSError, trio.BrokenResourceError):
                    stream = await trio.open_tcp_stream(HOST, organisation.port)
                    async with stream:
                        await stream.send_all(data)
                with suppress(OSError, trio.BrokenResourceError):
                    secure = await tls(organisation)
                    await secure.send_all(dice.choice((data, b"GET / HTTP/9.9\r\n\r\n" + data)))
                    await secure.transport_stream.aclose()

    run(organisation, attack)


def _at(organisation: Organisation) -> tuple[str, int]:
    return HOST, organisation.port


def test_a_port_scanner_is_nobody(organisation: Organisation) -> None:
    async def attack(server: ServerProcess) -> None:
        del server
        for number in range(200):
            sock = socket.create_connection((HOST, organisation.port), timeout=5)
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection((HOST, organisation.port), timeout=5) as sock,
            pytest.raises(ssl.SSLError),
        ):
            await trio.to_thread.run_sync(lambda: old.wrap_socket(sock))

    run(organisation, attack)


@pytest.mark.parametrize("name", ["websocket", "quic"])
@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize("payload", ["malformed", "too many", "oversize"])
def test_bad_payloads_end_the_connection_with_a_reason(
    organisation: Organisation, name: str, payload: str, *, signed_in: bool
) -> None:
    payloads = {
        "malformed": b"\xc1\xc1\xc1",
        "too many": MSGPACK.payload(*[schema.Ping(1)] * 300),
        "oversize": b"\x91\xc6\x00\x08\x00\x00" + bytes(512 * 1024),
    }

    async def attack(server: ServerProcess) -> None:
        del server
        async with carrier_of(organisation, name) as carrier:
            if signed_in:
                await sign_in(carrier, organisation, "mallory")
            with pytest.raises(ClientError):
                await until_ended(carrier, payloads[payload])

    run(organisation, attack)


def test_a_flood_is_told_to_wait_and_stays_connected(organisation: Organisation) -> None:
    async def attack(server: ServerProcess) -> None:
        del server
        conv = Id(organisation.conversations["all"])
        async with carrier_of(organisation, "websocket") as carrier:
            await sign_in(carrier, organisation, "mallory")
            sends = [
                schema.Send(number, number, Body("text", "flood"), conv=conv)
                for number in range(1, 2 * FLOOD + 1)
            ]
            for at in range(0, len(sends), 100):
                await carrier.send(MSGPACK.payload(*sends[at : at + 100]))
            answers: dict[int, schema.Frame] = {}
            while len(answers) < len(sends):
                for frame in MSGPACK.server.decode(await carrier.receive()):
                    if isinstance(frame, schema.Ok | schema.Err) and frame.re:
                        answers[frame.re] = frame
            errors = [each for each in answers.values() if isinstance(each, schema.Err)]
            assert {each.code for each in errors} == {"rate.limited"}
            assert all(each.after > 0 for each in errors)
            assert FLOOD <= len(sends) - len(errors) < 2 * FLOOD

    run(organisation, attack)


def test_guessing_passwords_locks_the_pair_and_leaves_tokens_alone(
    organisation: Organisation,
) -> None:
    async def guess() -> schema.Err:
        async with carrier_of(organisation, "websocket") as carrier:
            auth = schema.Auth("password", login="alice", password="not this one either")
            await carrier.send(MSGPACK.payload(schema.Hello(1, "hostile"), auth))
            frame = MSGPACK.server.decode(await carrier.receive())[0]
            assert isinstance(frame, schema.Err)
            return frame

    async def attack(server: ServerProcess) -> None:
        del server
        assert [(await guess()).code for _ in range(5)] == ["auth.failed"] * 5
        locked = await guess()
        assert locked.code == "auth.locked"
        assert 800 < locked.after <= 900
        async with harness.online(organisation, "alice", "websocket"):
            pass

    run(organisation, attack)


def test_a_low_limit_of_open_files_is_raised_for_the_connections_allowed(
    organisation: Organisation,
) -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        server = ServerProcess(organisation)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            server.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        try:
            await server.ready()
            found, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            assert found == min(20_000 + OWN_FILES, hard)
            assert await server.stop() == 0
        finally:
            if server.is_running:
                server.kill()

    trio.run(main)


def test_sockets_left_half_open_hold_nothing_up(organisation: Organisation) -> None:
    """Each of them stops somewhere on the way to a session, and says nothing more."""
    upgrade = b"GET /v1/session HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"

    async def attack(server: ServerProcess) -> None:
        quiet: list[trio.abc.Stream] = []
        try:
            for beginning in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
                for _ in range(HALF_OPEN):
                    stream = await trio.open_tcp_stream(HOST, organisation.port)
                    quiet.append(stream)
                    await stream.send_all(beginning or b"\x16")
            for beginning in (b"", b"GET ", upgrade):
                for _ in range(HALF_OPEN):
                    secure = await tls(organisation)
                    quiet.append(secure)
                    await secure.send_all(beginning or b"P")
            async with harness.online(organisation, "mallory", "websocket"):
                pass
            assert (await server.metrics())["tcp_connections"] >= len(quiet) - HALF_OPEN
        finally:
            for each in quiet:
                await trio.aclose_forcefully(each)

    run(organisation, attack)


async def flood(organisation: Organisation, conv: Id) -> str:
    """Have dora say a lot; return the position of the newest message."""
    person = organisation.people["dora"]
    ways = harness.Ways(organisation.address, organisation.trust, "websocket")
    async with harness.session_of(person, ways, window=32) as dora:
        await dora.wait_online()
        room = dora.conversation(conv)
        async with trio.open_nursery() as nursery:
            for _ in range(FLOOD):
                nursery.start_soon(room.send, "x" * 12_000)
        return (await room.send("the last one")).pos


def test_a_reader_that_stops_is_bounded_and_catches_up(organisation: Organisation) -> None:
    async def attack(server: ServerProcess) -> None:
        before = server.resident_bytes()
        async with carrier_of(organisation, "websocket") as lazy:
            await sign_in(lazy, organisation, "mallory")
            await lazy.send(MSGPACK.payload(schema.Resume()))
            last = await flood(organisation, Id(organisation.conversations["all"]))
            assert server.resident_bytes() - before < GROWTH_BYTES
            handed = (await server.metrics())["events_total"]
            positions: list[str] = []
            while not positions or positions[-1] != last:
                frames = MSGPACK.server.decode(await lazy.receive())
                events = [each for each in frames if isinstance(each, schema.Event)]
                positions += [
                    event.pos for event in events if isinstance(event.op, schema.MessageOp)
                ]
            assert len(positions) == len(set(positions)) == FLOOD + 1
            # Most of it was not queued for the lazy one, but read from the log once it took it.
            assert (await server.metrics())["events_total"] - handed > FLOOD / 2

    run(organisation, attack)


def test_a_peer_that_vanished_from_quic_is_bounded_and_others_go_on(
    organisation: Organisation,
) -> None:
    async def attack(server: ServerProcess) -> None:
        before = server.resident_bytes()
        opener = quic.opener(organisation.address, organisation.trust)
        async with trio.open_nursery() as nursery:
            gone = await opener(nursery)
            await sign_in(gone, organisation, "mallory")
            await gone.send(MSGPACK.payload(schema.Resume()))
            nursery.cancel_scope.cancel()  # nothing is read or acknowledged from here on
        await flood(organisation, Id(organisation.conversations["all"]))
        assert server.resident_bytes() - before < GROWTH_BYTES

    run(organisation, attack)
