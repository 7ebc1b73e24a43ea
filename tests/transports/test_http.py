"""HTTP/1.1 and HTTP/2 give the same answers, and refuse the same things, as sans-IO machines."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise

import h2.config
import h2.connection
import h2.errors
import h2.events
import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.tcp_peers import router
from transports.http import pages
from transports.http.http1 import Http1, HttpOutput
from transports.http.http2 import Http2
from transports.http.message import Request, Response, Switch
from transports.http.pages import Readiness
from transports.http.router import Router, split_target
from transports.limits import Limits

LIMITS = Limits()
DATE = formatdate(0, usegmt=True)
HOST = b"Host: localhost\r\n"


def one(limits: Limits = LIMITS, upgrade: Switch | Response | None = None) -> Http1:
    return Http1(router(), lambda _request: upgrade, "192.0.2.1", limits, lambda: DATE)


def answers(data: bytes, methods: list[bytes]) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Read the answers to these methods with h11's client side."""
    found = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        status, headers, body = 0, {}, b""
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                status, headers = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                assert isinstance(event, h11.InformationalResponse), event
        found.append((status, headers, body))
        data = client.trailing_data[0]
    assert data == b""
    return found


def get(path: bytes, method: bytes = b"GET", more: bytes = b"") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + more + b"\r\n"


# --- HTTP/1.1 -------------------------------------------------------------------------------


def test_a_request_is_answered_with_date_length_and_security_headers() -> None:
    output = one().receive(get(b"/livez"))
    ((status, headers, body),) = answers(output.data, [b"GET"])
    assert (status, body, headers[b"date"]) == (200, b"ok\n", DATE.encode())
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert b"server" not in headers
    assert (output.completed, output.is_last) == (1, False)


def test_head_has_the_length_and_no_body() -> None:
    ((status, headers, body),) = answers(one().receive(get(b"/livez", b"HEAD")).data, [b"HEAD"])
    assert (status, headers[b"content-length"], body) == (200, b"3", b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get(b"/nothing"), 404),
        (get(b"/livez", b"DELETE"), 405),
        (get(b"/livez", b"OPTIONS"), 200),
        (get(b"/livez", b"BREW"), 405),
        (get(b"*", b"OPTIONS"), 404),
        (get(b"http://localhost/livez?x=1"), 200),
        (get(b"//livez"), 404),
        (get(b"nonsense"), 400),
        (get(b"/length", b"POST", b"Content-Length: 5\r\n") + b"12345", 200),
        (get(b"/length", b"POST", b"Content-Length: 65537\r\n"), 413),
        (get(b"/length", b"POST", b"Content-Length: 99999999999999999999\r\n"), 413),
    ],
)
def test_requests_get_their_status(data: bytes, status: int) -> None:
    method = data.split(b" ")[0]
    ((found, _, _),) = answers(one().receive(data).data, [method])
    assert found == status


