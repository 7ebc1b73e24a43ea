"""Close runs of one origin's operations into signed segments.

    Statement (SEGMENT row value, followed by the 64-byte Ed25519 signature)
    offset  size  type   meaning
    0       1     u8     version: 1
    1       16    bytes  NodeId
    17      8     u64    Inc
    25      8     u64    first seq
    33      4     u32    number of operations, 1 to 512
    37      32    bytes  RFC 6962 root over their op_hashes as leaf data
    69      32    bytes  SHA-256 of the origin's previous statement, zero for its first

The signature covers ``"strongroom/segment/1" || statement``: no other signed text of the
site begins like that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from store import merkle
from store.errors import FormatError
from store.ids import Origin
from store.limits import SEGMENT_MS, SEGMENT_OPS

VERSION = 1
STATEMENT_BYTES = 101
SIGNATURE_BYTES = 64
FIRST_PREVIOUS = bytes(32)
"""What the first statement of an origin has for its predecessor's hash."""

Sign = Callable[[bytes], bytes]
"""Makes the site's 64-byte Ed25519 signature of a message."""

_STATEMENT = struct.Struct(">B16sQQI32s32s")
_DOMAIN = b"strongroom/segment/1"


class Statement(NamedTuple):
    """What a site says about one segment of its log."""

    origin: Origin
    first: int
    size: int
    root: bytes
    previous: bytes

    @property
    def end(self) -> int:
        """The first sequence number behind the segment."""
        return self.first + self.size

    def pack(self) -> bytes:
        """Return the 101-byte form."""
        return _STATEMENT.pack(
            VERSION, *self.origin, self.first, self.size, self.root, self.previous
        )

    @classmethod
    def unpack(cls, data: bytes) -> Statement:
        """Read the 101-byte form; raises ``FormatError`` for anything else."""
        try:
            version, node, inc, first, size, root, previous = _STATEMENT.unpack(data)
        except struct.error:
            raise FormatError("not a segment statement") from None
        if version != VERSION or first < 1 or not 1 <= size <= SEGMENT_OPS:
            raise FormatError("a segment statement that this build does not know")
        return cls(Origin(node, inc), first, size, root, previous)


def digest(statement: bytes) -> bytes:
    """Return the hash by which the next statement names this one."""
    return sha256(statement).digest()


def signed_bytes(statement: bytes) -> bytes:
    """Return what the signature of a statement covers."""
    return _DOMAIN + statement


def is_signed(verify_key: bytes, statement: bytes, signature: bytes) -> bool:
    """Tell whether a statement bears the signature of an Ed25519 key."""
    try:
        VerifyKey(verify_key).verify(signed_bytes(statement), signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def split_row(value: bytes) -> tuple[bytes, bytes]:
    """Return statement and signature of a SEGMENT row; raises ``FormatError``."""
    if len(value) != STATEMENT_BYTES + SIGNATURE_BYTES:
        raise FormatError("not a segment row")
    return value[:STATEMENT_BYTES], value[STATEMENT_BYTES:]


class OpenSegment:
    """The operations behind the last closed segment of this site's own log.

    ``started_ms`` is when the first of them was appended, in Unix milliseconds.
    """

    __slots__ = ("first", "hashes", "origin", "previous", "started_ms")

    def __init__(self, origin: Origin, first: int, previous: bytes) -> None:
        self.origin = origin
        self.first = first
        self.previous = previous
        self.hashes: list[bytes] = []
        self.started_ms = 0

    def append(self, op_hash: bytes, now_ms: int) -> bool:
        """Take in the next operation; tell whether the segment is now full."""
        if not self.hashes:
            self.started_ms = now_ms
        self.hashes.append(op_hash)
        return len(self.hashes) >= SEGMENT_OPS

    def is_due(self, now_ms: int) -> bool:
        """Tell whether it is time to close; a clock set back makes it due as well."""
        return bool(self.hashes) and not 0 <= now_ms - self.started_ms < SEGMENT_MS

    def close(self, sign: Sign) -> tuple[bytes, OpenSegment]:
        """Return the SEGMENT row's value and the next, empty segment; O(operations)."""
        statement = Statement(
            self.origin, self.first, len(self.hashes), merkle.root(self.hashes), self.previous
        )
        data = statement.pack()
        row = data + sign(signed_bytes(data))
        return row, OpenSegment(self.origin, statement.end, digest(data))
