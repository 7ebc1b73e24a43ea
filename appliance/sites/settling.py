"""Settle at a branch what its lineage and headquarters' differ in.

Headquarters' log counts: what it has of an origin beyond the last common operation gets a local
number of its own (a *rest*, ``store.origins``) and comes with the next pieces. What was here in
its place stays in the log as a skeleton, and

- of this branch's own is said again, under the present incarnation, with the same times and
  message numbers, before anything else travels;
- of headquarters', which it has lost itself, is let go of; the views are then written anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance import reopening
from appliance.context import Context, refuse
from appliance.messaging.model import Place
from appliance.operations import SPECS, Kind, LogSettled, Mark, Message, decode, encode
from appliance.sites import lineage, upstream
from appliance.sites.lineage import MISSING, Lineage
from appliance.sites.reach import Reach, reach
from appliance.sites.suspects import clear, suspect, suspects
from store import cursors, destruction
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError, PartGoneError
from store.ids import AUDIT_STREAM, OpId, Origin
from store.oplog import Draft, Op, OpLog
from store.skeleton import op_hash
from store.tables import meta_key
from store.vault import STANDARD
from sync.pieces import Lane

if TYPE_CHECKING:
    from appliance.core import Core

COMMAND_OPERATIONS: Final = 256
"""Operations that one command settles."""

_MOVED: Final = meta_key("moved.")
"""META rows: local number (u32) and seq (u64) of what was said again -> its new OpId, packed."""

_PLACE: Final = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class Settle:
    """At a branch: settle what differs from what headquarters told, which is enough to tell.

    ``is_overtaken``: headquarters follows a later incarnation of this branch already, so that
    nothing can be sent under this one.
    """

    told: Lineage
    is_overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """At a branch: headquarters goes on under this incarnation."""

    headquarters: Origin


@dataclass(frozen=True, slots=True)
class Settled:
    """``is_over``: there is nothing more to do about that origin; else ask again.

    ``must_reopen``: the views are to be written anew, so that the site has to be opened again.
    """

    is_over: bool
    must_reopen: bool = False


def suspect_earlier(core: Core, txn: Txn) -> None:
    """Have every earlier incarnation of this branch compared that was not settled before."""
    for number, row in core.log.origins.items():
        is_earlier = row.is_own and number != core.log.head.origin
        if is_earlier and not core.log.has_rest(number):
            suspect(txn, number)


def follow(core: Core, ctx: Context, command: Follow) -> None:
    """Decide ``Follow``, by the branch alone."""
    if not ctx.actor.is_site or not core.sites.is_branch:
        raise refuse("permission.denied")
    begin_to_follow(core, ctx, command.headquarters)
    _note_applied(core, ctx)


def begin_to_follow(core: Core, ctx: Context, headquarters: Origin) -> None:
    """Follow an incarnation of headquarters; all it ever was is suspect if that is a new one."""
    if upstream.followed(ctx.txn) == headquarters:
        return
    for number, row in core.log.origins.items():
        if row.origin.node == headquarters.node and row.after is None:
            suspect(ctx.txn, number)
    upstream.follow(ctx.txn, headquarters)


def settle(core: Core, ctx: Context, command: Settle) -> Settled:
    """Decide ``Settle``, by the branch alone; a piece at a time, the last one writes the audit.

    Raises ``FormatError`` for what was told of an origin that is not suspect.
    """
    if not ctx.actor.is_site or not core.sites.is_branch:
        raise refuse("permission.denied")
    told = command.told
    number = core.log.number_of(told.origin)
    if number is None or number not in suspects(ctx.txn):
        raise FormatError("a lineage of an origin that is not suspect")
    found = _Differing(core.log, ctx.txn, number, told)
    is_stranded = found.is_own and command.is_overtaken and bool(found.unsent())
    if not found.has_diverged and not is_stranded:
        clear(ctx.txn, number)
        return Settled(is_over=True)
    move = _say_again if found.is_own else _let_go
    left = move(core, ctx, found)
    if left:
        return Settled(is_over=False)
    again, let_go = (_said_again(ctx.txn, number), 0) if found.is_own else (0, len(found.lost()))
    body = LogSettled(*told.origin, found.common, *found.heads(), again, let_go)
    ctx.append(Kind.LOG_SETTLED, body, stream=AUDIT_STREAM)
    core.log.add_rest(ctx.txn, number, found.common)
    clear(ctx.txn, number)
    if not found.is_own:
        reopening.ask(ctx.txn)
    elif arrived := told.arrived_after(found.common):
        upstream.hear_again(ctx.txn, arrived)  # it may have passed for this site's own
        _note_applied(core, ctx)
    return Settled(is_over=True, must_reopen=not found.is_own)


def _note_applied(core: Core, ctx: Context) -> None:
    """Let leases and holds know that this branch has applied less than it had."""
    applied = cursors.get(ctx.txn, cursors.PEER, Lane.CONTROL)
    core.sites.set_applied(applied, ctx.txn.on_rollback)


class _Differing:
    """Where a log of this site and headquarters' go apart, and what is on one side only.

    ``common`` is the last operation before that. Headquarters lacks what a branch has not sent
    yet, and a branch what is not in its scope: neither is a difference.
    """

    def __init__(self, log: OpLog, reader: Reader, number: int, told: Lineage) -> None:
        self.number = number
        self.is_own = log.is_own(number)
        self._told = told
        self._mine = {
            seq: (each, op_hash(record.skeleton))
            for each in log.numbers(number)
            for seq, record in log.records(reader, each, told.first)
            if log.number_at(number, seq) == each
        }
        self._last = lineage.newest(log, reader, number)
        differing = [s for s, (_, mine) in self._mine.items() if told.at(s) not in (mine, MISSING)]
        lacking = told.last > self._last if self.is_own else self._last > told.last
        self.has_diverged = bool(differing) or lacking
        end = self._last if self.is_own else min(self._last, told.last)
        self.common = min(differing) - 1 if differing else end

    def unsent(self) -> list[Place]:
        """Return the places of this branch's operations that headquarters does not have."""
        mine = sorted(self._mine.items())
        return [(each, seq) for seq, (each, digest) in mine if self._told.at(seq) != digest]

    def lost(self) -> list[Place]:
        """Return the places of headquarters' operations that it does not have any more."""
        mine = sorted(self._mine.items())
        return [(each, seq) for seq, (each, _) in mine if seq > self.common]

    def heads(self) -> tuple[int, bytes, int, bytes]:
        """Return number and hash of the newest operation here, and at headquarters."""
        here = self._mine[self._last][1] if self._last in self._mine else b""
        return self._last, here, self._told.last, self._told.at(self._told.last)


