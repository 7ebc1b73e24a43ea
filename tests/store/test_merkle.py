"""Merkle trees agree with the published vectors, and proofs prove nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import merkle

# The inputs and roots of the certificate transparency reference implementation.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
DATA = st.lists(st.binary(max_size=4), max_size=40)


def naive_root(leaves: list[bytes]) -> bytes:
    """Follow the recursive definition of RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return merkle.leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root([]).hex() == empty


@given(DATA.filter(bool))
def test_the_frontier_agrees_with_the_definition(leaves: list[bytes]) -> None:
    assert merkle.root(leaves) == naive_root(leaves)


@given(DATA, DATA)
def test_a_stored_frontier_goes_on(before: list[bytes], after: list[bytes]) -> None:
    first = merkle.Frontier()
    for data in before:
        first.append(data)
    again = merkle.Frontier(first.size, first.peaks)
    for data in after:
        again.append(data)
    assert again.root() == merkle.root(before + after)


def test_a_frontier_with_missing_peaks_is_refused() -> None:
    with pytest.raises(ValueError, match="one peak"):
        merkle.Frontier(3, [bytes(32)])


@settings(max_examples=30)
@given(DATA.filter(bool), st.data())
def test_inclusion_proofs_hold_at_their_place_only(
    leaves: list[bytes], data: st.DataObject
) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    root = merkle.root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(index, hashes)
    assert merkle.verify_inclusion(index, len(leaves), hashes[index], proof, root)
    assert not merkle.verify_inclusion(index, len(leaves), bytes(32), proof, root)
    assert not merkle.verify_inclusion(len(leaves), len(leaves), hashes[index], proof, root)
    assert not merkle.verify_inclusion(-1, len(leaves), hashes[index], proof, root)
    assert not merkle.verify_inclusion(index, len(leaves), hashes[index], [*proof, root], root)
    for at in range(len(proof)):
        wrong = [*proof[:at], bytes(32), *proof[at + 1 :]]
        assert not merkle.verify_inclusion(index, len(leaves), hashes[index], wrong, root)
        assert not merkle.verify_inclusion(index, len(leaves), hashes[index], proof[:at], root)


@settings(max_examples=30)
@given(DATA.filter(bool), st.data())
def test_consistency_proofs_hold_for_their_trees_only(
    leaves: list[bytes], data: st.DataObject
) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    first, second = data.draw(st.integers(0, len(leaves))), len(leaves)
    old, new = merkle.root(leaves[:first]), merkle.root(leaves)
    proof = merkle.consistency_proof(first, hashes)
    assert merkle.verify_consistency(first, second, old, new, proof)
    assert not merkle.verify_consistency(first, second, bytes(32), new, proof)
    assert not merkle.verify_consistency(first, second, old, new, [*proof, new])
    if first:
        assert not merkle.verify_consistency(first, second, old, bytes(32), proof)
    for at in range(len(proof)):
        wrong = [*proof[:at], bytes(32), *proof[at + 1 :]]
        assert not merkle.verify_consistency(first, second, old, new, wrong)
        assert not merkle.verify_consistency(first, second, old, new, proof[:at])


def test_a_shrinking_tree_is_never_consistent() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    proof = merkle.consistency_proof(3, hashes)
    assert not merkle.verify_consistency(
        8, 3, bytes.fromhex(ROOTS[7]), bytes.fromhex(ROOTS[2]), proof
    )


def test_proofs_outside_the_tree_are_refused() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    for index in (-1, 8):
        with pytest.raises(IndexError):
            merkle.inclusion_proof(index, hashes)
    for first in (-1, 9):
        with pytest.raises(IndexError):
            merkle.consistency_proof(first, hashes)


def test_a_proof_does_not_hold_in_a_smaller_tree() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    root = merkle.root(LEAVES)
    proof = merkle.inclusion_proof(7, hashes)
    assert merkle.verify_inclusion(7, 8, hashes[7], proof, root)
    for index, size in ((0, 1), (1, 2), (3, 4), (6, 7)):
        assert not merkle.verify_inclusion(index, size, hashes[7], proof, root)
    growth = merkle.consistency_proof(7, hashes)
    before = merkle.root(LEAVES[:7])
    assert merkle.verify_consistency(7, 8, before, root, growth)
    for first, second in ((3, 4), (1, 2), (6, 7), (7, 16)):
        assert not merkle.verify_consistency(first, second, before, root, growth)


def test_a_proof_does_not_hold_in_a_larger_tree() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[:2]]
    proof = merkle.inclusion_proof(0, hashes)
    root = merkle.root(LEAVES[:2])
    assert merkle.verify_inclusion(0, 2, hashes[0], proof, root)
    assert not merkle.verify_inclusion(0, 8, hashes[0], proof, root)
