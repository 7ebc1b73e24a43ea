"""Decide about people: who exists, what they are called, which roles and state they have."""

from __future__ import annotations

from typing import TypeVar

from appliance.context import Context, refuse
from appliance.directory import limits
from appliance.directory.commands import (
    CreatePerson,
    Done,
    Known,
    ResetAccess,
    SetHome,
    SetProfile,
    SetRoles,
    SetState,
)
from appliance.directory.model import ACTIVE, DISABLED, REMOVED, Person
from appliance.directory.names import clean_login, clean_name, clean_text
from appliance.directory.rights import require, target
from appliance.directory.roles import (
    ADMINISTRATOR,
    EXCLUSIVE,
    INDISPENSABLE,
    SECURITY_OFFICER,
    clean_roles,
    givers,
)
from appliance.operations import (
    BodyStruct,
    Kind,
    PersonCreated,
    PersonHome,
    PersonProfile,
    PersonReset,
    PersonRoles,
    PersonState,
    Signed,
)
from appliance.sites.authority import require_lease
from appliance.sites.lease import Act
from store.ids import ID_BYTES, Stream, StreamKind

T = TypeVar("T")

TRANSITIONS = {ACTIVE: {DISABLED, REMOVED}, DISABLED: {ACTIVE, REMOVED}, REMOVED: set[str]()}
"""The states that may follow each; a removed person never comes back under the same id."""

_STATE_ACTS = {ACTIVE: Act.GRANT, DISABLED: Act.PRESERVE, REMOVED: Act.DESTROY}


def create_person(ctx: Context, command: CreatePerson) -> Known:
    """Add a person at home where they are added, or at the branch named.

    Codes: person.login, person.exists, person.name, person.roles, person.limit, site.unknown,
    site.not_headquarters (also for an office given at a branch), site.lease.
    """
    roles = clean_roles(command.roles)
    require(ctx, command, ADMINISTRATOR, *givers(frozenset(), roles))
    _at_headquarters(ctx, roles)
    require_lease(ctx, Act.GRANT)
    if len(ctx.directory) >= limits.PERSONS:
        raise refuse("person.limit")
    login = _free_login(ctx, command.login)
    name = clean_name(command.name)
    unit = clean_text(command.unit, limits.NAME_CHARACTERS)
    home = _node(ctx, command.site) if command.site else ctx.sites.own_home
    person = ctx.entropy.bytes(ID_BYTES)
    signed = ctx.actor.signed
    append(ctx, person, Kind.PERSON_CREATED, PersonCreated(person, signed))
    append(ctx, person, Kind.PERSON_PROFILE, PersonProfile(login, name, unit, signed))
    append(ctx, person, Kind.PERSON_ROLES, PersonRoles(tuple(sorted(roles)), signed))
    if home:
        append(ctx, person, Kind.PERSON_HOME, PersonHome(home, signed))
    return Known(person)


def set_profile(ctx: Context, command: SetProfile) -> Known:
    """Change what a person is called; codes: person.login, person.exists, person.name, .state."""
    require(ctx, command, ADMINISTRATOR)
    person = _present(ctx, command.who)
    login, name, unit = person.login, person.name, person.unit
    if command.login is not None:
        login = _free_login(ctx, command.login, person)
    if command.name is not None:
        name = clean_name(command.name)
    if command.unit is not None:
        unit = clean_text(command.unit, limits.NAME_CHARACTERS)
    if (login, name, unit) != (person.login, person.name, person.unit):
        past = _past(person.past_units, person.unit, unit)
        body = PersonProfile(login, name, unit, ctx.actor.signed, past)
        append(ctx, person.id, Kind.PERSON_PROFILE, body)
    return Known(person.id)


def set_roles(ctx: Context, command: SetRoles) -> Done:
    """Replace a person's roles; it takes the givers of every role that changes.

    Codes: person.roles, person.state, permission.denied, person.last_administrator,
    person.last_officer, site.not_headquarters for an office given at a branch, site.lease.
    """
    roles = clean_roles(command.roles)
    person = target(ctx, command.who)
    needed = givers(person.roles, roles) or {ADMINISTRATOR}
    require(ctx, command, *needed)
    person = _present(ctx, command.who)
    if roles == person.roles:
        return Done()
    _at_headquarters(ctx, roles - person.roles)
    if roles - person.roles:
        require_lease(ctx, Act.GRANT)
    _keep_indispensable(ctx, person, person.roles - roles)
    past = tuple(
        (tuple(sorted(each)), until)
        for each, until in _past(person.past_roles, person.roles, frozenset(roles))
    )
    body = PersonRoles(tuple(sorted(roles)), ctx.actor.signed, past)
    append(ctx, person.id, Kind.PERSON_ROLES, body)
    return Done()


