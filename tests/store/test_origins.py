"""Origin rows come back, and rows of another build are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import origins
from store.errors import FormatError
from store.ids import Origin
from store.origins import OriginRow
from tests.store.logbox import SITE_KEY, Box

ROWS = st.builds(
    OriginRow,
    st.builds(Origin, st.binary(min_size=16, max_size=16), st.integers(1, (1 << 64) - 1)),
    st.binary(min_size=32, max_size=32),
    is_own=st.booleans(),
    is_partial=st.booleans(),
    after=st.none(),
).filter(lambda row: not (row.is_own and row.is_partial))
RESTS = st.builds(
    lambda row, after: row._replace(is_own=False, is_partial=True, after=after),
    ROWS,
    st.integers(0, (1 << 63) - 1),
)


@given(ROWS | RESTS)
def test_rows_come_back(row: OriginRow) -> None:
    assert OriginRow.unpack(row.pack()) == row


@given(ROWS | RESTS)
def test_other_versions_flags_and_lengths_are_refused(row: OriginRow) -> None:
    data = row.pack()
    for wrong in (b"\x02" + data[1:], data[:1] + b"\x03" + data[2:], data[:-1], data + b"\0", b""):
        with pytest.raises(FormatError):
            OriginRow.unpack(wrong)


def test_each_incarnation_has_a_number_and_keeps_the_node() -> None:
    box = Box().create()
    box.commit(box.log.renew)
    rows = box.read(origins.load)
    assert rows == box.log.origins
    assert list(rows) == [1, 2]
    assert rows[1].origin.node == rows[2].origin.node
    assert rows[1].origin.incarnation != rows[2].origin.incarnation
    assert {row.verify_key for row in rows.values()} == {bytes(SITE_KEY.verify_key)}
