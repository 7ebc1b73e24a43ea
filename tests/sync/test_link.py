"""Links over real sockets: TLS, HTTP/2, proxies, breaks, and peers that mean no good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
import trio
import trio.testing

from store.ids import Stream, StreamKind
from sync import frames, link
from sync.door import PATH
from sync.errors import (
    Fault,
    InterceptedError,
    LinkError,
    LostError,
    ProxyError,
    StoppedError,
    StrangerError,
)
from sync.frames import Bye, FrameReader, Ping
from sync.link import connect
from sync.pieces import Lane
from sync.proxy import Proxy, credentials_in, parse
from sync.session import Answered, Ended, Up
from tests.sync.lines_made import (
    BRANCH,
    Campus,
    Relay,
    branch_identity,
    campus,
    until,
)
from transports.limits import TUNNEL_CREDIT

STREAM = Stream(StreamKind.CONVERSATION, b"c" * 16)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main)


async def refusal(place: Campus, error: type[LinkError], **changes: object) -> LinkError:
    with pytest.raises(error) as raised:
        await connect(place.target(**changes))  # type: ignore[arg-type]
    return raised.value


# --- what works -------------------------------------------------------------------------------


def test_two_sites_exchange_everything_over_one_port() -> None:
    async def main() -> None:
        async with campus() as place, place.linking():
            place.fill(400)
            await until(place.is_settled)
            place.fill(10)
            assert place.branch.driver is not None
            place.branch.driver.changed()
            place.reception.changed()
            await until(place.is_settled)
            assert place.pump.strangers == 0
            assert place.branch.count(Up) == 1

    run(main)


def test_history_comes_over_a_second_connection() -> None:
    async def main() -> None:
        async with campus() as place, place.linking():
            place.down.past[STREAM] = [b"%d" % n * 50 for n in range(1, 901)]
            await until(lambda: place.branch.count(Up) == 1)
            assert place.branch.driver is not None
            with place.branch.driver.order() as session:
                session.want(STREAM, 901, 900)
            await until(lambda: place.branch.count(Answered) == 1)
            assert len(place.up.got[Lane.HISTORY]) == 900
            assert place.pump.connections == 2

    run(main)


def test_a_link_that_breaks_comes_back_and_goes_on() -> None:
    async def main() -> None:
        relay = Relay()
        async with campus() as place, relay.running(place.address) as address:
            async with place.linking(place.target(address=address)):
                for _ in range(2):
                    place.fill(50)
                    await until(place.is_settled)
                    relay.cut()
                    place.fill(50)
                await until(place.is_settled)
            assert place.branch.count(Up) == 3

    run(main)


def test_a_half_open_connection_gives_way_to_the_new_one() -> None:
    async def main() -> None:
        relay = Relay()
        async with campus() as place, relay.running(place.address) as address:
            async with place.linking(place.target(address=address)):
                await until(lambda: place.headquarters.count(Up) == 1)
                relay.is_swallowing = True
            async with place.linking():
                place.fill(5)
                await until(place.is_settled)
                await until(lambda: "link.replaced" in place.headquarters.errors())
                assert len(place.reception.links) == 1

    run(main)


def test_a_link_passes_through_a_proxy_with_credentials_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text("site:secret\n", "utf-8")

    async def main() -> None:
        relay = Relay()
        async with campus() as place:
            answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
            async with relay.running(place.address, answer) as (host, port):
                proxy = parse(f"http://{host}:{port}", credentials_in(tmp_path / "proxy"))
                async with place.linking(place.target(proxy=proxy)):
                    place.fill(20)
                    await until(place.is_settled)
            line, *headers = relay.heads[0].split(b"\r\n")
            assert line == b"CONNECT %s:%d HTTP/1.1" % (b"127.0.0.1", place.address[1])
            assert b"Basic c2l0ZTpzZWNyZXQ=" in [each.partition(b": ")[2] for each in headers]

    run(main)


def test_a_link_with_a_bandwidth_limit_carries_everything() -> None:
    async def main() -> None:
        async with campus() as place, place.linking(bytes_per_second=200_000):
            place.fill(40)
            await until(place.is_settled)

    run(main)


def test_a_certificate_that_has_expired_is_the_doors_to_judge() -> None:
    async def main() -> None:
        async with campus() as place:
            target = place.target(identity=branch_identity(life_days=-5))
            async with place.linking(target):
                await until(lambda: place.branch.count(Up) == 1)

    run(main)


def test_clients_of_the_same_port_are_served_as_before() -> None:
    async def main() -> None:
        async with campus() as place:
            client = Hostile(await place.raw(None, "localhost"))
            await client.request("/large", "GET")
            client.h2.end_stream(1)
            await client.flush()
            while not client.body:
                client.take(await client.stream.receive_some())
            assert client.status() == "200"

    run(main)


# --- who is turned away -----------------------------------------------------------------------


def test_without_a_certificate_no_connection_stands_under_a_sites_name() -> None:
    async def main() -> None:
        async with campus() as place:
            stream = await place.raw(None)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            assert place.reception.links == {}

    run(main)


def test_a_certificate_of_another_authority_is_not_taken() -> None:
    async def main() -> None:
        async with campus() as place:
            await refusal(place, StrangerError, identity=branch_identity(2))

    run(main)


def test_a_branch_that_was_revoked_is_told_so() -> None:
    async def main() -> None:
        async with campus() as place:
            place.revoked.add(BRANCH)
            error = await refusal(place, StrangerError)
            assert "does not let" in error.detail

    run(main)


def test_a_branch_whose_link_is_ended_learns_why() -> None:
    async def main() -> None:
        async with campus() as place, place.linking():
            await until(lambda: place.branch.count(Up) == 1)
            place.revoked.add(BRANCH)
            place.reception.stop(StrangerError("revoked"), BRANCH)
            await until(lambda: place.branch.count(Ended) == 1)
            (ended,) = [each for each in place.branch.effects if isinstance(each, Ended)]
            assert str(ended.error) == "link.ended_by_peer: link.stranger"

    run(main)


def test_a_headquarters_that_stops_takes_leave_and_lets_nobody_in() -> None:
    async def main() -> None:
        async with campus() as place:
            async with place.linking():
                await until(lambda: place.branch.count(Up) == 1)
                place.door.close()
                await until(lambda: place.branch.count(Ended) == 1)
            await refusal(place, StoppedError)

    run(main)


def test_a_headquarters_of_another_authority_is_not_trusted() -> None:
    async def main() -> None:
        async with campus() as place:
            await refusal(place, InterceptedError, ca=2)

    run(main)


def test_a_branch_that_says_to_be_another_is_turned_away() -> None:
    async def main() -> None:
        async with campus() as place:
            other = b"X" * 16
            identity = branch_identity(1, other)
            async with place.linking(place.target(identity=identity)):
                await until(lambda: "link.ended_by_peer" in place.branch.errors())
            assert place.reception.links == {}
            assert place.headquarters.effects == []

    run(main)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", ProxyError),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", ProxyError),
        (b"this is no HTTP at all\r\n\r\n", ProxyError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", ProxyError),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>Please sign in</html>", InterceptedError),
        (b"HTTP/1.1 200 OK\r\n\r\n", LostError),
    ],
)
def test_a_proxy_that_does_not_let_us_through_is_named(
    answer: bytes, error: type[LinkError]
) -> None:
    async def main() -> None:
        async with campus() as place, Relay().running(None, answer) as (host, port):
            await refusal(place, error, proxy=Proxy(host, port))

    run(main)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", b"garbage" * 100]
)
def test_a_captive_portal_is_named(answer: bytes) -> None:
    async def main() -> None:
        async with campus() as place:

            async def portal(stream: trio.SocketStream) -> None:
                await stream.send_all(answer)
                await stream.receive_some()

            async with trio.open_nursery() as nursery:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                nursery.start_soon(trio.serve_listeners, portal, [listener])
                await refusal(place, InterceptedError, address=listener.socket.getsockname())
                nursery.cancel_scope.cancel()

    run(main)


def test_an_address_where_nobody_listens_is_named() -> None:
    async def main() -> None:
        async with campus() as place:
            await refusal(place, LostError, address=("127.0.0.1", 9))

    run(main)


@pytest.mark.parametrize(
    "url", ["https://proxy", "proxy:3128", "http://me:secret@proxy", "http://", "http://proxy/path"]
)
def test_an_address_that_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="proxy"):
        parse(url)


def test_credentials_that_cannot_be_read_are_the_proxys_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with campus() as place, Relay().running(None) as (host, port):
            proxy = Proxy(host, port, (tmp_path / "nowhere").read_bytes)
            await refusal(place, ProxyError, proxy=proxy)

    run(main)


@pytest.mark.parametrize("content", [b"", b"name only", b"a:b\nc:d", b"a:" + b"x" * 2_000, None])
def test_a_file_that_holds_no_credentials_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "proxy").write_bytes(content)
    with pytest.raises(ProxyError):
        credentials_in(tmp_path / "proxy")()


def test_a_certificate_that_openssl_does_not_take_is_this_sites_own_fault() -> None:
    async def main() -> None:
        async with campus() as place:
            identity = replace(branch_identity(), chain_pem=branch_identity(2).chain_pem[:-40])
            error = await refusal(place, LinkError, identity=identity)
            assert error.fault is Fault.HERE

    run(main)


def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.05)

    async def main() -> None:
        async with campus() as place:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            error = await refusal(place, LostError, address=listener.socket.getsockname())
            assert error.detail == "no answer in time"
            await listener.aclose()

    run(main)


def test_the_port_of_a_proxy_may_be_left_out() -> None:
    assert parse("http://proxy.hospital.example") == Proxy("proxy.hospital.example", 3128)


# --- peers with a certificate that mean no good -----------------------------------------------


CONFIG = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")


class Hostile:
    """An enrolled branch whose program is not ours."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(CONFIG)
        self.h2.initiate_connection()
        self.events: list[object] = []
        self.body = b""

    async def request(self, path: str = PATH, method: str = "POST") -> int:
        number = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)]
        self.h2.send_headers(number, head)
        await self.flush()
        return number

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), 16_000):
            self.h2.send_data(1, data[start : start + 16_000])
            await self.flush()

    async def until_end(self) -> None:
        """Read until the connection is over."""
        try:
            while data := await self.stream.receive_some():
                self.take(data)
        except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
            pass

    def take(self, data: bytes | bytearray) -> None:
        for event in self.h2.receive_data(bytes(data)):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.body += event.data or b""

    def status(self) -> str:
        (response,) = (e for e in self.events if isinstance(e, h2.events.ResponseReceived))
        return next(str(value) for name, value in response.headers if str(name) == ":status")

    def said(self) -> list[frames.Frame]:
        return list(FrameReader().feed(self.body))


