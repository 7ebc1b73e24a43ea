"""Manage people: lists need the socket alone, changes a signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, pairs, say, table
from cli.places import data_directory
from cli.signing import Person, SignedSession

ROLES = ("member", "administrator", "security_officer", "auditor")


@click.group(cls=Group)
def user() -> None:
    """Manage people.

    Changes are signed: --as names who asks, and the key in their profile signs. Administrators
    manage people; security officers give and take the roles of officers and auditors.
    """


@subcommand(user, "list", example="strongroom user list --json")
@click.option("--removed", is_flag=True, help="Also those removed for ever.")
def list_users(data: Path | None, removed: bool, as_json: bool) -> None:
    """List people with roles and state."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("user.list", {"removed": removed})
    if as_json:
        emit_json("user.list", answer)
    else:
        columns = ("login", "name", "unit", "roles", "state", "site", "enrolled", "devices")
        say(table(answer["users"], columns))


@subcommand(user, "show", example="strongroom user show alice")
@click.argument("login")
def show(data: Path | None, login: str, as_json: bool) -> None:
    """Show one person with devices and open invitations."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("user.show", {"who": login})
    if as_json:
        emit_json("user.show", answer)
        return
    devices, invites = answer.pop("devices"), answer.pop("invites")
    say(pairs(answer))
    if devices:
        say("")
        say(table(devices, ("device", "name", "method", "shared", "expires_at", "online")))
    if invites:
        say("")
        say(table(invites, ("invite", "created_at", "expires_at")))


@subcommand(
    user, "create", example='strongroom user create bob --name "Bob Chen" --invite --as grace'
)
@acting
@click.argument("login")
@click.option("--name", required=True, help="Display name.")
@click.option("--unit", default="", help="Ward, branch or department.")
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(ROLES), help="Repeat.  [default: member]"
)
@click.option("--site", default="", metavar="NAME", help="The branch where they are at home.")
@click.option("--invite", is_flag=True, help="Also make their one-time invitation.")
@click.option("--qr", is_flag=True, help="Also draw it as a QR code.")
@click.option("--valid-hours", type=click.IntRange(1, 720), default=72, show_default=True)
def create(data: Path | None, who: Person, as_json: bool, **given: Any) -> None:
    """Add a person, and invite them if asked."""
    from appliance.directory.commands import CreatePerson
    from cli import links

    roles = given["roles"] or ("member",)
    with SignedSession(who, data) as session:
        command = CreatePerson(given["login"], given["name"], given["unit"], roles, given["site"])
        answer: dict[str, Any] = {"login": given["login"], **session.directory(command)}
        issued = (
            links.issue(session, given["login"], given["valid_hours"])
            if given["invite"] or given["qr"]
            else None
        )
    if as_json:
        emit_json("user.create", answer | ({"invitation": issued.as_json()} if issued else {}))
        return
    say(f"{given['login']} is added.")
    if issued:
        links.tell(issued, qr=given["qr"])


@subcommand(user, "rename", example='strongroom user rename bob --name "Bob Li" --as grace')
@acting
@click.argument("login")
@click.option("--login", "new_login", help="New login name.")
@click.option("--name", help="New display name.")
@click.option("--unit", help="New unit.")
def rename(
    data: Path | None,
    who: Person,
    login: str,
    new_login: str | None,
    name: str | None,
    unit: str | None,
    as_json: bool,
) -> None:
    """Change a person's login name, display name or unit."""
    from appliance.directory.commands import SetProfile

    if (new_login, name, unit) == (None, None, None):
        raise click.UsageError("nothing to change: give --login, --name or --unit")
    with SignedSession(who, data) as session:
        answer = session.directory(SetProfile(login, new_login, name, unit))
    _done("user.rename", answer, f"{new_login or login} is renamed.", as_json=as_json)


@subcommand(
    user, "roles", example="strongroom user roles dave --role member --role auditor --as erin"
)
@acting
@click.argument("login")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(ROLES),
    help="The roles from now on; repeat.",
)
def set_roles(
    data: Path | None, who: Person, login: str, roles: tuple[str, ...], as_json: bool
) -> None:
    """Replace a person's roles; none may both act and erase the trace."""
    from appliance.directory.commands import SetRoles

    with SignedSession(who, data) as session:
        session.directory(SetRoles(login, roles))
    done = f"{login} is {', '.join(roles)}."
    _done("user.roles", {"login": login, "roles": list(roles)}, done, as_json=as_json)


@subcommand(user, "move", example="strongroom user move bob north --as grace")
@acting
@click.argument("login")
@click.argument("site", required=False, default="")
def move(data: Path | None, who: Person, login: str, site: str, as_json: bool) -> None:
    """Let a person be at home at the branch SITE, or without one at headquarters.

    They sign in where they are at home; their credentials are kept there and at headquarters.
    """
    from appliance.directory.commands import SetHome

    with SignedSession(who, data) as session:
        session.directory(SetHome(login, site))
    done = f"{login} is at home at {site or 'headquarters'}."
    _done("user.move", {"login": login, "site": site}, done, as_json=as_json)


def _state(name: str, state: str, summary: str) -> None:
    """Declare the command that brings a person into a state."""

    @subcommand(user, name, example=f'strongroom user {name} bob --reason "..." --as grace')
    @acting
    @click.argument("login")
    @click.option("--reason", default="", help="Why; it stands in the log, sealed.")
    def change(data: Path | None, who: Person, login: str, reason: str, as_json: bool) -> None:
        from appliance.directory.commands import SetState

        with SignedSession(who, data) as session:
            session.directory(SetState(login, state, reason))
        answer = {"login": login, "state": state}
        _done(f"user.{name}", answer, f"{login} is {state}.", as_json=as_json)

    change.help = summary


_state("disable", "disabled", "End all of a person's sessions and let them in no more.")
_state("enable", "active", "Let a disabled person in again.")
_state("remove", "removed", "Remove a person for ever; what they wrote stays.")


@subcommand(user, "reset", example='strongroom user reset bob --reason "lost phone" --as dave')
@acting
@click.argument("login")
@click.option("--reason", default="", help="Why; it stands in the log, sealed.")
def reset(data: Path | None, who: Person, login: str, reason: str, as_json: bool) -> None:
    """Void a person's password, key, devices and invitations, so that they can enrol anew.

    It takes a security officer; the new invitation takes an administrator.
    """
    from appliance.directory.commands import ResetAccess

    with SignedSession(who, data) as session:
        session.directory(ResetAccess(login, reason))
    done = f"{login} has to be invited again."
    _done("user.reset", {"login": login}, done, as_json=as_json)


@subcommand(user, "unlock", example="strongroom user unlock alice")
@click.argument("login")
def unlock(data: Path | None, login: str, as_json: bool) -> None:
    """Forget a person's failed logins, so that they may try again at once."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("user.unlock", {"who": login})
    _done("user.unlock", answer, f"{login} may log in again.", as_json=as_json)


def _done(schema: str, answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(schema, answer)
    else:
        say(text)
