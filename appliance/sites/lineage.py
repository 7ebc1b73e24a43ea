"""Compare what a branch has of a log with what headquarters has, operation by operation.

A machine that was set back in time, or copied, goes on under a new incarnation, and then nobody
knows any more who has what of the one before: each may lack operations of the other, or have
others of the same names. So the branch asks for the hashes of what headquarters has, from the
end backwards, until nothing before can differ. An operation's hash covers random salts: two
logs that differ somewhere differ from there on in every operation.

    note               body
    "lineage.wanted"   NodeId, Inc u64, first seq u64
    "lineage"          NodeId, Inc u64, first seq u64, whole u64, last u64, then for each
                       operation from the first on its hash (32 bytes) and its position at
                       headquarters (u64), zeros where it is missing

``whole`` is up to which number headquarters has all, ``last`` the newest that it has; both are 0
for a log of which it has nothing.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from store.engine.contract import Reader
from store.errors import FormatError
from store.heads import last_row
from store.ids import Origin
from store.logreader import LogReader
from store.records import Record
from store.skeleton import op_hash
from store.tables import LOG

if TYPE_CHECKING:
    from appliance.core import Core

WANTED: Final = "lineage.wanted"
TOLD: Final = "lineage"

ANSWERED: Final = 400
"""Operations in one answer: 16 kB."""

MISSING: Final = bytes(32)
"""Stands for the hash of an operation that is not there."""

MAX_SEQ: Final = (1 << 63) - 1
"""Beyond every operation's number."""

_WANTED: Final = struct.Struct(">16sQQ")
_TOLD: Final = struct.Struct(">16sQQQQ")
_EACH: Final = struct.Struct(">32sQ")


class Lineage(NamedTuple):
    """What headquarters has of an origin, from ``first`` on."""

    origin: Origin
    first: int
    whole: int
    last: int
    found: tuple[tuple[bytes, int], ...]
    """Hash and position of each operation."""

    def at(self, seq: int) -> bytes:
        """Return the hash of an operation there; ``MISSING`` for none."""
        place = seq - self.first
        return self.found[place][0] if 0 <= place < len(self.found) else MISSING

    def arrived_after(self, seq: int) -> int:
        """Return the lowest position there of what follows an operation; 0 where nothing does."""
        later = self.found[max(0, seq + 1 - self.first) :]
        return min((pos for digest, pos in later if digest != MISSING), default=0)

    def pack(self) -> bytes:
        """Return the body of the note."""
        head = _TOLD.pack(*self.origin, self.first, self.whole, self.last)
        return head + b"".join(_EACH.pack(*each) for each in self.found)

    def joined(self, later: Lineage | None) -> Lineage:
        """Return this and what was told before of the operations behind it."""
        if later is None or later.origin != self.origin:
            return self
        between = self.found[: later.first - self.first]
        return self._replace(found=between + later.found)


def question(log: LogReader, reader: Reader, number: int, known: Lineage | None) -> bytes:
    """Return the note that asks for the operations before those that are ``known``."""
    end = newest(log, reader, number) + 1 if known is None else known.first
    return _WANTED.pack(*log.origins[number].origin, max(1, end - ANSWERED))


def answer(core: Core, reader: Reader, node: bytes, body: bytes) -> Lineage:
    """At headquarters: tell a branch what is here of its own log, or of this site's.

    Raises ``FormatError`` for any other question.
    """
    try:
        asked, incarnation, first = _WANTED.unpack(body)
    except struct.error:
        raise FormatError("not a question for a lineage") from None
    if asked not in (node, core.log.node) or not first:
        raise FormatError("a question for a lineage that is not one's own")
    origin, log = Origin(asked, incarnation), core.log
    number = log.number_of(origin)
    if number is None:
        return Lineage(origin, first, 0, 0, ())
    found = [(MISSING, 0)] * ANSWERED
    for seq, record in log.records(reader, number, first, first + ANSWERED - 1):
        found[seq - first] = op_hash(record.skeleton), record.pos
    last = last_row(reader, number)[0]
    size = max(0, min(ANSWERED, last - first + 1))
    return Lineage(origin, first, log.prefix(reader, number).seq, last, tuple(found[:size]))


def read_told(body: bytes) -> Lineage:
    """Read an answer; raises ``FormatError``."""
    head, rest = body[: _TOLD.size], body[_TOLD.size :]
    if len(head) != _TOLD.size or len(rest) % _EACH.size or len(rest) > _EACH.size * ANSWERED:
        raise FormatError("not a lineage")
    node, incarnation, first, whole, last = _TOLD.unpack(head)
    found = tuple(_EACH.iter_unpack(rest))
    if not first:
        raise FormatError("not a lineage")
    return Lineage(Origin(node, incarnation), first, whole, last, found)


def newest(log: LogReader, reader: Reader, number: int) -> int:
    """Return the newest sequence number that counts of an origin and its rests; 0 for none."""
    found, bound = 0, MAX_SEQ
    for each in reversed(log.numbers(number)):
        span = LOG.key(each, 0), LOG.key(each, bound + 1)
        for key, _ in reader.range(*span, reverse=True, limit=1):
            found = max(found, LOG.columns(key)[1])
        after = log.origins[each].after
        bound = bound if after is None else min(bound, after)
    return found


def is_enough(log: LogReader, reader: Reader, number: int, told: Lineage) -> bool:
    """Tell whether what comes before an answer can neither differ nor be missing there."""
    if told.first == 1 or not told.last:
        return True
    if told.first > told.whole:
        return False
    value = reader.get(LOG.key(log.number_at(number, told.first), told.first))
    return value is not None and op_hash(Record.unpack(value).skeleton) == told.at(told.first)
