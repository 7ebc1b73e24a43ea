"""Check who may decide a command: the site, a signed request of a role, or the person."""

from __future__ import annotations

import msgspec

from appliance.context import Context, refuse
from appliance.directory.commands import Command, request_of
from appliance.directory.model import Person
from appliance.directory.requests import read_request, verify_request


def require(ctx: Context, command: Command, *roles: str) -> None:
    """Let the site pass, and a person who has all ``roles`` and signed this very command.

    Raises ``Refusal``: "permission.denied" without the roles, "request.signature" when the
    signature, checked against the key of this moment, is missing or for anything else.
    """
    if ctx.actor.is_site:
        return
    person = acting(ctx)
    if not ctx.sites.offices(person).issuperset(roles):
        raise refuse("permission.denied")
    check_signature(ctx, person, request_of(command)[0], command)


def check_signature(ctx: Context, person: Person, name: str, command: msgspec.Struct) -> None:
    """Check that ``person`` signed the request ``name`` with just the arguments of ``command``.

    That the challenge was fresh and the node is this one is for who received the request.
    Raises ``Refusal`` ("request.signature").
    """
    signed = ctx.actor.signed
    if not verify_request(person.public_key, signed.request, signed.signature):
        raise refuse("request.signature")
    request = read_request(signed.request)
    if (request.person, request.command) != (person.id, name):
        raise refuse("request.signature")
    try:
        meant = msgspec.json.decode(request.arguments, type=type(command))
    except (ValueError, RecursionError):
        raise refuse("request.signature") from None
    if meant != command:
        raise refuse("request.signature")


def acting(ctx: Context) -> Person:
    """Return the person who asks; raises ``Refusal`` ("permission.denied") for nobody active."""
    person = ctx.directory.person(ctx.actor.person)
    if person is None or not person.is_active:
        raise refuse("permission.denied")
    return person


def target(ctx: Context, who: str) -> Person:
    """Return the person a command is about; raises ``Refusal`` ("person.unknown")."""
    person = ctx.directory.refer(who)
    if person is None:
        raise refuse("person.unknown")
    return person
