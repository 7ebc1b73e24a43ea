"""Find what a branch must know before an operation that brings something into its scope.

A conversation comes into scope with somebody at home at the branch: as they join it, or as their
home moves there. The branch then needs what is in force in it (who is in it, what it is called)
before the operation itself; its earlier messages are history, which is asked for. A branch that
is new, or was away too long, is told what is in force as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from appliance.messaging.model import Conversation
from appliance.operations import ConversationMember, Kind, decode
from appliance.sites.scope import Scope
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.oplog import Op
from store.records import Record
from store.shipping import Shipment
from store.tables import LOG, REGISTER
from sync.pieces import Entry, Lane, Piece

if TYPE_CHECKING:
    from appliance.core import Core

REGISTERS_IN_PIECE: Final = 2_000
"""Registers in one piece of a first synchronisation."""

_PLACE = struct.Struct(">IQ")

Placed = tuple[int, Shipment]
"""The number of an operation's origin, and the operation."""


def before(core: Core, reader: Reader, scope: Scope, op: Op) -> Iterator[Placed]:
    """Yield what has to be known before an operation, in the order in which it was applied."""
    for conversation in _entering(core, scope, op):
        found = _registers(reader, conversation.pseudonym)
        for pos, origin, record in sorted(found):
            if pos < op.pos:
                yield origin, core.log.ship(reader, origin, record)


def registers(core: Core, reader: Reader, scope: Scope, lane: Lane, after: int, upto: int) -> Piece:
    """Return what was in force before the order of arrival was kept, as far as ``upto``.

    O(registers) for each call.
    """
    if lane is not Lane.CONTROL:
        return Piece(lane, after, upto)
    found = sorted(each for each in _all_registers(reader) if after < each[0] <= upto)
    origins: dict[int, int] = {}
    entries = []
    for pos, origin, record in found[:REGISTERS_IN_PIECE]:
        try:
            op = core.log.entry(reader, origin, record)
        except PartGoneError:
            continue
        if isinstance(op, Op) and scope.covers(op.kind, op.stream, op.conversation, pos):
            index = origins.setdefault(origin, len(origins))
            entries.append(Entry(pos, index, core.log.ship(reader, origin, record)))
    if len(found) > REGISTERS_IN_PIECE:
        upto = found[REGISTERS_IN_PIECE - 1][0]
    rows = core.log.origins
    return Piece(lane, after, upto, tuple(rows[each].origin for each in origins), tuple(entries))


def _entering(core: Core, scope: Scope, op: Op) -> Iterator[Conversation]:
    """Yield the conversations that an operation may bring into scope."""
    if op.kind == Kind.CONVERSATION_MEMBER:
        body = decode(op.kind, op.body or b"")
        assert isinstance(body, ConversationMember)
        known = core.conversations.get(op.stream.id)
        if known is not None and body.role and scope.is_home(body.person):
            yield known
    elif op.kind == Kind.PERSON_HOME and scope.is_home(op.stream.id):
        for each in core.conversations.current(op.stream.id):
            known = core.conversations.get(each)
            if known is not None:
                yield known


def _registers(reader: Reader, stream: int) -> Iterator[tuple[int, int, Record]]:
    return _records(reader, REGISTER.span(stream))


def _all_registers(reader: Reader) -> Iterator[tuple[int, int, Record]]:
    return _records(reader, REGISTER.span())


def _records(reader: Reader, span: tuple[bytes, bytes]) -> Iterator[tuple[int, int, Record]]:
    """Yield position, origin and row of each register's operation; marks are left out."""
    for key, value in reader.range(*span):
        if REGISTER.columns(key)[1] in (Kind.READ, Kind.DELIVERED):
            continue
        origin, seq = _PLACE.unpack(value)
        row = reader.get(LOG.key(origin, seq))
        if row is not None:
            record = Record.unpack(row)
            yield record.pos, origin, record
