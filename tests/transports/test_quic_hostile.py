"""QUIC peers that misbehave: each harms its own connection only, within bounds."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest
import trio
from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicErrorCode, QuicPacketType, pull_quic_header

from tests.transports.quic_peers import Echo, RawClient, Serving, message, serving, udp_socket
from transports.carrier import Carrier, CloseReason
from transports.quic import QuicLimits

LIMITS = QuicLimits()


async def is_well(server: Serving) -> None:
    """Check that the server still serves, and that nothing failed inside."""
    carrier = await server.dial()
    await carrier.send(b"are you well?")
    assert await carrier.receive() == b"are you well?"
    assert server.failures == []


def ask(port: int, data: bytes) -> socket.socket:
    sock = udp_socket()
    sock.connect(("127.0.0.1", port))
    sock.send(data)
    return sock


def long_header(version: int, size: int = 1_200) -> bytes:
    head = b"\xc0" + version.to_bytes(4, "big") + b"\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    return head.ljust(size, b"\0")


def test_garbage_reaches_nobody() -> None:
    rng = random.Random(7)

    async def main() -> None:
        async with serving() as server:
            victim = await RawClient(server.port).connect()
            known = victim.quic._peer_cid.cid
            sock = ask(server.port, b"")
            for size in [0, 1, 2, 5, 6, 7, 8, 9, 20, 21, 1_199, 1_200, 1_500, 9_000] * 20:
                noise = rng.randbytes(size)
                sock.send(noise)
                sock.send(b"\x40" + known + noise)
                sock.send(b"\xc0\0\0\0\1\x08" + known + noise)
                sock.send(long_header(1)[:22] + noise.ljust(1_200, b"\1"))
            assert await victim.echo(b"unmoved") == b"unmoved"
            await is_well(server)

    trio.run(main)


def test_an_unknown_version_is_answered_with_those_we_speak() -> None:
    async def main() -> None:
        async with serving() as server:
            sock = ask(server.port, long_header(0x1A2A3A4A))
            await trio.lowlevel.wait_readable(sock)
            header = pull_quic_header(Buffer(data=sock.recv(2_000)), host_cid_length=8)
            assert header.packet_type == QuicPacketType.VERSION_NEGOTIATION
            assert (header.destination_cid, header.source_cid) == (b"s" * 8, b"d" * 8)
            for silent in (long_header(0x1A2A3A4A, 1_199), long_header(0)):
                sock.send(silent)
            await is_well(server)
            with pytest.raises(BlockingIOError):
                sock.recv(2_000)

    trio.run(main)


def test_a_newcomer_proves_its_address_when_many_handshakes_are_open() -> None:
    async def main() -> None:
        async with serving(retry_from=0) as server:
            await is_well(server)
            assert server.endpoint.counts.retries == 1
            assert server.endpoint.counts.accepted == 1

    trio.run(main)


def test_half_open_handshakes_make_newcomers_prove_their_address_and_go_away() -> None:
    async def main() -> None:
        async with serving(retry_from=5, handshake_seconds=0.2) as server:
            for _ in range(20):
                client = RawClient(server.port)
                client.quic.connect(client.server, trio.current_time())
                client.flush()
                client.socket.close()
            await is_well(server)
            counts = server.endpoint.counts
            assert counts.accepted <= 7
            assert counts.retries >= 14
            while server.endpoint.admission.handshakes:
                await trio.lowlevel.checkpoint()
            assert server.endpoint.admission.connections == server.endpoint.connection_count

    trio.run(main)


def test_a_token_is_good_for_one_address_only() -> None:
    async def main() -> None:
        async with serving(retry_from=0) as server:
            client = RawClient(server.port)
            client.quic.connect(client.server, trio.current_time())
            client.flush()
            await trio.lowlevel.wait_readable(client.socket)
            client._take()
            client.rebind()
            client.flush()
            await is_well(server)
            assert server.endpoint.counts.accepted == 1

    trio.run(main)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\0\0\0\0", CloseReason.PROTOCOL),
        (b"\xff\xff\xff\xff", CloseReason.TOO_BIG),
        ((LIMITS.message_bytes + 1).to_bytes(4, "big"), CloseReason.TOO_BIG),
    ],
)
def test_a_message_that_cannot_be_ends_its_connection(stream: bytes, reason: CloseReason) -> None:
    async def main() -> None:
        async with serving() as server:
            client = await RawClient(server.port).connect()
            client.quic.send_stream_data(0, stream)
            ended = await client.until_ended()
            assert (ended.error_code, ended.frame_type) == (reason, None)
            await is_well(server)

    trio.run(main)


def test_a_stranger_may_send_less() -> None:
    async def main() -> None:
        async with serving(Echo(is_trusting=False)) as server:
            client = await RawClient(server.port).connect()
            longest = b"x" * LIMITS.stranger_message_bytes
            assert await client.echo(longest) == longest
            client.quic.send_stream_data(0, message(longest + b"x"))
            assert (await client.until_ended()).error_code == CloseReason.TOO_BIG

    trio.run(main)


def test_a_stranger_is_not_waited_for() -> None:
    async def main() -> None:
        async with serving(Echo(is_trusting=False), unauthenticated_seconds=0.1) as server:
            client = await RawClient(server.port).connect()
            assert (await client.until_ended()).error_code == CloseReason.UNAUTHENTICATED
            await server.handler.until("closed")

    trio.run(main)


@pytest.mark.parametrize("stream", [4, 2])
def test_further_streams_are_refused(stream: int) -> None:
    async def main() -> None:
        async with serving() as server:
            client = await RawClient(server.port).connect()
            await client.echo(b"first")
            client.quic._remote_max_streams_bidi = client.quic._remote_max_streams_uni = 100
            client.quic._remote_max_stream_data_bidi_remote = 1_000
            client.quic._remote_max_stream_data_uni = 1_000
            client.quic.send_stream_data(stream, b"more")
            assert (await client.until_ended()).error_code == QuicErrorCode.STREAM_LIMIT_ERROR
            await is_well(server)

    trio.run(main)


def test_bytes_far_ahead_allocate_no_more_than_the_window() -> None:
    async def main() -> None:
        async with serving() as server:
            client = await RawClient(server.port).connect()
            await client.echo(b"open")
            (carrier,) = server.endpoint._carriers
            stream = client.quic._streams[0]
            held = 0
            for _ in range(6):
                far = stream.max_stream_data_remote
                stream.sender._pending._RangeSet__ranges.clear()  # type: ignore[attr-defined]
                stream.sender.write(b"\0" * (far - stream.sender._buffer_stop))
                stream.sender._pending._RangeSet__ranges.clear()  # type: ignore[attr-defined]
                stream.sender._pending.add(far - 1, far)
                before = server.endpoint.counts
                client.quic.send_ping(1)
                await client.until(lambda: not client.quic._loss.bytes_in_flight)
                held = max(held, len(carrier.engine._streams[0].receiver._buffer))
                assert before is server.endpoint.counts
            assert 0 < held <= LIMITS.window_bytes
            await is_well(server)

    trio.run(main)


def test_a_stream_full_of_holes_ends_its_connection() -> None:
    async def main() -> None:
        async with serving(receive_ranges=16) as server:
            client = await RawClient(server.port).connect()
            await client.echo(b"open")
            sender = client.quic._streams[0].sender
            start = sender._buffer_stop
            sender.write(bytes(1_000))
            sender._pending._RangeSet__ranges.clear()  # type: ignore[attr-defined]
            for hole in range(40):
                sender._pending.add(start + 2 + hole * 4, start + 3 + hole * 4)
            ended = await client.until_ended()
            assert ended.error_code == QuicErrorCode.FLOW_CONTROL_ERROR
            await is_well(server)

    trio.run(main)


def flood(carrier: Carrier, payload: bytes) -> None:
    while carrier.reason is None:
        carrier.send(payload)


def test_a_peer_that_takes_too_little_is_dropped_and_costs_no_more_than_the_bound() -> None:
    async def main() -> None:
        echo = Echo(received_payload=flood)
        async with serving(echo, queue_bytes=100_000, high_water_bytes=50_000) as server:
            client = await RawClient(server.port).connect()
            client.quic.send_stream_data(0, message(b"x" * 1_000))
            assert (await client.until_ended()).error_code == CloseReason.SLOW
            assert echo.reasons == [CloseReason.SLOW]

    trio.run(main)


def test_a_peer_that_stops_acknowledging_is_dropped() -> None:
    def answer(carrier: Carrier, payload: bytes) -> None:
        carrier.send(payload * 50)

    async def main() -> None:
        async with serving(Echo(received_payload=answer), write_stall_seconds=0.3) as server:
            client = await RawClient(server.port).connect()
            client.quic.send_stream_data(0, message(b"x" * 1_000))
            client.flush()
            await server.handler.until("closed")
            assert server.handler.reasons == [CloseReason.SLOW]

    trio.run(main)


def test_a_silent_peer_is_pinged_then_dropped() -> None:
    async def main() -> None:
        async with serving(keepalive_seconds=0.1, pong_seconds=0.2) as server:
            client = await RawClient(server.port).connect()
            await client.echo(b"open")
            await server.handler.until("closed")
            assert server.handler.reasons == [CloseReason.IDLE]

    trio.run(main)


def test_a_quiet_peer_that_answers_pings_stays() -> None:
    async def main() -> None:
        async with serving(keepalive_seconds=0.05, pong_seconds=5.0) as server:
            carrier = await server.dial()
            await carrier.send(b"open")
            await carrier.receive()
            (inside,) = server.endpoint._carriers
            pings = 0
            while pings < 3:
                heard = inside._heard_at
                while inside._heard_at == heard:
                    await trio.lowlevel.checkpoint()
                pings += 1
            assert server.handler.notes == ["opened"]

    trio.run(main)


@pytest.mark.parametrize("where", ["received", "closed"])
def test_an_error_in_the_owner_ends_one_connection(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        def fail(*_args: object, **_more: object) -> None:
            raise LookupError

        async with serving() as server:
            client = await RawClient(server.port).connect()
            await client.echo(b"open")
            original: Callable[..., None] = getattr(server.handler, where)
            monkeypatch.setattr(server.handler, where, fail)
            client.quic.send_stream_data(0, message(b"x"), end_stream=where == "closed")
            ended = await client.until_ended()
            assert ended.error_code in (CloseReason.INTERNAL, CloseReason.NORMAL)
            monkeypatch.setattr(server.handler, where, original)
            assert [type(failure) for failure in server.failures] == [LookupError]
            server.failures.clear()
            await is_well(server)

    trio.run(main)


def test_a_stream_that_is_reset_or_refused_ends_its_connection() -> None:
    async def main() -> None:
        async with serving() as server:
            for spoil in ("reset_stream", "stop_stream"):
                client = await RawClient(server.port).connect()
                await client.echo(b"open")
                getattr(client.quic, spoil)(0, 7)
                assert (await client.until_ended()).error_code == CloseReason.PROTOCOL
            await is_well(server)

    trio.run(main)
