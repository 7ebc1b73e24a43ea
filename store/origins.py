"""Number the origins whose operations this site holds.

ORIGIN row value
offset  size  type   meaning
0       1     u8     version: 1
1       1     u8     flags: 1 an incarnation of this site
2       16    bytes  NodeId
18      8     u64    Inc
26      32    bytes  Ed25519 public key that signs its segments
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from store.engine.contract import Reader
from store.errors import FormatError
from store.ids import Origin
from store.tables import ORIGIN

VERSION = 1

_ROW = struct.Struct(">BB16sQ32s")


class OriginRow(NamedTuple):
    """An origin with the key that its segments are signed with."""

    origin: Origin
    verify_key: bytes
    is_own: bool

    def pack(self) -> bytes:
        """Return the row's value."""
        return _ROW.pack(VERSION, self.is_own, *self.origin, self.verify_key)

    @classmethod
    def unpack(cls, data: bytes) -> OriginRow:
        """Read a row's value; raises ``FormatError`` for anything else."""
        try:
            version, flags, node, inc, key = _ROW.unpack(data)
        except struct.error:
            raise FormatError("not an origin row") from None
        if version != VERSION or flags > 1:
            raise FormatError("an origin row of another version")
        return cls(Origin(node, inc), key, bool(flags))


def load(reader: Reader) -> dict[int, OriginRow]:
    """Return all origins by their local number; O(origins)."""
    return {
        ORIGIN.columns(key)[0]: OriginRow.unpack(value)
        for key, value in reader.range(*ORIGIN.span())
    }
