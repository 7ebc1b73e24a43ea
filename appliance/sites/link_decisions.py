"""Decide what the link asks the writer for: pieces, how far history came, another incarnation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.sites import history
from appliance.sites.link_commands import (
    NoteHistory,
    TakeControl,
    TakeIncarnation,
    Taken,
    TakePiece,
)
from appliance.sites.settling import begin_to_follow
from store import cursors
from store.attestation import Prefix
from store.errors import EquivocationError, FormatError, IntegrityError
from store.ids import Origin
from sync.errors import ForkedError, RejectedError
from sync.pieces import Lane

if TYPE_CHECKING:
    from appliance.core import Core

from appliance.sites.from_branch import FromBranch
from appliance.sites.from_headquarters import FromHeadquarters


def take(core: Core, ctx: Context, command: TakePiece) -> Taken:
    """Decide ``TakePiece``, by the site alone.

    Raises ``GapError`` for a piece that leaves something out, and ``RejectedError`` for one that no
    honest site sends; a refusal "site.unknown" for a peer that is not one of ours.
    """
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    piece = command.piece
    try:
        if core.sites.is_branch:
            if command.node != core.sites.headquarters_node:
                raise refuse("site.unknown")
            begin_to_follow(core, ctx, command.numbered_by)
            from_headquarters = FromHeadquarters(core, ctx, piece)
            if piece.lane is Lane.HISTORY:
                return from_headquarters.take_history()
            taken = from_headquarters.take()
            applied = cursors.get(ctx.txn, cursors.PEER, Lane.CONTROL)
            core.sites.set_applied(applied, ctx.txn.on_rollback)
            return taken
        branch = core.sites.branch_of(command.node)
        if branch is None or not branch.is_approved:
            raise refuse("site.unknown")
        if piece.lane is Lane.HISTORY:
            raise RejectedError("a branch has no history to tell")
        if command.numbered_by.node != command.node:
            raise RejectedError("a branch tells of itself alone")
        return FromBranch(core, ctx, piece, command.numbered_by).take()
    except EquivocationError as error:
        if core.sites.is_branch:
            raise RejectedError("an operation that does not hold") from error
        raise _forked(core, ctx, command.numbered_by) from error
    except (FormatError, IntegrityError) as error:
        raise RejectedError("an operation that does not hold") from error


def _forked(core: Core, ctx: Context, branch: Origin) -> ForkedError:
    """Return what tells a branch that its log goes on differently here: it was set back."""
    number = core.log.number_of(branch)
    end = core.log.prefix(ctx.txn, number) if number is not None else Prefix(0, b"")
    return ForkedError(branch.incarnation, end.seq, end.chain)


def note_history(core: Core, ctx: Context, command: NoteHistory) -> None:
    """Decide ``NoteHistory``, by the site alone."""
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    known = core.streams.pseudonym(command.stream)
    if known is not None:
        history.got(ctx.txn, known, command.before, is_end=command.is_end)


def take_incarnation(core: Core, ctx: Context, command: TakeIncarnation) -> None:
    """Decide ``TakeIncarnation``, by the site alone; nothing is done when it has another."""
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    if core.log.own.incarnation == command.instead_of:
        if command.forgotten:
            core.log.note_lost(ctx.txn, command.forgotten)
        core.log.renew(ctx.txn)
        core.succeed(ctx.txn, command.reason, ctx.now)


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    TakePiece: take,
    TakeControl: take,
    NoteHistory: note_history,
    TakeIncarnation: take_incarnation,
}
