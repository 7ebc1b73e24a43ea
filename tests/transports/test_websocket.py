"""The WebSocket codec accepts what RFC 6455 allows and names what it forbids."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame
from websockets.frames import Opcode as PeerOpcode
from websockets.streams import StreamReader

from tests.transports.tcp_peers import frame
from transports.carrier import CloseReason, Codec
from transports.mask import apply_mask, mask_as_integer
from transports.websocket import (
    Closed,
    Event,
    FrameDecoder,
    Opcode,
    Ping,
    Pong,
    Violation,
    encode_close,
    encode_frame,
    is_close_code,
    message_head,
)

LIMIT = 70_000
FIN = 0x80
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def received(codec: Codec, *chunks: bytes, limit: int = LIMIT) -> list[Event]:
    decoder = FrameDecoder(codec, limit)
    return [event for chunk in chunks for event in decoder.receive(chunk)]


def text(*frames: bytes) -> list[Event]:
    return received(Codec.JSON, b"".join(frames))


def binary(*frames: bytes) -> list[Event]:
    return received(Codec.MSGPACK, b"".join(frames))


def is_violation(events: list[Event], reason: CloseReason) -> bool:
    return isinstance(events[-1], Violation) and events[-1].reason is reason


# --- whole messages -------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 125, 126, 127, 128, 65_535, 65_536, LIMIT])
def test_messages_of_every_length_form_arrive(length: int) -> None:
    payload = bytes(n % 251 for n in range(length))
    assert binary(frame(FIN | BINARY, payload)) == [payload]
    assert text(frame(FIN | TEXT, b"a" * length)) == [b"a" * length]


def test_the_limit_counts_the_whole_message() -> None:
    whole = frame(FIN | BINARY, bytes(LIMIT + 1))
    assert is_violation(binary(whole), CloseReason.TOO_BIG)
    parts = frame(BINARY, bytes(LIMIT)), frame(FIN | CONTINUATION, b"x")
    assert is_violation(binary(*parts), CloseReason.TOO_BIG)
    assert binary(frame(BINARY, bytes(LIMIT - 1)), parts[1]) == [bytes(LIMIT - 1) + b"x"]


def test_a_message_too_long_is_refused_before_it_has_arrived() -> None:
    announced = frame(FIN | BINARY, bytes(LIMIT + 1))[:10]
    assert is_violation(binary(announced), CloseReason.TOO_BIG)


def test_the_limit_may_be_raised_between_messages() -> None:
    decoder = FrameDecoder(Codec.MSGPACK, 10)
    assert decoder.receive(frame(FIN | BINARY, bytes(10))) == [bytes(10)]
    decoder.max_message_bytes = 11
    assert decoder.receive(frame(FIN | BINARY, bytes(11))) == [bytes(11)]


# --- control frames -------------------------------------------------------------------------


def test_control_frames_arrive_between_and_inside_messages() -> None:
    assert binary(
        frame(FIN | PING, b"p"),
        frame(BINARY, b"one "),
        frame(FIN | PONG, bytes(125)),
        frame(CONTINUATION, b""),
        frame(FIN | PING),
        frame(FIN | CONTINUATION, b"message"),
        frame(FIN | BINARY, b"next"),
    ) == [Ping(b"p"), Pong(bytes(125)), Ping(b""), b"one message", b"next"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", Closed(None, "")),
        (b"\x03\xe8", Closed(1000, "")),
        (b"\x03\xe8" + "再见".encode(), Closed(1000, "再见")),
        (b"\x0b\xb8", Closed(3000, "")),
        (b"\x13\x87" + b"x" * 123, Closed(4999, "x" * 123)),
    ],
)
def test_a_close_frame_ends_the_events(payload: bytes, expected: Closed) -> None:
    assert binary(frame(FIN | CLOSE, payload), frame(FIN | BINARY, b"late")) == [expected]


def test_nothing_is_read_after_the_end() -> None:
    decoder = FrameDecoder(Codec.MSGPACK, LIMIT)
    assert decoder.receive(frame(FIN | CLOSE)) == [Closed(None, "")]
    assert decoder.receive(frame(FIN | BINARY, b"late")) == []
    decoder = FrameDecoder(Codec.MSGPACK, LIMIT)
    assert is_violation(decoder.receive(b"\x70\x80"), CloseReason.PROTOCOL)
    assert decoder.receive(b"\x70\x80") == []


def test_close_codes_are_those_of_the_registry() -> None:
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(0x1_0000) if is_close_code(code)} == allowed


# --- violations -----------------------------------------------------------------------------

VIOLATIONS: list[tuple[str, list[bytes], CloseReason]] = [
    ("first reserved bit (compression)", [frame(0xC0 | TEXT, b"x")], CloseReason.PROTOCOL),
    ("second reserved bit", [frame(0xA0 | TEXT, b"x")], CloseReason.PROTOCOL),
    ("third reserved bit", [frame(0x90 | TEXT, b"x")], CloseReason.PROTOCOL),
    ("reserved bit on a ping", [frame(0xC0 | PING)], CloseReason.PROTOCOL),
    *[
        (f"opcode {opcode}", [frame(FIN | opcode)], CloseReason.PROTOCOL)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ],
    ("not masked", [frame(FIN | TEXT, b"x", is_masked=False)], CloseReason.PROTOCOL),
    ("long and not masked", [frame(FIN | TEXT, b"x" * 126, is_masked=False)], CloseReason.PROTOCOL),
    ("ping not masked", [frame(FIN | PING, is_masked=False)], CloseReason.PROTOCOL),
    ("ping too long", [frame(FIN | PING, bytes(126))], CloseReason.PROTOCOL),
    ("pong too long", [frame(FIN | PONG, bytes(126))], CloseReason.PROTOCOL),
    ("close too long", [frame(FIN | CLOSE, b"\x03\xe8" + b"x" * 124)], CloseReason.PROTOCOL),
    ("ping in fragments", [frame(PING, b"x")], CloseReason.PROTOCOL),
    ("close in fragments", [frame(CLOSE, b"\x03\xe8")], CloseReason.PROTOCOL),
    ("close code cut short", [frame(FIN | CLOSE, b"\x03")], CloseReason.PROTOCOL),
    ("reserved close code", [frame(FIN | CLOSE, b"\x03\xed")], CloseReason.PROTOCOL),
    ("close reason not UTF-8", [frame(FIN | CLOSE, b"\x03\xe8\xc0")], CloseReason.INVALID),
    ("nothing to continue", [frame(FIN | CONTINUATION, b"x")], CloseReason.PROTOCOL),
    (
        "continued after the end",
        [frame(TEXT, b"x"), frame(FIN | CONTINUATION), frame(CONTINUATION)],
        CloseReason.PROTOCOL,
    ),
    (
        "message inside a message",
        [frame(TEXT, b"x"), frame(FIN | TEXT, b"more than eight bytes")],
        CloseReason.PROTOCOL,
    ),
    ("short inside", [frame(TEXT, b"x"), frame(FIN | TEXT)], CloseReason.PROTOCOL),
    ("wrong kind", [frame(FIN | BINARY, b"x")], CloseReason.UNSUPPORTED),
    ("wrong kind in fragments", [frame(BINARY, b"x")], CloseReason.UNSUPPORTED),
    ("length 5 in two bytes", [b"\x81\xfe\x00\x05" + bytes(9)], CloseReason.PROTOCOL),
    ("length 125 in two bytes", [b"\x81\xfe\x00\x7d" + bytes(129)], CloseReason.PROTOCOL),
    (
        "length 65535 in eight bytes",
        [b"\x81\xff" + (65_535).to_bytes(8) + bytes(4)],
        CloseReason.PROTOCOL,
    ),
    ("length with its top bit", [b"\x81\xff\x80" + bytes(11)], CloseReason.PROTOCOL),
    ("length of exabytes", [b"\x81\xff\x7f" + bytes(11)], CloseReason.TOO_BIG),
    ("not UTF-8", [frame(FIN | TEXT, b"caf\xe9 and more")], CloseReason.INVALID),
    ("a surrogate", [frame(FIN | TEXT, b"\xed\xa0\x80")], CloseReason.INVALID),
    ("an overlong form", [frame(FIN | TEXT, b"\xc0\xaf")], CloseReason.INVALID),
    ("beyond Unicode", [frame(FIN | TEXT, b"\xf4\x90\x80\x80")], CloseReason.INVALID),
    ("a character cut short", [frame(FIN | TEXT, b"\xe8\xa1")], CloseReason.INVALID),
    (
        "a character cut short over fragments",
        [frame(TEXT, b"\xe8"), frame(FIN | CONTINUATION, b"\xa1")],
        CloseReason.INVALID,
    ),
]


@pytest.mark.parametrize(
    ("frames", "reason"), [each[1:] for each in VIOLATIONS], ids=[each[0] for each in VIOLATIONS]
)
def test_a_violation_is_named_by_its_close_code(frames: list[bytes], reason: CloseReason) -> None:
    events = text(frame(FIN | TEXT, b"before it"), *frames, frame(FIN | TEXT, b"after"))
    assert events[0] == b"before it"
    assert is_violation(events, reason)


def test_a_message_inside_a_message_is_found_when_it_comes_on_its_own() -> None:
    events = received(Codec.JSON, frame(TEXT, b"x"), frame(FIN | TEXT, b"more than eight bytes"))
    assert is_violation(events, CloseReason.PROTOCOL)


def test_invalid_text_is_found_in_its_fragment_before_the_message_ends() -> None:
    assert is_violation(text(frame(TEXT, b"\xe8\xff")), CloseReason.INVALID)


def test_a_character_may_be_split_over_fragments() -> None:
    whole = "血钾".encode()
    parts = [whole[:1], whole[1:2], whole[2:5], whole[5:]]
    frames = [frame(TEXT, parts[0]), *(frame(CONTINUATION, part) for part in parts[1:3])]
    assert text(*frames, frame(FIN | CONTINUATION, parts[3])) == [whole]


def test_binary_needs_no_utf_8() -> None:
    assert binary(frame(FIN | BINARY, b"\xff\xfe\xfd\xfc")) == [b"\xff\xfe\xfd\xfc"]


# --- any chunking ---------------------------------------------------------------------------

payloads = st.binary(max_size=300) | st.text(max_size=80).map(str.encode)
frames = st.builds(
    frame,
    st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]) | st.integers(0, 255),
    payloads,
    is_masked=st.sampled_from([True] * 9 + [False]),
)


@given(
    stream=st.lists(frames | st.binary(max_size=20), max_size=8).map(b"".join),
    cuts=st.lists(st.integers(0, 2_600), max_size=12),
    codec=st.sampled_from(Codec),
)
def test_any_chunking_of_any_bytes_gives_the_same_events(
    stream: bytes, cuts: list[int], codec: Codec
) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in pairwise(edges)]
    whole = received(codec, stream, limit=400)
    assert received(codec, *chunks, limit=400) == whole
    assert received(codec, *(bytes([byte]) for byte in stream), limit=400) == whole


@given(messages=st.lists(st.lists(payloads, min_size=1, max_size=4), max_size=6))
def test_fragmented_messages_are_put_together(messages: list[list[bytes]]) -> None:
    stream = b""
    for parts in messages:
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else BINARY
            is_last = number == len(parts) - 1
            stream += frame(opcode | (FIN if is_last else 0), part)
    assert binary(stream) == [b"".join(parts) for parts in messages]


# --- encoding, against an independent implementation ----------------------------------------


def parsed(data: bytes) -> Frame:
    """Parse one server frame with the websockets library."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parser)
    result = done.value.value
    assert isinstance(result, Frame)
    assert not reader.buffer
    return result


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_another_implementation_reads_our_frames(length: int) -> None:
    payload = bytes(length)
    found = parsed(message_head(Codec.MSGPACK, length) + payload)
    assert (found.opcode, bytes(found.data), found.fin) == (PeerOpcode.BINARY, payload, True)
    found = parsed(message_head(Codec.JSON, length) + payload)
    assert found.opcode is PeerOpcode.TEXT
    assert parsed(encode_frame(Opcode.PONG, b"x")).opcode is PeerOpcode.PONG


