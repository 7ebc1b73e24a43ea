"""Keep the auditors' ledger: one RFC 6962 tree over an origin's segments and privileged acts.

There is a leaf for each closed segment, ``01 || statement``, and for each privileged act,
``02 || op_hash``, in the order in which their transactions wrote them: an act's leaf when it
is appended, a segment's right behind its last operation. So the order follows from the log
alone, and a tree that is missing is built from it (``adopt``). A leaf's data is not stored: its
row says where in the log it comes from.

    LEDGER row value, level 0 (a leaf)
    offset  size  type   meaning
    0       32    bytes  leaf hash
    32      1     u8     kind: 1 segment, 2 operation
    33      4     u32    origin
    37      8     u64    seq: the segment's first operation, or the operation

    LEDGER row value, levels above: row ``index`` of level ``n`` covers the ``2^n`` leaves from
    ``index * 2^n``; only complete subtrees have one, written with their last leaf
    0       32    bytes  node hash
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from store import merkle, segments
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.merkle import Frontier, leaf_hash, node_hash
from store.records import Record
from store.segments import Statement
from store.skeleton import OpClass, Skeleton, op_hash
from store.tables import LEDGER, LOG, SEGMENT

_ROW = struct.Struct(">32sBIQ")


class LeafKind(IntEnum):
    """What a leaf is about; the first byte of its data, and stored."""

    SEGMENT = 1
    OP = 2


class Reference(NamedTuple):
    """Where in the log a leaf comes from: a segment by its first operation, or an operation."""

    kind: LeafKind
    origin: int
    seq: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf with the data that its hash covers."""

    index: int
    reference: Reference
    data: bytes


def leaf_for_segment(statement: bytes) -> bytes:
    """Return the leaf data of a closed segment."""
    return b"\x01" + statement


def leaf_for_op(digest: bytes) -> bytes:
    """Return the leaf data of a privileged act from its ``op_hash``."""
    return b"\x02" + digest


def pack_leaf(node: bytes, reference: Reference) -> bytes:
    """Return the row of a leaf from its hash."""
    return _ROW.pack(node, *reference)


def unpack_leaf(value: bytes) -> tuple[bytes, Reference]:
    """Return leaf hash and reference of a row; raises ``FormatError``."""
    try:
        node, kind, origin, seq = _ROW.unpack(value)
        return node, Reference(LeafKind(kind), origin, seq)
    except (struct.error, ValueError):
        raise FormatError("not a leaf of the ledger") from None


