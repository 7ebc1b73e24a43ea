"""What a piece holds comes back bit for bit, whoever built it, and small."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pieces import realistic
from store import envelope
from store.canonical import commit, envelope_salt
from store.envelope import Envelope
from store.ids import OpId, Origin, Stream, StreamKind
from store.shipping import Shipment
from store.skeleton import OpClass
from sync import columns
from sync.errors import LimitError, LinkError, MalformedError
from sync.limits import PIECE_BYTES_MAX
from sync.packing import Packer, Unpacker
from sync.pieces import Entry, Lane, Own, Piece

U63, U64 = (1 << 63) - 1, (1 << 64) - 1
ids = st.sampled_from([bytes((n,)) * 16 for n in range(5)])
maybe_ids = st.one_of(st.just(b""), ids)
origins = st.builds(Origin, ids, st.integers(0, U64))
targets = st.one_of(
    st.just(b""),
    st.builds(lambda o, s: OpId(o.node, o.incarnation, s).pack(), origins, st.integers(0, U64)),
)
envelopes = st.builds(
    Envelope,
    st.integers(0, 65_535),
    maybe_ids,
    maybe_ids,
    st.integers(0, U64),
    st.integers(0, U63),
    st.integers(0, U63 - 1),
    maybe_ids,
    targets,
    st.integers(0, U64),
)
commits = st.binary(min_size=32, max_size=32)
salts = st.binary(min_size=16, max_size=16)
streams = st.one_of(st.none(), st.builds(Stream, st.sampled_from(StreamKind), ids))


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """Draw an envelope's bytes, at times with fields of a newer build behind."""
    data = envelope.encode(draw(envelopes))
    if draw(st.integers(0, 4)) == 0:
        return msgspec.msgpack.encode([*msgspec.msgpack.decode(data), "later", 7])
    return data


@st.composite
def shipments(draw: st.DrawFn) -> Shipment:
    marked = draw(st.booleans()), draw(st.booleans())
    return draw(unmarked())._replace(in_timeline=marked[0], is_ahead=marked[1])


@st.composite
def unmarked(draw: st.DrawFn) -> Shipment:
    seq, op_class = draw(st.integers(0, U64)), draw(st.sampled_from(OpClass))
    form = draw(st.sampled_from(["whole", "without body", "bare"]))
    if form == "bare":
        return Shipment(seq, op_class, None, b"", b"", None, draw(commits), draw(commits))
    data = draw(encoded())
    conversation = envelope.decode(data).conversation
    own = st.just(Stream(StreamKind.CONVERSATION, conversation)) if conversation else streams
    stream, salt = draw(st.one_of(streams, own)), draw(salts)
    if form == "whole":
        return Shipment(seq, op_class, stream, salt, data, draw(st.binary(max_size=40)))
    return Shipment(seq, op_class, stream, salt, data, None, b"", draw(commits))


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    table = tuple(draw(st.lists(origins, min_size=1, max_size=4, unique=True)))
    entry = st.builds(Entry, st.integers(0, U64), st.integers(0, len(table) - 1), shipments())
    number = st.integers(0, U64)
    return Piece(
        draw(st.sampled_from(Lane)),
        draw(number),
        draw(number),
        table,
        tuple(draw(st.lists(entry, max_size=12))),
        tuple(draw(st.lists(st.builds(Own, number, number, number), max_size=3))),
    )


GOLDEN = Path(__file__).parent / "golden" / "piece_1.json"
GOLDEN_SORTED = GOLDEN.with_name("piece_1_sorted.json")
"""The same, with its ids in their own order: so pieces are made now, and either is read."""
GOLDEN_PIECE = realistic(3, seed=4)[0]._replace(
    own=(Own(7, 9, 2),),
    entries=(
        *realistic(3, seed=4)[0].entries,
        Entry(9, 0, Shipment(8, OpClass.CONTROL, None, b"", b"", None, b"e" * 32, b"b" * 32)),
    ),
)


def golden(path: Path = GOLDEN) -> dict[str, bytes]:
    """Return the golden piece: its two blocks, and its bytes in a lane's stream."""
    found: dict[str, str] = json.loads(path.read_text("utf-8"))
    return {name: bytes.fromhex(value) for name, value in found.items()}


def test_a_piece_of_version_1_is_laid_out_as_ever() -> None:
    found = golden(GOLDEN_SORTED)
    assert columns.encode(GOLDEN_PIECE) == (found["salts"], found["columns"])


@pytest.mark.parametrize("path", [GOLDEN, GOLDEN_SORTED])
def test_a_piece_of_version_1_is_read_as_ever(path: Path) -> None:
    found = golden(path)
    plain = found["salts"] + found["columns"]
    assert columns.decode(plain) == GOLDEN_PIECE
    assert Unpacker().unpack(found["stream"], len(plain)) == plain


def test_an_operation_of_a_kind_to_come_is_carried_bit_for_bit() -> None:
    """Its envelope has a field that this build does not know, and so does its body."""
    known = envelope.decode(GOLDEN_PIECE.entries[0].shipment.envelope)
    later = msgspec.structs.replace(known, kind=40_000)
    data = msgspec.msgpack.encode([*msgspec.msgpack.decode(envelope.encode(later)), "field"])
    carried = GOLDEN_PIECE.entries[0].shipment._replace(envelope=data, body=b"\x92\x01\x02")
    piece = GOLDEN_PIECE._replace(entries=(Entry(1, 0, carried),))
    assert columns.decode(joined(piece)).entries[0].shipment == carried


