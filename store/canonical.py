"""Encode records canonically, and commit to them with salts.

Canonical bytes are one msgpack array in field order: shortest integers and lengths, no
floats, no maps, no extension types. One value has one encoding, so that a commitment can be
recomputed anywhere. Reading encodes again and compares: what does not come back bit for bit
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, TypeAlias

import msgspec

from store.errors import FormatError, LimitError
from store.limits import CANONICAL_BYTES, CANONICAL_DEPTH

Value: TypeAlias = "bool | int | str | bytes | Sequence[Value] | None"
"""What a canonical array may contain; integers are below 2^64 and not below -2^63."""

Part = Literal["envelope", "body"]
"""A part of an operation that is committed to, and can be destroyed, on its own."""

SALT_BYTES = 16
COMMIT_BYTES = 32

_PREFIX: dict[Part, bytes] = {
    "envelope": b"strongroom/envelope/1",
    "body": b"strongroom/body/1",
}
# The key of an HMAC, padded to a block of 64 bytes (RFC 2104); the message follows the first.
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * (64 - SALT_BYTES) + b"envelope"
_OUTER_REST = b"\x5c" * (64 - SALT_BYTES)
_SCALARS = frozenset((int, bytes, str, bool, type(None)))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode(fields: Sequence[Value]) -> bytes:
    """Return the canonical bytes of an array.

    Raises ``ValueError`` for a value that has no canonical form (never showing it) and
    ``LimitError`` when the result is longer than ``CANONICAL_BYTES``.
    """
    if not _is_canonical(fields, CANONICAL_DEPTH) or isinstance(fields, str | bytes):
        raise ValueError("only nested arrays of integers, text, bytes, booleans and nil")
    try:
        data = _encode(fields)
    except (OverflowError, ValueError):
        raise ValueError("an integer or text that msgpack cannot carry") from None
    if len(data) > CANONICAL_BYTES:
        raise LimitError("a canonical array is too long")
    return data


def decode(data: bytes) -> list[Value]:
    """Return the array in canonical bytes; raises ``FormatError`` for all other bytes."""
    if len(data) > CANONICAL_BYTES:
        raise FormatError("a canonical array is too long")
    try:
        fields = _decode(data)
        if not isinstance(fields, list) or not _is_canonical(fields, CANONICAL_DEPTH):
            raise FormatError("bytes are not a canonical array")
        again = _encode(fields)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise FormatError("bytes are not a msgpack array") from None
    if again != data:
        raise FormatError("bytes are not the shortest encoding")
    return fields


def commit(part: Part, salt: bytes, data: bytes) -> bytes:
    """Return the commitment to a part's canonical bytes.

    ``SHA-256("strongroom/" + part + "/1" || salt || data)``; it verifies for ever and, once
    the 16-byte salt is destroyed, confirms no guess.
    """
    return sha256(_PREFIX[part] + salt + data).digest()


def envelope_salt(body_salt: bytes) -> bytes:
    """Return the envelope's salt, ``HMAC-SHA-256(body salt, "envelope")[:16]``.

    Every message pays for it. Written out for a key of 16 bytes, it takes half the time of
    ``hmac.digest``, which sets up an OpenSSL context each time.
    """
    inner = sha256(body_salt.translate(_INNER) + _INNER_REST).digest()
    return sha256(body_salt.translate(_OUTER) + _OUTER_REST + inner).digest()[:SALT_BYTES]


def _is_canonical(value: object, depth: int) -> bool:
    if type(value) in _SCALARS:
        return True
    if type(value) not in (list, tuple) or depth == 0:
        return False
    assert isinstance(value, list | tuple)
    return all(_is_canonical(item, depth - 1) for item in value)
