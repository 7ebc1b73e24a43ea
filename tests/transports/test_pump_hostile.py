"""Slow, rude, silent and countless peers end their own connections and nothing else."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
import struct
from collections import Counter
from dataclasses import replace

import pytest
import trio

from tests.transports.tcp_peers import (
    Client,
    Echo,
    Serving,
    cipher_context,
    frame,
    run,
)
from transports.carrier import Carrier, CloseReason
from transports.channel import Channel
from transports.limits import Limits

BINARY, TEXT, CLOSE, PING, PONG = 0x82, 0x81, 0x88, 0x89, 0x8A
LIMITS = Limits()


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
        (b"\x70" + bytes(40), 1002),
    ],
)
def test_a_violation_ends_that_connection_with_its_code_and_no_other(
    rude: bytes, code: int
) -> None:
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


def test_a_broken_record_ends_that_connection() -> None:
    async def main(served: Serving) -> None:
        client = await served.websocket()
        await client.stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        await served.echo.until(lambda: bool(served.echo.reasons))
        assert served.echo.reasons == [CloseReason.PROTOCOL]

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
