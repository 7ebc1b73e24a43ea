"""Define the commands on branches, and their names where they are asked for by a request."""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.directory.commands import Command
from appliance.sites.lease import Ask, Grant

# --- requests: signed -------------------------------------------------------------------------


class InviteSite(Command, frozen=True):
    """Let a branch join under ``name``; the token stays with who asks, its hash comes here.

    Who is invited again before being approved gets another token; the old one is void.
    """

    name: str
    token_hash: bytes


class ApproveSite(Command, frozen=True):
    """Let the machine with this NodeId in, whose fingerprint was compared."""

    name: str
    node: bytes


class RevokeSite(Command, frozen=True):
    """Let the branch in no more, for ever."""

    name: str
    reason: str = ""


class ReprovisionSite(Command, frozen=True):
    """Reset the access of everybody whose credentials the revoked branch of that name held.

    ``people`` is how many they are: if it has changed since who signs looked, nothing is done.
    """

    name: str
    people: int
    reason: str = ""


REQUESTS: Final[dict[str, type[Command]]] = {
    "site.invite": InviteSite,
    "site.approve": ApproveSite,
    "site.revoke": RevokeSite,
    "site.reprovision": ReprovisionSite,
}
"""Signed requests by name."""

NAMES: Final = {kind: name for name, kind in REQUESTS.items()}


# --- by the site itself -------------------------------------------------------------------------


class JoinSite(Command, frozen=True):
    """At headquarters: a machine whose signature was checked has sent a token."""

    token_hash: bytes
    public_key: bytes
    address: str = ""
    ca: bytes = b""


class AdoptHeadquarters(Command, frozen=True):
    """At a branch: headquarters has let this site in, or renewed its certificate (DER)."""

    node: bytes
    public_key: bytes
    addresses: tuple[str, ...]
    ca: bytes
    organisation: str
    site: int
    name: str
    certificate: bytes
    tenant_secret: bytes


class MoveSite(Command, frozen=True):
    """At headquarters: a branch says that its people reach it elsewhere by now."""

    node: bytes
    address: str
    ca: bytes


class MeetHeadquarters(Command, frozen=True):
    """At a branch: headquarters is reached here (HOST:PORT) as well.

    ``is_first``: these are tried before those known, as somebody says who knows better.
    """

    addresses: tuple[str, ...]
    is_first: bool = False


class GrantLease(Command, frozen=True):
    """At a branch: headquarters has granted the lease that was asked for."""

    granted: Grant


class RecordGrant(Command, frozen=True):
    """At headquarters: grant a branch the lease that it asks for; replies ``Grant``."""

    node: bytes
    asked: Ask


class MarkLease(Command, frozen=True):
    """At a branch: note how old the lease is."""


# --- replies ------------------------------------------------------------------------------------


class Invited(msgspec.Struct, frozen=True):
    """The branch's number and name; ``expires_ms`` in Unix ms."""

    site: int
    name: str
    expires_ms: int


class Reprovisioned(msgspec.Struct, frozen=True):
    """The login names of those who have to enrol anew."""

    logins: tuple[str, ...]
