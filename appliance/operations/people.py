"""Define the bodies of operations on the site, people, their devices and invitations."""

from __future__ import annotations

from enum import IntEnum

from appliance.operations.base import UNSIGNED, BodyStruct, Signed


class SiteCreated(BodyStruct, frozen=True):
    """The site began: its Ed25519 public key (32 bytes) and its name."""

    public_key: bytes
    name: str


class SecretSlot(IntEnum):
    """Numbers of the site's secrets; stored.

    The CA's certificate (DER) is public, but belongs to its key; so does a branch's own, by
    which headquarters knows it.
    """

    SIGNING_SEED = 1
    CA_ENTROPY = 2
    TENANT = 3
    CA_CERTIFICATE = 4
    DAY_SEED = 5
    LINK_CERTIFICATE = 6


class SiteSecret(BodyStruct, frozen=True):
    """A secret of the site, by ``SecretSlot``."""

    slot: int
    value: bytes


class PersonCreated(BodyStruct, frozen=True):
    """A person came to be; profile and roles follow in their own operations."""

    person: bytes
    signed: Signed = UNSIGNED


class PersonProfile(BodyStruct, frozen=True):
    """Login name, display name and unit.

    ``past`` lists other units, each with the last position at which it was the person's (0: the
    one before this operation): what a policy or a hold says of them goes on.
    """

    login: str
    name: str
    unit: str
    signed: Signed = UNSIGNED
    past: tuple[tuple[str, int], ...] = ()


class PersonRoles(BodyStruct, frozen=True):
    """Access roles, sorted: member, administrator, security_officer, auditor.

    ``past`` lists other roles that the person had together, as ``PersonProfile`` does units.
    """

    roles: tuple[str, ...]
    signed: Signed = UNSIGNED
    past: tuple[tuple[tuple[str, ...], int], ...] = ()


class PersonState(BodyStruct, frozen=True):
    """active, disabled or removed."""

    state: str
    reason: str = ""
    signed: Signed = UNSIGNED


class PersonPassword(BodyStruct, frozen=True):
    """Argon2id verifier in PHC string form; empty when the password is withdrawn."""

    verifier: str


class PersonKey(BodyStruct, frozen=True):
    """Ed25519 public key (32 bytes) with which the person signs privileged requests."""

    public_key: bytes
    signed: Signed = UNSIGNED


class PersonReset(BodyStruct, frozen=True):
    """Password, key, devices and invitations up to here are void: the person enrols anew."""

    reason: str = ""
    signed: Signed = UNSIGNED


class DeviceAdded(BodyStruct, frozen=True):
    """A device: id, name, SHA-256 of its token, expiry (Unix ms, 0: policy), and how it came.

    ``method`` is invite or password; a password device's token is a session of at most 12 h.
    """

    device: bytes
    name: str
    token_hash: bytes
    expires_ms: int
    shared: bool
    method: str


class DeviceRevoked(BodyStruct, frozen=True):
    """The device's token is void from now on."""

    device: bytes
    reason: str = ""
    signed: Signed = UNSIGNED


class InviteCreated(BodyStruct, frozen=True):
    """A one-time invitation for this person: id (16), SHA-256 of the code, expiry (Unix ms)."""

    invite: bytes
    code_hash: bytes
    expires_ms: int
    signed: Signed = UNSIGNED


class InviteClosed(BodyStruct, frozen=True):
    """An invitation was used or revoked."""

    invite: bytes
    used: bool
    signed: Signed = UNSIGNED
