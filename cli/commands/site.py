"""Open, approve, watch and revoke branches; join headquarters from a branch."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.admin import AdminSocket
from cli.enrolling import APPROVAL_SECONDS, INVITATION, join_headquarters
from cli.errors import CliError
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, note, pairs, say, table
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.secret_input import read_secret
from cli.signing import Person, SignedSession
from cli.watching import watched

if TYPE_CHECKING:
    from appliance.sites.enrolment import Invitation

COLUMNS: Final = ("site", "name", "state", "fingerprint", "people", "linked", "link_since_at")

PARCEL_SECONDS: Final = 86_400.0
"""How long writing or taking in a file may take, in seconds."""


@click.group(cls=Group)
def site() -> None:
    """Open branches of an organisation, and see to them.

    A branch keeps working when its line to headquarters is cut. It is invited and approved here,
    by an administrator; on the branch itself, `strongroom site join` uses the invitation.
    """


@subcommand(site, "invite", example="strongroom site invite north --qr --as grace")
@acting
@click.argument("name")
@click.option("--address", metavar="HOST:PORT", help="Where the branch reaches headquarters.")
@click.option("--qr", is_flag=True, help="Also draw it as a QR code.")
def invite(
    data: Path | None, who: Person, name: str, address: str | None, qr: bool, as_json: bool
) -> None:
    """Invite a branch; the invitation is a secret, works once, and ends after 24 hours.

    Its token is made on this machine, and only the hash is sent to the server.
    """
    from appliance.sites.commands import InviteSite
    from appliance.sites.enrolment import token_hash
    from appliance.sites.limits import TOKEN_BYTES
    from cli.commands.init import show_qr

    token = os.urandom(TOKEN_BYTES)
    with SignedSession(who, data) as session:
        invitation = _invitation(session.server.ask("site.status"), address, token)
        answer = session.request("site.invite", InviteSite(name, token_hash(token)))
    if as_json:
        secret = {"link": invitation.link, "words": invitation.words}
        emit_json("site.invite", {**answer, **secret})
        return
    say(f"invitation of {answer['name']}, once, for 24 hours:")
    say(f"  {invitation.link}")
    show_qr(invitation.link, wanted=qr)
    say("or in words:")
    say(f"  {invitation.words}")
    say("On the branch: strongroom init --branch, then strongroom site join.")


def _invitation(status: dict[str, Any], address: str | None, token: bytes) -> Invitation:
    from appliance.sites.enrolment import Invitation
    from transports.wire.links import LinkError, parse_server

    if status["role"] != "headquarters":
        raise CliError("site.not_headquarters", "this site is a branch itself")
    address = address or next(iter(status["addresses"]), None)
    if address is None:
        hint = "Name it with --address, or set listen.names."
        raise CliError("cli.usage", "it is not known where branches reach this site", hint)
    try:
        server = parse_server(address)
    except LinkError as error:
        raise click.BadParameter(str(error), param_hint="--address") from None
    return Invitation(server, bytes.fromhex(status["pin"]), token)


@subcommand(site, "join", example="strongroom site join --data /var/lib/strongroom")
@click.option(
    "--invitation-file",
    metavar="FILE",
    help="Its first line is the link, or address and words; - for stdin. Asked otherwise.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=APPROVAL_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the approval; then status 7, and it can be said again.",
)
def join(data: Path | None, invitation_file: str | None, timeout: float, as_json: bool) -> None:
    """Make this site, which has no people yet, a branch of headquarters; server down.

    Prints six words. Headquarters' administrator sees the same six in `strongroom site list` if
    nobody is in between, and approves. The invitation may be used again until then.
    """
    where = data_directory(data)
    answer = join_headquarters(where, read_secret(invitation_file, INVITATION), timeout)
    if as_json:
        emit_json("site.join", answer)
        return
    say(f"This site is the branch {answer['name']} of {answer['organisation']}.")
    say(f"Next: strongroom serve --data {where}")


@subcommand(
    site,
    "approve",
    example='strongroom site approve north --fingerprint "..." --as grace',
)
@acting
@click.argument("name")
@click.option(
    "--fingerprint", metavar="WORDS", help="The six words that the branch shows; else asked."
)
def approve(
    data: Path | None, who: Person, name: str, fingerprint: str | None, as_json: bool
) -> None:
    """Let a branch in whose fingerprint is the one that its machine shows.

    Have the words read to you by somebody you know, who stands before the machine.
    """
    from appliance.sites.commands import ApproveSite

    with SignedSession(who, data) as session:
        found = session.server.ask("site.show", {"name": name})
        if not found["node"]:
            raise CliError("site.state", f"no machine has joined as {name} yet")
        _compare(found["fingerprint"], fingerprint)
        session.reconnect()
        session.request("site.approve", ApproveSite(name, bytes.fromhex(found["node"])))
    answer = {"name": name, "fingerprint": found["fingerprint"], "node": found["node"]}
    _done("site.approve", answer, f"{name} is a branch now.", as_json=as_json)


def _compare(found: str, given: str | None) -> None:
    """Raise ``CliError`` unless the words are those of the branch, or a person says so."""
    if given is not None:
        if given.lower().split() != found.split():
            hint = "Revoke the branch and invite it anew: somebody else may have joined."
            raise CliError("site.fingerprint", "the fingerprint is of another machine", hint)
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--fingerprint is missing, and there is no terminal to ask on")
    note(f"The machine's fingerprint as seen from here: {found}")
    click.confirm("Does the branch show the same six words?", abort=True, err=True)


@subcommand(site, "list", example="strongroom site list --json")
def list_sites(data: Path | None, as_json: bool) -> None:
    """List branches with their state, fingerprint, and how many people they know."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("site.list")
    if as_json:
        emit_json("site.list", answer)
    elif answer["sites"]:
        say(table(answer["sites"], COLUMNS))
    else:
        say("There is no branch. Invite one: strongroom site invite NAME --as ADMINISTRATOR")


