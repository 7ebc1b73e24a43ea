"""Read from a store alone who its site is and where its log stands; no key is needed.

    META row "log"
    offset  size  type   meaning
    0       1     u8     version: 2
    1       4     u32    number of the origin that is appended to
    5       8     u64    newest hybrid logical time used
    13      8     u64    newest position

In version 1 the position is missing. There were no operations of other sites then, so that it
is that of some origin's last row.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Self

from store import origins
from store.engine.contract import Reader
from store.errors import FormatError, IntegrityError
from store.ids import Origin
from store.origins import OriginRow
from store.records import Record
from store.skeleton import CHAIN_START
from store.tables import LOG, meta_key

META_KEY = meta_key("log")

_VERSION = 2
_META = struct.Struct(">BIQQ")
_OLD_VERSION = 1
_OLD_META = struct.Struct(">BIQ")


class LogMeta(NamedTuple):
    """What the log says of itself: own origin's number, newest time and position."""

    number: int
    t: int
    pos: int

    def pack(self) -> bytes:
        """Return the row's value."""
        return _META.pack(_VERSION, *self)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the row; O(1), or O(origins) while it is of version 1.

        Raises ``IntegrityError`` for a store without a log, ``FormatError`` for another version.
        """
        data = reader.get(META_KEY)
        if data is None:
            raise IntegrityError("the store has no log")
        if len(data) == _META.size and data[0] == _VERSION:
            return cls(*_META.unpack(data)[1:])
        if len(data) == _OLD_META.size and data[0] == _OLD_VERSION:
            _version, number, t = _OLD_META.unpack(data)
            return cls(number, t, _last_pos(reader))
        raise FormatError("a log of another version")


class SiteHead(NamedTuple):
    """The site of a store, by its newest incarnation, and the end of its log.

    ``number`` is that incarnation's local number, ``seq`` and ``chain`` are of its last
    operation (0 and zeros for none), ``pos`` of the last one of any origin.
    """

    node: bytes
    verify_key: bytes
    incarnation: int
    number: int
    seq: int
    chain: bytes
    pos: int

    @property
    def origin(self) -> Origin:
        """The newest incarnation."""
        return Origin(self.node, self.incarnation)


def read_head(reader: Reader) -> SiteHead:
    """Return a store's head; O(origins) for their rows alone.

    Raises ``IntegrityError`` for a store without a site, ``FormatError`` for rows of another
    build.
    """
    rows = origins.load(reader)
    number = max((number for number, row in rows.items() if row.is_own), default=None)
    if number is None:
        raise IntegrityError("the store holds no site")
    seq, last = last_row(reader, number)
    chain = last.chain if last else CHAIN_START
    pos = newest_pos(reader)
    row = rows[number]
    return SiteHead(
        row.origin.node, row.verify_key, row.origin.incarnation, number, seq, chain, pos
    )


def newest_pos(reader: Reader) -> int:
    """Return the newest position in a store; one get. Raises as ``LogMeta.read`` does."""
    return LogMeta.read(reader).pos


def own_incarnations(reader: Reader) -> frozenset[int]:
    """Return all incarnations that the site of this store had."""
    rows: dict[int, OriginRow] = origins.load(reader)
    return frozenset(row.origin.incarnation for row in rows.values() if row.is_own)


def last_row(reader: Reader, number: int) -> tuple[int, Record | None]:
    """Return seq and row of an origin's last operation, or 0 and None."""
    for key, value in reader.range(*LOG.span(number), reverse=True, limit=1):
        return LOG.columns(key)[1], Record.unpack(value)
    return 0, None


def _last_pos(reader: Reader) -> int:
    ends = [last_row(reader, number)[1] for number in origins.load(reader)]
    return max((end.pos for end in ends if end), default=0)
