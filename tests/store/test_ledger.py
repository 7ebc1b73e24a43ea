"""The ledger's leaves follow from the log alone, in the order in which things happened."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import ledger, segments
from store.errors import IntegrityError
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.oplog import OpClass
from store.tables import LOG, SEGMENT, Table
from tests.store.logbox import Box, message, privileged


def leaves(box: Box, origin: int = 1) -> list[bytes]:
    return box.read(lambda reader: list(ledger.leaves(reader, origin)))


@settings(max_examples=20)
@given(st.lists(st.sampled_from(("message", "privileged", "wait")), max_size=20))
def test_leaves_are_derived_in_the_order_of_their_transactions(steps: list[str]) -> None:
    box = Box().create()
    expected: list[bytes] = []
    closed = 0
    for step in steps:
        if step == "wait":
            box.clock.advance(SEGMENT_MS)
            continue
        (op,) = box.append(privileged() if step == "privileged" else message())
        if op.op_class is OpClass.PRIVILEGED:
            expected.append(b"\x02" + op.op_hash)
        rows = list(box.rows(Table.SEGMENT).values())
        expected += [b"\x01" + segments.split_row(row)[0] for row in rows[closed:]]
        closed = len(rows)
    assert leaves(box) == expected


def test_a_full_segment_comes_after_its_last_act() -> None:
    box = Box().create()
    ops = box.append(*[message()] * (SEGMENT_OPS - 1), privileged(), privileged())
    statement, _ = segments.split_row(box.medium.rows[SEGMENT.key(1, 1)])
    assert leaves(box) == [
        ledger.leaf_for_op(ops[-2].op_hash),
        ledger.leaf_for_segment(statement),
        ledger.leaf_for_op(ops[-1].op_hash),
    ]


def test_nothing_needs_to_be_opened() -> None:
    box = Box().create()
    (op,) = box.append(privileged())
    box.vault.close()
    assert leaves(box) == [b"\x02" + op.op_hash]


def test_each_origin_has_its_own_leaves() -> None:
    box = Box().create()
    (first,) = box.append(privileged())
    box.commit(box.log.renew)
    (second,) = box.append(privileged())
    assert leaves(box, 1) == [b"\x02" + first.op_hash]
    assert leaves(box, 2) == [b"\x02" + second.op_hash]


def test_a_segment_without_its_operations_is_an_error() -> None:
    box = Box().create()
    box.append(*[message()] * SEGMENT_OPS)
    del box.medium.rows[LOG.key(1, SEGMENT_OPS)]
    with pytest.raises(IntegrityError):
        leaves(box)
