"""Cursors come back, each by itself, and go back with what they count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import cursors
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError
from store.tables import CURSOR

PLACES = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 255))
NUMBERS = st.integers(0, (1 << 64) - 1)


def empty() -> Txn:
    return Txn(MemoryEngine().snapshot())


@given(st.lists(st.tuples(PLACES, NUMBERS)))
def test_each_cursor_is_the_last_number_put(moves: list[tuple[tuple[int, int], int]]) -> None:
    txn = empty()
    expected: dict[tuple[int, int], int] = {}
    for place, number in moves:
        cursors.put(txn, *place, number)
        expected[place] = number
    for place, number in expected.items():
        assert cursors.get(txn, *place) == number
    assert len(txn.writes) == len(expected)


@given(PLACES, NUMBERS)
def test_a_cursor_begins_at_zero_and_returns_there(place: tuple[int, int], number: int) -> None:
    txn = empty()
    assert cursors.get(txn, *place) == 0
    cursors.put(txn, *place, number)
    txn.rollback(0)
    assert cursors.get(txn, *place) == 0


@pytest.mark.parametrize("row", [b"", bytes(7), bytes(9)])
def test_other_bytes_are_no_cursor(row: bytes) -> None:
    txn = empty()
    txn.put(CURSOR.key(cursors.PEER, 1), row)
    with pytest.raises(FormatError):
        cursors.get(txn, cursors.PEER, 1)
