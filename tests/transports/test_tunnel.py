"""A stream of bytes over HTTP/2, both ends joined in memory: order, windows, refusals, floods."""

from __future__ import annotations

from random import Random

import h2.config
import h2.connection
import h2.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.http.tunnel import Tunnel
from transports.limits import TUNNEL_CREDIT, TUNNEL_WINDOW_BYTES


def answer(method: str, path: str) -> int:
    return 200 if (method, path) == ("POST", "/here") else 404


def carry(client: Tunnel, server: Tunnel) -> None:
    """Move bytes of the connection until neither end has any."""
    moved = True
    while moved:
        moved = False
        for here, there in ((client, server), (server, client)):
            data = here.output()
            if data:
                moved = True
                there.receive(data)


def pair(path: str = "/here") -> tuple[Tunnel, Tunnel]:
    client, server = Tunnel.request("site.example", path), Tunnel.respond(answer)
    carry(client, server)
    return client, server


chunks = st.lists(st.integers(0, 40_000), max_size=20)


@given(chunks, chunks)
def test_bytes_arrive_in_order_both_ways(up: list[int], down: list[int]) -> None:
    client, server = pair()
    sent: dict[bool, bytes] = {True: b"", False: b""}
    got: dict[bool, bytes] = {True: b"", False: b""}
    random = Random(1)
    for number in range(max(len(up), len(down))):
        for is_up, here, sizes in ((True, client, up), (False, server, down)):
            if number < len(sizes):
                data = random.randbytes(sizes[number])
                sent[is_up] += data
                here.write(data)
        carry(client, server)
        got[True] += server.take()
        got[False] += client.take()
    carry(client, server)
    got[True] += server.take()
    got[False] += client.take()
    assert got == sent
    assert client.is_open
    assert server.is_open


def test_what_a_reader_does_not_take_stays_with_the_sender() -> None:
    client, server = pair()
    client.write(bytes(3 * TUNNEL_WINDOW_BYTES))
    carry(client, server)
    assert client.unsent_bytes == 2 * TUNNEL_WINDOW_BYTES
    found = 0
    while data := server.take():
        found += len(data)
        carry(client, server)
    assert found == 3 * TUNNEL_WINDOW_BYTES
    assert client.unsent_bytes == 0


def test_nothing_is_sent_before_the_answer() -> None:
    client, server = Tunnel.request("site.example", "/here"), Tunnel.respond(answer)
    client.write(b"early")
    assert client.unsent_bytes == 5
    carry(client, server)
    assert server.take() == b"early"


def test_a_refusal_reaches_the_client_and_ends_the_connection() -> None:
    client, server = pair("/elsewhere")
    assert client.status == 404
    assert client.is_over
    assert server.is_over
    assert not client.is_open


@pytest.mark.parametrize("ending", ["client", "server"])
def test_an_end_is_noticed_at_the_other(ending: str) -> None:
    client, server = pair()
    client.write(b"last")
    carry(client, server)
    (client if ending == "client" else server).end()
    carry(client, server)
    assert client.is_over
    assert server.is_over
    assert server.take() == b"last"
    client.write(b"too late")
    assert client.output() == b""


def test_the_end_of_the_connection_is_the_end_of_the_stream() -> None:
    client, server = pair()
    server.receive(b"")
    assert server.is_over
    server.write(b"nobody is there")
    assert server.output() == b""
    assert client.is_open


class Rude:
    """A client that does what HTTP/2 allows and no site needs."""

    def __init__(self, requests: int = 1) -> None:
        self.server = Tunnel.respond(answer)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        for number in range(requests):
            self.h2.send_headers(2 * number + 1, head("/here"))
        self.flush()

    def flush(self) -> list[object]:
        self.server.receive(self.h2.data_to_send())
        data = self.server.output()
        return list(self.h2.receive_data(data)) if data else []


def head(path: str) -> list[tuple[str, str]]:
    return [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", path)]


@pytest.mark.parametrize("kind", ["ping", "settings", "empty data", "window", "priority"])
def test_a_flood_of_frames_without_data_ends_the_connection(kind: str) -> None:
    rude = Rude()
    for _ in range(TUNNEL_CREDIT + 2):
        if kind == "ping":
            rude.h2.ping(b"12345678")
        elif kind == "settings":
            rude.h2.update_settings({4: 70_000})
        elif kind == "empty data":
            rude.h2.send_data(1, b"")
        elif kind == "window":
            rude.h2.increment_flow_control_window(1, 1)
        else:
            rude.h2.prioritize(1)
    events = rude.flush()
    codes = [getattr(event, "error_code", None) for event in events]
    assert h2.errors.ErrorCodes.ENHANCE_YOUR_CALM in codes
    assert rude.server.is_over


def test_control_frames_among_data_are_welcome() -> None:
    rude = Rude()
    for _ in range(3 * TUNNEL_CREDIT):
        rude.h2.ping(b"12345678")
        rude.h2.send_data(1, b"x")
        rude.flush()
        rude.server.take()
    assert rude.server.is_open


def test_a_second_request_ends_the_connection() -> None:
    assert Rude(1).server.is_open
    assert Rude(2).server.is_over


@given(st.binary(max_size=300))
def test_garbage_ends_the_connection_or_waits_for_more(data: bytes) -> None:
    for end in (Tunnel.respond(answer), Tunnel.request("a", "/here"), pair()[0], pair()[1]):
        end.output()
        end.receive(data)
        end.receive(b"")
        assert end.is_over


@pytest.mark.parametrize("status", ["abc", "²00", "204", "99"])
def test_an_answer_that_is_none_ends_the_stream(status: str) -> None:
    client = Tunnel.request("a", "/here")
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
    )
    server.initiate_connection()
    server.receive_data(client.output())
    server.send_headers(1, [(b":status", status.encode())])
    client.receive(server.data_to_send())
    assert not client.is_open
    assert client.is_over
