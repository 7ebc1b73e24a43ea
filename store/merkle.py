"""Hash lists into RFC 6962 Merkle trees, and prove membership and growth.

Proof checks follow RFC 9162, sections 2.1.3.2 and 2.1.4.2. Proofs are made from the list of
leaf hashes in O(n), or from whatever can tell the roots of subtrees (``store.ledger``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

Subtree = Callable[[int, int], bytes]
"""Returns the root over the leaves from the first index to before the second."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's data (RFC 6962, 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962, 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over the leaves' data, in order."""
    frontier = Frontier()
    for data in leaves:
        frontier.append(data)
    return frontier.root()


class Frontier:
    """The right edge of a growing tree: all that appending and the root need, in O(log n).

    ``peaks`` are the roots of the complete subtrees, largest first.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError("a frontier has one peak for each one bit of its size")

    def append(self, data: bytes) -> None:
        """Add a leaf by its data; amortised O(1)."""
        node = leaf_hash(data)
        rest = self.size
        while rest & 1:
            node = node_hash(self.peaks.pop(), node)
            rest >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node


def inclusion_proof(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree over these leaf hashes.

    Raises ``IndexError`` when there is no such leaf.
    """
    return inclusion_path(index, len(hashes), partial(_subtree, hashes))


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of leaf ``index`` in a tree of ``size`` leaves.

    Asks for O(log n) subtrees, of which one at most is not complete. Raises ``IndexError``
    when there is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError("no such leaf")
    return _path(index, subtree, 0, size)


def consistency_proof(first: int, hashes: Sequence[bytes]) -> list[bytes]:
    """Prove that the tree over these leaf hashes extends the tree over the first ones.

    Raises ``IndexError`` unless ``0 <= first <= len(hashes)``.
    """
    return consistency_path(first, len(hashes), partial(_subtree, hashes))


def consistency_path(first: int, second: int, subtree: Subtree) -> list[bytes]:
    """Prove that a tree of ``second`` leaves extends its first ``first`` ones.

    Asks for subtrees as ``inclusion_path`` does. Raises ``IndexError`` unless
    ``0 <= first <= second``.
    """
    if not 0 <= first <= second:
        raise IndexError("no such tree")
    if first in (0, second):
        return []
    return _growth(first, subtree, 0, second, whole=True)


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], expected: bytes
) -> bool:
    """Tell whether ``proof`` shows leaf hash ``leaf`` at ``index`` of the tree ``expected``."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == expected


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether ``proof`` shows that the second tree extends the first."""
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return second > 0 and not proof and first_root == EMPTY_ROOT
    if not 0 < first < second:
        return False
    path = [first_root, *proof] if first.bit_count() == 1 else list(proof)
    if not path:
        return False
    old, new, finished = _replay_growth(first - 1, second - 1, path)
    return finished and old == first_root and new == second_root


def _replay_growth(at: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes, bool]:
    """Return both roots that a consistency path leads to, and whether its length fits."""
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            return old, new, False
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    return old, new, last == 0


def split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree(hashes: Sequence[bytes], start: int, end: int) -> bytes:
    if end - start == 1:
        return hashes[start]
    middle = start + split(end - start)
    return node_hash(_subtree(hashes, start, middle), _subtree(hashes, middle, end))


def _path(index: int, subtree: Subtree, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*_path(index, subtree, start, middle), subtree(middle, end)]
    return [*_path(index, subtree, middle, end), subtree(start, middle)]


def _growth(first: int, subtree: Subtree, start: int, end: int, *, whole: bool) -> list[bytes]:
    """Prove the old tree's part of ``start..end``; ``whole`` while its root is known."""
    if first == end:
        return [] if whole else [subtree(start, end)]
    middle = start + split(end - start)
    if first <= middle:
        return [*_growth(first, subtree, start, middle, whole=whole), subtree(middle, end)]
    return [*_growth(first, subtree, middle, end, whole=False), subtree(start, middle)]
