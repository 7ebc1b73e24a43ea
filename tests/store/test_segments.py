"""Statements are the published bytes, signed, and segments close when they must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from store import merkle, segments
from store.errors import FormatError
from store.ids import Origin
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.segments import OpenSegment, Statement

VECTOR = json.loads(Path(__file__).with_name("log_vectors.json").read_text("utf-8"))["segment"]
HERE = Origin(b"n" * 16, 5)
KEY = SigningKey(bytes.fromhex(VECTOR["seed"]))


def sign(message: bytes) -> bytes:
    return bytes(KEY.sign(message).signature)


def filled(hashes: list[bytes], first: int = 1, previous: bytes = bytes(32)) -> OpenSegment:
    segment = OpenSegment(HERE, first, previous)
    for digest in hashes:
        segment.append(digest, 0)
    return segment


def test_statement_and_signature_are_the_published_ones() -> None:
    origin = Origin(bytes.fromhex(VECTOR["node"]), VECTOR["inc"])
    segment = OpenSegment(origin, VECTOR["first"], bytes.fromhex(VECTOR["previous"]))
    for text in VECTOR["hashes"]:
        segment.append(bytes.fromhex(text), 0)
    row, _after = segment.close(sign)
    statement, signature = segments.split_row(row)
    assert statement.hex() == VECTOR["statement"]
    assert signature.hex() == VECTOR["signature"]
    assert segments.digest(statement).hex() == VECTOR["digest"]


@given(st.integers(1, 1 << 40), st.integers(1, SEGMENT_OPS), st.binary(min_size=32, max_size=32))
def test_statements_come_back(first: int, size: int, digest: bytes) -> None:
    statement = Statement(HERE, first, size, digest, bytes(32))
    data = statement.pack()
    assert len(data) == segments.STATEMENT_BYTES
    assert Statement.unpack(data) == statement
    assert statement.end == first + size


@pytest.mark.parametrize(
    "statement",
    [
        Statement(HERE, 0, 1, bytes(32), bytes(32)),
        Statement(HERE, 1, 0, bytes(32), bytes(32)),
        Statement(HERE, 1, SEGMENT_OPS + 1, bytes(32), bytes(32)),
    ],
)
def test_impossible_statements_are_refused(statement: Statement) -> None:
    with pytest.raises(FormatError):
        Statement.unpack(statement.pack())


def test_other_versions_and_lengths_are_refused() -> None:
    data = Statement(HERE, 1, 1, bytes(32), bytes(32)).pack()
    for wrong in (b"\x02" + data[1:], data[:-1], data + b"\0"):
        with pytest.raises(FormatError):
            Statement.unpack(wrong)
        with pytest.raises(FormatError):
            segments.split_row(wrong)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9), st.integers(1, 99))
def test_a_closed_segment_names_its_operations_and_its_predecessor(
    hashes: list[bytes], first: int
) -> None:
    row, after = filled(hashes, first, b"p" * 32).close(sign)
    data, signature = segments.split_row(row)
    KEY.verify_key.verify(segments.signed_bytes(data), signature)
    assert Statement.unpack(data) == Statement(
        HERE, first, len(hashes), merkle.root(hashes), b"p" * 32
    )
    assert (after.first, after.previous) == (first + len(hashes), segments.digest(data))
    assert not after.hashes


def test_a_segment_is_full_at_its_bound() -> None:
    segment = filled([bytes(32)] * (SEGMENT_OPS - 2))
    assert not segment.append(bytes(32), 0)
    assert segment.append(bytes(32), 0)


def test_a_segment_is_due_after_its_time_or_when_the_clock_went_back() -> None:
    segment = OpenSegment(HERE, 1, bytes(32))
    assert not segment.is_due(10**15)
    segment.append(bytes(32), 1_000)
    segment.append(bytes(32), 50_000)
    assert not segment.is_due(1_000)
    assert not segment.is_due(1_000 + SEGMENT_MS - 1)
    assert segment.is_due(1_000 + SEGMENT_MS)
    assert segment.is_due(999)
