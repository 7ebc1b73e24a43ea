"""Read from a store alone who its site is and where its log stands; no key is needed."""

from __future__ import annotations

from typing import NamedTuple

from store import origins
from store.engine.contract import Reader
from store.errors import IntegrityError
from store.ids import Origin
from store.origins import OriginRow
from store.records import Record
from store.skeleton import CHAIN_START
from store.tables import LOG


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
    """Return a store's head; O(origins).

    Raises ``IntegrityError`` for a store without a site, ``FormatError`` for rows of another
    build.
    """
    rows = origins.load(reader)
    number = max((number for number, row in rows.items() if row.is_own), default=None)
    if number is None:
        raise IntegrityError("the store holds no site")
    ends = {each: _last(reader, each) for each in rows}
    seq, last = ends[number]
    chain = last.chain if last else CHAIN_START
    pos = max(end.pos if end else 0 for _, end in ends.values())
    row = rows[number]
    return SiteHead(
        row.origin.node, row.verify_key, row.origin.incarnation, number, seq, chain, pos
    )


def own_incarnations(reader: Reader) -> frozenset[int]:
    """Return all incarnations that the site of this store had."""
    rows: dict[int, OriginRow] = origins.load(reader)
    return frozenset(row.origin.incarnation for row in rows.values() if row.is_own)


def _last(reader: Reader, number: int) -> tuple[int, Record | None]:
    for key, value in reader.range(*LOG.span(number), reverse=True, limit=1):
        return LOG.columns(key)[1], Record.unpack(value)
    return 0, None
