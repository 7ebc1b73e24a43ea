"""Prove single operations: open the log's rows for outsiders, and check what was opened.

An opening is all that an outsider needs to recompute an operation's commitments and its hash:
skeleton, canonical envelope and body, and the salt. The hash is a leaf of a segment, whose
statement the site has signed; the inclusion proof leads from one to the other (RFC 6962). An
operation in a segment that is still open has no statement yet: it is *pending*.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from appliance.evidence.limits import SEGMENTS
from appliance.operations import SPECS, BodyStruct, Kind, decode
from store import canonical, merkle, records, segments
from store import envelope as envelopes
from store.engine.contract import Reader
from store.envelope import Envelope
from store.errors import FormatError, PartGoneError, StoreError
from store.ids import Origin
from store.logreader import LogReader, UnknownOpError
from store.ops import Op
from store.records import Parts, PartState, Record
from store.segments import Statement
from store.skeleton import Skeleton, op_hash
from store.tables import LOG, SEGMENT


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The opening of an operation, and the way from its hash to a signed statement.

    ``salt`` is the body's while there is a body, else the envelope's. ``statement``,
    ``signature`` and ``path`` are empty while the operation's segment is open.
    """

    skeleton: bytes
    envelope: bytes
    body: bytes | None
    salt: bytes
    statement: bytes = b""
    signature: bytes = b""
    path: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return "<Proof>"

    @property
    def is_pending(self) -> bool:
        """Whether no signed statement covers the operation yet."""
        return not self.statement


@dataclass(frozen=True, slots=True)
class Opened:
    """An operation of the log with the bytes that its commitments are about.

    ``is_hidden``: it is kept for a hold alone, and shown to nobody else.
    """

    op: Op
    skeleton: bytes
    parts: Parts
    is_hidden: bool = False


class Claim(NamedTuple):
    """What an opening says once its commitments hold."""

    skeleton: Skeleton
    envelope: Envelope
    body: bytes | None


def open_row(log: LogReader, reader: Reader, origin: int, seq: int) -> Opened:
    """Open one row of the log, with a body that is kept for a hold alone.

    Raises ``UnknownOpError``, ``PartGoneError`` when its envelope is gone, and what the vault
    raises.
    """
    value = reader.get(LOG.key(origin, seq))
    if value is None:
        raise UnknownOpError("the log has no such operation")
    record = Record.unpack(value)
    if record.envelope_state is not PartState.PRESENT:
        raise PartGoneError("the operation's envelope is gone")
    digest = op_hash(record.skeleton)
    parts = log.parts(reader, record, digest)
    bones = Skeleton.unpack(record.skeleton)
    op = log.assemble(origin, record, bones, digest, parts, reveals=True)
    is_hidden = record.body_state is PartState.ESCROWED
    return Opened(op, record.skeleton, parts, is_hidden)


class _Segment:
    """A closed segment with the leaf hashes of its operations, and the subtrees asked for."""

    __slots__ = ("_leaves", "_roots", "first", "signature", "statement")

    def __init__(self, statement: bytes, signature: bytes, first: int, leaves: list[bytes]) -> None:
        self.statement = statement
        self.signature = signature
        self.first = first
        self._leaves = leaves
        self._roots: dict[tuple[int, int], bytes] = {}

    def __contains__(self, seq: int) -> bool:
        return self.first <= seq < self.first + len(self._leaves)

    def path(self, seq: int) -> tuple[bytes, ...]:
        """Return an operation's inclusion proof; O(operations) in all, whatever is asked for."""
        return tuple(merkle.inclusion_path(seq - self.first, len(self._leaves), self._subtree))

    def _subtree(self, start: int, end: int) -> bytes:
        if end - start == 1:
            return self._leaves[start]
        root = self._roots.get((start, end))
        if root is None:
            middle = start + merkle.split(end - start)
            root = merkle.node_hash(self._subtree(start, middle), self._subtree(middle, end))
            self._roots[start, end] = root
        return root