def _say_again(core: Core, ctx: Context, found: _Differing) -> bool:
    """Say operations again under the present incarnation; tell whether there are more."""
    ops = []
    for place in found.unsent():
        op = _readable(core, ctx, place)
        if op is not None and reach(op.kind, op.stream.kind) not in (Reach.SITE, Reach.KEPT):
            ops.append(op)
        if len(ops) > COMMAND_OPERATIONS:
            break
    doomed = []
    for op in ops[:COMMAND_OPERATIONS]:
        core.forget(ctx.txn, op)
        doomed.append(destruction.supersede(ctx.txn, op))
    for op in ops[:COMMAND_OPERATIONS]:
        _append(core, ctx, op)
    core.vault.doom(ctx.txn, doomed)
    return len(ops) > COMMAND_OPERATIONS


def _append(core: Core, ctx: Context, op: Op) -> None:
    """Append an operation under its new name; what it speaks of has been said again before."""
    spec, known = SPECS[Kind(op.kind)], core.conversations.get(op.conversation)
    is_standard = spec.retention_class == STANDARD and known is not None
    body = decode(op.kind, op.body or b"")
    if isinstance(body, Message) and body.reply:
        body = msgspec.structs.replace(body, reply=_renamed(core, ctx, body.reply))
    elif isinstance(body, Mark):  # of what has a new position, whoever read it has read it
        body = msgspec.structs.replace(body, seen=core.log.head.pos)
    draft = Draft(
        op.kind,
        op.op_class,
        op.stream,
        known.retention_class if is_standard and known is not None else spec.retention_class,
        op.actor,
        op.device,
        op.counter,
        op.conversation,
        _renamed(core, ctx, op.target),
        encode(body),
        in_timeline=op.in_timeline,
        lane=op.lane,
        times=(op.t, op.floor),
    )
    again = core.append(ctx.txn, draft, body, ctx.now)
    ctx.ops.append(again)
    ctx.txn.put(_MOVED + _PLACE.pack(op.origin, op.id.seq), again.id.pack())


def _renamed(core: Core, ctx: Context, name: bytes) -> bytes:
    """Return the name under which an operation was said again, else the one it has."""
    if not name:
        return name
    op_id = OpId.unpack(name)
    number = core.log.number_of(Origin(op_id.node, op_id.incarnation))
    moved = None if number is None else ctx.txn.get(_MOVED + _PLACE.pack(number, op_id.seq))
    return name if moved is None else moved


def _said_again(reader: Reader, number: int) -> int:
    span = _MOVED + _PLACE.pack(number, 0), _MOVED + _PLACE.pack(number + 1, 0)
    return sum(1 for _ in reader.range(*span))


def _let_go(core: Core, ctx: Context, found: _Differing) -> bool:
    """Give up what headquarters has lost; tell whether there is more. No view follows."""
    ops = [op for place in found.lost() if (op := _readable(core, ctx, place)) is not None]
    doomed = [destruction.supersede(ctx.txn, op) for op in ops[:COMMAND_OPERATIONS]]
    core.vault.doom(ctx.txn, doomed)
    return len(ops) > COMMAND_OPERATIONS


def _readable(core: Core, ctx: Context, place: Place) -> Op | None:
    """Return an operation as far as it can be said again; None for what is gone or hidden."""
    try:
        op = core.log.read(ctx.txn, *place)
    except PartGoneError:
        return None
    return None if op.body is None else op


DECISIONS: Final[dict[type, Any]] = {Settle: settle, Follow: follow}
