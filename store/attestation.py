"""Prove that what came of another site's log is all of it, in the order in which it was made.

Operations arrive lane by lane. Once all numbers of a closed segment are here, its statement is
compared with them: origin, order, signature, and the root over their hashes. Only then the SEGMENT
row is stored, and the hash chain is written into the row of the segment's last operation, so that
the next segment, and whoever compares heads, goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

from store import merkle, segments
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import EquivocationError, ForgedError, IntegrityError
from store.origins import OriginRow
from store.records import Record, skeleton_of
from store.segments import STATEMENT_BYTES, Statement
from store.skeleton import CHAIN_START, chain, op_hash
from store.tables import LOG, SEGMENT


class Prefix(NamedTuple):
    """The newest sequence number up to which an origin is here whole, and its hash chain there."""

    seq: int
    chain: bytes


class _Attested(NamedTuple):
    """How far segments reach: the next number, the last statement's digest, the chain."""

    end: int
    previous: bytes
    chain: bytes


def attest(txn: Txn, number: int, origin: OriginRow, row: bytes) -> bool:
    """Store a closed segment's row once everything in it is here; tell whether it is stored.

    False while operations, or segments before it, are missing. Raises ``FormatError`` for bytes
    that are no statement this build knows, ``ForgedError`` when the origin did not sign it, and
    ``EquivocationError`` when it contradicts what that origin sent or signed before. Cost:
    O(operations in the segment).
    """
    data, signature = segments.split_row(row)
    statement = Statement.unpack(data)
    if statement.origin != origin.origin:
        raise ForgedError("a segment of another origin")
    if not segments.is_signed(origin.verify_key, data, signature):
        raise ForgedError("a segment that its origin did not sign")
    known = txn.get(SEGMENT.key(number, statement.first))
    if known is not None:
        if known[:STATEMENT_BYTES] != data:
            raise EquivocationError("two segments begin with one operation")
        return True
    attested = _attested(txn, number)
    if statement.first > attested.end:
        return False
    if (statement.first, statement.previous) != (attested.end, attested.previous):
        raise EquivocationError("a segment that does not follow the one before")
    return _close(txn, number, statement, attested.chain, row)


def proven(reader: Reader, number: int) -> int:
    """Return the first sequence number of an origin that no stored segment covers yet."""
    return _attested(reader, number).end


def prefix(reader: Reader, number: int) -> Prefix:
    """Return how far another site's log is here without a hole.

    Cost: O(operations behind the last attested segment, up to the first hole).
    """
    end, _previous, link = _attested(reader, number)
    for key, value in reader.range(LOG.key(number, end), LOG.span(number)[1]):
        if LOG.columns(key)[1] != end:
            break
        link = chain(link, op_hash(skeleton_of(value)))
        end += 1
    return Prefix(end - 1, link)


def _close(txn: Txn, number: int, statement: Statement, link: bytes, row: bytes) -> bool:
    """Compare a segment with its operations; write both rows if all are here."""
    span = LOG.key(number, statement.first), LOG.key(number, statement.end)
    values = [value for _key, value in txn.range(*span)]
    if len(values) < statement.size:
        return False
    hashes = [op_hash(skeleton_of(value)) for value in values]
    if merkle.root(hashes) != statement.root:
        raise EquivocationError("a segment that contradicts its operations")
    for digest in hashes:
        link = chain(link, digest)
    last = Record.unpack(values[-1])._replace(chain=link)
    txn.put(LOG.key(number, statement.end - 1), last.pack())
    txn.put(SEGMENT.key(number, statement.first), row)
    return True


def _attested(reader: Reader, number: int) -> _Attested:
    for _key, value in reader.range(*SEGMENT.span(number), reverse=True, limit=1):
        data, _signature = segments.split_row(value)
        end = Statement.unpack(data).end
        last = reader.get(LOG.key(number, end - 1))
        if last is None:
            raise IntegrityError("an attested operation is missing")
        return _Attested(end, segments.digest(data), Record.unpack(last).chain)
    return _Attested(1, segments.FIRST_PREVIOUS, CHAIN_START)
