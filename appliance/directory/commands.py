"""Define the directory's commands, and their names where they are asked for by a request.

``who`` is a login name, or ``id:`` and 32 hex digits. Requests are signed by the person who
asks; the other commands come from the sign-in itself, after its own proof was checked.
"""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.directory.limits import INVITE_HOURS
from appliance.directory.requests import canonical_json
from appliance.directory.roles import MEMBER
from transports.wire.errors import Refusal


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the commands; its repr shows no argument."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# --- requests: signed, or by the site itself at init ------------------------------------------


class CreatePerson(Command, frozen=True):
    """Add a person; roles of officers are given afterwards, by a security officer.

    ``site`` is the name of the branch where they will be at home, empty for headquarters. Who is
    added at a branch is at home there.
    """

    login: str
    name: str
    unit: str = ""
    roles: tuple[str, ...] = (MEMBER,)
    site: str = ""


class SetProfile(Command, frozen=True):
    """Change login name, display name or unit; None leaves it."""

    who: str
    login: str | None = None
    name: str | None = None
    unit: str | None = None


class SetRoles(Command, frozen=True):
    """Replace the person's roles."""

    who: str
    roles: tuple[str, ...]


class SetState(Command, frozen=True):
    """Make the person active, disabled or (for ever) removed.

    Every device and invitation from before is void at once.
    """

    who: str
    state: str
    reason: str = ""


class SetHome(Command, frozen=True):
    """Let the person be at home at the branch of that name, or (empty) at headquarters."""

    who: str
    site: str = ""


class ResetAccess(Command, frozen=True):
    """Void password, key, devices and invitations, so that the person can be invited anew.

    It takes a security officer other than the person; the new invitation takes an
    administrator. Nobody alone can get into somebody's account.
    """

    who: str
    reason: str = ""


class CreateInvite(Command, frozen=True):
    """Open a one-time invitation; the code stays with who asks, only its hash comes here.

    An administrator invites who has not enrolled yet; an enrolled person invites themselves
    (a further device).
    """

    who: str
    code_hash: bytes
    valid_hours: int = INVITE_HOURS


class RevokeInvite(Command, frozen=True):
    """Close an open invitation (16-byte id)."""

    invite: bytes


class RevokeDevice(Command, frozen=True):
    """Revoke a device (16-byte id): one's own, or anybody's as administrator."""

    who: str
    device: bytes
    reason: str = ""


class SetKey(Command, frozen=True):
    """Replace one's signing key, signed with the old one; ``who`` is for the site alone."""

    public_key: bytes
    who: str = ""


REQUESTS: Final[dict[str, type[Command]]] = {
    "person.create": CreatePerson,
    "person.profile": SetProfile,
    "person.roles": SetRoles,
    "person.state": SetState,
    "person.reset": ResetAccess,
    "person.home": SetHome,
    "person.key": SetKey,
    "invite.create": CreateInvite,
    "invite.revoke": RevokeInvite,
    "device.revoke": RevokeDevice,
}
"""The commands that can be asked for by a signed request; no other may be read from outside."""

_NAMES: Final = {command: name for name, command in REQUESTS.items()}


def request_of(command: Command) -> tuple[str, str]:
    """Return the name and the arguments, as canonical JSON, under which a command is signed."""
    return _NAMES[type(command)], canonical_json(command)


def read_command(name: str, arguments: str) -> Command:
    """Read a command; raises ``Refusal`` ("request.unknown" or "request.invalid")."""
    kind = REQUESTS.get(name)
    if kind is None:
        raise Refusal("request.unknown")
    try:
        return msgspec.json.decode(arguments, type=kind)
    except (ValueError, RecursionError):
        raise Refusal("request.invalid") from None


# --- sign-in: built by the gateway after its checks, never read from outside --------------------


class AcceptInvite(Command, frozen=True):
    """Use an invitation up and enrol: a device, and a password and signing key if given.

    ``device`` is the id the client already has, or empty; ``verifier`` comes from
    ``appliance.credentials`` or is empty.
    """

    code_hash: bytes
    token_hash: bytes
    device: bytes = b""
    name: str = ""
    shared: bool = False
    verifier: str = ""
    public_key: bytes = b""


class AddDevice(Command, frozen=True):
    """Add a device after a password login; ``checked`` is the verifier that was checked."""

    person: bytes
    checked: str
    token_hash: bytes
    device: bytes = b""
    name: str = ""
    shared: bool = False


class SetPassword(Command, frozen=True):
    """Replace one's password; ``checked`` is the old verifier, whose password was checked.

    ``id`` is the client's request id. The site sets the password of ``who``. All other
    devices that signed in by password must do so again.
    """

    verifier: str
    checked: str = ""
    id: int = 0
    who: str = ""


class RenewToken(Command, frozen=True):
    """Give a device a new token; the site alone may (the demo, at each start)."""

    who: str
    token_hash: bytes
    device: bytes = b""
    name: str = ""


# --- replies --------------------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True):
    """The command is on disk, or there was nothing to change."""


class Known(msgspec.Struct, frozen=True):
    """The person it was about."""

    person: bytes


class Invited(msgspec.Struct, frozen=True):
    """The invitation; ``expires_ms`` in Unix ms."""

    invite: bytes
    person: bytes
    expires_ms: int


class Accepted(msgspec.Struct, frozen=True):
    """Who has signed in, and on which device; ``expires_ms`` of its token, in Unix ms."""

    person: bytes
    device: bytes
    expires_ms: int
