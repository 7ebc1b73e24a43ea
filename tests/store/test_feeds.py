"""A feed's head follows its operations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from store import feeds
from store.engine.txn import Txn
from store.errors import FormatError
from store.feeds import EMPTY, FeedHead
from store.tables import TIMELINE
from tests.store.logbox import Box, message

NUMBER = st.integers(0, (1 << 63) - 1)


@given(NUMBER, NUMBER)
def test_heads_come_back(pos: int, key: int) -> None:
    head = FeedHead(pos, key)
    assert FeedHead.unpack(head.pack()) == head


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1))
def test_a_head_is_the_newest_of_each(applied: list[tuple[int, int]]) -> None:
    head = EMPTY
    for pos, key in applied:
        head = head.after(pos, key)
    assert head == (max(pos for pos, _ in applied), max(key for _, key in applied))


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(17)])
def test_other_bytes_are_no_head(data: bytes) -> None:
    with pytest.raises(FormatError):
        FeedHead.unpack(data)


def test_a_late_operation_moves_the_position_but_not_the_newest_key() -> None:
    box = Box().create()
    (newest,) = box.append(message())
    late = replace(newest, id=newest.id._replace(seq=2), pos=2, key=newest.key - 9, late=True)

    def work(txn: Txn) -> None:
        feeds.show(txn, late, feeds.head(txn, late.feed))
        assert feeds.head(txn, late.feed) == (2, newest.key)
        keys = [key for key, _value in txn.range(*TIMELINE.span(late.feed))]
        assert keys == [feeds.timeline_row(late)[0], feeds.timeline_row(newest)[0]]

    box.read(work)
