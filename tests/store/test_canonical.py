"""One value has one encoding, and commitments are the published ones."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import canonical
from store.errors import FormatError, LimitError
from store.limits import CANONICAL_BYTES, CANONICAL_DEPTH

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.binary(max_size=300)
    | st.text(max_size=80)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5), max_leaves=20)
ARRAYS = st.lists(VALUES, max_size=20)


@given(ARRAYS)
def test_arrays_come_back_as_they_were(fields: list[canonical.Value]) -> None:
    assert canonical.decode(canonical.encode(fields)) == fields


@given(st.binary(max_size=60))
def test_whatever_is_read_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        fields = canonical.decode(data)
    except FormatError:
        return
    assert canonical.encode(fields) == data


@given(ARRAYS, st.binary(min_size=1, max_size=3))
def test_trailing_bytes_are_refused(fields: list[canonical.Value], tail: bytes) -> None:
    with pytest.raises(FormatError):
        canonical.decode(canonical.encode(fields) + tail)


@given(ARRAYS)
def test_truncated_bytes_are_refused(fields: list[canonical.Value]) -> None:
    data = canonical.encode(fields)
    for end in range(len(data)):
        with pytest.raises(FormatError):
            canonical.decode(data[:end])


@given(st.integers(0, 0xFF))
def test_integers_longer_than_needed_are_refused(number: int) -> None:
    longer = {0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    for code, layout in longer.items():
        with pytest.raises(FormatError):
            canonical.decode(b"\x91" + bytes((code,)) + struct.pack(layout, number))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",  # a map
        b"\x91\x80",
        b"\x91\x81\x01\x02",
        b"\x91\xca\x00\x00\x00\x00",  # a float
        b"\x91\xcb" + bytes(8),
        b"\xdc\x00\x01\x01",  # one element in a 16-bit array
        b"\xdd\x00\x00\x00\x01\x01",
        b"\xdd\xff\xff\xff\xff",  # four thousand million elements, announced
        b"\x91\xd9\x01a",  # one character in an 8-bit string
        b"\x91\xda\x00\x01a",
        b"\x91\xc5\x00\x01a",  # one byte in a 16-bit binary
        b"\x91\xd4\x01\x00",  # an extension
        b"\x91\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x91\xa1\xff",  # not UTF-8
        b"\x91\xc1",  # never used
        b"\x01",  # not an array
        b"\xa1a",
        b"\xc4\x01a",
    ],
)
def test_other_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        canonical.decode(data)


@pytest.mark.parametrize(
    "fields",
    [
        [1.5],
        [{}],
        [{1: 2}],
        [{1}],
        [1 << 64],
        [-(1 << 63) - 1],
        ["\ud800"],
        [[[object()]]],
        b"a",
        "a",
    ],
)
def test_values_without_a_canonical_form_are_refused(fields: object) -> None:
    with pytest.raises(ValueError, match=r"only nested|cannot carry"):
        canonical.encode(fields)  # type: ignore[arg-type]


def test_refusals_never_show_the_value() -> None:
    fields: list[object] = ["canary-4711", 1.5]
    with pytest.raises(ValueError, match="only nested") as caught:
        canonical.encode(fields)  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


def test_depth_is_bounded() -> None:
    deepest = b"\x91" * (CANONICAL_DEPTH - 1) + b"\x90"
    assert canonical.encode(canonical.decode(deepest)) == deepest
    for depth in (CANONICAL_DEPTH, 50_000):
        with pytest.raises(FormatError):
            canonical.decode(b"\x91" * depth + b"\x90")


def test_length_is_bounded() -> None:
    head = b"\x91\xc5" + struct.pack(">H", CANONICAL_BYTES - 4)
    assert canonical.decode(head + bytes(CANONICAL_BYTES - 4)) == [bytes(CANONICAL_BYTES - 4)]
    with pytest.raises(LimitError):
        canonical.encode([bytes(CANONICAL_BYTES)])
    with pytest.raises(FormatError):
        canonical.decode(b"\x91\xc6" + struct.pack(">I", CANONICAL_BYTES) + bytes(CANONICAL_BYTES))


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=40))
def test_commitments_are_hashes_over_part_salt_and_bytes(salt: bytes, data: bytes) -> None:
    for part in ("envelope", "body"):
        expected = hashlib.sha256(f"strongroom/{part}/1".encode() + salt + data).digest()
        assert canonical.commit(part, salt, data) == expected


@given(st.binary(min_size=16, max_size=16))
def test_the_envelope_salt_is_derived_from_the_body_salt(salt: bytes) -> None:
    expected = hmac.new(salt, b"envelope", hashlib.sha256).digest()[:16]
    assert canonical.envelope_salt(salt) == expected