async def hostile(place: Campus) -> Hostile:
    return Hostile(await place.raw(branch_identity()))


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/v1/session", "404"), ("GET", PATH, "405")]
)
def test_there_is_nothing_but_the_link_under_a_sites_name(
    method: str, path: str, status: str
) -> None:
    async def main() -> None:
        async with campus() as place:
            peer = await hostile(place)
            await peer.request(path, method)
            await peer.until_end()
            assert peer.status() == status

    run(main)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00" * 50, "link.malformed"),
        (b"\x01\xff\xff\xff", "link.limit"),
        (frames.encode(Ping(1)), "link.malformed"),
        (b"\x01\x00\x00\x02\x91\x01", "link.malformed"),
    ],
)
def test_garbage_instead_of_a_hello_ends_the_connection(data: bytes, code: str) -> None:
    async def main() -> None:
        async with campus() as place:
            peer = await hostile(place)
            await peer.request()
            await peer.send(data)
            await peer.until_end()
            assert peer.said() == [Bye(code)]
            assert place.reception.links == {}

    run(main)


def test_a_second_request_on_the_connection_ends_it() -> None:
    async def main() -> None:
        async with campus() as place:
            peer = await hostile(place)
            await peer.request()
            await peer.request()
            await peer.until_end()
            assert place.pump.counters.failed == 0

    run(main)


