"""The forest: node layout, the way to a slot, and re-keying as K1 and K2 demand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import SeededEntropy
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.vault import forest
from store.vault.forest import TOP, NodeId, SlotId
from store.vault.suites import AES_GCM, SUITES, XCHACHA, Suite

ROOT = b"R" * 32
PAGE_BYTES = 4_080

places = st.builds(SlotId, st.integers(0, forest.TREES - 1), st.integers(0, forest.SLOTS - 1))


def planted(suite: Suite = AES_GCM, slots: int = 0, trees: int = 1) -> Txn:
    """Plant a forest and use the first slots of its trees."""
    txn = Txn(MemoryEngine().snapshot())
    entropy = SeededEntropy("forest")
    forest.plant(txn, ROOT, suite, entropy)
    for tree in range(trees):
        for slot in range(slots):
            forest.prepare_slot(txn, ROOT, SlotId(tree, slot), suite, entropy)
    return txn


def all_keys(txn: Txn, root: bytes) -> dict[tuple[NodeId, int], bytes]:
    """Return every key in the forest by its position."""
    found: dict[tuple[NodeId, int], bytes] = {}
    pending = [(TOP, root)]
    while pending:
        node, key = pending.pop()
        keys = forest.open_node(txn, key, node)
        for child in range(forest.FAN_OUT):
            found[node, child] = forest.child_key(keys, child)
            below = child_node(node, child)
            if below is not None and txn.get(below.key()) is not None:
                pending.append((below, found[node, child]))
    return found


def child_node(node: NodeId, child: int) -> NodeId | None:
    if node.level == 0:
        return NodeId(0, 1, child)
    if node.level == 1:
        return NodeId(node.number * 126 + child, 2, 0)
    if node.level == 5:
        return None
    return NodeId(node.tree, node.level + 1, node.number * 126 + child)


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_a_node_fits_one_overflow_page(suite: Suite) -> None:
    txn = planted(suite, slots=1)
    sizes = {len(value) for value in txn.writes.values() if value is not None}
    assert sizes == {{1: 4_062, 2: 4_074}[suite.number]}
    assert max(sizes) <= PAGE_BYTES
    assert len(txn.writes) == 6


@given(places)
def test_the_way_leads_from_each_node_to_a_child(place: SlotId) -> None:
    way = forest.way_to(place)
    assert [step.node.level for step in way] == [0, 1, 2, 3, 4, 5]
    for step, following in pairwise(way):
        assert 0 <= step.child < forest.FAN_OUT
        assert child_node(step.node, step.child) == following.node
    tree, slot = way[1].node.number * 126 + way[1].child, way[5].node.number * 126 + way[5].child
    assert SlotId(tree, slot) == place


@given(places, places)
def test_two_slots_never_share_a_position(one: SlotId, other: SlotId) -> None:
    same = forest.way_to(one)[5][:2] == forest.way_to(other)[5][:2]
    assert same == (one == other)


def test_slots_used_in_order_all_have_their_key() -> None:
    txn = planted(slots=260, trees=2)
    keys = [forest.slot_key(txn, ROOT, SlotId(tree, n)) for tree in (0, 1) for n in range(260)]
    assert len(set(keys)) == 520


def test_using_a_slot_writes_nothing_but_the_nodes_it_is_first_below() -> None:
    txn = planted(slots=1)
    entropy = SeededEntropy("more")
    writes = dict(txn.writes)
    for slot in range(1, 126):
        forest.prepare_slot(txn, ROOT, SlotId(0, slot), AES_GCM, entropy)
    assert txn.writes == writes
    forest.prepare_slot(txn, ROOT, SlotId(0, 126), AES_GCM, entropy)
    assert set(txn.writes) - set(writes) == {NodeId(0, 5, 1).key()}


def test_preparing_and_reading_give_the_same_key() -> None:
    txn = planted()
    prepared = forest.prepare_slot(txn, ROOT, SlotId(0, 0), AES_GCM, SeededEntropy(3))
    assert forest.slot_key(txn, ROOT, SlotId(0, 0)) == prepared


def test_the_keys_of_a_leaf_are_those_of_its_slots() -> None:
    txn = planted(slots=130)
    for slot in (0, 125, 126, 129):
        place = SlotId(0, slot)
        leaf = forest.leaf_of(place)
        assert leaf == forest.way_to(place)[5].node
        keys = forest.leaf_keys(txn, ROOT, place)
        assert forest.key_in_leaf(keys, place) == forest.slot_key(txn, ROOT, place)


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_no_row_is_longer_than_its_bound(suite: Suite) -> None:
    rows = planted(suite, slots=1).writes
    sizes = {len(key) + len(value or b"") for key, value in rows.items()}
    assert max(sizes) == forest.NODE_ROW_BYTES - {1: 12, 2: 0}[suite.number]


def test_a_node_there_too_early_is_an_integrity_error() -> None:
    txn = planted(slots=1)
    with pytest.raises(IntegrityError):
        forest.prepare_slot(txn, ROOT, SlotId(0, 0), AES_GCM, SeededEntropy(3))


def test_a_missing_node_is_an_integrity_error() -> None:
    txn = planted(slots=1)
    txn.delete(NodeId(0, 4, 0).key())
    with pytest.raises(IntegrityError, match="missing"):
        forest.slot_key(txn, ROOT, SlotId(0, 0))


def test_a_node_in_another_place_does_not_open() -> None:
    txn = planted(slots=1)
    value = txn.get(TOP.key())
    assert value is not None
    txn.put(NodeId(0, 1, 5).key(), value)
    with pytest.raises(IntegrityError):
        forest.open_node(txn, ROOT, NodeId(0, 1, 5))


@given(st.integers(0, 8 * 4_062 - 1))
def test_a_flipped_bit_in_a_node_is_found(bit: int) -> None:
    txn = planted()
    value = bytearray(txn.get(TOP.key()) or b"")
    value[bit // 8] ^= 1 << bit % 8
    txn.put(TOP.key(), bytes(value))
    with pytest.raises((FormatError, IntegrityError)) as caught:
        forest.open_node(txn, ROOT, TOP)
    if bit >= 16:  # past the version and the suite
        assert caught.type is IntegrityError


@given(
    st.sets(st.builds(SlotId, st.integers(0, 1), st.integers(0, 259)), min_size=1, max_size=6),
    st.sampled_from([AES_GCM, XCHACHA]),
)
def test_rekeying_replaces_exactly_the_ways(lost: set[SlotId], suite: Suite) -> None:
    txn = BASE.copy()
    before = all_keys(txn, ROOT)
    root, fresh = forest.rekey(txn, ROOT, lost, suite, SeededEntropy("rekey"))
    after = all_keys(txn, root)
    on_the_ways = {(step.node, step.child) for place in lost for step in forest.way_to(place)}
    changed = {position for position in before if after[position] != before[position]}
    assert changed == on_the_ways  # K2, and nothing else
    assert root != ROOT
    assert not {after[position] for position in changed} & set(before.values())
    assert fresh == {place: forest.slot_key(txn, root, place) for place in lost}
    assert len(set(after.values())) == len(after)  # K1: no key has two positions


class Rows:
    """A prepared forest that can be copied for each example."""

    def __init__(self) -> None:
        self.rows = dict(planted(slots=260, trees=2).writes)

    def copy(self) -> Txn:
        txn = Txn(MemoryEngine().snapshot())
        for key, value in self.rows.items():
            assert value is not None
            txn.put(key, value)
        return txn


BASE = Rows()


def test_the_old_root_opens_nothing_after_rekeying() -> None:
    txn = BASE.copy()
    forest.rekey(txn, ROOT, [SlotId(0, 0)], AES_GCM, SeededEntropy("rekey"))
    with pytest.raises(IntegrityError):
        forest.open_node(txn, ROOT, TOP)


def test_rekeying_one_slot_writes_each_node_of_its_way_once() -> None:
    txn = BASE.copy()
    before = dict(txn.writes)
    forest.rekey(txn, ROOT, [SlotId(1, 200)], AES_GCM, SeededEntropy("rekey"))
    changed = {key for key, value in txn.writes.items() if before[key] != value}
    assert changed == {step.node.key() for step in forest.way_to(SlotId(1, 200))}
