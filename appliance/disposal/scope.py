"""Commit to what a run destroyed without telling what it was, and remember what an order means.

Each destroyed part leaves HMAC-SHA-256(scope key, OpId). Who has the run's scope key and an
OpId can tell whether it is among them; without the key the leaves say nothing. The RFC 6962
root over them, in the order of the pieces, stands in the certificate.

    SCOPE value of a run      32 bytes for each part of the piece
    SCOPE value of a request  origin u32, seq u64 for each record that was approved; the run
                              number is the request's with the highest bit set
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from appliance.messaging.model import Place
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.ids import OpId
from store.merkle import HASH_BYTES, Frontier
from store.tables import SCOPE

KEY_BYTES: Final = 32
PIECE_LEAVES: Final = 2_048
"""Parts of one row of a run's scope."""

PIECE_PLACES: Final = 5_000
"""Records of one row of a request's scope."""

_REQUEST_BIT: Final = 1 << 63
_PLACE = struct.Struct(">IQ")


def leaf(scope_key: bytes, op_id: OpId) -> bytes:
    """Return the leaf of a destroyed part."""
    return hmac.digest(scope_key, op_id.pack(), "sha256")


def put(txn: Txn, run: int, leaves: Sequence[bytes]) -> None:
    """Append a slice's leaves to a run's scope."""
    piece = _next_piece(txn, run)
    for start in range(0, len(leaves), PIECE_LEAVES):
        txn.put(SCOPE.key(run, piece), b"".join(leaves[start : start + PIECE_LEAVES]))
        piece += 1


def leaves(reader: Reader, run: int) -> Iterator[bytes]:
    """Yield a run's leaves in order."""
    for _, value in reader.range(*SCOPE.span(run)):
        for start in range(0, len(value), HASH_BYTES):
            yield value[start : start + HASH_BYTES]


def frontier(reader: Reader, run: int) -> Frontier:
    """Return the tree over a run's leaves so far; O(parts)."""
    tree = Frontier()
    for each in leaves(reader, run):
        tree.append(each)
    return tree


def put_order(txn: Txn, request: int, places: Iterable[Place]) -> None:
    """Remember the records that a request asks to destroy."""
    left = iter(places)
    piece = 0
    while some := list(islice(left, PIECE_PLACES)):
        packed = b"".join(_PLACE.pack(*place) for place in some)
        txn.put(SCOPE.key(request | _REQUEST_BIT, piece), packed)
        piece += 1


def order(reader: Reader, request: int) -> set[Place]:
    """Return the records that a request asked to destroy when it was made."""
    return {
        (origin, seq)
        for _, value in reader.range(*SCOPE.span(request | _REQUEST_BIT))
        for origin, seq in _PLACE.iter_unpack(value)
    }


def drop_order(txn: Txn, request: int) -> None:
    """Forget the records of a request that is over."""
    for key, _ in list(txn.range(*SCOPE.span(request | _REQUEST_BIT))):
        txn.delete(key)


def _next_piece(txn: Txn, run: int) -> int:
    for key, _ in txn.range(*SCOPE.span(run), reverse=True, limit=1):
        return SCOPE.columns(key)[1] + 1
    return 0