def test_a_flood_of_control_frames_ends_the_connection() -> None:
    async def main() -> None:
        async with campus() as place:
            peer = await hostile(place)
            await peer.request()
            for _ in range(TUNNEL_CREDIT + 50):
                peer.h2.ping(b"12345678")
            await peer.flush()
            await peer.until_end()
            ended = [e for e in peer.events if isinstance(e, h2.events.ConnectionTerminated)]
            assert [e.error_code for e in ended] == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM]

    run(main)


@pytest.mark.parametrize("junk", [b"\xff" * 500, b"GET / HTTP/1.1\r\n\r\n", bytes(64)])
def test_what_is_no_http2_ends_the_connection(junk: bytes) -> None:
    async def main() -> None:
        async with campus() as place:
            stream = await place.raw(branch_identity())
            await stream.send_all(junk)
            await Hostile(stream).until_end()
            await trio.aclose_forcefully(stream)
            await until(lambda: place.pump.connections == 0)
            assert place.pump.counters.failed == 0

    run(main)


def test_a_branch_cannot_hold_more_connections_than_agreed() -> None:
    async def main() -> None:
        async with campus() as place:
            peers = [await hostile(place) for _ in range(9)]
            for peer in peers:
                await peer.request()
            await peers[-1].until_end()
            assert peers[-1].status() == "429"

    run(main)


def test_a_peer_that_does_not_read_is_bounded_and_hinders_no_other() -> None:
    async def main() -> None:
        async with campus() as place:
            peer = await hostile(place)
            await peer.request()
            for _ in range(3_000):
                place.down.add(Lane.MESSAGES, place.branch.site.random_bytes(1_000))
            stand = frames.Stand.of(place.up.standing())
            await peer.send(frames.encode(frames.Hello(1, 1, b"S" * 16, 0, stand, 0, 1 << 30, "")))
            await until(lambda: place.headquarters.count(Up) == 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert place.down.read_upto[Lane.MESSAGES] < 1_000
            async with place.linking():
                await until(place.is_settled)

    run(main)
