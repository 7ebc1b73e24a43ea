"""Derive the leaves of the auditors' ledger from the log alone.

There is a leaf for each closed segment of an origin, ``01 || statement``, and for each
privileged act, ``02 || op_hash``, in the order in which their transactions wrote them: an
act's leaf when it is appended, a segment's once its last operation is.
"""

from __future__ import annotations

from collections.abc import Iterator

from store import segments
from store.engine.contract import Reader
from store.errors import IntegrityError
from store.records import Record
from store.segments import Statement
from store.skeleton import OpClass, Skeleton, op_hash
from store.tables import LOG, SEGMENT

_SEGMENT = b"\x01"
_OP = b"\x02"


def leaf_for_segment(statement: bytes) -> bytes:
    """Return the leaf data of a closed segment."""
    return _SEGMENT + statement


def leaf_for_op(digest: bytes) -> bytes:
    """Return the leaf data of a privileged act from its ``op_hash``."""
    return _OP + digest


def leaves(reader: Reader, origin: int) -> Iterator[bytes]:
    """Yield the leaf data of an origin, by its local number, in order; O(operations).

    Opens nothing that is sealed. Raises ``FormatError`` for rows of another build and
    ``IntegrityError`` for a segment without its operations.
    """
    ends = _segment_ends(reader, origin)
    end, leaf = next(ends, (0, b""))
    for key, value in reader.range(*LOG.span(origin)):
        seq = LOG.columns(key)[1]
        bones = Record.unpack(value).skeleton
        if Skeleton.unpack(bones).op_class is OpClass.PRIVILEGED:
            yield leaf_for_op(op_hash(bones))
        if seq == end:
            yield leaf
            end, leaf = next(ends, (0, b""))
    if end:
        raise IntegrityError("a segment without its operations")


def _segment_ends(reader: Reader, origin: int) -> Iterator[tuple[int, bytes]]:
    """Yield (last seq, leaf data) of each closed segment."""
    for _key, value in reader.range(*SEGMENT.span(origin)):
        statement, _signature = segments.split_row(value)
        yield Statement.unpack(statement).end - 1, leaf_for_segment(statement)
