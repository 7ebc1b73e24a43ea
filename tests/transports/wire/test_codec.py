"""Check that both codecs carry every frame, and that bad input stays where it came from."""

from __future__ import annotations

import typing
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.wire import schema
from transports.wire.codec import JSON, MSGPACK, Codec, Reader, Rejected
from transports.wire.errors import FrameError
from transports.wire.schema import Id

CODECS = [JSON, MSGPACK]
PERSONS = st.binary(min_size=16, max_size=16).map(Id)
MESSAGES = st.binary(min_size=32, max_size=32).map(Id)
TEXTS = st.text(max_size=20)

_SIMPLE: dict[object, st.SearchStrategy[object]] = {
    int: st.integers(0, 2**53 - 1),
    float: st.floats(0, 1e9, allow_nan=False),
    str: TEXTS,
    bool: st.booleans(),
    Id: PERSONS | MESSAGES,
    type(None): st.none(),
}


def values(kind: object) -> st.SearchStrategy[typing.Any]:
    """Return a strategy for a field's type."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind is typing.Any:
        return TEXTS
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return frames(kind)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and ... not in arguments:
        return st.tuples(*map(values, arguments))
    if typing.get_origin(kind) is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    return st.one_of([values(each) for each in arguments])


def frames(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Return a strategy for a frame type, all fields drawn."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.__struct_fields__})


CLIENT = st.one_of([frames(kind) for kind in typing.get_args(schema.ClientFrame)])
SERVER = st.one_of([frames(kind) for kind in typing.get_args(schema.ServerFrame)])


def reader(codec: Codec, *, client: bool) -> Reader[typing.Any]:
    """Return a codec's reader for one direction."""
    return codec.client if client else codec.server


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(payload=st.lists(CLIENT, max_size=5))
def test_client_frames_come_back_as_they_went(codec: Codec, payload: list[schema.Frame]) -> None:
    assert codec.client.decode(codec.payload(*payload)) == payload


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(payload=st.lists(SERVER, max_size=5))
def test_server_frames_come_back_as_they_went(codec: Codec, payload: list[schema.Frame]) -> None:
    assert codec.server.decode(codec.payload(*payload)) == payload


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_payloads_of_any_length_have_the_right_head(codec: Codec, count: int) -> None:
    encoded = codec.encode(schema.Ping(1))
    assert len(codec.client.decode(codec.join([encoded] * count))) == count


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(data=st.binary(max_size=60))
def test_garbage_is_refused_and_never_raises_anything_else(codec: Codec, data: bytes) -> None:
    found: object = None
    with suppress(FrameError):
        found = codec.client.decode(data)
    assert found is None or isinstance(found, list)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_a_bad_frame_leaves_its_neighbours_alone(codec: Codec) -> None:
    encoder = msgspec.json if codec is JSON else msgspec.msgpack
    bad = [
        encoder.encode({"t": "nonsense", "id": 5}),
        encoder.encode({"t": "send", "id": 6, "n": "x"}),
        encoder.encode(7),
        encoder.encode({"t": "typing", "conv": "zz"}),
    ]
    good = codec.encode(schema.Ping(9))
    assert codec.client.decode(codec.join([good, *bad, good])) == [
        schema.Ping(9),
        Rejected("frame.unknown", 5),
        Rejected("frame.invalid", 6),
        Rejected("frame.invalid"),
        Rejected("frame.invalid"),
        schema.Ping(9),
    ]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_unknown_fields_are_ignored(codec: Codec) -> None:
    encoder = msgspec.json if codec is JSON else msgspec.msgpack
    payload = codec.join([encoder.encode({"t": "ping", "id": 1, "later": [1, {"a": None}]})])
    assert codec.client.decode(payload) == [schema.Ping(1)]


def test_ids_are_lower_case_hex_in_json_and_bytes_in_msgpack() -> None:
    frame = schema.Typing(Id(b"\xab" * 16))
    assert JSON.encode(frame) == b'{"t":"typing","conv":"' + b"ab" * 16 + b'"}'
    assert MSGPACK.encode(frame).endswith(b"\xc4\x10" + b"\xab" * 16)
    upper = b'[{"t":"typing","conv":"' + b"AB" * 16 + b'"}]'
    assert JSON.client.decode(upper) == [Rejected("frame.invalid")]


def test_what_is_destroyed_and_the_answer_look_as_they_are_told() -> None:
    op = schema.WipeOp(Id(b"\x01" * 32), Id(b""), 9, 7, (("00" * 8, "0f" * 8),))
    event = schema.Event("a", Id(b"\x02" * 16), op)
    assert JSON.encode(event) == (
        b'{"t":"event","pos":"a","conv":"' + b"02" * 16 + b'","op":{"op":"wipe","msg":"'
        b"" + b"01" * 32 + b'","by":"","at":9,"certificate":7,'
        b'"ranges":[["0000000000000000","0f0f0f0f0f0f0f0f"]]}}'
    )
    assert JSON.encode(schema.Wiped(7, 1)) == b'{"t":"wiped","certificate":7,"id":1}'
    assert MSGPACK.encode(schema.Wiped(7)) == b"\x82\xa1t\xa5wiped\xabcertificate\x07"


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize("ranges", [[["a"]], [["a", "b", "c"]], [["a", 1]], "ab", [[]]])
def test_a_range_that_is_no_pair_of_keys_is_refused(codec: Codec, ranges: object) -> None:
    encoder = msgspec.json if codec is JSON else msgspec.msgpack
    conv, msg = ("00" * 16, "00" * 32) if codec is JSON else (bytes(16), bytes(32))
    op = {"op": "wipe", "msg": msg, "by": conv[:0], "at": 1, "certificate": 1, "ranges": ranges}
    event = {"t": "event", "pos": "1", "conv": conv, "op": op}
    assert codec.server.decode(codec.join([encoder.encode(event)])) == [Rejected("frame.invalid")]


KEYS = st.integers(0, 40).map(lambda key: f"{key:016x}")


@given(st.lists(st.tuples(KEYS, KEYS), max_size=4).map(tuple), KEYS)
def test_a_wipe_covers_both_ends_of_its_ranges(
    ranges: tuple[tuple[str, str], ...], key: str
) -> None:
    op = schema.WipeOp(Id(b"\x01" * 32), Id(b""), 9, 7, ranges)
    numbers = [range(int(first, 16), int(last, 16) + 1) for first, last in ranges]
    assert op.covers(key) is any(int(key, 16) in each for each in numbers)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_deep_nesting_is_refused(codec: Codec) -> None:
    deep = b"[" * 100_000 if codec is JSON else b"\x91" * 100_000
    with pytest.raises(FrameError):
        codec.client.decode(deep)
