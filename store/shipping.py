"""Define how an operation leaves one site for another: whole, without its body, or bare.

What is destroyed or withheld travels as its commitment, so that the log stays verifiable and
contiguous; of what lives the commitments are computed anew by the receiver and must give the
operation's hash.
"""

from __future__ import annotations

from typing import NamedTuple

from store import canonical, skeleton
from store import envelope as envelopes
from store.canonical import COMMIT_BYTES, SALT_BYTES
from store.envelope import U64, Envelope
from store.errors import FormatError
from store.ids import ID_BYTES, OpId, Origin, Stream, StreamKind
from store.limits import BODY_BYTES
from store.records import Parts
from store.skeleton import OpClass


class Shipment(NamedTuple):
    """One operation on its way; its origin and place in the order are told by what carries it.

    ``salt`` is the body's while ``body`` is there, else the envelope's own; 16 bytes, or empty
    when not even the envelope travels: then ``stream`` is None. ``envelope`` is canonical, or
    empty. ``body`` is None when it does not travel (it may also be empty). The commitments (32
    bytes) are given only where they cannot be computed: for what does not travel, else empty.
    ``in_timeline`` tells that the operation belongs into its conversation's timeline, and
    ``is_ahead`` that the sender keeps it out all the same, since its time was not believed.
    """

    seq: int
    op_class: OpClass
    stream: Stream | None
    salt: bytes
    envelope: bytes
    body: bytes | None
    envelope_commit: bytes = b""
    body_commit: bytes = b""
    in_timeline: bool = False
    is_ahead: bool = False

    def __repr__(self) -> str:
        return f"<Shipment of {self.seq}>"


def bare(shipment: Shipment) -> Shipment:
    """Return the operation with nothing but its commitments; raises as ``bones`` does."""
    envelope_commit, body_commit = _commitments(shipment)
    return Shipment(
        shipment.seq, shipment.op_class, None, b"", b"", None, envelope_commit, body_commit
    )


def bones(origin: Origin, shipment: Shipment) -> tuple[bytes, bytes]:
    """Return skeleton and op_hash of an operation that came, from what came of it.

    Raises ``FormatError`` for a shipment that no site makes.
    """
    if not 1 <= shipment.seq < U64 or not isinstance(shipment.op_class, OpClass):
        raise FormatError("an operation of an impossible number or class")
    op_id = OpId(*origin, shipment.seq)
    packed = skeleton.pack(shipment.op_class, op_id, *_commitments(shipment))
    return packed, skeleton.op_hash(packed)


def envelope_of(shipment: Shipment) -> Envelope | None:
    """Return the envelope that came, None when none did; raises ``FormatError``."""
    return envelopes.decode(shipment.envelope) if shipment.envelope else None


def parts_of(shipment: Shipment) -> Parts:
    """Return what came of an operation whose envelope did."""
    return Parts(shipment.salt, shipment.envelope, shipment.body)


def _commitments(shipment: Shipment) -> tuple[bytes, bytes]:
    """Return both commitments; computed, where the part is there."""
    if not shipment.envelope:
        return _commitments_of_bare(shipment)
    _check_stream(shipment.stream, envelopes.decode(shipment.envelope))
    canonical.decode(shipment.envelope)
    if len(shipment.salt) != SALT_BYTES or shipment.envelope_commit:
        raise FormatError("an operation with a salt or commitment that it cannot have")
    parts = parts_of(shipment)
    envelope_commit = canonical.commit("envelope", parts.envelope_salt, parts.envelope)
    if parts.body is None:
        if len(shipment.body_commit) != COMMIT_BYTES:
            raise FormatError("an operation without a commitment to its body")
        return envelope_commit, shipment.body_commit
    if shipment.body_commit or len(parts.body) > BODY_BYTES:
        raise FormatError("an operation with a body that it cannot have")
    return envelope_commit, canonical.commit("body", parts.salt, parts.body)


def _commitments_of_bare(shipment: Shipment) -> tuple[bytes, bytes]:
    if shipment.salt or shipment.stream is not None or shipment.body is not None:
        raise FormatError("an operation without an envelope, yet not bare")
    commitments = (shipment.envelope_commit, shipment.body_commit)
    if [len(each) for each in commitments] != [COMMIT_BYTES, COMMIT_BYTES]:
        raise FormatError("an operation without its commitments")
    return commitments


def _check_stream(stream: Stream | None, envelope: Envelope) -> None:
    """Refuse a stream that is none, or another conversation than the envelope's."""
    if stream is None or len(stream.id) != ID_BYTES or not isinstance(stream.kind, StreamKind):
        raise FormatError("an operation without a stream")
    in_one = stream.kind is StreamKind.CONVERSATION and envelope.conversation
    if in_one and stream.id != envelope.conversation:
        raise FormatError("an operation of two conversations")
