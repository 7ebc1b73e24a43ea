"""Define the identifiers of the log: nodes, origins, operations and streams.

OpId (32 bytes, big-endian)
offset  size  type   meaning
0       16    bytes  NodeId: hash(tenant || first Ed25519 public key)[:16]
16      8     u64    Inc: random incarnation
24      8     u64    seq, contiguous from 1
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

NODE_BYTES = 16
ID_BYTES = 16
"""Size of a PersonId, DeviceId, ConvId or DutyId, in bytes."""

OP_ID_BYTES = 32

_OP_ID = struct.Struct(">16sQQ")


class Origin(NamedTuple):
    """One incarnation of one node: the unit that numbers operations."""

    node: bytes
    incarnation: int


class OpId(NamedTuple):
    """The name of one operation, unique everywhere and for ever."""

    node: bytes
    incarnation: int
    seq: int

    def pack(self) -> bytes:
        """Return the 32-byte form."""
        return _OP_ID.pack(self.node, self.incarnation, self.seq)

    @classmethod
    def unpack(cls, data: bytes) -> OpId:
        """Read the 32-byte form; raises ``ValueError`` for any other length."""
        if len(data) != OP_ID_BYTES:
            raise ValueError("an OpId has 32 bytes")
        return cls(*_OP_ID.unpack(data))


class StreamKind(IntEnum):
    """What a slot key can belong to; the number is stored."""

    SITE = 1
    DIRECTORY = 2
    AUDIT = 3
    PERSON = 4
    CONVERSATION = 5
    DEVICE = 6
    DUTY = 7


class Stream(NamedTuple):
    """A stream by its global identity; ``id`` is 16 bytes, all zero for the singletons."""

    kind: StreamKind
    id: bytes


SINGLETON = bytes(ID_BYTES)
SITE_STREAM = Stream(StreamKind.SITE, SINGLETON)
DIRECTORY_STREAM = Stream(StreamKind.DIRECTORY, SINGLETON)
AUDIT_STREAM = Stream(StreamKind.AUDIT, SINGLETON)
