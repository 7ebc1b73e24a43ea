"""Decide about this branch's lease: take a grant, and note its age for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.operations import Kind
from appliance.sites import lease
from appliance.sites.commands import GrantLease, MarkLease, RecordGrant
from appliance.sites.lease import Grant
from appliance.sites.registry import Granted
from store.ids import SITE_STREAM

if TYPE_CHECKING:
    from appliance.core import Core


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


def record(core: Core, ctx: Context, command: RecordGrant) -> Grant:
    """At headquarters: remember a grant before it is sent; codes: permission.denied, site.unknown.

    What a branch says it has applied counts only as far as headquarters has come itself.
    """
    if not ctx.actor.is_site or ctx.sites.is_branch:
        raise refuse("permission.denied")
    branch = ctx.sites.branch_of(command.node)
    if branch is None or not branch.is_approved:
        raise refuse("site.unknown")
    applied = min(command.asked.hold, core.log.head.pos)
    ctx.sites.set_granted(ctx.txn, branch.site, Granted(ctx.now, applied))
    return Grant(command.asked, ctx.now, core.disposal.ruled_pos)


DECISIONS: Final[dict[type, Callable[[Context, Any], Any]]] = {GrantLease: grant, MarkLease: mark}
"""What ``appliance.core`` dispatches on."""

WEIGHTY: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {RecordGrant: record}
"""Those that get the core."""
