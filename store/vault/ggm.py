"""Derive the keys of an epoch from a puncturable tree of seeds, and puncture it.

The tree (Goldreich, Goldwasser, Micali, 1986) has fan-out 4 and depth 6. Nodes are numbered as
in a heap: the root is 0, the children of n are 4n+1 to 4n+4, the leaf of part i is 1365+i. A
child's seed is PRF(parent's seed, label || branch), so nobody can go up or sideways.

    label  meaning
    1      seed of an inner node (it may stand in a cover)
    2      leaf: the key that seals one part
    3      key of an index of the epoch, from the epoch's index seed

A *cover* maps nodes to seeds, none below another: exactly the leaves below it can be derived. A
*puncture* replaces it by the smallest cover without some leaves, perhaps all from one on. An
epoch is born with the cover {1, 2}: the leaves of its 2,048 parts; no seed of the rest of the
tree ever exists.

    cover bytes: entries in the order of their leaves
    offset  size  type   meaning
    34k     2     u16    node
    34k+2   32    bytes  seed (of a leaf: the part's key)
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

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

PUNCTURE_BYTES: Final = _ENTRY.size * (FAN_OUT - 1) * (DEPTH - 1)
"""Most bytes by which a cover grows for each part that is taken out."""

COVER_BYTES_MAX: Final = _ENTRY.size * EPOCH_PARTS * (FAN_OUT - 1) // FAN_OUT
"""Longest cover: of each four leaves the first is gone."""


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


def puncture(
    prf: Prf, cover: Cover, removed: Iterable[int], end: int = EPOCH_PARTS
) -> dict[int, bytes]:
    """Return the smallest cover without the parts ``removed``, and without all from ``end`` on.

    Parts that the cover lacks already are allowed. No key of a removed part is derived. Cost:
    up to 18 PRF calls for each part, none for one whose neighbours go too; the cut costs as
    much as one part.
    """
    opened, gone = _ways_to(removed)
    cut = FIRST_LEAF + end
    if 0 < end < EPOCH_PARTS:
        opened.update(node for node in path_up(cut - 1) if _LAST_LEAVES[node] >= cut)
    survivors = {
        node: seed for node, seed in cover.items() if node not in gone and _FIRST_LEAVES[node] < cut
    }
    pending = [(node, survivors.pop(node)) for node in survivors.keys() & opened]
    while pending:
        node, seed = pending.pop()
        first = FAN_OUT * node + 1
        inputs = INNER_INPUTS if first < FIRST_LEAF else PART_INPUTS
        for branch in range(FAN_OUT):
            child = first + branch
            if child in gone or _FIRST_LEAVES[child] >= cut:
                continue
            derived = prf(seed, inputs[branch])
            if child in opened:
                pending.append((child, derived))
            else:
                survivors[child] = derived
    return {node: survivors[node] for node in sorted(survivors, key=_BY_FIRST_LEAF)}


def _ways_to(removed: Iterable[int]) -> tuple[set[int], set[int]]:
    """Return the nodes above some removed leaf, and those of which no leaf is left."""
    level = {FIRST_LEAF + index for index in removed}
    whole: Iterable[int] = level
    opened: set[int] = set()
    gone = set(level)
    for _ in range(DEPTH):
        level = {(node - 1) // FAN_OUT for node in level}
        counts = Counter((node - 1) // FAN_OUT for node in whole)
        whole = [node for node, children in counts.items() if children == FAN_OUT]
        gone.update(whole)
        opened |= level
    return opened, gone


def _outermost(child: int) -> tuple[int, ...]:
    """Return for each node the leaf that is reached by always taking ``child``."""
    found = list(range(NODES))
    for node in range(FIRST_LEAF - 1, -1, -1):
        found[node] = found[FAN_OUT * node + child]
    return tuple(found)


# Looked up for every entry of every cover that is read or written.
_FIRST_LEAVES: Final = _outermost(1)
_LAST_LEAVES: Final = _outermost(FAN_OUT)
_BY_FIRST_LEAF: Final = _FIRST_LEAVES.__getitem__
_NUMBERS: Final = tuple(node.to_bytes(2, "big") for node in range(NODES))


def first_leaf(node: int) -> int:
    """Return the leftmost leaf below ``node``."""
    return _FIRST_LEAVES[node]


def last_leaf(node: int) -> int:
    """Return the rightmost leaf below ``node``."""
    return _LAST_LEAVES[node]


def encode_cover(cover: Cover) -> bytes:
    """Return the cover's one byte form."""
    return b"".join([_NUMBERS[node] + cover[node] for node in sorted(cover, key=_BY_FIRST_LEAF)])


def decode_cover(data: bytes) -> dict[int, bytes]:
    """Read a cover; raises ``IntegrityError`` unless it is canonical: ordered and disjoint."""
    if len(data) % _ENTRY.size:
        raise IntegrityError("a cover has an impossible length")
    cover = dict(_ENTRY.iter_unpack(data))
    free = FIRST_LEAF
    for node in cover:
        if node >= NODES or _FIRST_LEAVES[node] < free:
            raise IntegrityError("a cover is not canonical")
        free = _LAST_LEAVES[node] + 1
    if len(cover) * _ENTRY.size != len(data):
        raise IntegrityError("a cover names a node twice")
    return cover


def birth_cover(seeds: bytes) -> dict[int, bytes]:
    """Return a new epoch's cover from 64 random bytes."""
    return {
        node: seeds[place * KEY_BYTES : (place + 1) * KEY_BYTES]
        for place, node in enumerate(BIRTH_NODES)
    }
