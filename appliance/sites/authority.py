"""Ask in a decision whether a branch may do something by its lease; headquarters always may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.context import Context, refuse
from appliance.sites import lease
from appliance.sites.lease import Act

if TYPE_CHECKING:
    from appliance.policy.clock import Reading
    from appliance.sites.registry import Sites


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
    if why_no_destruction(ctx.sites, ctx.reading()):
        raise refuse("site.lease")


def why_no_destruction(sites: Sites, reading: Reading) -> str:
    """Return why this site may not destroy now: "expired", "holds", or empty when it may.

    "holds": headquarters knows of holds that have not arrived here.
    """
    if not sites.is_branch or lease.may_destroy(sites.mark, sites.applied, reading):
        return ""
    is_over = lease.state_of(sites.mark, reading) is lease.State.EXPIRED
    return "expired" if is_over else "holds"


def require_home(ctx: Context, person: bytes) -> None:
    """Raise ``Refusal`` ("auth.elsewhere") when a person signs in at a branch not theirs."""
    if not ctx.sites.may_sign_in(person):
        raise refuse("auth.elsewhere")
