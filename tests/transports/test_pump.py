"""The pump serves real sockets with real TLS, and each bound and deadline is kept."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
import struct
import threading
from collections import Counter
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
    Client,
    Echo,
    Serving,
    Typist,
    cipher_context,
    frame,
    make_identity,
    run,
)
from transports.carrier import Carrier, CloseReason, Codec
from transports.channel import Channel
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


@pytest.mark.parametrize(
    ("rude", "code"),
    [
        (frame(BINARY, bytes(300_000)), 1009),
        (frame(BINARY, b"x", is_masked=False), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0xC2, b"x"), 1002),
        (frame(TEXT, b"x"), 1003),
        (frame(CLOSE, b"\x03\xed"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (os.urandom(7) + bytes(40), 1002),
    ],
)
def test_a_violation_ends_that_connection_with_its_code_and_no_other(
    rude: bytes, code: int
) -> None:
    if len(rude) == 47:
        rude = b"\x70" + rude[1:]

    async def main(served: Serving) -> None:
        good, bad = await served.websocket(), await served.websocket()
        await bad.send(frame(BINARY, b"before"), rude)
        assert await bad.frame() == (BINARY, b"before")
        assert await bad.close_code() == code
        assert await bad.rest() == b""
        await bad.stream.transport_stream.aclose()
        await served.until(lambda: served.echo.reasons == [code])
        await good.send(frame(BINARY, b"still here"))
        assert await good.frame() == (BINARY, b"still here")

    run(main)


def test_a_stranger_may_send_short_messages_only_and_not_for_long() -> None:
    async def main(served: Serving) -> None:
        talker, waiter = await served.websocket(), await served.websocket()
        await talker.send(frame(BINARY, bytes(LIMITS.stranger_message_bytes)))
        await talker.frame()
        await talker.send(frame(BINARY, bytes(LIMITS.stranger_message_bytes + 1)))
        assert await talker.close_code() == 1009
        await served.elapse(LIMITS.unauthenticated_seconds)
        assert await waiter.close_code() == CloseReason.UNAUTHENTICATED
        await served.elapse(LIMITS.close_seconds)
        await served.until(lambda: served.pump.connections == 0)
        assert served.echo.reasons[-1] is CloseReason.UNAUTHENTICATED

    run(main, echo=Echo(trusts=False))


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


def test_a_reader_that_stops_is_closed_while_others_are_served() -> None:
    chunk = bytes(64 * 1024)

    def flood(carrier: Carrier, payload: bytes) -> None:
        if payload == b"flood":
            while carrier.send(chunk):
                pass
        else:
            carrier.send(payload)

    async def main(served: Serving) -> None:
        good, stopped = await served.websocket(), await served.websocket()
        await stopped.send(frame(BINARY, b"flood"))
        victim = served.echo.carriers[1]
        await served.echo.until(lambda: "received" in served.echo.notes)
        await served.until(lambda: victim.queued_bytes() > 0)
        while victim.queued_bytes() <= LIMITS.high_water_bytes:
            victim.send(chunk)
            await trio.lowlevel.checkpoint()
        await good.send(frame(BINARY, b"hello"))
        assert await good.frame() == (BINARY, b"hello")
        assert victim.queued_bytes() <= LIMITS.queue_bytes
        await served.elapse(LIMITS.write_stall_seconds)
        await served.echo.until(lambda: served.echo.reasons == [CloseReason.SLOW])
        assert victim.queued_bytes() == 0
        await good.send(frame(BINARY, b"again"))
        assert await good.frame() == (BINARY, b"again")

    run(main, echo=Echo(on_payload=flood))


def test_a_slow_reader_hears_of_room_and_loses_nothing() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        carrier = served.echo.carriers[0]
        chunk, count = os.urandom(100_000), 0
        while carrier.queued_bytes() <= LIMITS.high_water_bytes:
            carrier.send(chunk)
            count += 1
            await trio.lowlevel.checkpoint()
        assert "writable" not in served.echo.notes
        for _ in range(count):
            assert await client.frame() == (BINARY, chunk)
        await served.echo.until(lambda: "writable" in served.echo.notes)
        assert carrier.send(b"room") is True
        assert await client.frame() == (BINARY, b"room")
        await client.send(frame(BINARY, b"read again"))
        assert await client.frame() == (BINARY, b"read again")
        assert served.echo.notes.count("writable") == 1

    run(main)


def test_a_queue_beyond_its_hard_bound_closes_the_carrier() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        carrier = served.echo.carriers[0]
        sent = 0
        while carrier.reason is None:
            carrier.send(bytes(100_000))
            sent += 1
        assert carrier.reason is CloseReason.SLOW
        assert carrier.queued_bytes() <= LIMITS.queue_bytes + 200_000
        carrier.send(bytes(100_000))
        assert await client.close_code() == CloseReason.SLOW
        assert sent * 100_000 >= LIMITS.queue_bytes

    run(main)


def test_five_hundred_strangers_cost_a_known_client_nothing() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        strangers = [await served.tcp() for _ in range(500)]
        await served.until(lambda: served.pump.connections == 501)
        await client.send(frame(BINARY, b"x" * 150))
        assert await client.frame() == (BINARY, b"x" * 150)
        await served.elapse(LIMITS.handshake_seconds)
        await served.until(lambda: served.pump.connections == 1)
        for stranger in strangers:
            with trio.CancelScope():
                await stranger.aclose()

    run(main)


def test_too_many_strangers_of_one_address_are_refused_at_once() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        held = [await served.tcp() for _ in range(4)]
        await served.until(lambda: served.pump.strangers == 4)
        refused = await served.tcp()
        assert await refused.receive_some(1) == b""
        assert served.pump.counters.refused == 1
        await client.send(frame(BINARY, b"x"))
        assert await client.frame() == (BINARY, b"x")
        for stream in held:
            await stream.aclose()
        await served.until(lambda: served.pump.strangers == 0)
        await (await served.websocket()).send(frame(BINARY, b"welcome"))

    run(main, limits=replace(LIMITS, strangers_per_address=4))


def test_the_oldest_stranger_makes_room_for_the_newest() -> None:
    async def main(served: Serving) -> None:
        oldest = await served.tcp()
        await served.until(lambda: served.pump.strangers == 1)
        others = [await served.tcp() for _ in range(3)]
        assert await oldest.receive_some(1) == b""
        assert served.pump.counters.evicted == 1
        await served.until(lambda: served.pump.strangers == 3)
        client = await served.websocket()
        await client.send(frame(BINARY, b"x"))
        assert await client.frame() == (BINARY, b"x")
        assert len(others) == 3

    run(main, limits=replace(LIMITS, strangers=3))


def test_plain_http_on_the_tls_port_is_told_so() -> None:
    async def main(served: Serving) -> None:
        stream = await served.tcp()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join([bytes(data) async for data in stream])
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"\r\n\r\nThis port speaks HTTPS only.\n")
        await stream.aclose()
        await served.until(lambda: served.pump.connections == 0)

    run(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\xff\xff" + bytes(20),
        b"\x16\x03\x01\x00\x40" + bytes(64),
        b"\x16\x03\x01\x00\x40\x01" + bytes(63),
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_garbage_instead_of_tls_ends_that_connection(garbage: bytes) -> None:
    async def main(served: Serving) -> None:
        stream = await served.tcp()
        await stream.send_all(garbage)
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        await served.until(lambda: served.pump.connections == 0)

    run(main)


def test_a_client_hello_that_comes_byte_by_byte_is_understood() -> None:
    async def main(served: Serving) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = cipher_context(served.ca_pem, "http/1.1")
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        stream = await served.tcp()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        for byte in outgoing.read():
            await stream.send_all(bytes([byte]))
        while True:
            incoming.write(await stream.receive_some())
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        # The request comes with the Finished of the handshake, in one segment.
        tls.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await stream.send_all(outgoing.read())
        while True:
            incoming.write(await stream.receive_some())
            try:
                assert tls.read().startswith(b"HTTP/1.1 200 ")
                break
            except ssl.SSLWantReadError:
                pass

    run(main)


def test_tls_1_2_is_refused() -> None:
    async def main(served: Serving) -> None:
        context = cipher_context(served.ca_pem, "http/1.1")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = trio.SSLStream(await served.tcp(), context, server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()

    run(main)


def test_bytes_that_trickle_do_not_extend_the_time_for_a_request() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        await client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(4):
            await served.elapse(LIMITS.first_request_seconds / 5)
            await client.send(b"X-Slow: 1\r\n")
        await served.elapse(LIMITS.first_request_seconds / 5)
        assert await client.rest() == b""
        await client.stream.transport_stream.aclose()
        await served.until(lambda: served.pump.connections == 0)

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


def test_an_error_is_read_whole_by_a_client_that_still_sends() -> None:
    async def main(served: Serving) -> None:
        client = await served.tls()
        head = b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n"
        await client.send(head + bytes(100_000))
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"http.413"' in answer

    run(main)


def test_a_connection_reset_in_any_state_is_forgotten() -> None:
    async def main(served: Serving) -> None:
        streams = [await served.tcp(), (await served.tls()).stream.transport_stream]
        streams.append((await served.websocket()).stream.transport_stream)
        await served.until(lambda: served.pump.connections == 3)
        for stream in streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        await served.until(lambda: served.pump.connections == 0)
        assert served.echo.reasons == [CloseReason.LOST]

    run(main)


def test_an_end_of_stream_without_a_farewell_is_a_lost_connection() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.stream.transport_stream.send_eof()
        await served.echo.until(lambda: served.echo.reasons == [CloseReason.LOST])

    run(main)


def test_a_failing_handler_ends_that_connection_only_and_tells_no_content() -> None:
    def fail(carrier: Carrier, payload: bytes) -> None:
        if payload.startswith(b"fail"):
            raise LookupError(payload)
        carrier.send(payload)

    async def main(served: Serving) -> None:
        good, bad = await served.websocket(), await served.websocket()
        await bad.send(frame(BINARY, b"fail: secret"))
        assert await bad.close_code() == 1011
        await bad.send(frame(CLOSE, b"\x03\xf3"))
        assert await bad.rest() == b""
        await bad.stream.transport_stream.aclose()
        await good.send(frame(BINARY, b"fine"))
        assert await good.frame() == (BINARY, b"fine")
        await served.until(lambda: bool(served.echo.reasons))
        assert served.log == [("pump.connection_failed", {"error": "LookupError"})]
        assert served.echo.reasons == [CloseReason.INTERNAL]

    run(main, echo=Echo(on_payload=fail), may_log=True)


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


def test_a_machine_out_of_descriptors_pauses_accepting_and_serves_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept = socket.socket.accept
    left = [1]

    def exhausted(self: socket.socket) -> tuple[socket.socket, object]:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(self)

    async def main(served: Serving) -> None:
        client = await served.websocket()
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        waiting = await served.tcp()
        await served.until(lambda: bool(served.log))
        await client.send(frame(BINARY, b"x"))
        assert await client.frame() == (BINARY, b"x")
        assert served.pump.connections == 1
        await served.elapse(LIMITS.accept_pause_seconds)
        await served.until(lambda: served.pump.connections == 2)
        assert served.log == [("pump.accept_paused", {"errno": errno.EMFILE})]
        await waiting.aclose()

    run(main, may_log=True)


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


def test_a_ping_flood_from_a_peer_that_does_not_read_is_bounded() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        pings = frame(PING, bytes(125)) * 500
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    while True:
                        await client.stream.send_all(pings)

                nursery.start_soon(flood)
                carrier = served.echo.carriers[0]
                await served.until(lambda: carrier.queued_bytes() > 0)
                peak = 0
                for _ in range(2_000):
                    peak = max(peak, carrier.queued_bytes())
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert 0 < peak < LIMITS.high_water_bytes + 2 * LIMITS.read_bytes

    run(main)


# --- what TLS itself can do -----------------------------------------------------------------


def test_a_broken_record_ends_that_connection() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        await served.echo.until(lambda: bool(served.echo.reasons))
        assert served.echo.reasons == [CloseReason.PROTOCOL]

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


def test_many_handshakes_at_once_are_spread_over_turns() -> None:
    async def main(served: Serving) -> None:
        clients: list[Client] = []

        async def connect() -> None:
            clients.append(await served.websocket())

        begun: Counter[int] = Counter()

        def choose(server_name: str | None) -> ssl.SSLContext:
            begun[served.pump.counters.turns] += 1
            return served.live.choose(server_name)

        served.pump.choose_context = choose
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(connect)
        assert max(begun.values()) <= 2
        assert begun.total() == 30
        for client in clients:
            await client.send(frame(BINARY, b"x"))
            assert await client.frame() == (BINARY, b"x")

    run(main, limits=replace(LIMITS, handshakes_per_turn=2))


# --- ends, early and late -------------------------------------------------------------------


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


def test_a_peer_that_never_answers_a_farewell_is_cut_off() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        served.echo.carriers[0].close(CloseReason.REVOKED)
        assert await client.close_code() == CloseReason.REVOKED
        assert served.pump.connections == 1
        await served.elapse(LIMITS.close_seconds)
        await served.echo.until(lambda: served.echo.reasons == [CloseReason.REVOKED])
        assert served.pump.connections == 0
        # What time brought about is followed by the end of a turn, as what a peer did is.
        await served.echo.until(lambda: served.echo.notes[-1] == "turn")

    run(main)


def test_a_peer_that_never_closes_after_its_violation_is_cut_off() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.send(b"\x70\x80")
        assert await client.close_code() == CloseReason.PROTOCOL
        assert await client.rest() == b""
        assert served.pump.connections == 1
        await served.elapse(LIMITS.close_seconds)
        await served.until(lambda: served.pump.connections == 0)
        assert served.echo.reasons == [CloseReason.PROTOCOL]

    run(main)


def test_a_connection_that_is_over_is_let_go_before_its_deadline() -> None:
    async def main(served: Serving) -> None:
        for _ in range(3):
            client = await served.websocket()
            await client.stream.transport_stream.aclose()
            await served.until(lambda: served.pump.connections == 0)
        served.echo.carriers.clear()
        await served.until(lambda: served.echo.notes[-1] == "turn")
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Channel)]

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


class Failing(Echo):
    """A handler whose bookkeeping fails once, where no connection is to blame."""

    def turn_ended(self) -> None:
        if "received" in self.notes and "failed" not in self.notes:
            self.note("failed")
            raise LookupError("secret")


def test_a_failure_at_the_end_of_a_turn_is_reported_and_ends_nothing() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        for _ in range(2):
            await client.send(frame(BINARY, b"x"))
            assert await client.frame() == (BINARY, b"x")
        assert served.log == [("pump.turn_failed", {"error": "LookupError"})]
        assert served.pump.counters.failed == 1

    run(main, echo=Failing(), may_log=True)


class Ungrateful(Echo):
    """A handler that fails when it hears that a carrier is closed."""

    def closed(self, carrier: Carrier) -> None:
        super().closed(carrier)
        raise LookupError("secret")


def test_a_failure_while_closing_leaves_no_connection_behind() -> None:
    async def main(served: Serving) -> None:
        clients = [await served.websocket() for _ in range(3)]
        await clients[0].stream.transport_stream.aclose()
        await served.until(lambda: served.pump.connections == 2)
        clients[1].stream.transport_stream.socket.close()
        served.echo.carriers[1].close(CloseReason.NORMAL)
        await served.until(lambda: served.pump.connections == 1)
        await clients[2].send(frame(BINARY, b"x"))
        assert await clients[2].frame() == (BINARY, b"x")
        await served.pump.drain(0)
        assert served.pump.connections == 0

    run(main, echo=Ungrateful(), may_log=True)


# --- listeners ------------------------------------------------------------------------------


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
