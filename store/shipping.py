"""Define how an operation leaves one site for another: whole, without its body, or bare.

What is destroyed or withheld travels as its commitment, so that the log stays verifiable and
contiguous; of what lives the commitments are computed anew by the receiver and must give the
operation's hash.
"""

from __future__ import annotations

from typing import NamedTuple

from store.ids import Stream
from store.skeleton import OpClass


class Shipment(NamedTuple):
    """One operation on its way; its origin and place in the order are told by what carries it.

    ``salt`` is the body's while ``body`` is there, else the envelope's own; 16 bytes, or empty
    when not even the envelope travels: then ``stream`` is None. ``envelope`` is canonical, or
    empty. ``body`` is None when it does not travel (it may also be empty). The commitments (32
    bytes) are given only where they cannot be computed: for what does not travel, else empty.
    """

    seq: int
    op_class: OpClass
    stream: Stream | None
    salt: bytes
    envelope: bytes
    body: bytes | None
    envelope_commit: bytes = b""
    body_commit: bytes = b""

    def __repr__(self) -> str:
        return f"<Shipment of {self.seq}>"
