"""The pump's own parts, without sockets: the timer wheel, the bounds, the ClientHello."""

from __future__ import annotations

import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.bounds import Bounds, address_group
from transports.channel import Channel
from transports.clienthello import HELLO_BYTES_MAX, Hello, NotTlsError, read_hello
from transports.limits import Limits
from transports.wheel import TimerWheel

# --- the wheel ------------------------------------------------------------------------------

deadlines = st.floats(0, 100, allow_nan=False)


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), deadlines | st.none()), max_size=40),
    looks=st.lists(deadlines, max_size=8),
)
def test_an_item_is_due_once_within_a_tick_after_its_last_deadline(
    steps: list[tuple[int, float | None]], looks: list[float]
) -> None:
    wheel: TimerWheel[int] = TimerWheel(0.25)
    model: dict[int, float] = {}
    for item, deadline in steps:
        if deadline is None:
            wheel.drop(item)
            model.pop(item, None)
        else:
            wheel.set(item, deadline)
            model[item] = deadline
    assert len(wheel) == len(model)
    for now in sorted(looks):
        due = wheel.expire(now)
        for item in due:
            assert model.pop(item) <= now
        assert all(deadline > now - 0.25 for deadline in model.values())
    wheel.expire(101)
    assert len(wheel) == 0


def test_a_new_deadline_replaces_the_old_one_in_both_directions() -> None:
    wheel: TimerWheel[str] = TimerWheel(1.0)
    wheel.set("later", 1)
    wheel.set("later", 50)
    wheel.set("sooner", 50)
    wheel.set("sooner", 1)
    assert wheel.expire(10) == ["sooner"]
    assert wheel.expire(60) == ["later"]


# --- the bounds -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_addresses_are_grouped_as_one_customer_has_them(peer: str, group: str) -> None:
    assert address_group(peer) == group


class StillHost:
    """The least a channel needs to exist."""

    now = 0.0
    limits = Limits()
    buffer = memoryview(bytearray(1))

    def set_deadline(self, channel: Channel, deadline: float) -> None:
        """Deadlines are of no interest here."""


def channel(peer: str) -> Channel:
    with socket.socket() as sock:
        return Channel(StillHost(), sock, peer)  # type: ignore[arg-type]


def test_no_more_is_accepted_in_a_turn_than_can_be_greeted_in_it() -> None:
    limits = Limits()
    assert limits.accepts_per_turn <= limits.handshakes_per_turn


def test_known_connections_of_one_address_are_bounded_too() -> None:
    bounds = Bounds(Limits(connections_per_address=2))
    for _ in range(2):
        known = channel("2001:db8::1")
        bounds.add(known)
        bounds.admit(known)
    assert not bounds.has_place("2001:db8::2")
    assert bounds.has_place("2001:db8:0:1::2")


def test_bounds_count_per_address_and_in_all() -> None:
    bounds = Bounds(
        Limits(connections=4, connections_per_address=3, strangers=2, strangers_per_address=2)
    )
    first, second, other = channel("192.0.2.1"), channel("192.0.2.1"), channel("192.0.2.2")
    bounds.add(first)
    bounds.add(second)
    assert not bounds.has_place("192.0.2.1")
    assert bounds.surplus() is None
    bounds.add(other)
    assert bounds.surplus() is first
    bounds.admit(first)
    assert bounds.surplus() is None
    assert (bounds.connections, bounds.strangers) == (3, 2)
    assert bounds.has_place("192.0.2.1")
    third = channel("192.0.2.1")
    bounds.add(third)
    assert not bounds.has_place("192.0.2.3")
    for each in (third, first, first, second, other):
        bounds.remove(each)
    assert (bounds.connections, bounds.strangers) == (0, 0)
    assert bounds.has_place("192.0.2.1")


# --- the ClientHello ------------------------------------------------------------------------


def hello_of(server_name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("name", ["localhost", "Site.Branch.Example", None])
def test_the_name_is_read_from_a_real_hello(name: str | None) -> None:
    data = hello_of(name)
    assert read_hello(data) == Hello(name.lower() if name else None)
    assert read_hello(data + b"more") == read_hello(data)


def test_a_hello_is_incomplete_until_its_last_byte() -> None:
    data = hello_of("localhost")
    assert all(read_hello(data[:length]) is None for length in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [b"G", b"\x17\x03", b"\x16\x02\x00\x01\x00", b"\x16\x03\x01\x00\x05", b"\x16\x03\x01\xff\xff"],
)
def test_what_cannot_become_a_hello_is_refused_early(data: bytes) -> None:
    with pytest.raises(NotTlsError):
        read_hello(data)


@given(st.data())
def test_a_hello_with_any_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    hello = bytearray(hello_of("localhost"))
    position = data.draw(st.integers(0, len(hello) - 1))
    hello[position] = data.draw(st.integers(0, 255))
    try:
        found = read_hello(bytes(hello))
    except NotTlsError:
        assert position < 6
    else:
        assert found is None or found.server_name is None or isinstance(found.server_name, str)


@given(st.binary(max_size=300))
def test_any_body_is_read_without_a_name(body: bytes) -> None:
    record = b"\x01" + bytes(37) + body
    found = read_hello(b"\x16\x03\x01" + len(record).to_bytes(2) + record)
    assert isinstance(found, Hello)


def test_the_longest_hello_is_bounded() -> None:
    head = b"\x16\x03\x01" + HELLO_BYTES_MAX.to_bytes(2)
    assert read_hello(head) is None
    with pytest.raises(NotTlsError):
        read_hello(b"\x16\x03\x01" + (HELLO_BYTES_MAX + 1).to_bytes(2))