@given(st.binary(max_size=200), st.sampled_from([PeerOpcode.BINARY, PeerOpcode.PING]))
def test_we_read_the_frames_of_another_implementation(data: bytes, opcode: PeerOpcode) -> None:
    if opcode is PeerOpcode.PING:
        data = data[:125]
    sent = Frame(opcode, data).serialize(mask=True)
    assert binary(sent) == [data if opcode is PeerOpcode.BINARY else Ping(data)]


@given(st.integers(3000, 4999), st.text(max_size=200))
def test_a_close_reason_is_cut_at_a_character(code: int, message: str) -> None:
    closed = Close.parse(bytes(parsed(encode_close(code, message)).data))
    assert closed.code == code
    assert message.startswith(closed.reason)
    assert len(message.encode()) <= 123 or len(closed.reason.encode()) > 119


def test_a_farewell_without_a_code_is_answered_without_one() -> None:
    assert encode_close(None) == b"\x88\x00"


# --- masking --------------------------------------------------------------------------------


@given(st.binary(max_size=2_000), st.binary(min_size=4, max_size=4))
def test_both_ways_of_unmasking_agree_with_the_definition(data: bytes, mask: bytes) -> None:
    expected = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    assert mask_as_integer(data, mask) == expected
    assert apply_mask(data, mask) == expected