class Prover:
    """Makes proofs on one view of the store; remembers the segments used last."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._segments: OrderedDict[tuple[int, int], _Segment] = OrderedDict()

    def prove(self, opened: Opened) -> Proof:
        """Return an operation's proof; O(operations of its segment) the first time."""
        parts = opened.parts
        proof = Proof(opened.skeleton, parts.envelope, parts.body, parts.salt)
        segment = self._segment(opened.op.origin, opened.op.id.seq)
        if segment is None:
            return proof
        return msgspec.structs.replace(
            proof,
            statement=segment.statement,
            signature=segment.signature,
            path=segment.path(opened.op.id.seq),
        )

    def _segment(self, origin: int, seq: int) -> _Segment | None:
        """Return the closed segment that holds an operation."""
        rows = self._reader.range(
            SEGMENT.key(origin, 0), SEGMENT.key(origin, seq + 1), reverse=True, limit=1
        )
        for key, value in rows:
            first = SEGMENT.columns(key)[1]
            known = self._segments.get((origin, first))
            if known is None:
                known = self._load(origin, first, value)
            self._segments.move_to_end((origin, first))
            return known if seq in known else None
        return None

    def _load(self, origin: int, first: int, value: bytes) -> _Segment:
        data, signature = segments.split_row(value)
        statement = Statement.unpack(data)
        rows = self._reader.range(LOG.key(origin, first), LOG.key(origin, statement.end))
        leaves = [merkle.leaf_hash(op_hash(records.skeleton_of(row))) for _, row in rows]
        segment = _Segment(data, signature, first, leaves)
        self._segments[origin, first] = segment
        if len(self._segments) > SEGMENTS:
            self._segments.popitem(last=False)
        return segment


# --- what an outsider does -----------------------------------------------------------------------


def check_opening(proof: Proof) -> Claim | None:
    """Return what an opening says if it keeps the skeleton's commitments; else None."""
    has_body = proof.body is not None
    envelope_salt = canonical.envelope_salt(proof.salt) if has_body else proof.salt
    try:
        bones = Skeleton.unpack(proof.skeleton)
        said = envelopes.decode(proof.envelope)
    except StoreError:
        return None
    if bones.envelope_commit != canonical.commit("envelope", envelope_salt, proof.envelope):
        return None
    body = proof.body
    if body is not None and bones.body_commit != canonical.commit("body", proof.salt, body):
        return None
    return Claim(bones, said, proof.body)


def check_segment(
    proof: Proof, claim: Claim, is_signed: Callable[[Origin, bytes, bytes], bool]
) -> bool:
    """Tell whether a signed statement covers the operation; a pending one has none to check.

    ``is_signed`` says whether an origin's site has signed these bytes with this signature.
    """
    if proof.is_pending:
        return not proof.signature and not proof.path
    try:
        statement = Statement.unpack(proof.statement)
    except FormatError:
        return False
    op_id = claim.skeleton.id
    if statement.origin != (op_id.node, op_id.incarnation):
        return False
    leaf = merkle.leaf_hash(op_hash(proof.skeleton))
    index = op_id.seq - statement.first
    return merkle.verify_inclusion(
        index, statement.size, leaf, proof.path, statement.root
    ) and is_signed(statement.origin, proof.statement, proof.signature)


def kind_name(kind: int) -> str:
    """Return a kind's name as in ``message``; its number where this build does not know it."""
    try:
        return Kind(kind).name.lower()
    except ValueError:
        return str(kind)


def content(kind: int, body: bytes | None) -> dict[str, Any] | None:
    """Return a body's fields by name, ids in hex; None when it is gone or not known here.

    What an operation says of its target's key is left out: the target says it itself.
    """
    if body is None or kind not in SPECS:
        return None
    try:
        said = decode(kind, body)
    except (ValueError, KeyError):
        return None
    return _fields(said)


def _fields(said: BodyStruct) -> dict[str, Any]:
    fields = said.__struct_fields__
    return {name: _plain(getattr(said, name)) for name in fields if name != "key"}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
