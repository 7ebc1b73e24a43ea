"""Decide what the link asks the writer for: pieces, how far history came, another incarnation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.sites import history, upstream
from appliance.sites.link_commands import (
    NoteHistory,
    TakeControl,
    TakeIncarnation,
    Taken,
    TakePiece,
)
from store import cursors
from store.errors import FormatError, IntegrityError
from sync.errors import RejectedError
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
            upstream.follow(ctx.txn, command.numbered_by)
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
    except (FormatError, IntegrityError) as error:
        raise RejectedError("an operation that does not hold") from error


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
        core.log.renew(ctx.txn)
        core.succeed(ctx.txn, command.reason, ctx.now)


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    TakePiece: take,
    TakeControl: take,
    NoteHistory: note_history,
    TakeIncarnation: take_incarnation,
}
