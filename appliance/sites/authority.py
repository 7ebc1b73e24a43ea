"""Ask in a decision whether a branch may do something by its lease; headquarters always may."""

from __future__ import annotations

from appliance.context import Context, refuse
from appliance.sites import lease
from appliance.sites.lease import Act
from store import cursors
from sync.pieces import Lane


def require_lease(ctx: Context, act: Act) -> None:
    """Raise ``Refusal`` ("site.lease") when this branch's lease is too old for an act."""
    sites = ctx.sites
    if not sites.is_branch:
        return
    state = lease.state_of(sites.mark, ctx.reading())
    if not lease.is_allowed(act, state, sites.profile):
        raise refuse("site.lease")


def require_destruction(ctx: Context) -> None:
    """Raise ``Refusal`` ("site.lease") unless this branch may destroy records now.

    It takes a lease, and every hold and policy that headquarters knew of when it granted it.
    """
    if not ctx.sites.is_branch:
        return
    applied = cursors.get(ctx.txn, cursors.PEER, Lane.CONTROL)
    if not lease.may_destroy(ctx.sites.mark, applied, ctx.reading()):
        raise refuse("site.lease")


def require_home(ctx: Context, person: bytes) -> None:
    """Raise ``Refusal`` ("auth.elsewhere") when a person signs in at a branch not theirs."""
    if not ctx.sites.may_sign_in(person):
        raise refuse("auth.elsewhere")
