"""Log rows and sealed plaintexts come back, and nothing malformed is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import canonical, records
from store.errors import FormatError
from store.records import Parts, PartState, Record
from store.skeleton import SKELETON_BYTES
from store.vault import Locator

SALT = st.binary(min_size=16, max_size=16)
LOCATOR = Locator(1 << 63, 1 << 31, 2_047)
SEALED = b"\x01sealed"
ROW = records.pack(records.TIMELINE, b"s" * SKELETON_BYTES, b"c" * 32, 9, LOCATOR, SEALED)


def test_a_row_comes_back() -> None:
    assert Record.unpack(ROW) == Record(
        PartState.PRESENT,
        PartState.PRESENT,
        records.TIMELINE,
        b"s" * SKELETON_BYTES,
        b"c" * 32,
        9,
        LOCATOR,
        SEALED,
    )
    assert len(ROW) == records.HEADER_BYTES + len(SEALED)


def changed(at: int, byte: int) -> bytes:
    return ROW[:at] + bytes((byte,)) + ROW[at + 1 :]


@pytest.mark.parametrize(
    "row",
    [
        b"",
        ROW[: records.HEADER_BYTES - 1],
        changed(0, 2),  # version
        changed(2, 9),  # tenant
        changed(3, 2),  # suite
        changed(4, 0x10),  # no such state
        changed(4, 0x51),
        changed(4, 0x44),  # destroyed, but sealed bytes are there
        changed(5, 64),  # unknown flag
        ROW[: records.HEADER_BYTES],  # present, but nothing is sealed
    ],
)
def test_malformed_rows_are_refused(row: bytes) -> None:
    with pytest.raises(FormatError):
        Record.unpack(row)


def test_what_is_read_of_a_row_alone_is_what_the_whole_row_says() -> None:
    for lane in range(4):
        row = changed(5, records.TIMELINE | lane << records.LANE_SHIFT)
        assert records.lane_of(row) == Record.unpack(row).lane == lane
        assert records.skeleton_of(row) == b"s" * SKELETON_BYTES
        assert Record.unpack(row).pack() == row
    for wrong in (b"", ROW[: records.HEADER_BYTES - 1], changed(0, 2)):
        with pytest.raises(FormatError):
            records.lane_of(wrong)


def test_a_body_is_not_present_without_a_sealing() -> None:
    gone = changed(4, 0x41)[: records.HEADER_BYTES]
    with pytest.raises(FormatError):
        Record.unpack(gone[:3] + b"\0" + gone[4:])


@given(SALT, st.binary(max_size=50), st.binary(max_size=50))
def test_whole_plaintexts_come_back(salt: bytes, envelope: bytes, body: bytes) -> None:
    parts = Parts.unpack(records.whole(salt, envelope, body))
    assert parts == Parts(salt, envelope, body)
    assert parts.envelope_salt == canonical.envelope_salt(salt)


@given(SALT, st.binary(max_size=50))
def test_an_envelope_outlives_its_body_with_its_own_salt(salt: bytes, envelope: bytes) -> None:
    parts = Parts.unpack(records.envelope_only(salt, envelope))
    assert parts == Parts(salt, envelope, None)
    assert parts.envelope_salt == salt


@given(SALT, st.binary(min_size=1, max_size=50))
def test_malformed_plaintexts_are_refused(salt: bytes, envelope: bytes) -> None:
    whole = records.whole(salt, envelope, b"")
    for wrong in (
        whole[:-1],
        whole[:20],
        b"\x03" + whole[1:],
        records.envelope_only(salt, envelope) + b"x",
    ):
        with pytest.raises(FormatError):
            Parts.unpack(wrong)