@subcommand(site, "show", example="strongroom site show north")
@click.argument("name")
def show(data: Path | None, name: str, as_json: bool) -> None:
    """Show a branch, and everybody whose credentials it holds or still knows."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("site.show", {"name": name})
    if as_json:
        emit_json("site.show", answer)
        return
    people = answer.pop("revealed")
    say(pairs(answer))
    if people:
        say("")
        say(table(people, ("login", "name", "at_home")))


@subcommand(site, "status", example="strongroom site status")
def status(data: Path | None, as_json: bool) -> None:
    """Show whether this is headquarters or a branch, and how a branch stands."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("site.status")
    if as_json:
        emit_json("site.status", answer)
    else:
        say(pairs(answer))


@subcommand(site, "revoke", example='strongroom site revoke north --reason "stolen" --as grace')
@acting
@click.argument("name")
@giving_reason
def revoke(data: Path | None, who: Person, name: str, reason: str, as_json: bool) -> None:
    """Let a branch in no more, for ever.

    Then an officer resets the access of those it knew: strongroom site reprovision.
    """
    from appliance.sites.commands import RevokeSite

    with SignedSession(who, data) as session:
        session.request("site.revoke", RevokeSite(name, reason))
        revealed = session.server.ask("site.show", {"name": name})["revealed"]
    logins = [person["login"] for person in revealed]
    if as_json:
        emit_json("site.revoke", {"name": name, "revealed": logins})
        return
    say(f"{name} is let in no more.")
    if logins:
        say(f"It knew the credentials of {len(logins)}: {', '.join(logins)}.")
        say(f"Next: strongroom site reprovision {name} --reason TEXT --as OFFICER")


