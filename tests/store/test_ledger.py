"""The ledger follows the log leaf by leaf, and proves every past size as the whole tree would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import ledger, merkle, segments
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.ledger import LeafKind, Ledger, Reference
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.oplog import OpClass
from store.tables import LEDGER, LOG, SEGMENT, Table
from tests.store.logbox import Box, message, privileged

STEPS = st.lists(
    st.sampled_from(("message", "privileged", "wait", "drop", "renew", "open")), max_size=20
)


def derived(box: Box, origin: int = 1) -> list[bytes]:
    return box.read(lambda reader: [data for _, data in ledger.derive(reader, origin)])


def stored(box: Box, origin: int = 1) -> list[bytes]:
    """The leaves of the stored tree, whose root must be the one over just these."""

    def work(reader: Txn) -> list[bytes]:
        tree = Ledger.open(reader, origin)
        leaves = list(tree.leaves(reader))
        assert [leaf.index for leaf in leaves] == list(range(tree.size))
        data = [leaf.data for leaf in leaves]
        assert tree.root() == tree.root_at(reader, tree.size) == merkle.root(data)
        return data

    return box.read(work)


@settings(max_examples=25)
@given(STEPS)
def test_leaves_are_written_in_the_order_of_their_transactions(steps: list[str]) -> None:
    box = Box().create()
    expected: dict[int, list[bytes]] = {1: []}
    closed = 0
    for step in steps:
        if step == "wait":
            box.clock.advance(SEGMENT_MS)
        elif step == "open":
            box.log.close()
            box.open()
        elif step == "renew":
            box.commit(box.log.renew)
            expected[box.log.head.origin] = []
        elif step == "drop":
            box.read(lambda txn: txn.rollback(_append_and_mark(box, txn)))
        else:
            draft = privileged() if step == "privileged" else message()
            (op,) = box.append(draft)
            if op.op_class is OpClass.PRIVILEGED:
                expected[op.origin].append(b"\x02" + op.op_hash)
        rows = list(box.rows(Table.SEGMENT).items())
        for key, row in rows[closed:]:
            statement, _ = segments.split_row(row)
            expected[SEGMENT.columns(key)[0]].append(b"\x01" + statement)
        closed = len(rows)
    for origin, leaves in expected.items():
        assert stored(box, origin) == derived(box, origin) == leaves
    head = box.log.ledger
    assert (head.origin, head.root()) == (
        box.log.head.origin,
        merkle.root(expected[box.log.head.origin]),
    )
    assert box.findings() == []


def _append_and_mark(box: Box, txn: Txn) -> int:
    mark = txn.savepoint()
    box.log.append(txn, privileged(), box.clock.wall_ms())
    return mark


def test_a_full_segment_comes_after_its_last_act() -> None:
    box = Box().create()
    ops = box.append(*[message()] * (SEGMENT_OPS - 1), privileged(), privileged())
    statement, _ = segments.split_row(box.medium.rows[SEGMENT.key(1, 1)])
    expected = [
        ledger.leaf_for_op(ops[-2].op_hash),
        ledger.leaf_for_segment(statement),
        ledger.leaf_for_op(ops[-1].op_hash),
    ]
    assert stored(box) == derived(box) == expected


def test_ordinary_messages_leave_no_trace() -> None:
    box = Box().create()
    box.append(*[message()] * 9)
    assert box.rows(Table.LEDGER) == {}


def test_nothing_needs_to_be_opened() -> None:
    box = Box().create()
    (op,) = box.append(privileged())
    box.vault.close()
    assert stored(box) == derived(box) == [b"\x02" + op.op_hash]


def test_each_incarnation_has_its_own_tree() -> None:
    box = Box().create()
    (first,) = box.append(privileged())
    before = box.log.ledger
    box.commit(box.log.renew)
    assert (box.log.ledger.size, box.log.ledger.origin) == (0, 2)
    (second,) = box.append(privileged())
    assert stored(box, 1) == [b"\x02" + first.op_hash]
    assert stored(box, 2) == [b"\x02" + second.op_hash]

    def change_of_mind(txn: Txn) -> None:
        mark = txn.savepoint()
        box.log.renew(txn)
        txn.rollback(mark)

    tree = box.log.ledger
    box.read(change_of_mind)
    assert box.log.ledger is tree
    assert before.size == 1


def test_a_batch_that_is_rolled_back_leaves_the_tree_as_it_was() -> None:
    box = Box().create()
    box.append(*[privileged()] * 5)
    before = (box.log.ledger.size, box.log.ledger.root())

    def work(txn: Txn) -> None:
        mark = txn.savepoint()
        for _ in range(4):
            box.log.append(txn, privileged(), box.clock.wall_ms() + SEGMENT_MS)
        box.log.before_commit(txn, box.clock.wall_ms() + SEGMENT_MS)
        assert box.log.ledger.size > before[0]
        txn.rollback(mark)

    box.read(work)
    assert (box.log.ledger.size, box.log.ledger.root()) == before


def without_ledger(box: Box) -> Box:
    """The same store as a build wrote it that kept no ledger."""
    for key in box.rows(Table.LEDGER):
        del box.medium.rows[key]
    return box


def test_a_store_of_an_earlier_build_gets_its_ledgers_when_it_is_opened() -> None:
    box = Box().create()
    for _ in range(3):
        box.append(privileged(), message(), privileged())
        box.clock.advance(SEGMENT_MS)
    box.commit(box.log.renew)
    box.append(privileged(), *[message()] * SEGMENT_OPS, privileged())
    box.log.close()
    rows = box.rows(Table.LEDGER)
    assert len(rows) > 12
    without_ledger(box).open()
    assert box.rows(Table.LEDGER) == rows
    assert box.log.ledger.root() == Ledger.open(Txn(box.engine.snapshot()), 2).root()
    (op,) = box.append(privileged())
    assert b"\x02" + op.op_hash in stored(box, 2)[-2:]
    assert box.findings() == []


def test_an_old_store_with_a_broken_log_is_not_opened() -> None:
    box = Box().create()
    box.append(*[message()] * SEGMENT_OPS)
    box.log.close()
    without_ledger(box)
    del box.medium.rows[LOG.key(1, SEGMENT_OPS)]
    with pytest.raises(IntegrityError):
        box.open()


def test_a_segment_without_its_operations_is_an_error() -> None:
    box = Box().create()
    box.append(*[message()] * SEGMENT_OPS)
    del box.medium.rows[LOG.key(1, SEGMENT_OPS)]
    with pytest.raises(IntegrityError):
        derived(box)


def test_an_operation_is_found_by_its_number() -> None:
    box = Box().create()
    acts = []
    for _ in range(5):
        ops = box.append(message(), privileged(), message(), privileged(), privileged())
        acts += [op for op in ops if op.op_class is OpClass.PRIVILEGED]
        box.clock.advance(SEGMENT_MS)
    leaves = stored(box)

    def find(seq: int) -> int | None:
        return box.read(lambda reader: Ledger(1).find(reader, seq))

    for op in acts:
        index = find(op.id.seq)
        assert index is not None
        assert leaves[index] == b"\x02" + op.op_hash
    assert {find(seq) for seq in (0, 1, 3, 6, 99)} == {None}


def test_finding_needs_the_segments_on_its_way() -> None:
    box = Box().create()
    box.append(message(), privileged())
    box.clock.advance(SEGMENT_MS)
    box.append(privileged(), privileged())
    assert box.read(lambda reader: Ledger(1).find(reader, 4)) == 2
    for key in box.rows(Table.SEGMENT):
        del box.medium.rows[key]
    with pytest.raises(IntegrityError):
        box.read(lambda reader: Ledger(1).find(reader, 99))


# --- the tree by itself -----------------------------------------------------------------------


class Grove:
    """A tree over any data, on an engine of its own; counts what is read."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.tree = Ledger(3)
        self.reads = 0

    def grow(self, data: list[bytes]) -> Grove:
        txn = Txn(MemoryEngine(Medium()).snapshot())
        for n, item in enumerate(data):
            assert self.tree.append(txn, item, Reference(LeafKind.OP, 3, n)) == n
        self.rows = {key: value for key, value in txn.writes.items() if value is not None}
        return self

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self.rows.get(key)

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        self.reads += 1
        keys = sorted((k for k in self.rows if start <= k < end), reverse=reverse)
        return iter([(key, self.rows[key]) for key in keys[:limit]])


