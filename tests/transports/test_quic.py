"""QUIC connections that behave: messages, datagrams, many at once, migration, farewells."""

from __future__ import annotations

import itertools

import pytest
import trio
from aioquic.quic.events import HandshakeCompleted
from hypothesis import given, settings
from hypothesis import strategies as st

from client.carriers import quic
from client.carriers.quic import opener
from client.errors import CarrierLost, Unreachable, Untrusted
from client.trust import Trust
from tests.transports.quic_peers import (
    PATIENCE_SECONDS,
    Echo,
    RawClient,
    close_sockets,
    make_identity,
    message,
    serving,
    udp_socket,
)
from transports.carrier import Carrier, CloseReason, Codec
from transports.quic import QuicEndpoint, QuicLimits
from transports.quic.admission import Admission, plain_host
from transports.wire.links import SERVER_NAME, Server

LIMITS = QuicLimits()


def test_messages_come_back_whole_and_in_order() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            payloads = [
                bytes([n]) * size for n, size in enumerate((1, 150, 5_000, LIMITS.message_bytes))
            ]
            for payload in payloads:
                await carrier.send(payload)
            assert [await carrier.receive() for _ in payloads] == payloads
            assert server.handler.turns > 0

    trio.run(main)


@settings(max_examples=10)
@given(st.lists(st.binary(min_size=1, max_size=3_000), min_size=1, max_size=8), st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(message(payload) for payload in payloads)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})

    async def main() -> None:
        async with serving() as server:
            client = await RawClient(server.port).connect()
            for start, end in itertools.pairwise(cuts):
                client.quic.send_stream_data(0, stream[start:end])
                client.flush()
            await client.until(lambda: len(client.received) >= len(stream))
            assert client.received == stream

    trio.run(main)


def test_datagrams_come_back_and_long_ones_take_the_stream() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            await carrier.send(b"the stream is open")
            assert await carrier.receive() == b"the stream is open"
            for payload in (b"short", b"x" * 1_500):
                await carrier.send_datagram(payload)
                assert await carrier.receive() == payload

    trio.run(main)


def test_there_is_no_ticket_for_early_data() -> None:
    """Without session tickets a client can never send 0-RTT data, which could be replayed."""

    async def main() -> None:
        tickets: list[object] = []
        async with serving() as server:
            client = RawClient(server.port)
            client.quic._session_ticket_handler = tickets.append  # aioquic takes it at birth only
            await client.connect()
            assert await client.echo(b"after the handshake") == b"after the handshake"
            assert tickets == []
            finished = client.saw(HandshakeCompleted)
            assert finished is not None
            assert not finished.early_data_accepted

    trio.run(main)


def test_a_carrier_tells_what_it_is() -> None:
    async def main() -> None:
        async with serving() as server:
            await server.dial()
            await server.handler.until("opened")
            (carrier,) = server.handler.carriers
            assert (carrier.name, carrier.codec, carrier.peer, carrier.reason) == (
                "quic",
                Codec.MSGPACK,
                "127.0.0.1",
                None,
            )

    trio.run(main)


def test_two_hundred_connections_share_one_socket() -> None:
    count = 200

    async def talk(server_dial: object, number: int, answers: set[bytes]) -> None:
        carrier = await server_dial()  # type: ignore[operator]
        await carrier.send(b"client %d" % number)
        answers.add(await carrier.receive())

    async def main() -> None:
        async with serving(retry_from=1_000) as server:
            answers: set[bytes] = set()
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(talk, server.dial, number, answers)
            assert answers == {b"client %d" % number for number in range(count)}
            assert server.endpoint.connection_count == count
            assert server.endpoint.admission.strangers == 0

    trio.run(main)


def test_a_client_that_moves_goes_on_without_a_new_connection() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            await carrier.send(b"before")
            assert await carrier.receive() == b"before"
            ports, names = {carrier.local_port}, {carrier._quic._peer_cid.cid}
            for number in range(5):
                await carrier.migrate()
                await carrier.send(b"move %d" % number)
                assert await carrier.receive() == b"move %d" % number
                ports.add(carrier.local_port)
                names.add(carrier._quic._peer_cid.cid)  # so that nobody on the way links the two
            assert len(ports) == len(names) == 6
            assert server.endpoint.counts.accepted == 1
            assert server.handler.notes == ["opened"]

    trio.run(main)


