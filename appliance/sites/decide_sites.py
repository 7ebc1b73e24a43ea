"""Decide which branches there are: invite, join, approve, revoke, reset what a branch held."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory import rights
from appliance.directory.commands import Command, Done
from appliance.directory.decide_people import append, moved
from appliance.directory.limits import HOUR_MS, REASON_CHARACTERS
from appliance.directory.model import Person
from appliance.directory.names import RESERVED, clean_text, login_key
from appliance.directory.roles import ADMINISTRATOR, INDISPENSABLE, SECURITY_OFFICER
from appliance.operations import (
    BodyStruct,
    Kind,
    PersonReset,
    SecretSlot,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    SiteMoved,
    SiteReprovisioned,
    SiteRevoked,
    SiteSecret,
)
from appliance.sites import limits
from appliance.sites.commands import (
    NAMES,
    AdoptHeadquarters,
    ApproveSite,
    Invited,
    InviteSite,
    JoinSite,
    MeetHeadquarters,
    MoveSite,
    Reprovisioned,
    ReprovisionSite,
    RevokeSite,
)
from appliance.sites.registry import Branch, State
from store.ids import SITE_STREAM
from store.skeleton import node_id
from store.tables import TENANT

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

HASH_BYTES: Final = 32


# --- requests of people, at headquarters ----------------------------------------------------------


def invite(ctx: Context, command: InviteSite) -> Invited:
    """Open an invitation; codes: site.name, site.exists, site.limit."""
    _signed(ctx, command, ADMINISTRATOR)
    name = clean_site_name(command.name)
    if len(command.token_hash) != HASH_BYTES:
        raise refuse("request.invalid")
    number = _number_for(ctx, name)
    expires_ms = ctx.now + limits.INVITATION_HOURS * HOUR_MS
    body = SiteInvited(number, name, command.token_hash, expires_ms, ctx.actor.signed)
    _append(ctx, Kind.SITE_INVITED, body)
    return Invited(number, name, expires_ms)


def approve(ctx: Context, command: ApproveSite) -> Done:
    """Let a machine in; codes: site.unknown, site.state, site.fingerprint."""
    _signed(ctx, command, ADMINISTRATOR)
    branch = _named(ctx, command.name)
    if branch.is_approved and branch.node == command.node:
        return Done()
    if branch.state is not State.JOINED:
        raise refuse("site.state")
    if branch.node != command.node:
        raise refuse("site.fingerprint")
    _append(ctx, Kind.SITE_APPROVED, SiteApproved(branch.site, branch.node, ctx.actor.signed))
    return Done()


def revoke(ctx: Context, command: RevokeSite) -> Done:
    """Let a branch in no more; code: site.unknown."""
    _signed(ctx, command, ADMINISTRATOR)
    branch = _named(ctx, command.name)
    if branch.is_revoked:
        return Done()
    reason = clean_text(command.reason, REASON_CHARACTERS)
    _append(ctx, Kind.SITE_REVOKED, SiteRevoked(branch.site, reason, ctx.actor.signed))
    return Done()


def reprovision(ctx: Context, command: ReprovisionSite) -> Reprovisioned:
    """Reset everybody whose credentials a revoked branch held, and nobody else.

    Those who were at home there are at home at headquarters from then on. Codes: site.unknown,
    site.state, site.people when they are not as many as was signed, permission.denied when who
    asks is among them, person.last_... when nobody would be left to invite them anew.
    """
    _signed(ctx, command, SECURITY_OFFICER)
    branch = _named(ctx, command.name)
    if not branch.is_revoked or not branch.node:
        raise refuse("site.state")
    revealed = ctx.sites.revealed(branch.node)
    if len(revealed) != command.people:
        raise refuse("site.people")
    _keep_somebody(ctx, revealed)
    reason, signed = clean_text(command.reason, REASON_CHARACTERS), ctx.actor.signed
    body = SiteReprovisioned(branch.site, len(revealed), signed)
    _append(ctx, Kind.SITE_REPROVISIONED, body)
    for person in revealed:
        if person.home == branch.node:
            append(ctx, person.id, Kind.PERSON_HOME, moved(person, b"", signed))
        append(ctx, person.id, Kind.PERSON_RESET, PersonReset(reason, signed))
    return Reprovisioned(tuple(person.login for person in revealed))


def _signed(ctx: Context, command: Command, role: str) -> None:
    """Let pass who has the role and signed this very command, at headquarters."""
    person = rights.acting(ctx)
    if role not in ctx.sites.offices(person):
        raise refuse("permission.denied")
    rights.check_signature(ctx, person, NAMES[type(command)], command)
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")


def _named(ctx: Context, name: str) -> Branch:
    branch = ctx.sites.named(login_key(name))
    if branch is None:
        raise refuse("site.unknown")
    return branch


def _number_for(ctx: Context, name: str) -> int:
    """Return the number for an invitation: the present one while nothing was approved."""
    branch = ctx.sites.named(name)
    if branch is not None and not branch.is_revoked:
        if branch.is_approved:
            raise refuse("site.exists")
        return branch.site
    if len(ctx.sites.branches) >= limits.SITES:
        raise refuse("site.limit")
    return max(ctx.sites.branches, default=0) + 1


def clean_site_name(text: str) -> str:
    """Return the name to store, as it stands after a login name; raises "site.name"."""
    name = login_key(text)
    is_fit = len(name) <= limits.SITE_NAME_CHARACTERS and _NAME.fullmatch(name) is not None
    if not is_fit or name in RESERVED:
        raise refuse("site.name")
    return name


def _keep_somebody(ctx: Context, reset: list[Person]) -> None:
    """Refuse to reset who asks, or everybody who could give one of them access again."""
    if any(person.id == ctx.actor.person for person in reset):
        raise refuse("permission.denied")
    ids = {person.id for person in reset}
    for role, code in INDISPENSABLE.items():
        left = [each for each in ctx.directory.holders(role) if not each.home]
        if left and all(each.id in ids for each in left):
            raise refuse(code)


# --- by the site itself -------------------------------------------------------------------------


def join(ctx: Context, command: JoinSite) -> Done:
    """Note which machine used a token; codes: site.token, site.state, site.not_headquarters.

    Saying it again changes nothing. A key that another branch has or had is refused: who comes
    back after being revoked begins with a new key.
    """
    _by_the_site(ctx)
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")
    branch = ctx.sites.invited(command.token_hash)
    if branch is None or branch.is_revoked:
        raise refuse("site.token")
    node = node_id(TENANT, command.public_key)
    if branch.node == node:
        return Done()
    if branch.state is not State.INVITED or ctx.now >= branch.expires_ms:
        raise refuse("site.token")
    if node == ctx.sites.node or ctx.sites.branch_of(node) is not None:
        raise refuse("site.state")
    joined = SiteJoined(branch.site, node, command.public_key, command.address, command.ca)
    _append(ctx, Kind.SITE_JOINED, joined)
    return Done()


def adopt(ctx: Context, command: AdoptHeadquarters) -> Done:
    """Become a branch, or take a renewed certificate; code: site.occupied.

    Only a site without people becomes one, and it stays its headquarters' for ever.
    """
    _by_the_site(ctx)
    present = ctx.sites.headquarters
    if present is None and (len(ctx.directory) or ctx.sites.branches):
        raise refuse("site.occupied")
    if present is not None and present.node != command.node:
        raise refuse("site.occupied")
    body = SiteHeadquarters(
        command.node,
        command.public_key,
        command.addresses,
        command.ca,
        command.organisation,
        command.site,
        command.name,
    )
    if body != present:
        _append(ctx, Kind.SITE_HEADQUARTERS, body)
    if present is None:
        _append(ctx, Kind.SITE_SECRET, SiteSecret(SecretSlot.TENANT, command.tenant_secret))
    certificate = SiteSecret(SecretSlot.LINK_CERTIFICATE, command.certificate)
    _append(ctx, Kind.SITE_SECRET, certificate)
    return Done()


def move(ctx: Context, command: MoveSite) -> Done:
    """Note where a branch that is let in is reached; code: site.unknown."""
    _by_the_site(ctx)
    branch = ctx.sites.branch_of(command.node)
    if branch is None or not branch.is_approved:
        raise refuse("site.unknown")
    if (branch.address, branch.ca) != (command.address, command.ca):
        _append(ctx, Kind.SITE_MOVED, SiteMoved(branch.site, command.address, command.ca))
    return Done()


def meet(ctx: Context, command: MeetHeadquarters) -> Done:
    """Try headquarters at these addresses too; code: site.not_branch.

    What headquarters tells of itself comes after what worked until now: from here it may look
    different. Of what was known before the first go when there are too many.
    """
    _by_the_site(ctx)
    present = ctx.sites.headquarters
    if present is None:
        raise refuse("site.not_branch")
    told, known = command.addresses, present.addresses
    if command.is_first:
        merged = tuple(dict.fromkeys((*told, *known)))[: limits.ADDRESSES]
    else:
        kept = [each for each in known if each not in told]
        too_many = max(0, len(kept) + len(told) - limits.ADDRESSES)
        gone = kept[:too_many]
        merged = tuple(each for each in dict.fromkeys((*known, *told)) if each not in gone)
    if merged != present.addresses:
        body = msgspec.structs.replace(present, addresses=merged)
        _append(ctx, Kind.SITE_HEADQUARTERS, body)
    return Done()


def _by_the_site(ctx: Context) -> None:
    if not ctx.actor.is_site:
        raise refuse("permission.denied")


def _append(ctx: Context, kind: Kind, body: BodyStruct) -> None:
    ctx.append(kind, body, stream=SITE_STREAM)


DECISIONS: Final[dict[type, Callable[[Context, Any], Any]]] = {
    InviteSite: invite,
    ApproveSite: approve,
    RevokeSite: revoke,
    ReprovisionSite: reprovision,
    JoinSite: join,
    AdoptHeadquarters: adopt,
    MoveSite: move,
    MeetHeadquarters: meet,
}
"""What ``appliance.core`` dispatches on."""
