"""Sessions over real sockets: QUIC, WebSocket and the race between them, trust, restarts."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

import client
from client import Session, Unreachable, Untrusted
from client import trust as trust_module
from client.carriers import Carrier, Opener
from client.carriers.race import HEAD_START_SECONDS, MEMORY_SECONDS, Race
from client.trust import Trust, establish, fetch_ca, pinned_ca
from tests.client.memory_line import run
from tests.client.model_server import ModelServer, person
from tests.client.real_server import PATIENCE_SECONDS, RealServer, real_server
from tests.client.test_session import ROOM, take
from tests.transports.quic_peers import make_identity
from transports.tls import server_context
from transports.wire.links import SERVER_NAME, Server

TOKEN = "token-of-alice"
WAYS = [
    {"carrier": "quic"},
    {"carrier": "websocket"},
    {"carrier": "websocket", "codec": "json"},
]


@dataclass
class Host:
    """A real server that can be stopped."""

    server: RealServer
    scope: trio.CancelScope
    gone: trio.Event = field(default_factory=trio.Event)

    @classmethod
    async def run(cls, model: ModelServer, port: int, task_status: trio.TaskStatus[Host]) -> None:
        with trio.CancelScope() as scope:
            async with real_server(model, port=port) as server:
                host = cls(server, scope)
                task_status.started(host)
                await trio.sleep_forever()
        host.gone.set()

    async def stop(self) -> None:
        self.scope.cancel()
        await self.gone.wait()


def really(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test with real time and real sockets."""

    async def bounded() -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            await main()

    trio.run(bounded)


@pytest.mark.parametrize("way", WAYS)
def test_a_pin_and_a_token_are_enough(way: dict[str, Any]) -> None:
    async def main() -> None:
        async with real_server() as server:
            connecting = partial(client.connect, server.url, token=TOKEN, pin=server.pin)
            async with connecting(**way) as me:
                assert (me.person, me.carrier) == (person("alice"), way["carrier"])
                sent = await me.conversation(ROOM).send("x" * 10_000)
                assert sent.conv == ROOM
                assert await take(me, 1) == ["x" * 10_000]
                assert [each.login for each in await me.people()] == ["alice", "bob", "carol"]
                await me.conversation(ROOM).typing()

    really(main)


@pytest.mark.parametrize("way", WAYS)
def test_a_session_outlives_its_server(way: dict[str, Any]) -> None:
    async def main() -> None:
        model = ModelServer()
        async with trio.open_nursery() as nursery:
            first: Host = await nursery.start(Host.run, model, 0)
            connecting = partial(
                client.connect, first.server.url, token=TOKEN, pin=first.server.pin
            )
            async with connecting(**way) as me:
                await me.conversation(ROOM).send("one")
                await first.stop()
                assert model.connections == []
                model.say("bob", "meanwhile")
                nursery.start_soon(me.conversation(ROOM).send, "two")
                await trio.testing.wait_all_tasks_blocked()
                second: Host = await nursery.start(Host.run, model, first.server.port)
                assert await take(me, 3) == ["one", "meanwhile", "two"]
            await second.stop()

    really(main)


def test_a_roaming_client_loses_nothing_and_signs_in_once() -> None:
    async def main() -> None:
        async with (
            real_server() as server,
            client.connect(server.url, token=TOKEN, pin=server.pin, carrier="quic") as me,
        ):
            for number in range(12):
                if number % 3 == 1:
                    assert await me.migrate()
                server.model.say("bob", f"in {number}")
                await me.conversation(ROOM).send(f"out {number}")
            wanted = [f"{way} {number}" for number in range(12) for way in ("in", "out")]
            assert await take(me, 24) == wanted
            assert server.bridge.opened_count == 1

    really(main)


def test_a_moved_websocket_resumes() -> None:
    async def main() -> None:
        async with (
            real_server() as server,
            client.connect(server.url, token=TOKEN, pin=server.pin, carrier="websocket") as me,
        ):
            assert not await me.migrate()
            await me.conversation(ROOM).send("one")
            await me.reconnect()
            server.model.say("bob", "two")
            assert await take(me, 2) == ["one", "two"]
            assert server.bridge.opened_count == 2

    really(main)


def test_quic_is_preferred_and_websocket_is_there_where_udp_is_blocked() -> None:
    async def main() -> None:
        async with (
            real_server() as server,
            client.connect(server.url, token=TOKEN, pin=server.pin) as me,
        ):
            assert me.carrier == "quic"
        async with (
            real_server(udp=False) as server,
            client.connect(server.url, token=TOKEN, pin=server.pin) as me,
        ):
            assert me.carrier == "websocket"

    really(main)


@pytest.mark.parametrize("carrier", ["quic", "websocket"])
def test_a_server_with_another_ca_is_not_trusted(carrier: str) -> None:
    async def main() -> None:
        async with real_server() as server:
            trusts: tuple[dict[str, Any], ...] = (
                {"pin": "sha256:" + "0" * 64},
                {"ca": make_identity(2)[1]},
                {"ca": make_identity(2)[1], "pin": server.pin},
            )
            for trust in trusts:
                with pytest.raises(Untrusted):
                    async with client.connect(
                        server.url,
                        token=TOKEN,
                        carrier=carrier,
                        **trust,
                    ):
                        pytest.fail("connected")
            assert server.bridge.opened_count == 0

    really(main)


