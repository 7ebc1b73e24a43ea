"""Encode an operation's envelope: who, when and where, without the content.

Canonical array, in this order; later fields are appended behind:

    field         type   meaning
    kind          u16    what happened; unknown kinds are kept
    actor         bytes  PersonId, or empty for the site itself
    device        bytes  DeviceId, or empty
    counter       u64    the device's own message number, 0 for none
    t             u63    hybrid logical time of the author's site
    floor         u63    newest verified timeline key of the conversation, seen there
    conversation  bytes  ConvId, or empty
    target        bytes  OpId of the root message, packed, or empty
    seen          u64    newest arrival number of headquarters applied there
"""

from __future__ import annotations

import msgspec

from store import hlc
from store.errors import FormatError
from store.ids import ID_BYTES, OP_ID_BYTES

U16 = 1 << 16
U64 = 1 << 64

_ID = (0, ID_BYTES)
_TARGET = (0, OP_ID_BYTES)


class Envelope(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Who did something, when and where."""

    kind: int
    actor: bytes
    device: bytes
    counter: int
    t: int
    floor: int
    conversation: bytes
    target: bytes
    seen: int

    def __repr__(self) -> str:
        return f"<Envelope of kind {self.kind}>"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


def encode(envelope: Envelope) -> bytes:
    """Return the canonical bytes; raises ``ValueError`` for a field out of range."""
    if not _is_well_formed(envelope):
        raise ValueError("malformed")
    return _encode(envelope)


def decode(data: bytes) -> Envelope:
    """Read an envelope from bytes that were checked when they came in.

    Fields behind the known ones are ignored, so that an older build reads newer envelopes.
    Raises ``FormatError`` for anything but a well-formed envelope.
    """
    try:
        envelope = _decode(data)
    except (msgspec.MsgspecError, ValueError):
        raise FormatError("not an envelope") from None
    if not _is_well_formed(envelope):
        raise FormatError("an envelope's field is out of range")
    return envelope


def _is_well_formed(envelope: Envelope) -> bool:
    return (
        0 <= envelope.kind < U16
        and 0 <= envelope.counter < U64
        and 0 <= envelope.seen < U64
        and 0 <= envelope.t < hlc.LIMIT
        and 0 <= envelope.floor < hlc.LIMIT - 1
        and len(envelope.actor) in _ID
        and len(envelope.device) in _ID
        and len(envelope.conversation) in _ID
        and len(envelope.target) in _TARGET
    )