def test_method_not_allowed_names_the_allowed() -> None:
    ((_, headers, _),) = answers(one().receive(get(b"/livez", b"PUT")).data, [b"PUT"])
    assert headers[b"allow"] == b"GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (get(b"/", more=b"Bad Header: x\r\n"), 400),
        (get(b"/", more=b"X: a\x00b\r\n"), 400),
        (get(b"/", more=b"Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (get(b"/", more=b"Content-Length: x\r\n"), 400),
        (get(b"/", more=b"Transfer-Encoding: gzip\r\n"), 501),
        (b"GET /" + b"x" * LIMITS.request_head_bytes, 431),
        (get(b"/", more=b"X: " + b"x" * LIMITS.request_head_bytes + b"\r\n"), 431),
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    output = one().receive(data)
    ((found, headers, _),) = answers(output.data, [b"GET"])
    assert (found, headers[b"connection"], output.is_last) == (status, b"close", True)


def test_a_chunked_body_is_bounded_as_it_arrives() -> None:
    machine = one()
    machine.receive(get(b"/length", b"POST", b"Transfer-Encoding: chunked\r\n"))
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    assert machine.receive(chunk).data == b""
    assert machine.receive(chunk).data == b""
    output = machine.receive(chunk)
    ((status, _, _),) = answers(output.data, [b"POST"])
    assert (status, output.is_last) == (413, True)


def test_a_client_that_waits_for_continue_gets_it() -> None:
    machine = one()
    more = b"Content-Length: 2\r\nExpect: 100-continue\r\n"
    output = machine.receive(get(b"/length", b"POST", more))
    assert output.data.startswith(b"HTTP/1.1 100 ")
    output = machine.receive(b"ab")
    assert answers(output.data, [b"POST"])[0][2] == b"2"


def test_pipelined_requests_are_answered_in_order_up_to_a_bound() -> None:
    three = get(b"/livez") + get(b"/nothing") + get(b"/livez", b"HEAD")
    output = one().receive(three)
    found = answers(output.data, [b"GET", b"GET", b"HEAD"])
    assert [status for status, _, _ in found] == [200, 404, 200]
    assert not output.is_last
    output = one().receive(get(b"/livez") * 1_000)
    assert output.completed == LIMITS.requests_per_read
    assert output.is_last


def test_a_connection_serves_a_bounded_number_of_requests() -> None:
    machine = one(replace(LIMITS, requests_per_connection=3))
    outputs = [machine.receive(get(b"/livez")) for _ in range(3)]
    assert [output.is_last for output in outputs] == [False, False, True]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        get(b"/livez", more=b"Connection: close\r\n"),
    ],
)
def test_a_client_that_wants_one_answer_gets_one(data: bytes) -> None:
    output = one().receive(data)
    assert output.is_last
    assert answers(output.data, [b"GET"])[0][0] == 200


def test_the_end_of_stream_ends_the_connection() -> None:
    output = one().receive(b"")
    assert (output.data, output.is_last) == (b"", True)


