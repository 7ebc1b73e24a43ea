"""Decide about access: invitations, devices, tokens, passwords and signing keys."""

from __future__ import annotations

from appliance.context import Actor, Context, refuse
from appliance.directory import limits, policy
from appliance.directory.codes import HASH_BYTES
from appliance.directory.commands import (
    Accepted,
    AcceptInvite,
    AddDevice,
    CreateInvite,
    Done,
    Invited,
    RenewToken,
    RevokeDevice,
    RevokeInvite,
    SetKey,
    SetPassword,
)
from appliance.directory.decide_people import append
from appliance.directory.model import Person
from appliance.directory.names import clean_text
from appliance.directory.requests import is_public_key
from appliance.directory.rights import acting, require, target
from appliance.directory.roles import ADMINISTRATOR
from appliance.operations import (
    DeviceAdded,
    DeviceRevoked,
    InviteClosed,
    InviteCreated,
    Kind,
    PersonKey,
    PersonPassword,
)
from appliance.sites.authority import require_home, require_lease
from appliance.sites.lease import Act
from store.ids import ID_BYTES
from transports.wire import schema

PASSWORD_CHANGED = "the password was changed"  # noqa: S105 - a reason


def create_invite(ctx: Context, command: CreateInvite) -> Invited:
    """Open an invitation; codes: invite.enrolled, invite.limit, person.disabled, site.lease."""
    person = target(ctx, command.who)
    for_oneself = person.id == ctx.actor.person
    require(ctx, command, *(() if for_oneself else (ADMINISTRATOR,)))
    require_lease(ctx, Act.NEW_DEVICE if for_oneself else Act.GRANT)
    if not person.is_active:
        raise refuse("person.disabled")
    if person.is_enrolled and not (for_oneself or ctx.actor.is_site):
        raise refuse("invite.enrolled")
    if not 1 <= command.valid_hours <= limits.INVITE_HOURS_MAX:
        raise refuse("request.invalid")
    if ctx.directory.invite(_hash(command.code_hash)) is not None:
        raise refuse("request.invalid")
    if len(person.open_invites(ctx.now)) >= limits.INVITES_PER_PERSON:
        raise refuse("invite.limit")
    invite = ctx.entropy.bytes(ID_BYTES)
    expires = ctx.now + command.valid_hours * limits.HOUR_MS
    body = InviteCreated(invite, command.code_hash, expires, ctx.actor.signed)
    append(ctx, person.id, Kind.INVITE_CREATED, body)
    return Invited(invite, person.id, expires)


def revoke_invite(ctx: Context, command: RevokeInvite) -> Done:
    """Close an invitation, one's own or anybody's as administrator; code: invite.unknown."""
    invite = ctx.directory.invite_by_id(command.invite)
    for_oneself = invite is not None and invite.person == ctx.actor.person
    require(ctx, command, *(() if for_oneself else (ADMINISTRATOR,)))
    if invite is None:
        raise refuse("invite.unknown")
    body = InviteClosed(invite.id, used=False, signed=ctx.actor.signed)
    append(ctx, invite.person, Kind.INVITE_CLOSED, body)
    return Done()


def accept_invite(ctx: Context, command: AcceptInvite) -> Accepted:
    """Use an invitation up and enrol, all or nothing.

    The code is the proof: what is appended names the invited person as actor. Codes:
    auth.invite_invalid, auth.elsewhere, site.lease, person.key, device.limit, request.invalid.
    """
    invite = ctx.directory.invite(command.code_hash)
    person = None if invite is None else ctx.directory.person(invite.person)
    if invite is None or person is None or not person.is_active or ctx.now >= invite.expires_ms:
        raise refuse("auth.invite_invalid")
    require_home(ctx, person.id)
    require_lease(ctx, Act.NEW_DEVICE)
    if command.verifier:
        _check_verifier(command.verifier)
    if command.public_key:
        _check_first_key(person, command.public_key)
    added = _device(ctx, person, command, policy.INVITE)
    ctx.actor = Actor(person.id, added.device)
    append(ctx, person.id, Kind.INVITE_CLOSED, InviteClosed(invite.id, used=True))
    _close_strangers_invites(ctx, person, invite.id)
    append(ctx, person.id, Kind.DEVICE_ADDED, added)
    if command.verifier:
        append(ctx, person.id, Kind.PERSON_PASSWORD, PersonPassword(command.verifier))
    if command.public_key not in (b"", person.public_key):
        append(ctx, person.id, Kind.PERSON_KEY, PersonKey(command.public_key))
    return Accepted(person.id, added.device, added.expires_ms)


def add_device(ctx: Context, command: AddDevice) -> Accepted:
    """Add a device after a password login.

    Codes: auth.failed, auth.elsewhere, site.lease, person.disabled, device.limit.
    The verifier that was checked must still be the present one.
    """
    person = ctx.directory.person(command.person)
    if person is None or not person.verifier or person.verifier != command.checked:
        raise refuse("auth.failed")
    if not person.is_active:
        raise refuse("person.disabled")
    require_home(ctx, person.id)
    require_lease(ctx, Act.LOGIN)
    added = _device(ctx, person, command, policy.PASSWORD)
    ctx.actor = Actor(person.id, added.device)
    append(ctx, person.id, Kind.DEVICE_ADDED, added)
    return Accepted(person.id, added.device, added.expires_ms)