def climb(peaks: tuple[bytes, ...], index: int, node: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (level, index, hash) of every subtree that leaf ``index`` with hash ``node`` closes.

    The first is the leaf itself. ``peaks`` are the complete subtrees before it, largest first.
    """
    level = 0
    yield level, index, node
    while index & 1:
        node = node_hash(peaks[-1 - level], node)
        index >>= 1
        level += 1
        yield level, index, node


class Ledger:
    """The tree of one of this site's origins, by its local number, with the end that grows.

    ``append``, ``size`` and ``root`` are for the writer's thread. What takes a reader needs
    nothing of the memory: from other threads, ``open`` a ledger on the reader at hand.
    """

    __slots__ = ("_peaks", "_size", "origin")

    def __init__(self, origin: int, size: int = 0, peaks: tuple[bytes, ...] = ()) -> None:
        self.origin = origin
        self._size = size
        self._peaks = peaks

    @classmethod
    def open(cls, reader: Reader, origin: int) -> Ledger:
        """Return the tree as stored; O(log n). Raises ``IntegrityError`` when a node is missing."""
        size = 0
        for key, _ in reader.range(*LEDGER.span(origin, 0), reverse=True, limit=1):
            size = LEDGER.columns(key)[2] + 1
        ledger = cls(origin, size)
        ledger._peaks = tuple(ledger._node(reader, *place) for place in _peak_places(size))
        return ledger

    @property
    def size(self) -> int:
        """The number of leaves, committed or not."""
        return self._size

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return Frontier(self._size, self._peaks).root()

    def append(self, txn: Txn, data: bytes, reference: Reference) -> int:
        """Add a leaf and the subtrees it completes; return its index. Amortised O(1)."""
        index, peaks = self._size, self._peaks
        txn.on_rollback(partial(self._restore, index, peaks))
        nodes = list(climb(peaks, index, leaf_hash(data)))
        for level, at, node in nodes:
            value = node if level else pack_leaf(node, reference)
            txn.put(LEDGER.key(self.origin, level, at), value)
        kept = len(peaks) + 1 - len(nodes)
        self._restore(index + 1, (*peaks[:kept], nodes[-1][2]))
        return index

    def inclusion(self, reader: Reader, index: int, size: int) -> list[bytes]:
        """Return the audit path of a leaf in the tree as it was at ``size``; O(log n).

        Raises ``IndexError`` when there is no such leaf in that tree, and ``IntegrityError``
        when the stored tree is smaller than ``size`` or damaged.
        """
        return merkle.inclusion_path(index, size, self._subtrees(reader))

    def consistency(self, reader: Reader, first: int, second: int) -> list[bytes]:
        """Prove that the tree at size ``second`` extends the one at ``first``; O(log n).

        Raises ``IndexError`` unless ``0 <= first <= second``, and as ``inclusion`` does.
        """
        return merkle.consistency_path(first, second, self._subtrees(reader))

    def root_at(self, reader: Reader, size: int) -> bytes:
        """Return the root of the tree as it was at ``size``; O(log n), raises as ``inclusion``."""
        return self._subtree(reader, 0, size) if size else merkle.EMPTY_ROOT

    def leaves(self, reader: Reader, first: int = 0, last: int | None = None) -> Iterator[Leaf]:
        """Yield the leaves from index ``first`` to before ``last``, or to the end.

        Raises ``IntegrityError`` for a leaf that its operation or segment does not bear out.
        """
        end = LEDGER.span(self.origin, 0)[1] if last is None else LEDGER.key(self.origin, 0, last)
        for key, value in reader.range(LEDGER.key(self.origin, 0, first), end):
            node, reference = unpack_leaf(value)
            data = leaf_data(reader, reference)
            if data is None or leaf_hash(data) != node:
                raise IntegrityError("a leaf of the ledger contradicts the log")
            yield Leaf(LEDGER.columns(key)[2], reference, data)

    def find(self, reader: Reader, seq: int) -> int | None:
        """Return the index of the leaf of operation ``seq``, or None; O(log n) reads.

        Raises ``IntegrityError`` when the stored tree is damaged.
        """
        sought = Reference(LeafKind.OP, self.origin, seq)
        low, high = 0, Ledger.open(reader, self.origin).size
        while low < high:
            middle = (low + high) // 2
            found = unpack_leaf(self._row(reader, 0, middle))[1]
            if found == sought:
                return middle
            if place(reader, found) < place(reader, sought):
                low = middle + 1
            else:
                high = middle
        return None

    def _subtrees(self, reader: Reader) -> Callable[[int, int], bytes]:
        return partial(self._subtree, reader)

    def _subtree(self, reader: Reader, start: int, end: int) -> bytes:
        width = end - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._node(reader, level, start >> level)
        middle = start + merkle.split(width)
        left = self._subtree(reader, start, middle)
        return node_hash(left, self._subtree(reader, middle, end))

    def _node(self, reader: Reader, level: int, index: int) -> bytes:
        value = self._row(reader, level, index)
        return value if level else unpack_leaf(value)[0]

    def _row(self, reader: Reader, level: int, index: int) -> bytes:
        value = reader.get(LEDGER.key(self.origin, level, index))
        if value is None:
            raise IntegrityError("a node of the ledger is missing")
        return value

    def _restore(self, size: int, peaks: tuple[bytes, ...]) -> None:
        self._size, self._peaks = size, peaks


def adopt(txn: Txn, origin: int) -> Ledger:
    """Open an origin's tree; build it if the log was written before there were ledgers.

    Building is O(operations), once. Raises as ``Ledger.open`` and ``derive`` do.
    """
    ledger = Ledger.open(txn, origin)
    if ledger.size == 0:
        for reference, data in derive(txn, origin):
            ledger.append(txn, data, reference)
    return ledger


def derive(reader: Reader, origin: int) -> Iterator[tuple[Reference, bytes]]:
    """Yield the leaves of an origin, by its local number, from the log alone; O(operations).

    Opens nothing that is sealed. Raises ``FormatError`` for rows of another build and
    ``IntegrityError`` for a segment without its operations.
    """
    closed = _closed_segments(reader, origin)
    end, first, leaf = next(closed, _NO_SEGMENT)
    for key, value in reader.range(*LOG.span(origin)):
        seq = LOG.columns(key)[1]
        bones = Record.unpack(value).skeleton
        if Skeleton.unpack(bones).op_class is OpClass.PRIVILEGED:
            yield Reference(LeafKind.OP, origin, seq), leaf_for_op(op_hash(bones))
        if seq == end:
            yield Reference(LeafKind.SEGMENT, origin, first), leaf
            end, first, leaf = next(closed, _NO_SEGMENT)
    if end:
        raise IntegrityError("a segment without its operations")


def leaf_data(reader: Reader, reference: Reference) -> bytes | None:
    """Return the data of the leaf that a reference stands for; None if the log has none such.

    Raises ``FormatError`` for rows of another build.
    """
    kind, origin, seq = reference
    if kind is LeafKind.SEGMENT:
        row = reader.get(SEGMENT.key(origin, seq))
        return None if row is None else leaf_for_segment(segments.split_row(row)[0])
    row = reader.get(LOG.key(origin, seq))
    if row is None:
        return None
    bones = Record.unpack(row).skeleton
    if Skeleton.unpack(bones).op_class is not OpClass.PRIVILEGED:
        return None
    return leaf_for_op(op_hash(bones))


def place(reader: Reader, reference: Reference) -> tuple[int, int]:
    """Return what leaves are ordered by: the last operation covered, a segment behind its last.

    Raises ``IntegrityError`` or ``FormatError`` for a segment whose row is missing or broken.
    """
    if reference.kind is LeafKind.OP:
        return reference.seq, 0
    row = reader.get(SEGMENT.key(reference.origin, reference.seq))
    if row is None:
        raise IntegrityError("a segment of the ledger is missing")
    return Statement.unpack(segments.split_row(row)[0]).end - 1, 1


_NO_SEGMENT = (0, 0, b"")


def _closed_segments(reader: Reader, origin: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (last seq, first seq, leaf data) of each closed segment."""
    for _key, value in reader.range(*SEGMENT.span(origin)):
        data, _signature = segments.split_row(value)
        statement = Statement.unpack(data)
        yield statement.end - 1, statement.first, leaf_for_segment(data)


def _peak_places(size: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the complete subtrees that a tree consists of, largest first."""
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level, (size >> level) - 1