def set_state(ctx: Context, command: SetState) -> Done:
    """Disable, enable or remove; codes: request.invalid, person.state, person.last_..."""
    require(ctx, command, ADMINISTRATOR)
    person = target(ctx, command.who)
    reason = clean_text(command.reason, limits.REASON_CHARACTERS)
    if command.state not in TRANSITIONS:
        raise refuse("request.invalid")
    if command.state == person.state:
        return Done()
    if command.state not in TRANSITIONS[person.state]:
        raise refuse("person.state")
    require_lease(ctx, _STATE_ACTS[command.state])
    if command.state != ACTIVE:
        _keep_indispensable(ctx, person, person.roles)
    body = PersonState(command.state, reason, ctx.actor.signed)
    append(ctx, person.id, Kind.PERSON_STATE, body)
    return Done()


def set_home(ctx: Context, command: SetHome) -> Done:
    """Move a person to a branch, or to headquarters, which alone decides it.

    Codes: site.unknown, site.not_headquarters, person.state, person.last_...
    """
    require(ctx, command, ADMINISTRATOR)
    person = _present(ctx, command.who)
    home = _node(ctx, command.site)
    if home == person.home:
        return Done()
    if home:
        _keep_indispensable(ctx, person, person.roles)
    append(ctx, person.id, Kind.PERSON_HOME, moved(person, home, ctx.actor.signed))
    return Done()


def moved(person: Person, home: bytes, signed: Signed) -> PersonHome:
    """Return the body that moves a person: the branch they leave still knows their credentials."""
    past = (*(each for each in person.past_homes if each not in (home, person.home)),)
    return PersonHome(home, signed, (*past, person.home) if person.home else past)


def reset_access(ctx: Context, command: ResetAccess) -> Done:
    """Void a person's credentials; codes: permission.denied (also for oneself), person.state.

    Also person.last_...: who would be left to invite the last administrator?
    """
    require(ctx, command, SECURITY_OFFICER)
    person = _present(ctx, command.who)
    if person.id == ctx.actor.person:
        raise refuse("permission.denied")
    _keep_indispensable(ctx, person, person.roles)
    reason = clean_text(command.reason, limits.REASON_CHARACTERS)
    append(ctx, person.id, Kind.PERSON_RESET, PersonReset(reason, ctx.actor.signed))
    return Done()


def append(ctx: Context, person: bytes, kind: Kind, body: BodyStruct) -> None:
    """Append an operation to a person's stream."""
    ctx.append(kind, body, stream=Stream(StreamKind.PERSON, person))


def _at_headquarters(ctx: Context, given: frozenset[str]) -> None:
    """Refuse an office that is given at a branch: only headquarters names those who hold one."""
    if ctx.sites.is_branch and given & EXCLUSIVE and not ctx.actor.is_site:
        raise refuse("site.not_headquarters")


def _past(past: tuple[tuple[T, int], ...], before: T, after: T) -> tuple[tuple[T, int], ...]:
    """Return what somebody had beside ``after``, each once: what they had before until now."""
    if before == after:
        return past
    return (*(each for each in past if each[0] not in (before, after)), (before, 0))


def _present(ctx: Context, who: str) -> Person:
    person = target(ctx, who)
    if person.state == REMOVED:
        raise refuse("person.state")
    return person


def _free_login(ctx: Context, text: str, owner: Person | None = None) -> str:
    """Return the clean login name; a removed person keeps theirs, so that it names one person."""
    login = clean_login(text)
    holder = ctx.directory.resolve(login)
    if holder is not None and (owner is None or holder.id != owner.id):
        raise refuse("person.exists")
    return login


def _node(ctx: Context, site: str) -> bytes:
    """Return the NodeId of a branch that people can be at home at; empty for headquarters."""
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")
    if not site:
        return b""
    branch = ctx.sites.named(site)
    if branch is None or not branch.is_approved:
        raise refuse("site.unknown")
    return branch.node


def _keep_indispensable(ctx: Context, person: Person, losing: frozenset[str]) -> None:
    """Refuse to lose the last active holder of a role that nobody else could give back.

    Only those at home at headquarters count: a branch may be cut off, or stolen.
    """
    if not person.is_active or person.home:
        return
    for role, code in INDISPENSABLE.items():
        holders = [each for each in ctx.directory.holders(role) if not each.home]
        if role in losing and len(holders) <= 1:
            raise refuse(code)