def test_a_new_address_must_prove_itself() -> None:
    async def main() -> None:
        async with serving() as server:
            client = await RawClient(server.port).connect()
            assert await client.echo(b"before") == b"before"
            (carrier,) = server.endpoint._carriers
            client.rebind()
            assert await client.echo(b"after") == b"after"
            await client.until(lambda: carrier.engine.is_address_validated)
            present = carrier.engine.get_peer_address()
            assert present is not None
            assert present[1] == client.socket.getsockname()
            assert server.endpoint.counts.accepted == 1

    trio.run(main)


def test_a_certificate_is_swapped_for_new_connections_only() -> None:
    async def main() -> None:
        async with serving() as server:
            old = await server.dial()
            server.endpoint.set_identity(make_identity(2)[0])
            new = await server.dial(ca_number=2)
            for carrier in (old, new):
                await carrier.send(b"still here")
                assert await carrier.receive() == b"still here"
            with pytest.raises(Untrusted):
                await server.dial(ca_number=1)

    trio.run(main)


def test_a_server_under_another_name_is_not_trusted() -> None:
    async def main() -> None:

        async with serving() as server:
            trust = Trust(make_identity()[1], "elsewhere.example")
            with pytest.raises(Untrusted):
                await opener(Server("127.0.0.1", server.port), trust)(server.nursery)

    trio.run(main)


def test_closing_sends_first_what_is_queued() -> None:
    def farewell(carrier: Carrier, payload: bytes) -> None:
        carrier.send(payload * 1_000)
        carrier.close(CloseReason.POLICY, "as you wish")
        assert carrier.reason is CloseReason.POLICY

    async def main() -> None:
        async with serving(Echo(received_payload=farewell)) as server:
            carrier = await server.dial()
            await carrier.send(b"x" * 200)
            assert await carrier.receive() == b"x" * 200_000
            with pytest.raises(CarrierLost) as lost:
                await carrier.receive()
            assert lost.value.reason == CloseReason.POLICY
            await server.handler.until("closed")
            assert server.handler.reasons == [CloseReason.POLICY]

    trio.run(main)


def test_the_owner_hears_when_there_is_room_again() -> None:
    rooms: list[bool] = []

    def flood(carrier: Carrier, payload: bytes) -> None:
        rooms.extend(carrier.send(payload) for _ in range(8))
        assert carrier.queued_bytes() == 8 * (4 + len(payload))

    async def main() -> None:
        limits = {"high_water_bytes": 40_000, "low_water_bytes": 10_000, "flight_bytes": 20_000}
        async with serving(Echo(received_payload=flood), **limits) as server:
            carrier = await server.dial()
            await carrier.send(b"x" * 10_000)
            for _ in range(8):
                assert await carrier.receive() == b"x" * 10_000
            await server.handler.until("writable")
            assert rooms == [True] * 3 + [False] * 5
            assert server.handler.notes.count("writable") == 1
            server.handler.received_payload = None
            for _ in range(4):  # more than the peer's first credit
                await carrier.send(b"y" * LIMITS.window_bytes)
                assert await carrier.receive() == b"y" * LIMITS.window_bytes

    trio.run(main)


def test_what_is_sent_from_outside_a_turn_leaves_at_once() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            await carrier.send(b"open")
            assert await carrier.receive() == b"open"
            server.handler.carriers[0].send(b"news")
            assert await carrier.receive() == b"news"

    trio.run(main)


def test_a_draining_endpoint_takes_no_newcomers_but_keeps_the_rest() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            server.endpoint.drain()
            newcomer = RawClient(server.port)
            newcomer.quic.connect(newcomer.server, trio.current_time())
            newcomer.flush()
            await carrier.send(b"still served")
            assert await carrier.receive() == b"still served"
            assert (server.endpoint.counts.accepted, server.endpoint.counts.refused) == (1, 1)

    trio.run(main)


def test_the_end_of_the_server_is_told_to_every_client() -> None:
    async def main() -> None:
        async with serving() as server:
            carriers = [await server.dial() for _ in range(3)]
            await server.handler.until("opened", 3)
            server.endpoint.close_all()
            for carrier in carriers:
                with pytest.raises(CarrierLost) as lost:
                    await carrier.receive()
                assert lost.value.reason == CloseReason.GOING_AWAY
            await server.handler.until("closed", 3)
            assert server.endpoint.admission.connections == server.endpoint.connection_count

    trio.run(main)


