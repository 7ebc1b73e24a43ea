"""The pump serves real clients over real TLS: messages, HTTP, deadlines, farewells."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio_websocket
import websockets.sync.client
from websockets.typing import Subprotocol

from tests.transports.tcp_peers import (
    UPGRADE,
    Echo,
    Serving,
    Typist,
    cipher_context,
    frame,
    make_identity,
    run,
)
from transports.carrier import Carrier, CloseReason, Codec
from transports.limits import Limits
from transports.pump import Pump, listen

BINARY, TEXT, CLOSE, PING, PONG = 0x82, 0x81, 0x88, 0x89, 0x8A
LIMITS = Limits()


def test_two_independent_clients_speak_both_subprotocols() -> None:
    async def main(served: Serving) -> None:
        url = f"wss://localhost:{served.address[1]}/v1/session"
        context = cipher_context(served.ca_pem, "http/1.1")
        message = "血钾 6.1" * 1_000
        async with trio_websocket.open_websocket_url(
            url, ssl_context=context, subprotocols=["strongroom.v1.json"]
        ) as peer:
            await peer.send_message(message)
            assert await peer.get_message() == message
            assert peer.subprotocol == "strongroom.v1.json"
            await peer.ping(b"there?")
        await served.echo.until(lambda: bool(served.echo.reasons))
        assert served.echo.reasons == [CloseReason.NORMAL]

        def blocking() -> None:
            with websockets.sync.client.connect(
                url, ssl=context, subprotocols=[Subprotocol("strongroom.v1.msgpack")]
            ) as peer:
                peer.send([b"a", b"b" * 70_000, b""])
                assert peer.recv() == b"a" + b"b" * 70_000
                assert peer.ping(b"x").wait(30)

        await trio.to_thread.run_sync(blocking)
        assert [carrier.codec for carrier in served.echo.carriers] == [Codec.JSON, Codec.MSGPACK]
        assert {carrier.peer for carrier in served.echo.carriers} == {"127.0.0.1"}

    run(main)


def test_messages_of_one_read_are_answered_in_order_and_followed_by_one_turn_end() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await served.until(lambda: served.echo.notes[-1] == "turn")
        await client.send(*(frame(BINARY, bytes([n]) * 150) for n in range(50)))
        assert [await client.frame() for _ in range(50)] == [
            (BINARY, bytes([n]) * 150) for n in range(50)
        ]
        assert served.echo.notes[-51:] == ["received"] * 50 + ["turn"]

    run(main)


def test_messages_that_came_with_the_upgrade_are_not_lost() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls("http/1.1")
        await client.send(UPGRADE.replace("{codec}", "json").encode(), frame(TEXT, b"[1]"))
        await client.until(b"\r\n\r\n")
        assert await client.frame() == (TEXT, b"[1]")

    run(main)


def test_a_peer_that_becomes_known_loses_the_limits_of_strangers() -> None:
    def login(carrier: Carrier, payload: bytes) -> None:
        carrier.authenticated = True
        carrier.send(str(len(payload)).encode())

    async def main(served: Serving) -> None:
        client = await served.websocket()
        assert served.pump.strangers == 1
        await client.send(frame(BINARY, b"token"))
        await client.frame()
        assert served.pump.strangers == 0
        await served.elapse(LIMITS.unauthenticated_seconds)
        await client.send(frame(BINARY, bytes(LIMITS.message_bytes)))
        assert await client.frame() == (BINARY, str(LIMITS.message_bytes).encode())

    run(main, echo=Echo(trusts=False, on_payload=login))


def test_silence_is_pinged_and_only_an_answer_keeps_the_connection() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        for _ in range(3):
            await served.elapse(LIMITS.keepalive_seconds)
            assert await client.frame() == (PING, b"")
            await client.send(frame(PONG), frame(BINARY, b"alive"))
            assert await client.frame() == (BINARY, b"alive")
        await served.elapse(LIMITS.keepalive_seconds)
        assert await client.frame() == (PING, b"")
        await served.elapse(LIMITS.pong_seconds)
        assert await client.close_code() == CloseReason.IDLE
        await served.elapse(LIMITS.close_seconds)
        await served.echo.until(lambda: served.echo.reasons == [CloseReason.IDLE])

    run(main)


def test_the_owner_may_shorten_the_interval_of_pings_at_any_time() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        served.echo.carriers[0].keepalive_seconds = 5
        await served.elapse(5)
        assert await client.frame() == (PING, b"")

    run(main)


def test_an_http_connection_without_a_next_request_is_closed() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        await served.elapse(LIMITS.first_request_seconds / 2)
        await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.until(b"ok\n")
        await served.elapse(LIMITS.http_idle_seconds - 2)
        await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.until(b"ok\n")
        await served.elapse(LIMITS.http_idle_seconds)
        assert await client.rest() == b""

    run(main)


def test_http_2_is_agreed_on_and_served() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls("h2", "http/1.1")
        assert client.stream.selected_alpn_protocol() == "h2"
        peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        peer.initiate_connection()
        headers = [(":method", "GET"), (":path", "/large"), (":scheme", "https")]
        peer.send_headers(1, [*headers, (":authority", "localhost")], end_stream=True)
        body, is_over = b"", False
        while not is_over:
            await client.send(peer.data_to_send())
            for event in peer.receive_data(await client.stream.receive_some()):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                    peer.acknowledge_received_data(event.flow_controlled_length, 1)
                is_over |= isinstance(event, h2.events.StreamEnded)
        assert body == bytes(200_000)
        peer.close_connection()
        await client.send(peer.data_to_send())
        assert await client.rest() == b""

    run(main)


def test_http_1_is_served_when_nothing_was_agreed_on() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        assert client.stream.selected_alpn_protocol() is None
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await client.rest()).endswith(bytes(200_000))

    run(main)


def was_woken(served: Serving, times: int) -> bool:
    return len(served.woken) >= times


def test_wake_from_another_thread_brings_a_turn_in_the_trio_thread() -> None:
    async def main(served: Serving) -> None:
        for count in (1, 2, 3):
            await trio.to_thread.run_sync(served.pump.wake)
            await served.until(partial(was_woken, served, count))
        assert set(served.woken) == {threading.get_ident()}

    run(main)


def test_output_queued_between_turns_leaves_without_any_input() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await trio.testing.wait_all_tasks_blocked()
        served.echo.carriers[0].send(b"news")
        assert await client.frame() == (BINARY, b"news")

    run(main)


def test_drain_says_farewell_and_returns_when_all_are_gone() -> None:
    async def main(served: Serving) -> None:
        polite, rude, http = (
            await served.websocket(),
            await served.websocket(),
            await served.tls(),
        )
        served.echo.carriers[0].send(b"the last message")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.pump.drain, 5.0)
            assert await polite.frame() == (BINARY, b"the last message")
            assert await polite.close_code() == CloseReason.GOING_AWAY
            await polite.send(frame(CLOSE, b"\x03\xe9"))
            assert await polite.rest() == b""
            assert await http.rest() == b""
            await polite.stream.transport_stream.aclose()
            await http.stream.transport_stream.aclose()
            assert await rude.close_code() == CloseReason.GOING_AWAY
            await served.until(lambda: served.pump.connections == 1)
            await served.elapse(LIMITS.close_seconds)
        assert served.pump.connections == 0
        assert served.echo.reasons == [CloseReason.GOING_AWAY] * 2
        with pytest.raises(OSError, match="all attempts to connect"):
            await served.tcp()

    run(main)


def test_cancelling_closes_every_socket() -> None:
    streams: list[trio.SocketStream] = []
    echo = Echo()

    async def main(served: Serving) -> None:
        streams.append(await served.tcp())
        streams.append((await served.websocket()).stream.transport_stream)
        await served.until(lambda: served.pump.connections == 2)

    run(main, echo=echo)
    assert echo.reasons == [CloseReason.GOING_AWAY]


def test_a_renewed_identity_is_for_new_handshakes_only() -> None:
    async def main(served: Serving) -> None:
        old = await served.websocket()
        identity, ca_pem = make_identity(2)
        served.live.replace(identity)
        with pytest.raises(trio.BrokenResourceError):
            await served.websocket()
        served.ca_pem = ca_pem
        new = await served.websocket()
        for client in (old, new):
            await client.send(frame(BINARY, b"x"))
            assert await client.frame() == (BINARY, b"x")

    run(main)


def test_large_messages_arrive_whole_in_both_directions() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        messages = [os.urandom(size) for size in (125, 126, 65_535, 65_536, 262_144)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, *(frame(BINARY, each) for each in messages))
            for message in messages:
                assert await client.frame() == (BINARY, message)

    run(main)


def test_a_peer_may_ask_for_new_keys(requires: Callable[[str, str], str]) -> None:
    openssl = requires("openssl", "openssl")

    async def main(served: Serving) -> None:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{served.address[1]}"]
        async with Typist.of(command) as peer:
            await peer.until(b"\n---\n")
            for _ in range(2):
                await peer.type(b"K\n")
                await peer.until(b"KEYUPDATE\n")
                await peer.type(b"GET /livez HTTP/1.1\n", b"Host: localhost\n", b"\n")
                assert b"HTTP/1.1 200 OK" in await peer.until(b"\nok\n")

    run(main)


def test_a_client_that_closes_its_side_still_gets_the_whole_answer() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16)
        await client.stream.transport_stream.send_eof()
        answer = await client.rest()
        assert answer.count(b"HTTP/1.1 200 ") == 16
        assert answer.endswith(bytes(200_000))
        await served.until(lambda: served.pump.connections == 0)

    run(main)


def test_the_farewell_of_tls_ends_any_connection() -> None:
    async def main(served: Serving) -> None:
        for client in (await served.tls(), await served.websocket()):
            await client.stream.aclose()
        await served.until(lambda: served.pump.connections == 0)
        assert served.echo.reasons == [CloseReason.LOST]

    run(main)


def test_output_longer_than_a_turn_allows_goes_on_in_the_next_turns() -> None:
    message = os.urandom(250_000)

    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.send(frame(BINARY, message))
        assert await client.frame() == (BINARY, message)
        before = served.pump.counters.turns
        served.echo.carriers[0].send(message)
        assert await client.frame() == (BINARY, message)
        assert served.pump.counters.turns - before >= len(message) // 20_000

    run(main, limits=replace(LIMITS, write_bytes=20_000, slice_bytes=7_000))


def test_an_answer_that_is_read_late_but_in_time_is_read_whole() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        # A small window, so that the answers wait in the server and not in the system.
        client.stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 15)
        await served.until(lambda: served.pump.counters.accepted == 1)
        await client.exactly(1)
        await served.elapse(LIMITS.http_idle_seconds + 5)
        await served.elapse(LIMITS.close_seconds)
        head = b"HTTP/1.1 200 "
        assert (b"H" + await client.exactly(3_000_000)).count(head) == 15

    run(main)


def test_a_farewell_is_answered_with_the_same_code() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.send(frame(BINARY, b"last"), frame(CLOSE, b"\x0f\xa0bye"))
        assert await client.frame() == (BINARY, b"last")
        assert await client.frame() == (CLOSE, b"\x0f\xa0")
        assert await client.rest() == b""

    run(main)


def test_what_the_owner_sends_after_closing_is_dropped_and_what_the_peer_sends_ignored() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        carrier = served.echo.carriers[0]
        carrier.send(b"before")
        carrier.close(CloseReason.REVOKED, "signed out")
        carrier.close(CloseReason.NORMAL)
        assert carrier.send(b"after") is True
        await client.send(frame(BINARY, b"too late"))
        assert await client.frame() == (BINARY, b"before")
        assert await client.frame() == (CLOSE, b"\x0f\xa4signed out")
        await client.send(frame(CLOSE, b"\x0f\xa4"))
        assert await client.rest() == b""
        assert "received" not in served.echo.notes
        await client.stream.transport_stream.aclose()
        await served.echo.until(lambda: served.echo.reasons == [CloseReason.REVOKED])

    run(main)


def test_datagrams_are_messages_here_and_are_dropped_when_the_peer_is_slow() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        carrier = served.echo.carriers[0]
        carrier.send_datagram(b"typing")
        assert await client.frame() == (BINARY, b"typing")
        carrier.send(bytes(LIMITS.low_water_bytes))
        carrier.send_datagram(b"dropped")
        carrier.send(b"kept")
        assert len((await client.frame())[1]) == LIMITS.low_water_bytes
        assert await client.frame() == (BINARY, b"kept")

    run(main)


def test_a_taken_port_is_an_error_and_ipv6_is_served_apart() -> None:
    with listen("127.0.0.1", 0) as taken:
        with pytest.raises(OSError, match="in use") as caught:
            listen("127.0.0.1", taken.getsockname()[1])
        assert caught.value.errno == errno.EADDRINUSE
        if socket.has_dualstack_ipv6():
            with listen("::1", taken.getsockname()[1]) as beside:
                assert beside.family == socket.AF_INET6
                assert not beside.getblocking()


def test_no_newcomer_is_accepted_after_stop_and_the_others_go_on() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        served.pump.stop_accepting()
        with pytest.raises(OSError, match="all attempts to connect"):
            await served.tcp()
        await client.send(frame(BINARY, b"x"))
        assert await client.frame() == (BINARY, b"x")

    run(main)


def test_waking_a_pump_that_is_over_does_nothing() -> None:
    pumps: list[Pump] = []

    async def main(served: Serving) -> None:
        pumps.append(served.pump)

    run(main)
    before = sorted(os.listdir("/proc/self/fd"))
    pumps[0].wake()
    assert sorted(os.listdir("/proc/self/fd")) == before
