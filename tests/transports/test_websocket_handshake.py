"""Upgrade requests are judged as RFC 6455 and our own rules of origin and subprotocol say."""

from __future__ import annotations

import base64

import pytest

from transports.carrier import Codec
from transports.handshake import accept_key, answer_upgrade
from transports.http.message import Request, Response, Switch

KEY = base64.b64encode(bytes(range(16))).decode()
GOOD = {
    "host": "room.example:8443",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
    "sec-websocket-protocol": "strongroom.v1.json",
}


def request(
    *more: tuple[str, str], method: str = "GET", path: str = "/v1/session", **changes: str | None
) -> Request:
    headers = dict(GOOD)
    for name, value in changes.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    return Request(method, path, "", (*headers.items(), *more), b"", "192.0.2.1")


def status(asked: Request, *origins: str) -> int:
    answer = answer_upgrade(asked, allowed_origins=origins)
    assert isinstance(answer, Response)
    return answer.status


def test_the_key_of_the_rfc_gives_the_answer_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_good_request_switches_with_the_first_known_subprotocol() -> None:
    offered = "graphql-ws, strongroom.v1.msgpack , strongroom.v1.json"
    answer = answer_upgrade(request(sec_websocket_protocol=offered))
    assert isinstance(answer, Switch)
    assert answer.codec is Codec.MSGPACK
    head = answer.head.decode().split("\r\n")
    assert head[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Protocol: strongroom.v1.msgpack" in head
    assert f"Sec-WebSocket-Accept: {accept_key(KEY)}" in head
    assert not any("extensions" in line.lower() for line in head)


def test_headers_are_lists_in_any_case() -> None:
    asked = request(connection="keep-alive, upgrade", upgrade="WebSocket")
    assert isinstance(answer_upgrade(asked), Switch)


def test_an_offer_of_compression_is_declined_by_silence() -> None:
    asked = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
    answer = answer_upgrade(asked)
    assert isinstance(answer, Switch)
    assert b"deflate" not in answer.head


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(sec_websocket_protocol=None), 400),
        (request(sec_websocket_protocol="strongroom.v2.json"), 400),
        (request(sec_websocket_key=None), 400),
        (request(sec_websocket_key="short"), 400),
        (request(sec_websocket_key=base64.b64encode(bytes(17)).decode()), 400),
        (request(("sec-websocket-key", KEY)), 400),
        (request(connection="keep-alive"), 400),
        (request(method="POST"), 400),
        (request(path="/v1/other"), 404),
        (request(sec_websocket_version="8"), 426),
        (request(sec_websocket_version=None), 426),
        (request(upgrade=None), 426),
    ],
)
def test_a_bad_request_is_refused(asked: Request, expected: int) -> None:
    assert status(asked) == expected


def test_a_refused_version_names_the_one_that_is_spoken() -> None:
    answer = answer_upgrade(request(sec_websocket_version="12"))
    assert isinstance(answer, Response)
    assert ("sec-websocket-version", "13") in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://room.example:8443", "https://ROOM.example:8443", "https://allowed.example:443"],
)
def test_origins_of_this_host_and_configured_ones_are_served(origin: str) -> None:
    answer = answer_upgrade(request(origin=origin), allowed_origins=["https://allowed.example"])
    assert isinstance(answer, Switch)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://room.example:8443",
        "https://room.example",
        "https://room.example:8443.evil.example",
        "https://room.example:99999",
        "https://[",
    ],
)
def test_other_origins_are_refused(origin: str) -> None:
    assert status(request(origin=origin), "https://allowed.example") == 403
    assert status(request(("origin", GOOD["host"]), origin="https://room.example:8443")) == 403


def test_an_ordinary_request_is_left_to_others() -> None:
    assert answer_upgrade(request(path="/livez", upgrade=None)) is None