def test_an_upgrade_switches_with_what_followed() -> None:
    switch = Switch(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", codec=None)  # type: ignore[arg-type]
    upgrade = get(b"/v1/session", more=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    output = one(upgrade=switch).receive(upgrade + b"first frame")
    assert output.data == switch.head
    assert (output.switch, output.rest, output.is_last) == (switch, b"first frame", False)


def test_a_refused_upgrade_leaves_an_http_connection() -> None:
    upgrade = get(b"/v1/session", more=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    output = one(upgrade=Response(403)).receive(upgrade + get(b"/x"))
    assert [found[0] for found in answers(output.data, [b"GET", b"GET"])] == [403, 403]


@given(cuts=st.lists(st.integers(0, 260), max_size=8))
def test_any_chunking_of_requests_gives_the_same_answers(cuts: list[int]) -> None:
    data = get(b"/livez") + get(b"/length", b"POST", b"Content-Length: 9\r\n") + b"some body"
    data += get(b"/large", b"HEAD") + b"broken\r\n\r\n"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    machine = one()
    # An empty chunk would be the end of the stream.
    chunks = [data[a:b] for a, b in pairwise(edges) if a < b]
    assert b"".join(machine.receive(chunk).data for chunk in chunks) == one().receive(data).data


@given(st.binary(max_size=400))
def test_any_bytes_get_an_answer_or_nothing(data: bytes) -> None:
    machine = one()
    output = machine.receive(data or b"x")
    if not output.is_last:
        machine.receive(b"")


# --- HTTP/2 ---------------------------------------------------------------------------------


class Two:
    """An HTTP/2 server and an independent client, joined in memory."""

    def __init__(self, limits: Limits = LIMITS, routes: Router | None = None) -> None:
        self.server = Http2(routes or router(), "192.0.2.1", limits, lambda: DATE)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.client.initiate_connection()
        self.output = HttpOutput()
        self.completed = 0
        self.events: list[h2.events.Event] = []

    def exchange(self) -> list[h2.events.Event]:
        """Carry bytes to and fro until neither has any; return what the client saw."""
        seen: list[h2.events.Event] = []
        while data := self.client.data_to_send():
            self.output = self.server.receive(data)
            self.completed += self.output.completed
            seen += self.client.receive_data(self.output.data)
            if self.output.is_last:
                break
        self.events += seen
        return seen

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> int:
        stream = self.client.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":path", path),
            (":scheme", "https"),
            (":authority", "localhost"),
        ]
        self.client.send_headers(stream, headers, end_stream=body is None)
        if body is not None:
            self.client.send_data(stream, body, end_stream=True)
        return stream

    def answer(self, stream: int) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = 0, {}, b""
        for event in self.events:
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                headers = {str(name): str(value) for name, value in event.headers}
                status = int(headers.pop(":status"))
            elif isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                body += event.data
        return status, headers, body

    def ended_with(self) -> int | None:
        for event in self.events:
            if isinstance(event, h2.events.ConnectionTerminated):
                return int(event.error_code or 0)
        return None


def test_http_2_answers_as_http_1_does() -> None:
    two = Two()
    live, missing, head = two.ask("/livez"), two.ask("/nothing"), two.ask("/livez", "HEAD")
    posted = two.ask("/length?x", "POST", b"12345")
    two.exchange()
    ((status, headers, body),) = answers(one().receive(get(b"/livez")).data, [b"GET"])
    expected = {name.decode(): value.decode() for name, value in headers.items()}
    assert two.answer(live) == (status, expected, body)
    assert two.answer(missing)[0] == 404
    assert two.answer(head)[0::2] == (200, b"")
    assert two.answer(posted)[0::2] == (200, b"5")
    assert two.completed == 4
    assert not two.output.is_last


def test_a_body_longer_than_the_window_waits_for_the_client() -> None:
    two = Two()
    stream = two.ask("/large")
    seen = two.exchange()
    first = sum(len(e.data) for e in seen if isinstance(e, h2.events.DataReceived))
    assert first == 65_535
    while seen:
        for event in seen:
            if isinstance(event, h2.events.DataReceived):
                two.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        seen = two.exchange()
    assert two.answer(stream)[2] == bytes(200_000)
    assert two.ended_with() is None


def test_a_reset_request_with_a_waiting_body_is_forgotten() -> None:
    two = Two()
    stream = two.ask("/large")
    two.exchange()
    two.client.reset_stream(stream)
    other = two.ask("/livez")
    two.client.increment_flow_control_window(100_000)
    two.exchange()
    assert two.answer(other)[0] == 200
    assert not two.output.is_last
    assert len(two.answer(stream)[2]) == 65_535


def test_an_http_2_body_is_bounded() -> None:
    two = Two()
    stream = two.ask("/length", "POST", b"")
    assert two.exchange()
    assert two.answer(stream)[2] == b"0"
    headers = [(":method", "POST"), (":path", "/length"), (":scheme", "https"), (":authority", "x")]
    large = two.client.get_next_available_stream_id()
    two.client.send_headers(large, headers)
    for _ in range(10):
        if two.answer(large)[0]:
            break
        two.client.send_data(large, bytes(16_000))
        two.exchange()
    assert two.answer(large)[0] == 413
    assert not two.output.is_last


def test_a_malformed_http_2_target_is_refused() -> None:
    two = Two()
    two.client.config.validate_outbound_headers = False
    stream = two.ask("no slash")
    two.exchange()
    assert two.answer(stream)[0] == 400


def flood_of_settings(two: Two) -> None:
    two.client.update_settings({})


def flood_of_pings(two: Two) -> None:
    two.client.ping(bytes(8))


def flood_of_windows(two: Two) -> None:
    two.client.increment_flow_control_window(1)


def test_a_flood_of_empty_data_ends_the_connection() -> None:
    two = Two()
    stream = two.client.get_next_available_stream_id()
    headers = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "x")]
    two.client.send_headers(stream, headers)
    for _ in range(LIMITS.http2_credit + 20):
        two.client.send_data(stream, b"")
        two.exchange()
        if two.output.is_last:
            break
    assert two.ended_with() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("flood", [flood_of_settings, flood_of_pings, flood_of_windows])
