"""Lay out the part of an operation that lives for ever.

    offset  size  type   meaning
    0       1     u8     version: 1
    1       1     u8     class (``OpClass``)
    2       16    bytes  NodeId
    18      8     u64    Inc
    26      8     u64    seq, from 1
    34      32    bytes  envelope commitment
    66      32    bytes  body commitment

Big-endian, 98 bytes. Hash chain, segments and ledger cover ``SHA-256`` of these bytes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from store.errors import FormatError
from store.ids import OpId

VERSION = 1
SKELETON_BYTES = 98
CLASS_OFFSET = 1
CHAIN_START = bytes(32)
"""``chain_0`` of every origin."""

_SKELETON = struct.Struct(">BB16sQQ32s32s")
_CHAIN = b"strongroom/chain/1"
_NODE = b"strongroom/node/1"


class OpClass(IntEnum):
    """What an operation is to retention and ledger; the number is stored.

    Privileged operations have a ledger leaf; messages are content and whatever targets it.
    """

    CONTROL = 0
    MESSAGE = 1
    PRIVILEGED = 2


_CLASSES = {int(op_class): op_class for op_class in OpClass}


class Skeleton(NamedTuple):
    """An operation without its content: identity and commitments."""

    op_class: OpClass
    id: OpId
    envelope_commit: bytes
    body_commit: bytes

    def pack(self) -> bytes:
        """Return the 98-byte form."""
        return pack(self.op_class, self.id, self.envelope_commit, self.body_commit)

    @classmethod
    def unpack(cls, data: bytes) -> Skeleton:
        """Read the 98-byte form; raises ``FormatError`` for anything else."""
        try:
            version, op_class, node, inc, seq, envelope, body = _SKELETON.unpack(data)
            kind = _CLASSES[op_class]
        except (struct.error, KeyError):
            raise FormatError("not a skeleton") from None
        if version != VERSION:
            raise FormatError("a skeleton of another version")
        return cls(kind, OpId(node, inc, seq), envelope, body)


def pack(op_class: int, op_id: OpId, envelope_commit: bytes, body_commit: bytes) -> bytes:
    """Return the 98-byte form of the fields given."""
    return _SKELETON.pack(VERSION, op_class, *op_id, envelope_commit, body_commit)


def op_hash(skeleton: bytes) -> bytes:
    """Return the hash by which everything refers to an operation's bytes."""
    return sha256(skeleton).digest()


def chain(previous: bytes, digest: bytes) -> bytes:
    """Return ``chain_n`` from ``chain_(n-1)`` and the operation's hash."""
    return sha256(_CHAIN + previous + digest).digest()


def node_id(tenant: int, verify_key: bytes) -> bytes:
    """Return the NodeId of a site from its first Ed25519 public key."""
    return sha256(_NODE + struct.pack(">H", tenant) + verify_key).digest()[:16]