@subcommand(
    site, "reprovision", example='strongroom site reprovision north --reason "stolen" --as dave'
)
@acting
@click.argument("name")
@giving_reason
def reprovision(data: Path | None, who: Person, name: str, reason: str, as_json: bool) -> None:
    """Reset the access of exactly those whose credentials a revoked branch knew.

    They are at home at headquarters from then on, and are invited anew by an administrator.
    """
    from appliance.sites.commands import ReprovisionSite

    with SignedSession(who, data) as session:
        revealed = session.server.ask("site.show", {"name": name})["revealed"]
        command = ReprovisionSite(name, len(revealed), reason)
        answer = session.request("site.reprovision", command)
    if as_json:
        emit_json("site.reprovision", {"name": name, **answer})
        return
    logins = answer["logins"]
    say(f"To be invited again: {', '.join(logins) or 'nobody'}.")


@subcommand(site, "address", example="strongroom site address hq.hospital.example:8443")
@click.argument("addresses", metavar="HOST:PORT...", nargs=-1, required=True)
def address(data: Path | None, addresses: tuple[str, ...], as_json: bool) -> None:
    """At a branch: say where headquarters is reached by now, also when no line comes up any more.

    These are tried first, those known before after them. It is as safe as joining was: whoever
    answers there has to prove to be headquarters. While the line is up, each side tells the other
    of its new addresses by itself.
    """
    from transports.wire.links import LinkError, parse_server

    for each in addresses:
        try:
            parse_server(each)
        except LinkError as error:
            raise click.BadParameter(str(error), param_hint="HOST:PORT") from None
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("site.address", {"addresses": list(addresses)})
    text = f"Headquarters is tried at {', '.join(answer['addresses'])}."
    _done("site.address", answer, text, as_json=as_json)


@subcommand(
    site,
    "export",
    example=(
        "strongroom site export /media/stick/north.parcel --to north\n"
        "strongroom site export /media/stick/headquarters.parcel"
    ),
)
@click.argument("file", type=PATH)
@click.option("--to", "name", default="", metavar="NAME", help="The branch; at headquarters only.")
@click.option("--all", "is_all", is_flag=True, help="Also what the other site should have already.")
def export(data: Path | None, file: Path, name: str, is_all: bool, as_json: bool) -> None:
    """Write what another site lacks into a file, where no line reaches it.

    Only the site that it is for can open it. It holds what that site did not have when this one
    last heard of it; a branch's file also asks for its lease, and for history. Carry it there,
    say `strongroom site import`, and carry back what that site exports. The server has to run.
    """
    where = data_directory(data)
    arguments = {"file": str(file.absolute()), "name": name, "all": is_all}
    answer = _carried(where, "site.export", arguments, "Writing", as_json=as_json)
    text = f"{answer['operations']:,} operations in {answer['file']} ({answer['bytes']:,} bytes)."
    _done("site.export", answer, text, as_json=as_json)


@subcommand(site, "import", example="strongroom site import /media/stick/north.parcel")
@click.argument("file", type=PATH)
def import_(data: Path | None, file: Path, as_json: bool) -> None:
    """Take in a file that another site has exported for this one.

    All of it is checked before anything changes. What is here already changes nothing, so the
    same file, or an older one, does no harm. The server has to run.
    """
    where = data_directory(data)
    arguments = {"file": str(file.absolute())}
    answer = _carried(where, "site.import", arguments, "Taking in", as_json=as_json)
    sender = answer["sender"] or "headquarters"
    text = f"{answer['new']:,} of {answer['operations']:,} operations of {sender} were new."
    _done("site.import", answer, text, as_json=as_json)


def _carried(
    data: Path, command: str, arguments: dict[str, Any], label: str, *, as_json: bool
) -> dict[str, Any]:
    """Let the server write or read a file, and show how far it is."""

    def look() -> tuple[int, int]:
        with AdminSocket(data) as other:
            told = other.ask("site.progress")
        return told["done"], told["total"]

    with AdminSocket(data, timeout=PARCEL_SECONDS) as server:
        work = partial(server.ask, command, arguments)
        return watched(work, look, label, is_shown=not as_json)


def _done(schema: str, answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(schema, answer)
    else:
        say(text)
