"""Decide about this branch's lease: take a grant, and note its age for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.context import Context, refuse
from appliance.operations import Kind
from appliance.sites import lease
from appliance.sites.commands import GrantLease, MarkLease
from store.ids import SITE_STREAM


def grant(ctx: Context, command: GrantLease) -> bool:
    """Take what headquarters granted; tell whether it is better than the present lease."""
    _at_a_branch(ctx)
    mark = lease.accept(ctx.sites.mark, command.granted, ctx.reading())
    if mark is None:
        return False
    ctx.append(Kind.LEASE_GRANTED, lease.operation(command.granted), stream=SITE_STREAM)
    ctx.sites.set_mark(ctx.txn, mark)
    return True


def mark(ctx: Context, _command: MarkLease) -> None:
    """Note how old the lease is, so that a restart goes on from there."""
    _at_a_branch(ctx)
    known = ctx.sites.mark
    if known is not None:
        ctx.sites.set_mark(ctx.txn, known.at(ctx.reading()))


def _at_a_branch(ctx: Context) -> None:
    if not ctx.actor.is_site or not ctx.sites.is_branch:
        raise refuse("permission.denied")


DECISIONS: Final[dict[type, Callable[[Context, Any], Any]]] = {GrantLease: grant, MarkLease: mark}
"""What ``appliance.core`` dispatches on."""
