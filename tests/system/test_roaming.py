"""Change a client's address while people chat: nothing lost, nothing twice, no new login."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from client import Online, Session
from client.carriers import websocket
from tests.system import harness
from tests.system.harness import HOST, Organisation
from transports.wire import schema
from transports.wire.links import Server
from transports.wire.schema import Id

MESSAGES = 60
SECONDS = 30.0


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    settings: dict[str, dict[str, object]] = {"limits": {"sends_per_second": 1_000.0}}
    found = harness.found(tmp_path, ["alice", "bob"], settings=settings)
    with harness.opened(found) as site:
        people = found.people
        found.conversations["pair"] = harness.open_direct(site, people["alice"], people["bob"])
    return found


async def said(session: Session, conv: Id, texts: list[str]) -> None:
    """Say everything, in order."""
    for text in texts:
        await session.conversation(conv).send(text)


async def heard(session: Session, count: int) -> list[str]:
    """Return the first messages that the session hears of."""
    found: list[str] = []
    async for event in session.events():
        if isinstance(event, schema.Event) and isinstance(event.op, schema.MessageOp):
            found.append(event.op.body.text)
            if len(found) == count:
                return found
    raise AssertionError("unreachable")


def test_quic_goes_on_from_another_address_without_a_login(organisation: Organisation) -> None:
    async def main() -> None:
        texts = [f"message {number}" for number in range(MESSAGES)]
        conv = Id(organisation.conversations["pair"])
        async with (
            harness.serving(organisation) as server,
            harness.online(organisation, "alice", "quic") as alice,
            harness.online(organisation, "bob", "quic") as bob,
        ):
            before = await server.metrics()
            results: list[str] = []

            async def listen() -> None:
                results.extend(await heard(bob, MESSAGES))

            with trio.fail_after(SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listen)
                    for third in range(3):
                        part = texts[third * MESSAGES // 3 : (third + 1) * MESSAGES // 3]
                        await said(alice, conv, part)
                        assert await alice.migrate()
                        assert await bob.migrate()
            after = await server.metrics()
            assert results == texts
            for figure in ("sign_ins_total", "connections_total", "quic_accepted_total"):
                assert after[figure] == before[figure], figure

    trio.run(main)


class Relay:
    """A TCP relay on loopback whose connections can be cut, and which counts bytes."""

    def __init__(self, target: Server) -> None:
        self._target = target
        self._scope = trio.CancelScope()
        self.port = 0
        self.connections = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._carry, listeners)

    def cut(self) -> None:
        """Break every connection, as a change of address does."""
        self._scope.cancel()
        self._scope = trio.CancelScope()

    async def _carry(self, client: trio.SocketStream) -> None:
        self.connections += 1
        with self._scope:
            server = await trio.open_tcp_stream(self._target.host, self._target.port)
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, client, server, nursery.cancel_scope)
                nursery.start_soon(_copy, server, client, nursery.cancel_scope)


async def _copy(
    source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
) -> None:
    try:
        while data := await source.receive_some():
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def over(organisation: Organisation, relay: Relay, login: str) -> AsyncIterator[Session]:
    """Keep a WebSocket session through a relay."""
    person = organisation.people[login]
    ways = harness.Ways(Server(HOST, relay.port), organisation.trust, "websocket")
    async with harness.session_of(person, ways) as session:
        await session.wait_online()
        yield session


def test_websocket_resumes_where_it_stopped(organisation: Organisation) -> None:
    async def main() -> None:
        texts = [f"message {number}" for number in range(MESSAGES)]
        conv = Id(organisation.conversations["pair"])
        async with harness.serving(organisation), trio.open_nursery() as outer:
            relay = Relay(organisation.address)
            await outer.start(relay.run)
            async with (
                harness.online(organisation, "alice", "websocket") as alice,
                over(organisation, relay, "bob") as bob,
            ):
                results: list[str] = []

                async def listen() -> None:
                    results.extend(await heard(bob, MESSAGES))

                with trio.fail_after(SECONDS):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(listen)
                        for third in range(3):
                            part = texts[third * MESSAGES // 3 : (third + 1) * MESSAGES // 3]
                            relay.cut()
                            await said(alice, conv, part)
                assert results == texts
                assert relay.connections >= 2
            outer.cancel_scope.cancel()

    trio.run(main)


def test_a_resume_takes_one_round_trip_after_the_welcome(organisation: Organisation) -> None:
    """Hello and auth go out at once; resume follows the welcome, and events follow it."""

    async def main() -> None:
        conv = Id(organisation.conversations["pair"])
        bob = organisation.people["bob"]
        async with (
            harness.serving(organisation),
            harness.online(organisation, "alice", "websocket") as alice,
        ):
            sent = await alice.conversation(conv).send("before")
            trust, address = organisation.trust, organisation.address
            opener = websocket.opener(address, trust, "strongroom.v1.json")
            async with trio.open_nursery() as nursery:
                carrier = await opener(nursery)
                codec = carrier.codec
                hello = schema.Hello(1, "test")
                await carrier.send(codec.payload(hello, schema.Auth("token", token=bob.token)))
                (welcome,) = codec.server.decode(await carrier.receive())
                assert isinstance(welcome, schema.Welcome)
                await carrier.send(codec.payload(schema.Resume(pos="0")))
                frames = codec.server.decode(await carrier.receive())
                events = [frame for frame in frames if isinstance(frame, schema.Event)]
                assert events
                assert events[-1].pos == sent.pos
                await carrier.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_where_udp_is_blocked_auto_uses_websocket(organisation: Organisation) -> None:
    path = organisation.data / "strongroom.toml"
    path.write_text(path.read_text("utf-8") + "[quic]\nenabled = false\n", "utf-8")

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, organisation.port))
            await sign_in()

    async def sign_in() -> None:
        async with (
            harness.serving(organisation),
            harness.online(organisation, "alice", "auto") as alice,
        ):
            assert alice.carrier == "websocket"
            async for event in alice.events():
                if isinstance(event, Online):
                    assert event.carrier == "websocket"
                    return

    trio.run(main)
