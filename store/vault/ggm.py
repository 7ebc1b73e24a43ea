"""Derive the keys of an epoch from a puncturable tree of seeds, and puncture it.

The tree (Goldreich, Goldwasser, Micali, 1986) has fan-out 4 and depth 6. Nodes are numbered as
in a heap: the root is 0, the children of n are 4n+1 to 4n+4, the leaf of part i is 1365+i. A
child's seed is PRF(parent's seed, label || branch), so nobody can go up or sideways.

    label  meaning
    1      seed of an inner node (it may stand in a cover)
    2      leaf: the key that seals one part
    3      key of an index of the epoch, from the epoch's index seed

A *cover* maps nodes to seeds, none below another: exactly the leaves below it can be derived. A
*puncture* replaces it by the smallest cover without some leaves. An epoch is born with the
cover {1, 2}: the leaves of its 2,048 parts; no seed of the rest of the tree ever exists.

    cover bytes: entries in the order of their leaves
    offset  size  type   meaning
    34k     2     u16    node
    34k+2   32    bytes  seed (of a leaf: the part's key)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from store.errors import IntegrityError, PartGoneError
from store.vault.limits import EPOCH_PARTS
from store.vault.suites import KEY_BYTES, Prf

FAN_OUT = 4
DEPTH = 6
FIRST_LEAF = (FAN_OUT**DEPTH - 1) // (FAN_OUT - 1)
NODES = FIRST_LEAF + FAN_OUT**DEPTH
BIRTH_NODES = (1, 2)
"""The nodes of a new epoch's cover; each has 1,024 leaves."""

PARENT_LEVEL = DEPTH - 1
"""The level of the nodes whose children are leaves; the root's level is 0."""

INNER_INPUTS = tuple(bytes((1, branch)) for branch in range(FAN_OUT))
PART_INPUTS = tuple(bytes((2, branch)) for branch in range(FAN_OUT))
_INDEX_LABEL = b"\x03"

Cover = Mapping[int, bytes]

_ENTRY = struct.Struct(">H32s")


def index_key(prf: Prf, index_seed: bytes, number: int) -> bytes:
    """Return the key of index ``number`` (u16) of an epoch: search terms, author columns."""
    return prf(index_seed, _INDEX_LABEL + struct.pack(">H", number))


def child_seed(prf: Prf, seed: bytes, child: int) -> bytes:
    """Return the seed of node ``child``, or the key if it is a leaf, from its parent's."""
    inputs = INNER_INPUTS if child < FIRST_LEAF else PART_INPUTS
    return prf(seed, inputs[(child - 1) % FAN_OUT])


def path_up(node: int) -> Iterable[int]:
    """Yield ``node`` and its ancestors, the root last."""
    yield node
    while node:
        node = (node - 1) // FAN_OUT
        yield node


def part_key(prf: Prf, cover: Cover, index: int) -> bytes:
    """Derive the key of part ``index``; raises ``PartGoneError`` when the cover lacks it.

    Cost: at most six PRF calls.
    """
    if not 0 <= index < EPOCH_PARTS:
        raise IntegrityError("a part index is out of range")
    down: list[int] = []
    for node in path_up(FIRST_LEAF + index):
        if node in cover:
            seed = cover[node]
            for child in reversed(down):
                seed = child_seed(prf, seed, child)
            return seed
        down.append(node)
    raise PartGoneError("the part's key was destroyed")


def puncture(prf: Prf, cover: Cover, removed: Iterable[int]) -> dict[int, bytes]:
    """Return the smallest cover of the survivors when the parts ``removed`` are taken out.

    Parts that the cover lacks already are allowed. Cost: up to 18 PRF calls for each part.
    """
    doomed = {node for index in removed for node in path_up(FIRST_LEAF + index)}
    pending = dict(cover)
    survivors: dict[int, bytes] = {}
    while pending:
        node, seed = pending.popitem()
        if node not in doomed:
            survivors[node] = seed
        elif node < FIRST_LEAF:
            first = FAN_OUT * node + 1
            for child in range(first, first + FAN_OUT):
                pending[child] = child_seed(prf, seed, child)
    return {node: survivors[node] for node in sorted(survivors, key=first_leaf)}


def first_leaf(node: int) -> int:
    """Return the leftmost leaf below ``node``."""
    while node < FIRST_LEAF:
        node = FAN_OUT * node + 1
    return node


def last_leaf(node: int) -> int:
    """Return the rightmost leaf below ``node``."""
    while node < FIRST_LEAF:
        node = FAN_OUT * node + FAN_OUT
    return node


def encode_cover(cover: Cover) -> bytes:
    """Return the cover's one byte form."""
    return b"".join(_ENTRY.pack(node, cover[node]) for node in sorted(cover, key=first_leaf))


def decode_cover(data: bytes) -> dict[int, bytes]:
    """Read a cover; raises ``IntegrityError`` unless it is canonical: ordered and disjoint."""
    if len(data) % _ENTRY.size:
        raise IntegrityError("a cover has an impossible length")
    cover: dict[int, bytes] = {}
    free = FIRST_LEAF
    for node, seed in _ENTRY.iter_unpack(data):
        if node >= NODES or first_leaf(node) < free:
            raise IntegrityError("a cover is not canonical")
        free = last_leaf(node) + 1
        cover[node] = seed
    return cover


def birth_cover(seeds: bytes) -> dict[int, bytes]:
    """Return a new epoch's cover from 64 random bytes."""
    return {
        node: seeds[place * KEY_BYTES : (place + 1) * KEY_BYTES]
        for place, node in enumerate(BIRTH_NODES)
    }
