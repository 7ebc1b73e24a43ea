"""The puncturable tree: derivation against a naive one, punctures, and the cover's bytes."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import IntegrityError, PartGoneError
from store.vault import ggm
from store.vault.limits import EPOCH_PARTS
from store.vault.suites import AES_GCM, XCHACHA, Prf

SEEDS = bytes(range(64))
BIRTH = ggm.birth_cover(SEEDS)
PRF: Prf = XCHACHA.prf

indices = st.integers(0, EPOCH_PARTS - 1)
runs = st.tuples(indices, st.integers(0, 300)).map(
    lambda run: set(range(run[0], min(run[0] + run[1], EPOCH_PARTS)))
)
removals = st.one_of(st.sets(indices, max_size=40), runs)


def naive_key(index: int) -> bytes:
    """Walk down by the digits of the index in base 4, with the standard library's HMAC."""
    digits = [index >> shift & 3 for shift in (10, 8, 6, 4, 2, 0)]
    seed = SEEDS[32 * digits[0] :][:32]
    for digit in digits[1:-1]:
        seed = hmac.digest(seed, bytes((1, digit)), "sha256")
    return hmac.digest(seed, bytes((2, digits[-1])), "sha256")


@given(indices)
def test_a_key_is_what_a_naive_walk_gives(index: int) -> None:
    assert ggm.part_key(AES_GCM.prf, BIRTH, index) == naive_key(index)


def test_all_keys_of_an_epoch_differ() -> None:
    keys = {ggm.part_key(PRF, BIRTH, index) for index in range(EPOCH_PARTS)}
    assert len(keys) == EPOCH_PARTS


@pytest.mark.parametrize("index", [-1, EPOCH_PARTS, 65_535])
def test_an_index_out_of_range_has_no_key(index: int) -> None:
    with pytest.raises(IntegrityError):
        ggm.part_key(PRF, BIRTH, index)


@given(removals, removals)
def test_punctures_keep_exactly_the_survivors(first: set[int], second: set[int]) -> None:
    cover = ggm.puncture(PRF, ggm.puncture(PRF, BIRTH, first), second)
    gone = first | second
    for index in gone:
        with pytest.raises(PartGoneError):
            ggm.part_key(PRF, cover, index)
    for index in {0, 1, 777, EPOCH_PARTS - 1} | {(i + 1) % EPOCH_PARTS for i in gone}:
        if index not in gone:
            assert ggm.part_key(PRF, cover, index) == ggm.part_key(PRF, BIRTH, index)


@given(removals, removals, st.integers(0, EPOCH_PARTS))
def test_cutting_is_removing_everything_from_there_on(
    first: set[int], removed: set[int], end: int
) -> None:
    cover = ggm.puncture(PRF, BIRTH, first)
    naive = ggm.puncture(PRF, cover, removed | set(range(end, EPOCH_PARTS)))
    assert ggm.puncture(PRF, cover, removed, end) == naive


@given(removals)
def test_a_cover_counts_its_survivors_once(removed: set[int]) -> None:
    cover = ggm.puncture(PRF, BIRTH, removed)
    leaves = [
        leaf for node in cover for leaf in range(ggm.first_leaf(node), ggm.last_leaf(node) + 1)
    ]
    survivors = set(range(EPOCH_PARTS)) - removed
    assert sorted(leaves) == sorted(ggm.FIRST_LEAF + index for index in survivors)


@given(removals)
def test_no_key_of_a_removed_part_is_ever_derived(removed: set[int]) -> None:
    derived = set()

    def prf(key: bytes, data: bytes) -> bytes:
        derived.add(PRF(key, data))
        return PRF(key, data)

    ggm.puncture(prf, BIRTH, removed)
    assert not derived & {ggm.part_key(PRF, BIRTH, index) for index in removed}


def test_taking_a_whole_epoch_out_derives_nothing() -> None:
    def prf(key: bytes, data: bytes) -> bytes:
        raise AssertionError

    assert ggm.puncture(prf, BIRTH, range(EPOCH_PARTS)) == {}


@given(removals, st.sets(indices, min_size=1, max_size=5))
def test_a_cover_grows_no_more_than_its_bounds(before: set[int], removed: set[int]) -> None:
    old = ggm.puncture(PRF, BIRTH, before)
    new = len(ggm.encode_cover(ggm.puncture(PRF, old, removed)))
    assert new <= len(ggm.encode_cover(old)) + ggm.PUNCTURE_BYTES * len(removed)
    assert new <= ggm.COVER_BYTES_MAX


@given(removals, removals)
def test_the_order_of_punctures_does_not_matter(first: set[int], second: set[int]) -> None:
    one_by_one = ggm.puncture(PRF, ggm.puncture(PRF, BIRTH, second), first)
    assert one_by_one == ggm.puncture(PRF, BIRTH, first | second)


@given(removals)
def test_no_seed_of_a_cover_derives_a_removed_key(removed: set[int]) -> None:
    gone = {ggm.part_key(PRF, BIRTH, index) for index in removed}
    reachable = set()
    pending = dict(ggm.puncture(PRF, BIRTH, removed))
    while pending:
        node, seed = pending.popitem()
        reachable.add(seed)
        if node < ggm.FIRST_LEAF:
            children = range(4 * node + 1, 4 * node + 5)
            pending |= {child: ggm.child_seed(PRF, seed, child) for child in children}
    assert not gone & reachable
    assert len(reachable) >= EPOCH_PARTS - len(removed)


def test_nothing_is_left_of_an_epoch_that_loses_every_part() -> None:
    assert ggm.puncture(PRF, BIRTH, range(EPOCH_PARTS)) == {}


def test_the_largest_cover_fits_one_value() -> None:
    cover = ggm.puncture(PRF, BIRTH, range(0, EPOCH_PARTS, 4))
    assert len(ggm.encode_cover(cover)) == 1_536 * 34 == ggm.COVER_BYTES_MAX == 52_224


@given(removals)
def test_a_cover_comes_back_from_its_bytes(removed: set[int]) -> None:
    cover = ggm.puncture(PRF, BIRTH, removed)
    data = ggm.encode_cover(cover)
    assert ggm.decode_cover(data) == cover
    assert ggm.encode_cover(ggm.decode_cover(data)) == data


@pytest.mark.parametrize(
    "nodes", [(2, 1), (1, 1), (0, 1), (1, 5), (5, 1), (ggm.NODES,), (65_535,)], ids=str
)
def test_a_cover_that_is_not_canonical_is_refused(nodes: tuple[int, ...]) -> None:
    data = b"".join(node.to_bytes(2, "big") + bytes(32) for node in nodes)
    with pytest.raises(IntegrityError):
        ggm.decode_cover(data)


@pytest.mark.parametrize("length", [1, 33, 35])
def test_a_cover_of_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        ggm.decode_cover(bytes(length))


def test_labels_part_the_keys_of_covers_parts_and_indexes() -> None:
    inputs = {*ggm.INNER_INPUTS, *ggm.PART_INPUTS}
    assert len(inputs) == 8
    seed = bytes(32)
    derived = {PRF(seed, data) for data in inputs}
    assert ggm.index_key(PRF, seed, 0) not in derived
    assert ggm.index_key(PRF, seed, 0) != ggm.index_key(PRF, seed, 1)
