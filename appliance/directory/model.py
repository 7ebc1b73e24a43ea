"""Define what the directory holds in memory: people, their devices and invitations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from appliance.directory.roles import MEMBER

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
REMOVED: Final = "removed"

T = TypeVar("T")


def frozen(items: Mapping[bytes, T]) -> Mapping[bytes, T]:
    """Return a read-only copy."""
    return MappingProxyType(dict(items))


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a person; times in Unix ms. ``token_hash`` is SHA-256 of its token.

    A revoked device is kept until it would have expired, so that its owner is told why.
    """

    id: bytes
    name: str = field(repr=False)
    token_hash: bytes = field(repr=False)
    added_ms: int
    expires_ms: int
    shared: bool
    method: str
    revoked: bool = False

    def is_live(self, now_ms: int) -> bool:
        """Tell whether its token is valid."""
        return not self.revoked and now_ms < self.expires_ms


@dataclass(frozen=True, slots=True)
class Invite:
    """An open invitation; times in Unix ms."""

    id: bytes
    person: bytes
    code_hash: bytes = field(repr=False)
    created_ms: int
    expires_ms: int


def _no_devices() -> Mapping[bytes, Device]:
    return frozen({})


def _no_invites() -> Mapping[bytes, Invite]:
    return frozen({})


@dataclass(frozen=True, slots=True)
class Person:
    """A person as known here; names and credentials never appear in its repr.

    ``verifier`` and ``public_key`` are empty when there is none. ``is_enrolled``: has had a
    credential of their own since the beginning, or since the last reset of access. ``past_units``
    and ``past_roles`` are other ones, each with the last position at which it was theirs.
    ``home`` is the NodeId of the branch where they sign in, empty for headquarters;
    ``past_homes`` are branches that still know credentials of theirs. ``ended_pos`` is where all
    their credentials ended last.
    """

    id: bytes
    pseudonym: int
    login: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    unit: str = field(default="", repr=False)
    roles: frozenset[str] = frozenset()
    state: str = ACTIVE
    verifier: str = field(default="", repr=False)
    public_key: bytes = field(default=b"", repr=False)
    is_enrolled: bool = False
    devices: Mapping[bytes, Device] = field(default_factory=_no_devices, repr=False)
    invites: Mapping[bytes, Invite] = field(default_factory=_no_invites, repr=False)
    past_units: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    past_roles: tuple[tuple[frozenset[str], int], ...] = ()
    home: bytes = b""
    past_homes: tuple[bytes, ...] = ()
    ended_pos: int = 0

    @property
    def is_active(self) -> bool:
        """Whether the person may act at all."""
        return self.state == ACTIVE

    @property
    def is_officer(self) -> bool:
        """Whether the person has any role beyond ``member``."""
        return not self.roles <= {MEMBER}

    def live_devices(self, now_ms: int) -> list[Device]:
        """Return the devices with a valid token, oldest first."""
        live = (device for device in self.devices.values() if device.is_live(now_ms))
        return sorted(live, key=lambda device: (device.added_ms, device.id))

    def open_invites(self, now_ms: int) -> list[Invite]:
        """Return the invitations that can still be accepted, oldest first."""
        still = (invite for invite in self.invites.values() if now_ms < invite.expires_ms)
        return sorted(still, key=lambda invite: (invite.created_ms, invite.id))
