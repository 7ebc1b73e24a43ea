"""Frames are the same bytes for ever, and hostile ones end in an error that names the rule."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.ids import Origin
from sync import frames
from sync.errors import LimitError, MalformedError
from sync.frames import (
    Ack,
    Bye,
    Credit,
    Fence,
    Fork,
    Frame,
    FrameReader,
    Have,
    Hello,
    Note,
    Part,
    Ping,
    Pong,
    Stand,
    Want,
    Welcome,
)
from sync.limits import FRAME_BYTES
from sync.pieces import Cursors, Standing

GOLDEN = Path(__file__).parent / "golden" / "frames_1.json"
U64 = (1 << 64) - 1

STANDING = Standing(
    Origin(b"N" * 16, U64 - 1),
    4_711,
    bytes(range(32)),
    Origin(b"P" * 16, 5),
    Cursors(1, 2, 3, 300),
    299,
    b"H" * 32,
)
STAND = Stand.of(STANDING)

EXAMPLES: dict[str, Frame] = {
    "hello": Hello(1, 3, b"S" * 16, 1, STAND, 1_800_000_000_000, 524_288, "strongroom 0.1.0"),
    "welcome": Welcome(1, STAND, 1_800_000_000_001, 524_288, "strongroom 0.1.0"),
    "fence": Fence(U64, 1_000),
    "fork": Fork(7, 1_000, bytes(range(32))),
    "part": Part(2, 70_000, False, b"\x28\xb5\x2f\xfd data"),
    "last part": Part(2, 0, True, b"more"),
    "ack": Ack(0, 4_711),
    "credit": Credit(4, 1_048_576),
    "note": Note("lease.ask", b"\x91\x01"),
    "want": Want(3, 5, b"c" * 16, U64 >> 1, 200),
    "have": Have(3, 17, True),
    "ping": Ping(255),
    "pong": Pong(256),
    "bye": Bye("link.stopped"),
}


def read(data: bytes) -> list[Frame]:
    return list(FrameReader().feed(data))


def raw(number: int, body: bytes) -> bytes:
    return bytes((number,)) + len(body).to_bytes(3) + body


def golden() -> dict[str, str]:
    found: dict[str, str] = json.loads(GOLDEN.read_text("utf-8"))
    return found


def test_there_is_a_golden_example_of_every_frame() -> None:
    assert golden().keys() == EXAMPLES.keys()
    assert {type(frame) for frame in EXAMPLES.values()} == set(frames.TYPES.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_frames_of_version_1_are_written_and_read_as_ever(name: str) -> None:
    data = bytes.fromhex(golden()[name])
    assert frames.encode(EXAMPLES[name]) == data
    assert read(data) == [EXAMPLES[name]]


def test_a_standing_comes_back_as_it_went() -> None:
    assert STAND.standing() == STANDING


@pytest.mark.parametrize("name", EXAMPLES)
def test_fields_that_a_newer_build_appends_are_ignored(name: str) -> None:
    data = frames.encode(EXAMPLES[name])
    fields = [*msgspec.msgpack.decode(data[4:]), "a later field", [1, {"a": 2}]]
    assert read(raw(data[0], msgspec.msgpack.encode(fields))) == [EXAMPLES[name]]


def test_a_newer_build_reads_frames_that_lack_its_field() -> None:
    class LaterAck(msgspec.Struct, array_like=True):
        lane: int
        cursor: int
        added: int = 9

    body = frames.encode(EXAMPLES["ack"])[4:]
    assert msgspec.msgpack.decode(body, type=LaterAck) == LaterAck(0, 4_711, 9)


def test_a_frame_of_an_unknown_type_is_skipped() -> None:
    ping = frames.encode(Ping(1))
    assert read(raw(200, b"\xc1 anything") + ping + raw(0, b"") + ping) == [Ping(1), Ping(1)]


@given(st.lists(st.sampled_from(sorted(EXAMPLES)), max_size=8), st.lists(st.integers(1, 50)))
def test_frames_arrive_however_the_bytes_are_cut(names: list[str], sizes: list[int]) -> None:
    data = b"".join(frames.encode(EXAMPLES[name]) for name in names)
    reader, found, start = FrameReader(), list[Frame](), 0
    for size in [*sizes, len(data)]:
        found += reader.feed(data[start : start + size])
        start += size
    assert found == [EXAMPLES[name] for name in names]


@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_waits_for_more(data: bytes) -> None:
    with suppress(MalformedError, LimitError):
        read(data)
    with suppress(MalformedError, LimitError):
        frames.peek_hello(data)


@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_a_frame_with_a_changed_byte_is_read_or_refused(name: str, data: st.DataObject) -> None:
    good = bytearray(frames.encode(EXAMPLES[name]))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError, LimitError):
        read(bytes(good))


def test_a_frame_that_is_too_long_is_refused_by_its_head() -> None:
    with pytest.raises(LimitError):
        read(bytes((200,)) + (FRAME_BYTES + 1).to_bytes(3))
    with pytest.raises(LimitError):
        frames.peek_hello(bytes((1,)) + (FRAME_BYTES + 1).to_bytes(3))


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (5, [2, 0, True, b"x" * 5_000]),
        (5, [2, 1 << 30, True, b""]),
        (6, [300, 1]),
        (6, [0, -1]),
        (6, [0]),
        (8, ["", b""]),
        (8, ["k", b"x" * 20_000]),
        (9, [1, 5, b"short", 0, 10]),
        (9, [1, 5, b"c" * 16, 0, 0]),
        (9, [1, 5, b"c" * 16, 0, 100_000]),
        (13, ["x" * 65]),
        (11, "text"),
    ],
)
def test_a_field_beyond_its_bounds_is_refused(number: int, fields: object) -> None:
    with pytest.raises(MalformedError):
        read(raw(number, msgspec.msgpack.encode(fields)))


def test_a_connection_begins_with_a_hello() -> None:
    hello = frames.encode(EXAMPLES["hello"])
    assert frames.peek_hello(hello[:3]) is None
    assert frames.peek_hello(hello[:-1]) is None
    assert frames.peek_hello(hello + b"more") == EXAMPLES["hello"]
    with pytest.raises(MalformedError):
        frames.peek_hello(frames.encode(Ping(1)))
