"""Prove a branch's log to headquarters: it asks for closed segments, the branch tells of them.

What arrived comes lane by lane and is believed of an authenticated link; the signed statement of
each closed segment then proves that it is all there, and in which order it was made. Headquarters
says from which operation on it has no proof, the branch answers with what follows, once
headquarters has the operations themselves.

    note                 body
    "segments.wanted"    one for each incarnation: Inc u64, first seq that is not proven u64
    "segments"           rows of closed segments, 165 bytes each

A statement that contradicts what came, or what was stated before, is written into the log once,
and ends the link: somebody has to look at that site.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.operations import Kind, Verdict
from store import segments
from store.attestation import proven
from store.engine.contract import Reader
from store.errors import FormatError, IntegrityError
from store.ids import SITE_STREAM, OpId, Origin
from store.segments import SIGNATURE_BYTES, STATEMENT_BYTES, Statement
from store.tables import SEGMENT, meta_key

if TYPE_CHECKING:
    from appliance.core import Core

WANTED: Final = "segments.wanted"
TOLD: Final = "segments"

SEGMENTS_IN_NOTE: Final = 16
"""Closed segments in one note, under 3 kB: notes go first, and must not keep urgent messages back.

The next note is asked for when this one is stored, so proofs leave most of a thin line to others.
"""

INCARNATIONS_IN_NOTE: Final = 32
"""Incarnations of a branch, newest first, whose proofs are asked for."""

_ROW_BYTES: Final = STATEMENT_BYTES + SIGNATURE_BYTES
_WANTED = struct.Struct(">QQ")


@dataclass(frozen=True, slots=True)
class TakeSegments:
    """At headquarters: what a branch states of its log; rows of its closed segments."""

    node: bytes
    rows: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proven:
    """What became of statements: how many are stored, and the code of what contradicts them."""

    stored: int
    contradiction: str = ""


def wanted(core: Core, reader: Reader, branch: Origin) -> bytes:
    """Return the note by which headquarters asks a branch, linked as this incarnation, for proofs.

    Also those of its earlier incarnations that are known here.
    """
    ends = {branch.incarnation: 1}
    for number, row in reversed(core.log.origins.items()):
        if row.origin.node == branch.node and len(ends) < INCARNATIONS_IN_NOTE:
            ends[row.origin.incarnation] = proven(reader, number)
    return b"".join(map(_WANTED.pack, ends.keys(), ends.values()))


def read_wanted(body: bytes) -> dict[int, int]:
    """Return incarnation -> first seq that is not proven; raises ``FormatError``."""
    if len(body) % _WANTED.size or len(body) > INCARNATIONS_IN_NOTE * _WANTED.size:
        raise FormatError("not a question for segments")
    return dict(_WANTED.iter_unpack(body))


def following(core: Core, reader: Reader, number: int, first: int, last: int) -> Iterator[bytes]:
    """Yield rows of closed segments of an own origin from ``first`` on, none beyond ``last``.

    None at all of one that goes on differently at headquarters: nothing there is its continuation.
    """
    if core.log.has_rest(number):
        return
    span = SEGMENT.key(number, first), SEGMENT.span(number)[1]
    for _key, row in reader.range(*span, limit=SEGMENTS_IN_NOTE):
        if Statement.unpack(segments.split_row(row)[0]).end - 1 > last:
            return
        yield row


def read_told(body: bytes) -> tuple[bytes, ...]:
    """Return the rows in a note; raises ``FormatError``."""
    if len(body) % _ROW_BYTES or len(body) > SEGMENTS_IN_NOTE * _ROW_BYTES:
        raise FormatError("not rows of segments")
    return tuple(body[at : at + _ROW_BYTES] for at in range(0, len(body), _ROW_BYTES))


def take_segments(core: Core, ctx: Context, command: TakeSegments) -> Proven:
    """Decide ``TakeSegments``, by the site alone: "site.unknown" for a peer that is none of ours.

    Raises ``FormatError`` for what is no statement of that branch.
    """
    branch = core.sites.branch_of(command.node)
    if not ctx.actor.is_site or branch is None or not branch.is_approved:
        raise refuse("site.unknown")
    stored = 0
    for row in command.rows:
        statement = Statement.unpack(segments.split_row(row)[0])
        number = core.log.number_of(statement.origin)
        if number is None or statement.origin.node != command.node:
            raise FormatError("a statement about another site's log")
        try:
            if not core.log.attest(ctx.txn, number, row):
                break
        except IntegrityError as error:
            _note_contradiction(ctx, number, statement, error.code)
            return Proven(stored, error.code)
        stored += 1
    return Proven(stored)


def _note_contradiction(ctx: Context, number: int, statement: Statement, code: str) -> None:
    """Write into the log that a branch contradicts itself, once for each incarnation."""
    key = meta_key(f"contradiction/{number}")
    if ctx.txn.get(key) is not None:
        return
    ctx.txn.put(key, statement.first.to_bytes(8, "big"))
    named = OpId(*statement.origin, statement.first).pack()
    ctx.append(Kind.VERDICT, Verdict(named, "refused", code), stream=SITE_STREAM)


DECISIONS: Final[dict[type, Any]] = {TakeSegments: take_segments}