def hashes(data: list[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(item) for item in data]


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_proofs_of_every_past_size_are_those_of_the_whole_tree(
    data: list[bytes], choice: st.DataObject
) -> None:
    grove = Grove().grow(data)
    tree = Ledger.open(grove, 3)
    second = choice.draw(st.integers(1, len(data)))
    first = choice.draw(st.integers(0, second))
    index = choice.draw(st.integers(0, second - 1))
    known = hashes(data)[:second]
    assert tree.inclusion(grove, index, second) == merkle.inclusion_proof(index, known)
    assert tree.consistency(grove, first, second) == merkle.consistency_proof(first, known)
    assert tree.root_at(grove, second) == merkle.root(data[:second])
    assert tree.root() == grove.tree.root() == merkle.root(data)


@settings(max_examples=20)
@given(st.integers(0, 70))
def test_there_is_about_one_more_row_for_each_leaf(size: int) -> None:
    grove = Grove().grow([b"%d" % n for n in range(size)])
    assert len(grove.rows) == size + size - size.bit_count()


def test_opening_and_proving_read_a_logarithm_of_rows() -> None:
    grove = Grove().grow([b"%d" % n for n in range(1_023)])
    tree = Ledger.open(grove, 3)
    assert grove.reads == 11
    for ask in (
        lambda: tree.inclusion(grove, 700, 1_001),
        lambda: tree.consistency(grove, 333, 1_001),
        lambda: tree.root_at(grove, 1_001),
        lambda: tree.find(grove, 700),
    ):
        grove.reads = 0
        ask()
        assert grove.reads <= 25


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_leaves_that_do_not_exist_have_no_proof(index: int, size: int) -> None:
    grove = Grove().grow([b"a", b"b", b"c"])
    with pytest.raises(IndexError):
        grove.tree.inclusion(grove, index, size)


def test_a_tree_that_is_larger_than_the_stored_one_has_no_proof() -> None:
    grove = Grove().grow([b"a", b"b", b"c"])
    for ask in (grove.tree.inclusion, grove.tree.consistency):
        with pytest.raises(IntegrityError):
            ask(grove, 0 if ask == grove.tree.inclusion else 1, 4)


def test_a_missing_node_is_an_error_when_the_tree_is_opened() -> None:
    grove = Grove().grow([b"a", b"b", b"c"])
    del grove.rows[LEDGER.key(3, 1, 0)]
    with pytest.raises(IntegrityError):
        Ledger.open(grove, 3)


@pytest.mark.parametrize("value", [b"", bytes(44), bytes(46), bytes(32) + b"\x03" + bytes(12)])
def test_rows_of_another_build_are_refused(value: bytes) -> None:
    with pytest.raises(FormatError):
        ledger.unpack_leaf(value)


@pytest.mark.parametrize(
    "reference",
    [
        Reference(LeafKind.OP, 1, 2),
        Reference(LeafKind.OP, 1, 9),
        Reference(LeafKind.OP, 2, 1),
        Reference(LeafKind.SEGMENT, 1, 1),
    ],
)
def test_a_leaf_that_the_log_does_not_bear_out_is_not_given_out(reference: Reference) -> None:
    box = Box().create()
    box.append(privileged(), message(), privileged())
    key = LEDGER.key(1, 0, 1)
    node, _ = ledger.unpack_leaf(box.medium.rows[key])
    box.medium.rows[key] = ledger.pack_leaf(node, reference)
    with pytest.raises(IntegrityError):
        stored(box)


def test_a_range_of_leaves_is_half_open() -> None:
    box = Box().create()
    box.append(*[privileged(bytes((0x91, n))) for n in range(6)])
    everything = stored(box)
    some = box.read(lambda reader: list(box.log.ledger.leaves(reader, 2, 4)))
    assert [leaf.data for leaf in some] == everything[2:4]
    assert [leaf.reference.seq for leaf in some] == [3, 4]
