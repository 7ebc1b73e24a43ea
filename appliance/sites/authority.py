"""Ask in a decision whether a branch may do something by its lease; headquarters always may."""

from __future__ import annotations

from appliance.context import Context, refuse
from appliance.sites import lease
from appliance.sites.lease import Act


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

    It takes a lease, and every hold that headquarters knew of when it granted it.
    """
    sites = ctx.sites
    if sites.is_branch and not lease.may_destroy(sites.mark, sites.applied, ctx.reading()):
        raise refuse("site.lease")


def require_home(ctx: Context, person: bytes) -> None:
    """Raise ``Refusal`` ("auth.elsewhere") when a person signs in at a branch not theirs."""
    if not ctx.sites.may_sign_in(person):
        raise refuse("auth.elsewhere")
