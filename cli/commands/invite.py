"""Create, list and revoke invitations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, say, table
from cli.places import data_directory
from cli.signing import Person, SignedSession


@click.group(cls=Group)
def invite() -> None:
    """Create, list and revoke invitations; each lets one person in, once."""


@subcommand(invite, "create", example="strongroom invite create alice bob --new --qr --as grace")
@acting
@click.argument("logins", metavar="LOGIN...", nargs=-1, required=True)
@click.option("--new", is_flag=True, help="Add those who do not exist yet, as members.")
@click.option("--qr", is_flag=True, help="Also draw QR codes.")
@click.option("--valid-hours", type=click.IntRange(1, 720), default=72, show_default=True)
def create(data: Path | None, who: Person, as_json: bool, **given: Any) -> None:
    """Make one-time invitations; the links are secrets, one for each person.

    The code in a link is made on this machine, and only its hash is sent to the server.
    """
    from cli import links

    issued = []
    with SignedSession(who, data) as session:
        if given["new"]:
            _add_missing(session, given["logins"])
        for login in given["logins"]:
            issued.append(links.issue(session, login, given["valid_hours"]))
            if not as_json:
                links.tell(issued[-1], qr=given["qr"])
    if as_json:
        emit_json("invite.create", {"invitations": [each.as_json() for each in issued]})


def _add_missing(session: SignedSession, logins: tuple[str, ...]) -> None:
    from appliance.directory.commands import CreatePerson
    from appliance.directory.names import login_key

    known = {each["login"] for each in session.server.ask("user.list", {"removed": True})["users"]}
    for login in logins:
        if login_key(login) not in known:
            session.directory(CreatePerson(login, login))


@subcommand(invite, "list", example="strongroom invite list")
@click.argument("login", required=False, default="")
def list_invites(data: Path | None, login: str, as_json: bool) -> None:
    """List invitations that can still be accepted; never their codes."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("invite.list", {"who": login})
    if as_json:
        emit_json("invite.list", answer)
    else:
        say(table(answer["invites"], ("invite", "login", "created_at", "expires_at")))


@subcommand(
    invite, "revoke", example="strongroom invite revoke 5f0c6d1e9ab34c77815d2f60b7a3e914 --as grace"
)
@acting
@click.argument("invite_id", metavar="INVITE")
def revoke(data: Path | None, who: Person, invite_id: str, as_json: bool) -> None:
    """Close an invitation that was not used."""
    from appliance.directory.commands import RevokeInvite

    try:
        wanted = bytes.fromhex(invite_id)
    except ValueError:
        message = "an invitation's id is 32 hex digits"
        raise click.BadParameter(message, param_hint="INVITE") from None
    with SignedSession(who, data) as session:
        session.directory(RevokeInvite(wanted))
    if as_json:
        emit_json("invite.revoke", {"invite": invite_id})
    else:
        say("The invitation is revoked.")
