"""Make and refresh the demo organisation: people, policy, a group, profiles without passwords."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.places import profiles

if TYPE_CHECKING:
    from appliance.directory.model import Person
    from appliance.site import Site
    from client.profile import Profile

NAME: Final = "Demo hospital"
GROUP: Final = "Ward 3"
GROUP_MEMBERS: Final = ("alice", "bob", "carol")
PRESET: Final = "hospital"


@dataclass(frozen=True, slots=True)
class Somebody:
    """A person of the demo."""

    login: str
    name: str
    unit: str
    role: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """Return the access roles."""
        return ("member", self.role) if self.role else ("member",)


PEOPLE: Final = (
    Somebody("alice", "Alice Moreau", "Ward 3"),
    Somebody("bob", "Bob Lindqvist", "Ward 3"),
    Somebody("carol", "Carol Okafor", "Ward 3"),
    Somebody("dave", "Dave Tanaka", "Security", "security_officer"),
    Somebody("erin", "Erin Castellanos", "Security", "security_officer"),
    Somebody("frank", "Frank Novak", "Audit", "auditor"),
    Somebody("grace", "Grace Abebe", "IT", "administrator"),
)


def populate(site: Site) -> None:
    """Add whoever and whatever of the demo is not there yet."""
    from appliance.context import SITE
    from appliance.directory.commands import CreatePerson

    for each in PEOPLE:
        if site.core.directory.resolve(each.login) is None:
            site.run(SITE, CreatePerson(each.login, each.name, each.unit, each.roles))
    _set_policy(site)


def _set_policy(site: Site) -> None:
    """Set the hospital's policy, unless there is one; nothing cools off, so that it can be tried.

    An organisation that is not a demo has a day, or what it sets itself, in which to object.
    """
    from msgspec.structs import replace

    from appliance.context import SITE
    from appliance.disposal.commands import SetPolicy
    from appliance.policy.presets import PRESETS
    from appliance.policy.text import write_policy

    if not site.core.disposal.policies.number:
        text = write_policy(replace(PRESETS[PRESET], cooling_ms=0))
        site.run(SITE, SetPolicy(text, 0, "demo"))


def open_group(site: Site) -> None:
    """Open the demo's group in the name of its first member, unless it is there."""
    from appliance.context import Actor
    from transports.wire.schema import Id, Open

    owner, *others = [_person(site, login) for login in GROUP_MEMBERS]
    conversations = site.core.conversations
    mine = (conversations.get(each) for each in conversations.ever(owner.id))
    if any(each is not None and each.title == GROUP for each in mine):
        return
    actor = Actor(owner.id, next(iter(owner.devices)))
    members = tuple(Id(person.id) for person in others)
    site.run(actor, Open(id=1, kind="group", members=members, title=GROUP, history=True))


def renew_profiles(site: Site, data: Path, server: str) -> None:
    """Make each person's profile, or make its token valid again; before any port is open.

    Args:
        site: the opened store.
        data: the data directory, in which the profiles are.
        server: HOST:PORT where the demo listens.
    """
    from client.profile import Profile

    for each in PEOPLE:
        person = _person(site, each.login)
        if person.is_active:
            _renew(site, person, Profile(profiles(data) / each.login), server)


def _renew(site: Site, person: Person, profile: Profile, server: str) -> None:
    """Keep what the profile has, token and key, as far as it has them.

    The token stays the same: messages that wait in the profile are sealed under it.
    """
    from appliance.certificates import ca_fingerprint, ca_pem
    from appliance.context import SITE
    from appliance.directory.codes import TOKEN_BYTES, token_hash
    from appliance.directory.commands import RenewToken
    from client.profile import Account

    known = profile.account if profile.exists else None
    token = known.token if known else os.urandom(TOKEN_BYTES).hex()
    key = known.key if known and known.key else profile.new_key(os.urandom(32))
    hashed = token_hash(bytes.fromhex(token))
    command = RenewToken(person.login, hashed, known.device if known else b"", "demo")
    granted = site.run(SITE, command)
    account = Account(
        server=f"strongroom://{person.login}@{server}",
        login=person.login,
        name=person.name,
        person=person.id,
        device=granted.device,
        token=token,
        pin=ca_fingerprint(site.core),
        ca_pem=ca_pem(site.core).decode("ascii"),
        key=key,
    )
    if account != known:
        profile.save(account)
    _give_key(site, person, profile)


def _give_key(site: Site, person: Person, profile: Profile) -> None:
    """Tell the site the profile's signing key; one under a passphrase stays as it is known."""
    from appliance.context import SITE
    from appliance.directory.commands import SetKey

    if not profile.needs_passphrase and profile.public_key() != person.public_key:
        site.run(SITE, SetKey(profile.public_key(), person.login))


def _person(site: Site, login: str) -> Person:
    found = site.core.directory.resolve(login)
    assert found is not None
    return found