def test_a_flood_of_control_frames_ends_the_connection(flood: Callable[[Two], None]) -> None:
    two = Two()
    for _ in range(LIMITS.http2_credit - 20):
        flood(two)
        two.exchange()
    assert two.ended_with() is None
    for _ in range(40):
        flood(two)
        two.exchange()
        if two.output.is_last:
            break
    assert two.ended_with() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_rapid_resets_end_the_connection() -> None:
    two = Two()
    opened = 0
    while not two.output.is_last:
        stream = two.client.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "x")]
        two.client.send_headers(stream, headers)
        two.client.reset_stream(stream)
        two.exchange()
        opened += 1
    assert opened <= LIMITS.http2_credit + 1
    assert two.ended_with() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_a_busy_but_honest_client_keeps_its_credit() -> None:
    two = Two()
    for _ in range(200):
        stream = two.ask("/livez")
        two.client.ping(bytes(8))
        two.client.increment_flow_control_window(1)
        two.exchange()
        assert two.answer(stream)[0] == 200
    assert two.ended_with() is None


def test_too_many_streams_or_requests_end_the_connection_in_good_order() -> None:
    two = Two(replace(LIMITS, requests_per_connection=5))
    streams = [two.ask("/livez") for _ in range(5)]
    two.exchange()
    assert [two.answer(stream)[0] for stream in streams] == [200] * 5
    assert two.ended_with() == h2.errors.ErrorCodes.NO_ERROR


def test_the_bound_of_concurrent_streams_is_announced() -> None:
    two = Two()
    two.exchange()
    assert two.client.remote_settings.max_concurrent_streams == LIMITS.http2_streams


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_over_http_2_end_only_that_connection(data: bytes, after_preface: bool) -> None:
    two = Two()
    if after_preface:
        two.exchange()
    two.server.receive(data or b"x")
    two.server.receive(b"")


# --- router and pages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", ("/", "")),
        ("/a?b?c", ("/a", "b?c")),
        ("*", ("*", "")),
        ("https://h/x?y", ("/x", "y")),
        ("http://h", ("/", "")),
        ("", None),
        ("a", None),
        ("/a b", None),
        ("/a#b", None),
        ("/\x7f", None),
        ("/é", None),
        ("ftp://h/", None),
        ("http://[", None),
    ],
)
def test_targets_are_split_or_refused(target: str, expected: tuple[str, str] | None) -> None:
    assert split_target(target) == expected


ASKED = Request("GET", "/", "", (), b"", "192.0.2.1")


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_readiness_is_told_with_its_checks(is_ready: bool, status: int) -> None:
    answer = pages.ready(lambda: Readiness(is_ready, {"disk": "ok"}))(ASKED)
    assert answer.status == status
    assert json.loads(answer.body) == {
        "schema": "strongroom.ready.v1",
        "ready": is_ready,
        "disk": "ok",
    }


def test_the_ca_certificate_is_handed_out_as_it_is_now() -> None:
    pems = iter([b"one", b"two"])
    respond = pages.certificate(lambda: next(pems))
    assert [respond(ASKED).body, respond(ASKED).body] == [b"one", b"two"]


def test_the_landing_page_loads_nothing_and_its_policy_allows_its_own_style() -> None:
    answer = pages.landing("<b>Spital & Söhne</b>", "sha256:abc")(ASKED)
    page = answer.body.decode()
    assert "&lt;b&gt;Spital &amp; Söhne&lt;/b&gt;" in page
    assert "sha256:abc" in page
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == ["/v1/ca.pem"]
    assert "url(" not in page
    assert "<script" not in page
    style = re.search(r"<style>(.*)</style>", page)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(answer.headers)["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "ca.pem" not in pages.landing("x", None)(ASKED).body.decode()