def test_a_cancelled_endpoint_says_farewell_and_frees_its_port() -> None:
    async def main() -> None:
        echo, sock = Echo(), udp_socket()
        endpoint = QuicEndpoint([sock], echo, make_identity()[0])
        client = RawClient(sock.getsockname()[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.run)
            await client.connect()
            await client.echo(b"open")
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            ended = await client.until_ended()
        assert (ended.error_code, ended.frame_type) == (CloseReason.GOING_AWAY, None)
        assert echo.notes == ["opened", "closed"]
        assert sock.fileno() == -1
        close_sockets()

    trio.run(main)


def test_a_restarted_server_tells_clients_of_lost_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quic, "LOST_AFTER_SECONDS", 1_000.0)  # so that nothing else can end it

    async def main() -> None:
        key = b"k" * 32
        first, second = Echo(), Echo()
        async with trio.open_nursery() as nursery:
            sock = udp_socket()
            port = sock.getsockname()[1]
            endpoint = QuicEndpoint([sock], first, make_identity()[0], reset_key=key)
            scope = await nursery.start(_scoped, endpoint)
            trust = Trust(make_identity()[1], SERVER_NAME)
            carrier = await opener(Server("127.0.0.1", port), trust)(nursery)
            await carrier.send(b"open")
            assert await carrier.receive() == b"open"
            await carrier.migrate()  # so that a connection id given later is in use
            await carrier.send(b"moved")
            assert await carrier.receive() == b"moved"
            again = sock.dup()  # the port stays taken: no error tells the client before we do
            endpoint._carriers.clear()  # no farewell, as after kill -9
            scope.cancel()
            while sock.fileno() != -1:
                await trio.lowlevel.checkpoint()
            restarted = QuicEndpoint([again], second, make_identity()[0], reset_key=key)
            nursery.start_soon(restarted.run)
            await carrier.send(b"is anybody there?")
            with trio.fail_after(PATIENCE_SECONDS), pytest.raises(CarrierLost):
                await carrier.receive()
            assert restarted.counts.resets >= 1
            nursery.cancel_scope.cancel()
        close_sockets()

    trio.run(main)


async def _scoped(endpoint: QuicEndpoint, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await endpoint.run()


def test_a_client_that_leaves_is_noticed_at_once() -> None:
    async def main() -> None:
        async with serving() as server:
            carrier = await server.dial()
            await carrier.send(b"open")
            await carrier.receive()
            await carrier.aclose()
            await server.handler.until("closed")
            assert server.handler.reasons == [CloseReason.NORMAL]

    trio.run(main)


def test_nobody_there_is_unreachable() -> None:
    async def main() -> None:

        sock = udp_socket()
        port = sock.getsockname()[1]
        sock.close()
        async with trio.open_nursery() as nursery:
            with pytest.raises(Unreachable):
                await opener(Server("127.0.0.1", port), Trust(make_identity()[1], SERVER_NAME))(
                    nursery
                )

    trio.run(main)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=40))
def test_counts_of_connections_return_to_nothing(guests: list[tuple[int, bool, bool]]) -> None:
    hosts = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2"]
    admission = Admission(QuicLimits())
    for host, *_ in guests:
        admission.enter(hosts[host])
    assert admission.connections == admission.strangers == admission.handshakes == len(guests)
    for host, shook_hands, became_known in guests:
        if shook_hands:
            admission.handshake_ended()
        if became_known:
            admission.promote(hosts[host])
        admission.leave(hosts[host], was_known=became_known)
    assert admission.connections == admission.strangers == 0
    assert not admission._by_address
    assert not admission._strangers_by_address


def test_addresses_are_shown_as_people_write_them() -> None:
    hosts = ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "2001:db8::1"]
    assert [plain_host(host) for host in hosts] == [
        "10.0.0.1",
        "10.0.0.1",
        "fe80::1",
        "2001:db8::1",
    ]


@pytest.mark.parametrize(
    "limit", ["connections", "strangers", "connections_per_address", "strangers_per_address"]
)
def test_each_bound_on_connections_holds(limit: str) -> None:
    admission = Admission(QuicLimits(**{limit: 2}))
    admission.enter("10.0.0.1")
    assert admission.is_open("10.0.0.1")
    admission.enter("10.0.0.1")
    assert not admission.is_open("10.0.0.1")
    assert admission.is_open("10.0.0.2") == limit.endswith("per_address")
    if "strangers" in limit:
        admission.promote("10.0.0.1")
        assert admission.is_open("10.0.0.1")
