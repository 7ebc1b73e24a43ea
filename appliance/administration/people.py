"""List people, devices, sessions and invitations, end sessions, and lift lockouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.directory.model import REMOVED, Device, Invite, Person
from transports.wire.errors import Refusal


class Who(Arguments, frozen=True):
    """A person, by login name or ``id:`` and hex."""

    who: str


class MaybeWho(Arguments, frozen=True):
    """One person, or (empty) everybody."""

    who: str = ""


class ListUsers(Arguments, frozen=True):
    """Which people: with ``removed`` also those who were removed for ever."""

    removed: bool = False


class EndSession(Arguments, frozen=True):
    """A person's sessions: of one device (hex), or (empty) of all."""

    who: str
    device: str = ""


def _person(host: Host, who: str) -> Person:
    found = host.site.core.directory.refer(who)
    if found is None:
        raise Refusal("person.unknown")
    return found


def _chosen(host: Host, who: str) -> Iterable[Person]:
    """Return one person, or everybody by login name."""
    if who:
        return [_person(host, who)]
    return sorted(host.site.core.directory.people(), key=lambda person: person.login)


def _now(host: Host) -> int:
    return host.site.ports.clock.wall_ms()


def _user(host: Host, person: Person) -> dict[str, Any]:
    now_ms = _now(host)
    return {
        "person": person.id.hex(),
        "login": person.login,
        "name": person.name,
        "unit": person.unit,
        "roles": sorted(person.roles),
        "state": person.state,
        "site": host.site.core.sites.name_of(person.home),
        "enrolled": person.is_enrolled,
        "devices": len(person.live_devices(now_ms)),
    }


def _device(person: Person, device: Device, online: int) -> dict[str, Any]:
    return {
        "login": person.login,
        "device": device.id.hex(),
        "name": device.name,
        "method": device.method,
        "shared": device.shared,
        "added_at": device.added_ms,
        "expires_at": device.expires_ms,
        "online": online,
    }


def _invite(person: Person, invite: Invite) -> dict[str, Any]:
    return {
        "invite": invite.id.hex(),
        "login": person.login,
        "created_at": invite.created_ms,
        "expires_at": invite.expires_ms,
    }


async def list_users(host: Host, arguments: ListUsers) -> Answer:
    """List people with roles and state."""
    people = (
        person for person in _chosen(host, "") if arguments.removed or person.state != REMOVED
    )
    return {"users": [_user(host, person) for person in people]}


async def show_user(host: Host, arguments: Who) -> Answer:
    """Show one person with devices and open invitations."""
    person = _person(host, arguments.who)
    return {
        **_user(host, person),
        "has_password": bool(person.verifier),
        "has_key": bool(person.public_key),
        "devices": list(_devices(host, [person])),
        "invites": [_invite(person, invite) for invite in person.open_invites(_now(host))],
    }


async def unlock(host: Host, arguments: Who) -> Answer:
    """Forget a person's failed logins, so that they may try again at once."""
    person = _person(host, arguments.who)
    return {"login": person.login, "unlocked": host.unlock(person.login)}


def _devices(host: Host, people: Iterable[Person]) -> Iterator[dict[str, Any]]:
    online: dict[tuple[bytes, bytes], int] = {}
    for session in host.gateway.sessions():
        key = (session.person, session.device)
        online[key] = online.get(key, 0) + 1
    for person in people:
        for device in person.live_devices(_now(host)):
            yield _device(person, device, online.get((person.id, device.id), 0))


async def list_devices(host: Host, arguments: MaybeWho) -> Answer:
    """List devices whose token is valid."""
    return {"devices": list(_devices(host, _chosen(host, arguments.who)))}


async def list_invites(host: Host, arguments: MaybeWho) -> Answer:
    """List invitations that can still be accepted."""
    return {
        "invites": [
            _invite(person, invite)
            for person in _chosen(host, arguments.who)
            for invite in person.open_invites(_now(host))
        ]
    }


async def list_sessions(host: Host, arguments: MaybeWho) -> Answer:
    """List live sessions."""
    directory = host.site.core.directory
    only = _person(host, arguments.who).id if arguments.who else b""
    rows = []
    for session in host.gateway.sessions():
        person = directory.person(session.person)
        if person is not None and (not only or person.id == only):
            rows.append(
                {
                    "login": person.login,
                    "device": session.device.hex(),
                    "method": session.method,
                    "carrier": session.carrier,
                    "address": session.peer,
                    "agent": session.agent,
                    "opened_at": session.opened_ms,
                    "idle_seconds": int(session.idle_seconds),
                }
            )
    return {"sessions": sorted(rows, key=lambda row: (str(row["login"]), str(row["device"])))}


async def end_sessions(host: Host, arguments: EndSession) -> Answer:
    """End live sessions; a device whose token is valid may come back."""
    person = _person(host, arguments.who)
    if not arguments.device:
        return {"ended": host.gateway.end_person(person.id, "auth.expired")}
    try:
        device = bytes.fromhex(arguments.device)
    except ValueError:
        raise Refusal("request.invalid") from None
    if device not in person.devices:
        raise Refusal("device.unknown")
    return {"ended": host.gateway.end_device(person.id, device, "auth.expired")}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "user.list": Operation(ListUsers, list_users),
    "user.show": Operation(Who, show_user),
    "user.unlock": Operation(Who, unlock),
    "device.list": Operation(MaybeWho, list_devices),
    "invite.list": Operation(MaybeWho, list_invites),
    "session.list": Operation(MaybeWho, list_sessions),
    "session.revoke": Operation(EndSession, end_sessions),
}
