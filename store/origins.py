"""Number the origins whose operations this site holds.

ORIGIN row value
offset  size  type   meaning
0       1     u8     version: 1
1       1     u8     flags: 1 an incarnation of this site, 2 partial
2       16    bytes  NodeId
18      8     u64    Inc
26      32    bytes  Ed25519 public key that signs its segments; zero where none is known

Of a partial origin this site gets only some operations, and another site vouches for them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from store.engine.contract import Reader
from store.errors import FormatError
from store.ids import Origin
from store.tables import ORIGIN

VERSION = 1
KEY_BYTES = 32
UNKNOWN_KEY = bytes(KEY_BYTES)

_OWN = 1
_PARTIAL = 2
_ROW = struct.Struct(">BB16sQ32s")


class OriginRow(NamedTuple):
    """An origin with the key that its segments are signed with."""

    origin: Origin
    verify_key: bytes
    is_own: bool
    is_partial: bool = False

    @property
    def is_whole(self) -> bool:
        """Tell whether it is another site's, and all of it comes here."""
        return not self.is_own and not self.is_partial

    def pack(self) -> bytes:
        """Return the row's value."""
        flags = _OWN * self.is_own | _PARTIAL * self.is_partial
        return _ROW.pack(VERSION, flags, *self.origin, self.verify_key)

    @classmethod
    def unpack(cls, data: bytes) -> OriginRow:
        """Read a row's value; raises ``FormatError`` for anything else."""
        try:
            version, flags, node, inc, key = _ROW.unpack(data)
        except struct.error:
            raise FormatError("not an origin row") from None
        if version != VERSION or flags not in (0, _OWN, _PARTIAL):
            raise FormatError("an origin row of another version")
        return cls(Origin(node, inc), key, flags == _OWN, flags == _PARTIAL)


def load(reader: Reader) -> dict[int, OriginRow]:
    """Return all origins by their local number; O(origins)."""
    return {
        ORIGIN.columns(key)[0]: OriginRow.unpack(value)
        for key, value in reader.range(*ORIGIN.span())
    }
