"""List and end live sessions."""

from __future__ import annotations

from pathlib import Path

import click

from cli.admin import AdminSocket
from cli.options import Group, subcommand
from cli.output import emit_json, say, table
from cli.places import data_directory


@click.group(cls=Group)
def session() -> None:
    """List and end live sessions."""


@subcommand(session, "list", example="strongroom session list --json")
@click.argument("login", required=False, default="")
def list_sessions(data: Path | None, login: str, as_json: bool) -> None:
    """List live sessions: everybody's, or one person's."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("session.list", {"who": login})
    if as_json:
        emit_json("session.list", answer)
    else:
        columns = ("login", "device", "method", "carrier", "address", "opened_at", "idle_seconds")
        say(table(answer["sessions"], columns))


@subcommand(session, "revoke", example="strongroom session revoke alice")
@click.argument("login")
@click.option("--device", default="", metavar="DEVICE", help="Only this device's sessions.")
def revoke(data: Path | None, login: str, device: str, as_json: bool) -> None:
    """End a person's sessions now.

    A device with a valid token may come back: `device revoke` keeps it out.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("session.revoke", {"who": login, "device": device})
    if as_json:
        emit_json("session.revoke", answer)
    else:
        say(f"{answer['ended']} ended.")