def renew_token(ctx: Context, command: RenewToken) -> Accepted:
    """Give a device a new token; codes: permission.denied for all but the site."""
    _site_only(ctx)
    person = target(ctx, command.who)
    if not person.is_active:
        raise refuse("person.disabled")
    added = _device(ctx, person, command, policy.SITE)
    _close_strangers_invites(ctx, person)
    append(ctx, person.id, Kind.DEVICE_ADDED, added)
    return Accepted(person.id, added.device, added.expires_ms)


def revoke_device(ctx: Context, command: RevokeDevice) -> Done:
    """Revoke one's own device, or anybody's as administrator; code: device.unknown."""
    person = target(ctx, command.who)
    for_oneself = person.id == ctx.actor.person
    require(ctx, command, *(() if for_oneself else (ADMINISTRATOR,)))
    reason = clean_text(command.reason, limits.REASON_CHARACTERS)
    _revoke(ctx, person, command.device, reason)
    return Done()


def revoke_own_device(ctx: Context, command: schema.Revoke) -> schema.Ok:
    """Revoke one of one's own devices from a session; code: device.unknown."""
    _revoke(ctx, acting(ctx), bytes(command.device), "")
    return schema.Ok(re=command.id)


def set_password(ctx: Context, command: SetPassword) -> schema.Ok:
    """Replace one's password and end the other sessions that began with the old one.

    Codes: auth.failed when the old verifier is no longer the present one, request.invalid.
    """
    person = target(ctx, command.who) if ctx.actor.is_site else acting(ctx)
    if not ctx.actor.is_site and (not person.verifier or person.verifier != command.checked):
        raise refuse("auth.failed")
    _check_verifier(command.verifier)
    _close_strangers_invites(ctx, person)
    append(ctx, person.id, Kind.PERSON_PASSWORD, PersonPassword(command.verifier))
    for device in person.live_devices(ctx.now):
        if device.method == policy.PASSWORD and device.id != ctx.actor.device:
            _revoke(ctx, person, device.id, PASSWORD_CHANGED)
    return schema.Ok(re=command.id)


def set_key(ctx: Context, command: SetKey) -> Done:
    """Replace one's signing key, signed with the old one; codes: request.invalid.

    Only the site gives a first key outside an invitation; a lost key takes ``ResetAccess``.
    """
    require(ctx, command)
    if command.who and not ctx.actor.is_site:
        raise refuse("permission.denied")
    person = target(ctx, command.who) if ctx.actor.is_site else acting(ctx)
    if not is_public_key(command.public_key):
        raise refuse("request.invalid")
    if command.public_key != person.public_key:
        _close_strangers_invites(ctx, person)
        body = PersonKey(command.public_key, ctx.actor.signed)
        append(ctx, person.id, Kind.PERSON_KEY, body)
    return Done()


def _site_only(ctx: Context) -> None:
    if not ctx.actor.is_site:
        raise refuse("permission.denied")


def _close_strangers_invites(ctx: Context, person: Person, used: bytes = b"") -> None:
    """Close what is still open when a person enrols: from now on only they invite themselves."""
    if person.is_enrolled:
        return
    for invite in person.open_invites(ctx.now):
        if invite.id != used:
            append(ctx, person.id, Kind.INVITE_CLOSED, InviteClosed(invite.id, used=False))


def _revoke(ctx: Context, person: Person, device: bytes, reason: str) -> None:
    known = person.devices.get(device)
    if known is None:
        raise refuse("device.unknown")
    if not known.revoked:
        body = DeviceRevoked(device, reason, ctx.actor.signed)
        append(ctx, person.id, Kind.DEVICE_REVOKED, body)


def _device(
    ctx: Context, person: Person, command: AcceptInvite | AddDevice | RenewToken, method: str
) -> DeviceAdded:
    """Return the body that adds the device, keeping its id if it is the person's and live.

    A client that lost its device, or never had one, is a new device: ids are never chosen
    from outside.
    """
    name = clean_text(command.name, limits.DEVICE_NAME_CHARACTERS)
    shared = not isinstance(command, RenewToken) and command.shared
    live = {device.id for device in person.live_devices(ctx.now)}
    known = command.device in live
    if not known and len(live) >= limits.DEVICES_PER_PERSON:
        raise refuse("device.limit")
    device = command.device if known else ctx.entropy.bytes(ID_BYTES)
    expires = ctx.now + ctx.directory.lifetimes.of(method, shared=shared).absolute_ms
    return DeviceAdded(device, name, _hash(command.token_hash), expires, shared, method)


def _hash(value: bytes) -> bytes:
    if len(value) != HASH_BYTES:
        raise refuse("request.invalid")
    return value


def _check_verifier(verifier: str) -> None:
    if not verifier.startswith("$argon2id$") or len(verifier) > limits.VERIFIER_CHARACTERS:
        raise refuse("request.invalid")


def _check_first_key(person: Person, public_key: bytes) -> None:
    """Refuse a key that is none, or that would replace another: who invites is not the owner."""
    if not is_public_key(public_key):
        raise refuse("request.invalid")
    if person.public_key not in (b"", public_key):
        raise refuse("person.key")
