"""Manage duties: addresses such as duty:on-call-cardiology, with a holder and a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, say, table
from cli.places import data_directory
from cli.selection import id_of
from cli.signing import Person, SignedSession


@click.group(cls=Group)
def duty() -> None:
    """Manage duties: who is reached under duty:NAME now, and who is next."""


@subcommand(duty, "list", example="strongroom duty list")
def list_duties(data: Path | None, as_json: bool) -> None:
    """List duties: who holds each, and who is next."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("duty.list")
    if as_json:
        emit_json("duty.list", answer)
    else:
        say(table(answer["duties"], ("duty", "title", "holder", "chain", "step_seconds")))


@subcommand(
    duty,
    "create",
    example='strongroom duty create on-call-cardiology --title "Cardiology" --as grace',
)
@acting
@click.argument("name")
@click.option("--title", required=True, help="What people read.")
def create(data: Path | None, who: Person, name: str, title: str, as_json: bool) -> None:
    """Make a duty; nobody holds it yet."""
    from appliance.messaging.commands import CreateDuty

    with SignedSession(who, data) as session:
        session.request("duty.create", CreateDuty(name, title))
    _done("create", {"duty": name, "title": title}, f"duty:{name} is made.", as_json=as_json)


@subcommand(duty, "assign", example="strongroom duty assign on-call-cardiology bob --as grace")
@acting
@click.argument("name")
@click.argument("login", required=False)
@click.option("--nobody", is_flag=True, help="Leave it vacant.")
def assign(
    data: Path | None, who: Person, name: str, login: str | None, nobody: bool, as_json: bool
) -> None:
    """Give a duty to a person, as administrator."""
    from appliance.messaging.commands import AssignDuty

    if nobody == bool(login):
        raise click.UsageError("give a login, or --nobody")
    with SignedSession(who, data) as session:
        holder = id_of(session.server, login) if login else ""
        session.request("duty.assign", AssignDuty(name, holder))
    answer = {"duty": name, "holder": login or ""}
    _done("assign", answer, f"duty:{name} is held by {login or 'nobody'}.", as_json=as_json)


@subcommand(
    duty,
    "chain",
    example="strongroom duty chain on-call-cardiology carol alice --step-seconds 300 --as grace",
)
@acting
@click.argument("name")
@click.argument("logins", metavar="[LOGIN]...", nargs=-1)
@click.option("--step-seconds", type=int, default=300, show_default=True, help="Time for each.")
def chain(
    data: Path | None,
    who: Person,
    name: str,
    logins: tuple[str, ...],
    step_seconds: int,
    as_json: bool,
) -> None:
    """Say to whom unconfirmed urgent messages go on, in order; nobody named: to no one."""
    from appliance.messaging.commands import SetChain

    with SignedSession(who, data) as session:
        people = tuple(id_of(session.server, login) for login in logins)
        session.request("duty.chain", SetChain(name, people, step_seconds))
    answer = {"duty": name, "chain": list(logins), "step_seconds": step_seconds}
    _done(
        "chain", answer, f"duty:{name} goes on to {', '.join(logins) or 'nobody'}.", as_json=as_json
    )


@subcommand(duty, "handover", example="strongroom duty handover on-call-cardiology carol --as bob")
@acting
@click.argument("name")
@click.argument("login")
def handover(data: Path | None, who: Person, name: str, login: str, as_json: bool) -> None:
    """Hand a duty that one holds over to somebody else, as its holder."""
    from appliance.messaging.commands import HandOver

    with SignedSession(who, data) as session:
        session.request("duty.handover", HandOver(name, id_of(session.server, login)))
    answer = {"duty": name, "holder": login}
    _done("handover", answer, f"duty:{name} is held by {login}.", as_json=as_json)


def _done(what: str, answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(f"duty.{what}", answer)
    else:
        say(text)