def joined(piece: Piece) -> bytes:
    return b"".join(columns.encode(piece))


@given(pieces())
@settings(max_examples=400)
def test_a_piece_comes_back_as_it_went(piece: Piece) -> None:
    assert columns.decode(joined(piece)) == piece


def commitments(shipment: Shipment) -> tuple[bytes, bytes]:
    """Return what a receiver computes of a whole shipment."""
    assert shipment.body is not None
    salt = envelope_salt(shipment.salt)
    return commit("envelope", salt, shipment.envelope), commit("body", shipment.salt, shipment.body)


def test_the_commitments_that_the_receiver_computes_are_those_of_the_sender() -> None:
    piece, _ = realistic(50)
    for mine, theirs in zip(piece.entries, columns.decode(joined(piece)).entries, strict=True):
        assert commitments(mine.shipment) == commitments(theirs.shipment)


def test_an_operation_costs_few_bytes_beyond_its_text() -> None:
    piece, text_bytes = realistic(512)
    bodies = b"".join(entry.shipment.body or b"" for entry in piece.entries)
    packed = len(Packer().pack(*columns.encode(piece)))
    assert text_bytes > 512 * 25
    assert (packed - len(Packer().pack(bodies))) / 512 < 30
    assert packed / 512 < 48


@given(st.binary(max_size=300))
def test_garbage_makes_no_piece(data: bytes) -> None:
    with pytest.raises(LinkError):
        columns.decode(data)


@given(st.integers(0, 1 << 32), st.integers(1, 4))
@settings(max_examples=300)
def test_a_piece_with_changed_bytes_is_read_or_refused(seed: int, count: int) -> None:
    random = Random(seed)
    data = bytearray(joined(realistic(12)[0]))
    for _ in range(count):
        data[random.randrange(len(data))] = random.randrange(256)
    with suppress(MalformedError, LimitError):
        columns.decode(bytes(data))


def altered(**changes: object) -> bytes:
    """Return a piece of which some columns are not what they should be."""
    head, rest = columns.encode(realistic(12)[0])
    names = columns._Columns.__struct_fields__
    fields = dict(zip(names, msgspec.msgpack.decode(rest), strict=True)) | changes
    return head + msgspec.msgpack.encode(list(fields.values()))


@pytest.mark.parametrize(
    "changes",
    [
        {"lane": 9},
        {"origin": [7] * 12},
        {"numbers": [1] * 11},
        {"numbers": [1] * 20_000},
        {"ids": b"x" * 17},
        {"actors": [1_000] * 12},
        {"body_sizes": [1 << 40] * 12},
        {"bodies": b""},
        {"shapes": b"\xff" * 12},
        {"shapes": bytes(12)},
        {"streams": [1, 1]},
        {"verbatim": [b"left over"]},
        {"kinds": [70_000] * 12},
        {"millis": [-5] * 12},
        {"ticks": [1 << 63] * 12},
        {"own": [1, 2]},
        {"origins": [[b"short", 1]]},
        {"marks": b"\x04" * 12},
        {"marks": b""},
    ],
)
def test_columns_that_contradict_each_other_are_refused(changes: dict[str, object]) -> None:
    assert columns.decode(altered())
    with pytest.raises(MalformedError):
        columns.decode(altered(**changes))


def test_columns_that_a_newer_build_appends_are_ignored() -> None:
    piece, _ = realistic(12)
    head, rest = columns.encode(piece)
    later = [*msgspec.msgpack.decode(rest), [1, 2, 3], "more"]
    assert columns.decode(head + msgspec.msgpack.encode(later)) == piece


def test_a_piece_beyond_the_limits_is_refused_at_both_ends() -> None:
    big = Shipment(1, OpClass.MESSAGE, None, b"s" * 16, b"\x91\x01", b"x" * 60_000)
    piece = Piece(Lane.MESSAGES, 0, 1, (), tuple(Entry(1, 0, big) for _ in range(80)))
    with pytest.raises(ValueError, match="too large"):
        columns.encode(piece)
    with pytest.raises(LimitError):
        columns.decode(bytes(PIECE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "shipment",
    [
        Shipment(1, OpClass.MESSAGE, None, b"", b"", b"body"),
        Shipment(1, OpClass.MESSAGE, None, b"", b"", None, b"short", bytes(32)),
        Shipment(1, OpClass.MESSAGE, None, b"salt", b"\x91\x01", b""),
        Shipment(1, OpClass.MESSAGE, None, b"s" * 16, b"\x91\x01", b"", bytes(32)),
        Shipment(1, OpClass.MESSAGE, None, b"s" * 16, b"\x91\x01", b"", b"", bytes(32)),
    ],
)
def test_what_is_no_shipment_does_not_leave(shipment: Shipment) -> None:
    with pytest.raises(ValueError, match=r"travels|commitment"):
        columns.encode(Piece(Lane.MESSAGES, 0, 1, (), (Entry(1, 0, shipment),)))
