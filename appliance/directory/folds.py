"""Fold each kind of operation into a person: pure functions from old to new.

Folding is last-writer-wins by register and order, and only looks at the operation: folding
all operations, or only the newest of each register in the same order, gives the same person.
That is why a change of state voids every device and invitation before it: when it is folded
at start, what it ended may have been superseded already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from appliance.directory.model import Device, Invite, Person, frozen
from appliance.operations import (
    DeviceAdded,
    DeviceRevoked,
    InviteClosed,
    InviteCreated,
    Kind,
    PersonHome,
    PersonKey,
    PersonPassword,
    PersonProfile,
    PersonRoles,
    PersonState,
)
from store.oplog import Op

_NO_INVITES: Mapping[bytes, Invite] = frozen({})


def _created(person: Person, _op: Op, _body: Any) -> Person:
    return person


def _profile(person: Person, op: Op, body: PersonProfile) -> Person:
    past = tuple((unit, until or op.pos - 1) for unit, until in body.past)
    return replace(person, login=body.login, name=body.name, unit=body.unit, past_units=past)


def _roles(person: Person, op: Op, body: PersonRoles) -> Person:
    past = tuple((frozenset(roles), until or op.pos - 1) for roles, until in body.past)
    return replace(person, roles=frozenset(body.roles), past_roles=past)


def _state(person: Person, op: Op, body: PersonState) -> Person:
    return replace(_void(person, op), state=body.state)


def _password(person: Person, _op: Op, body: PersonPassword) -> Person:
    return replace(person, verifier=body.verifier, is_enrolled=True)


def _key(person: Person, _op: Op, body: PersonKey) -> Person:
    return replace(person, public_key=body.public_key, is_enrolled=True)


def _reset(person: Person, op: Op, _body: Any) -> Person:
    return replace(_void(person, op), verifier="", public_key=b"", is_enrolled=False, past_homes=())


def _home(person: Person, _op: Op, body: PersonHome) -> Person:
    return replace(person, home=body.node, past_homes=body.past)


def _device_added(person: Person, op: Op, body: DeviceAdded) -> Person:
    now = op.received_ms
    device = Device(
        body.device,
        body.name,
        body.token_hash,
        now,
        body.expires_ms,
        body.shared,
        body.method,
    )
    kept = {each.id: each for each in person.devices.values() if now < each.expires_ms}
    return replace(person, devices=frozen(kept | {device.id: device}), is_enrolled=True)


def _device_revoked(person: Person, _op: Op, body: DeviceRevoked) -> Person:
    device = person.devices.get(body.device)
    if device is None:
        return person
    revoked = {device.id: replace(device, revoked=True)}
    return replace(person, devices=frozen({**person.devices, **revoked}))


def _invite_created(person: Person, op: Op, body: InviteCreated) -> Person:
    now = op.received_ms
    invite = Invite(body.invite, person.id, body.code_hash, now, body.expires_ms)
    kept = {each.id: each for each in person.invites.values() if now < each.expires_ms}
    return replace(person, invites=frozen(kept | {invite.id: invite}))


def _invite_closed(person: Person, _op: Op, body: InviteClosed) -> Person:
    kept = {each.id: each for each in person.invites.values() if each.id != body.invite}
    return replace(person, invites=frozen(kept))


def _void(person: Person, op: Op) -> Person:
    """Revoke every device and drop every invitation."""
    revoked = {each.id: replace(each, revoked=True) for each in person.devices.values()}
    return replace(person, devices=frozen(revoked), invites=_NO_INVITES, ended_pos=op.pos)


FOLDS: Final[Mapping[int, Callable[[Person, Op, Any], Person]]] = {
    Kind.PERSON_CREATED: _created,
    Kind.PERSON_PROFILE: _profile,
    Kind.PERSON_ROLES: _roles,
    Kind.PERSON_STATE: _state,
    Kind.PERSON_PASSWORD: _password,
    Kind.PERSON_KEY: _key,
    Kind.PERSON_RESET: _reset,
    Kind.PERSON_HOME: _home,
    Kind.DEVICE_ADDED: _device_added,
    Kind.DEVICE_REVOKED: _device_revoked,
    Kind.INVITE_CREATED: _invite_created,
    Kind.INVITE_CLOSED: _invite_closed,
}
"""What each kind does to the person in whose stream it stands."""