def test_a_given_ca_asks_for_the_name_that_was_typed() -> None:
    async def main() -> None:
        async with real_server() as server:
            async with client.connect(server.url, token=TOKEN, ca=server.ca_pem) as me:
                assert me.is_online
            trust = Trust(server.ca_pem, "elsewhere.example")
            from client.carriers import quic, websocket

            for opener in (quic.opener, websocket.opener):
                async with trio.open_nursery() as nursery:
                    with pytest.raises(Untrusted):
                        await opener(Server("127.0.0.1", server.port), trust)(nursery)

    really(main)


def test_nobody_there_is_unreachable_at_once() -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        for given in ({"pin": "sha256:" + "0" * 64}, {"ca": make_identity()[1]}):
            with pytest.raises(Unreachable):
                async with client.connect(
                    f"127.0.0.1:{port}",
                    token=TOKEN,
                    **given,
                ):
                    pytest.fail("connected")

    really(main)


# --- trust ----------------------------------------------------------------------------------


def test_the_pinned_certificate_is_found_among_others() -> None:
    async def main() -> None:
        async with real_server() as server:
            others = make_identity(2)[1] + server.ca_pem
            assert pinned_ca(others, server.pin) == server.ca_pem
            for wrong in (b"", b"garbage", make_identity(2)[1]):
                with pytest.raises(Untrusted):
                    pinned_ca(wrong, server.pin)
            trust = await establish(Server("h"), pin=server.pin, ca=others)
            assert trust == Trust(server.ca_pem, SERVER_NAME)
            assert await establish(Server("h")) == Trust(None, "h")

    really(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno certificate",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (trust_module.MAX_ANSWER_BYTES + 1),
    ],
)
def test_a_server_with_no_certificate_to_give_is_unreachable(answer: bytes) -> None:
    context = server_context(make_identity()[0], ["http/1.1"])

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(1_000)
            await stream.send_all(answer)
            await stream.aclose()
        except trio.BrokenResourceError:
            return

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
            )
            port = listeners[0].transport_listener.socket.getsockname()[1]
            with pytest.raises(Unreachable):
                await fetch_ca(Server("127.0.0.1", port))
            nursery.cancel_scope.cancel()

    really(main)


# --- the race -------------------------------------------------------------------------------


class Fake:
    """A way that is ready after some seconds, or fails."""

    def __init__(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self.name = name
        self.seconds = seconds
        self.error = error
        self.started: list[float] = []
        self.closed = 0

    async def open(self, nursery: trio.Nursery) -> Carrier:
        self.started.append(trio.current_time())
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self  # type: ignore[return-value]

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()


async def dial(*ways: Fake) -> str:
    race = Race([(way.name, _opener(way)) for way in ways])
    async with trio.open_nursery() as nursery:
        return (await race.dial(nursery)).name


def _opener(way: Fake) -> Opener:
    return way.open


def test_the_first_way_wins_when_it_is_quick_and_the_second_never_starts() -> None:
    async def main() -> None:
        quic, websocket = Fake("quic", HEAD_START_SECONDS / 2), Fake("websocket", 0)
        assert await dial(quic, websocket) == "quic"
        assert websocket.started == []

    run(main)


def test_the_second_way_starts_after_the_head_start_or_as_soon_as_the_first_fails() -> None:
    async def main() -> None:
        began = trio.current_time()
        quic, websocket = Fake("quic", 100), Fake("websocket", 1)
        assert await dial(quic, websocket) == "websocket"
        assert websocket.started == [pytest.approx(began + HEAD_START_SECONDS)]
        began = trio.current_time()
        quic, websocket = Fake("quic", 0.1, Unreachable()), Fake("websocket", 1)
        assert await dial(quic, websocket) == "websocket"
        assert websocket.started == [pytest.approx(began + 0.1)]

    run(main)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (Unreachable(), Unreachable(), Unreachable),
        (Untrusted(), Unreachable(), Untrusted),
        (Unreachable(), Untrusted(), Untrusted),
    ],
)
def test_when_every_way_fails_the_gravest_reason_is_told(
    first: Exception, second: Exception, kind: type[Exception]
) -> None:
    async def main() -> None:
        quic, websocket = Fake("quic", 1, first), Fake("websocket", 2, second)
        race = Race([("quic", quic.open), ("websocket", websocket.open)])
        async with trio.open_nursery() as nursery:
            with pytest.raises(kind):
                await race.dial(nursery)

    run(main)


def test_what_won_goes_first_until_it_is_forgotten() -> None:
    async def main() -> None:
        quic, websocket = Fake("quic", 100), Fake("websocket", 0.1)
        race = Race([("quic", quic.open), ("websocket", websocket.open)])
        async with trio.open_nursery() as nursery:
            await race.dial(nursery)
            assert len(quic.started) == 1
            await race.dial(nursery)
            assert len(quic.started) == 1
            await trio.sleep(MEMORY_SECONDS)
            await race.dial(nursery)
            assert len(quic.started) == 2

    run(main)


def test_two_that_are_ready_at_once_leave_one_open() -> None:
    async def main() -> None:
        quic, websocket = Fake("quic", HEAD_START_SECONDS + 1), Fake("websocket", 1)
        await dial(quic, websocket)
        assert quic.closed + websocket.closed <= 1

    run(main)


def test_the_type_of_a_session_is_public() -> None:
    assert client.Session is Session
