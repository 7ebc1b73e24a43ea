"""Addresses that people copy: every one that is written is read again, and nothing else is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.wire.links import (
    DEFAULT_PORT,
    Invitation,
    LinkError,
    Server,
    SiteInvitation,
    format_pin,
    parse_invitation,
    parse_pin,
    parse_server,
    parse_site_invitation,
)

LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
HOSTS = st.one_of(NAMES, st.ip_addresses().map(str))
PORTS = st.integers(1, 65_535)
CODES = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=64
)
PINS = st.binary(min_size=32, max_size=32).map(format_pin)


@given(HOSTS, PORTS, st.text(max_size=20))
def test_a_server_is_read_as_it_was_written(host: str, port: int, login: str) -> None:
    try:
        login.encode()
    except UnicodeEncodeError:
        return
    server = Server(host, port, login)
    assert parse_server(str(server)) == server


@given(HOSTS, PORTS, CODES, st.one_of(st.just(""), PINS))
def test_an_invitation_is_read_as_it_was_written(host: str, port: int, code: str, pin: str) -> None:
    invitation = Invitation(Server(host, port), code, pin)
    assert parse_invitation(f" {invitation}\n") == invitation


@given(HOSTS, PORTS, st.binary(min_size=32, max_size=32))
def test_a_branchs_invitation_is_read_as_it_was_written(
    host: str, port: int, secret: bytes
) -> None:
    invitation = SiteInvitation(Server(host, port), secret)
    assert parse_site_invitation(f" {invitation}\n") == invitation


@pytest.mark.parametrize(
    "end", ["", "A", "B" * 43, "A" * 42, "A" * 44, "A" * 42 + "?", "A" * 42 + "="]
)
def test_a_secret_of_another_length_or_spelling_is_refused(end: str) -> None:
    with pytest.raises(LinkError):
        parse_site_invitation(f"strongroom://hq.example/site#{end}")


@given(st.binary(min_size=32, max_size=32))
def test_a_pin_is_read_as_it_was_written(digest: bytes) -> None:
    assert parse_pin(format_pin(digest)) == digest


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    for parse in (parse_server, parse_invitation, parse_site_invitation):
        for prefix in ("", "strongroom://"):
            with suppress(LinkError):
                parse(prefix + text)


def test_an_error_does_not_repeat_the_link() -> None:
    with pytest.raises(LinkError) as error:
        parse_invitation("strongroom://bank.example/wrong#SECRET")
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.5", Server("10.0.0.5")),
        ("bank.example:443", Server("bank.example", 443)),
        ("alice@bank.example", Server("bank.example", login="alice")),
        ("strongroom://[2001:db8::1]:9000", Server("2001:db8::1", 9_000)),
        ("strongroom://[2001:db8::1]/", Server("2001:db8::1", DEFAULT_PORT)),
    ],
)
def test_an_address_may_be_short(text: str, server: Server) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://bank.example",
        "strongroom://",
        "strongroom://bank.example:0",
        "strongroom://bank.example:70000",
        "strongroom://bank.example:port",
        "strongroom://bank.example/join",
        "strongroom://bank.example?pin=x",
        "strongroom://alice:secret@bank.example",
        "strongroom://bank example",
        "strongroom://[::1",
        "strongroom://" + "a" * 3_000,
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(LinkError):
        parse_server(text)


@pytest.mark.parametrize(
    "text",
    [
        "bank.example/join#CODE",
        "strongroom://bank.example#CODE",
        "strongroom://bank.example/join",
        "strongroom://bank.example/join#",
        "strongroom://bank.example/join#a b",
        "strongroom://bank.example/join?pin=sha256:00#CODE",
        "strongroom://bank.example/join?other=1#CODE",
    ],
)
def test_what_is_no_invitation_is_refused(text: str) -> None:
    with pytest.raises(LinkError):
        parse_invitation(text)


@pytest.mark.parametrize("pin", ["", "sha256:", "sha256:" + "A" * 64, "sha1:" + "0" * 64, "0" * 64])
def test_what_is_no_pin_is_refused(pin: str) -> None:
    with pytest.raises(LinkError):
        parse_pin(pin)


def test_a_code_is_in_no_repr() -> None:
    assert "CODE" not in repr(Invitation(Server("h"), "CODE"))
