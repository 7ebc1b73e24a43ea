"""Number the origins whose operations this site holds.

ORIGIN row value
offset  size  type   meaning
0       1     u8     version: 1
1       1     u8     flags: 1 an incarnation of this site, 2 partial, 4 a rest
2       16    bytes  NodeId
18      8     u64    Inc
26      32    bytes  Ed25519 public key that signs its segments; zero where none is known
58      8     u64    of a rest: the last sequence number that is not under this local number

Of a partial origin this site gets only some operations, and another site vouches for them. A *rest*
continues an origin that is known under another local number already, of which this site once had
another continuation, or none: after a site was set back (``appliance.sites.lineage``).
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
_REST = 4
_ROW = struct.Struct(">BB16sQ32s")
_AFTER = struct.Struct(">Q")


class OriginRow(NamedTuple):
    """An origin with the key that its segments are signed with.

    ``after`` is the last sequence number that is not under this local number; None unless it is a
    rest.
    """

    origin: Origin
    verify_key: bytes
    is_own: bool
    is_partial: bool = False
    after: int | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether it is another site's, and all of it comes here."""
        return not self.is_own and not self.is_partial

    def pack(self) -> bytes:
        """Return the row's value."""
        flags = _OWN * self.is_own | _PARTIAL * self.is_partial
        if self.after is None:
            return _ROW.pack(VERSION, flags, *self.origin, self.verify_key)
        row = _ROW.pack(VERSION, flags | _REST, *self.origin, self.verify_key)
        return row + _AFTER.pack(self.after)

    @classmethod
    def unpack(cls, data: bytes) -> OriginRow:
        """Read a row's value; raises ``FormatError`` for anything else."""
        after = None
        try:
            version, flags, node, inc, key = _ROW.unpack(data[: _ROW.size])
            if flags & _REST:
                (after,) = _AFTER.unpack(data[_ROW.size :])
        except struct.error:
            raise FormatError("not an origin row") from None
        is_longer = after is None and len(data) != _ROW.size
        if version != VERSION or flags not in (0, _OWN, _PARTIAL, _PARTIAL | _REST) or is_longer:
            raise FormatError("an origin row of another version")
        return cls(Origin(node, inc), key, flags == _OWN, bool(flags & _PARTIAL), after)


def load(reader: Reader) -> dict[int, OriginRow]:
    """Return all origins by their local number; O(origins)."""
    return {
        ORIGIN.columns(key)[0]: OriginRow.unpack(value)
        for key, value in reader.range(*ORIGIN.span())
    }
