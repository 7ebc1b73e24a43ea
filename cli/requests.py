"""List, show, approve and reject requests: what one officer asks for and another must agree to."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from cli.admin import AdminSocket
from cli.errors import CliError
from cli.options import acting, subcommand
from cli.output import emit_json, printable, say, table
from cli.reasons import read_reason
from cli.selection import SELECTS, in_words
from cli.signing import Person, SignedSession
from cli.wording import ACTS, REQUEST_STATES, counted, span, stamp, utc, word

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PREDICATE = "predicate"

NEXT: Final = {
    "destroy": "strongroom destroy run {} --as OFFICER",
    "erase": "strongroom destroy run {} --as OFFICER",
    "decommission": "strongroom decommission run {} -o FILE --as OFFICER",
    "review": "strongroom review open {} --as OFFICER",
}
"""What an officer does with an approved request that the site does not carry out by itself."""
_COLUMNS = ("request", "asks_to", "state", "by", "records", "made_utc", "ready_utc")


def add_request_commands(group: click.Group, acts: Collection[str], number: int) -> None:
    """Add ``list``, ``show``, ``approve`` and ``reject`` to a group, for requests of some acts.

    Args:
        group: where they are added; its name begins the names of their JSON schemas.
        acts: the acts that the group is about; empty: all.
        number: a request's number for the examples.
    """
    _add_list(group, acts)
    _add_show(group, acts, number)
    _add_approve(group, acts, number)
    _add_reject(group, acts, number)


def _add_list(group: click.Group, acts: Collection[str]) -> None:
    @subcommand(group, "list", example=f"strongroom {group.name} list --as dave")
    @acting
    @click.option("--closed", is_flag=True, help="Also those that are over.")
    def list_requests(data: Path | None, who: Person, closed: bool, as_json: bool) -> None:
        """List requests.

        What is asked for, by whom, and how far it has come. Reading them is recorded.
        """
        with SignedSession(who, data) as session:
            found = _fetch(session, acts, closed=closed)
        if as_json:
            emit_json(f"{group.name}.list", {"requests": found})
        elif found:
            say(table(map(_row, found), _COLUMNS))
        else:
            say("No request." if closed else "No request is open.")


def _add_show(group: click.Group, acts: Collection[str], number: int) -> None:
    @subcommand(group, "show", example=f"strongroom {group.name} show {number} --as dave")
    @acting
    @click.argument("request", type=click.IntRange(1))
    def show(data: Path | None, who: Person, request: int, as_json: bool) -> None:
        """Show one request.

        All is shown that an approval would sign. Reading it is recorded.
        """
        with SignedSession(who, data) as session:
            found = find(session, request, acts)
            text = "" if as_json else described(found, logins(session.server, found))
        if as_json:
            emit_json(f"{group.name}.show", found)
        else:
            say(text)


def _add_approve(group: click.Group, acts: Collection[str], number: int) -> None:
    @subcommand(group, "approve", example=f"strongroom {group.name} approve {number} --as erin")
    @acting
    @click.argument("request", type=click.IntRange(1))
    @click.option("--yes", is_flag=True, help="Do not ask on the terminal.")
    def approve(data: Path | None, who: Person, request: int, yes: bool, as_json: bool) -> None:
        """Agree to what another officer asks for.

        Shows the request, asks on the terminal, and signs a digest that is computed here from
        what was shown: so nothing else is agreed to, whatever the server holds.
        """
        with SignedSession(who, data) as session:
            found = find(session, request, acts)
            check_digest(found, session.server.ask("audit.key")["node"])
            if not as_json:
                say(described(found, logins(session.server, found)))
                say()
            confirm("Do you approve this?", yes=yes)
            session.reconnect()
            answer = agree(session, found)
        if as_json:
            emit_json(f"{group.name}.approve", answer)
        else:
            say(approved(answer, found["act"]))


def _add_reject(group: click.Group, acts: Collection[str], number: int) -> None:
    example = f'strongroom {group.name} reject {number} --reason "wrong person" --as erin'

    @subcommand(group, "reject", example=example)
    @acting
    @click.argument("request", type=click.IntRange(1))
    @click.option("--reason", default="", metavar="TEXT", help="Why; - takes it from stdin.")
    def reject(data: Path | None, who: Person, request: int, reason: str, as_json: bool) -> None:
        """Refuse a request, or take back one's own."""
        from appliance.disposal.commands import RejectRequest

        why = read_reason(reason) if reason else ""
        with SignedSession(who, data) as session:
            if acts:
                find(session, request, acts)
            session.request("request.reject", RejectRequest(request, why))
        if as_json:
            emit_json(f"{group.name}.reject", {"request": request, "state": "rejected"})
        else:
            say(f"Request {request} is rejected: nothing comes of it.")


def find(session: SignedSession, number: int, acts: Collection[str] = ()) -> dict[str, Any]:
    """Return a request by its number, open or closed; raises ``CliError`` if there is none."""
    for found in _fetch(session, (), closed=True):
        if found["request"] == number:
            if acts and found["act"] not in acts:
                does = word(ACTS, found["act"])
                hint = f"Look at it with: strongroom request show {number}"
                raise CliError("approval.unknown", f"request {number} asks to {does}", hint)
            return found
    raise CliError("approval.unknown", f"there is no request {number}")


def check_digest(found: Mapping[str, Any], node: str) -> None:
    """Compute a request's digest from what is shown; raises ``CliError`` if it is another."""
    from appliance.policy.approvals import digest

    computed = digest(
        found["act"],
        found["arguments"],
        bytes.fromhex(found["dry_run"]),
        found["records"],
        found["cooling_seconds"] * 1_000,
        found["expires_at"],
        found["request"],
        bytes.fromhex(node),
    )
    if computed.hex() != found["digest"]:
        hint = "Approve nothing on this server before it is known why."
        message = f"request {found['request']} is not what its digest says"
        raise CliError("store.integrity", message, hint)


def sign_own(session: SignedSession, number: int) -> None:
    """Sign the digest of one's own request, computed here, so that another officer can approve it.

    Certificates show this signature: it names nobody and nothing. Raises ``CliError``.
    """
    from appliance.disposal.commands import SignRequest

    found = find(session, number)
    check_digest(found, session.server.ask("audit.key")["node"])
    session.request("request.sign", SignRequest(number, found["digest"]))


def agree(session: SignedSession, found: Mapping[str, Any]) -> dict[str, Any]:
    """Sign a request's digest as the second person; return the server's answer."""
    from appliance.disposal.commands import ApproveRequest

    command = ApproveRequest(found["request"], found["digest"])
    return session.request("request.approve", command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal; raises ``UsageError`` where there is none, ``Abort`` for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: say --yes")
    click.confirm(question, abort=True, err=True)


def approved(answer: Mapping[str, Any], act: str) -> str:
    """Say what an approval has led to, and what comes next."""
    number = answer["request"]
    if answer["done"]:
        return f"Request {number} is approved and carried out."
    following = NEXT.get(act, "")
    if answer["ready_at"] <= time.time() * 1_000:
        told = f"Request {number} is approved."
    else:
        told = f"Request {number} is approved; its cooling-off ends {utc(answer['ready_at'])}."
    return f"{told}\nnext: {following.format(number)}" if following else told


def requested(answer: Mapping[str, Any], approve: str) -> str:
    """Say that a request waits for a second officer, and what it would do now.

    ``approve`` is the command that the second officer runs.
    """
    lines = [f"Request {answer['request']} waits for a second officer."]
    if answer["records"] or answer["held"] or answer["young"]:
        lines.append(f"  would end now   {counted(answer['records'], 'record')}")
        lines.append(f"  kept by holds   {counted(answer['held'], 'record')}")
        lines.append(f"  kept by minima  {counted(answer['young'], 'record')}")
    if answer["cooling_seconds"]:
        lines.append(f"  cooling-off     {span(answer['cooling_seconds'])} after the approval")
    lines.append(f"  expires         {utc(answer['expires_at'])}")
    lines.append(f"  digest          {answer['digest']}")
    lines.append(f"next: {approve}")
    return "\n".join(lines)


def described(found: Mapping[str, Any], logins: Mapping[str, str]) -> str:
    """Return a request in words: act, who, why, what, how much, until when.

    ``logins`` are the names of the people in its arguments, by id in hex.
    """
    rows = [
        (f"Request {found['request']}", word(REQUEST_STATES, found["state"])),
        ("asks to", word(ACTS, found["act"])),
        ("asked by", f"{found['by']}, {utc(found['made_at'])}"),
        ("reason", found["reason"]),
        *_arguments(found["arguments"], logins),
        *([("records", f"{found['records']:,} when it was asked")] if found["dry_run"] else []),
        ("cooling-off", span(found["cooling_seconds"]) if found["cooling_seconds"] else "none"),
        ("digest", found["digest"]),
    ]
    if found["approver"]:
        rows.append(("approved by", f"{found['approver']}, {utc(found['approved_at'])}"))
    if found["ready_at"]:
        rows.append(("ready from", utc(found["ready_at"])))
    if found["closed_at"]:
        rows.append(("closed", utc(found["closed_at"])))
    elif not found["approver"]:
        rows.append(("expires", utc(found["expires_at"])))
    size = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name}:".ljust(size) + _value(value, size) for name, value in rows)


def _value(text: str, indent: int) -> str:
    """Return a value in which no line of somebody's text can pass for one of ours."""
    return ("\n" + " " * indent).join(printable(line) for line in text.splitlines()) or "-"


def _fetch(session: SignedSession, acts: Collection[str], *, closed: bool) -> list[dict[str, Any]]:
    from appliance.disposal.commands import ListRequests

    answer = session.request("request.list", ListRequests(closed))
    return [each for each in answer["requests"] if not acts or each["act"] in acts]


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "asks_to": word(ACTS, found["act"]),
        "state": word(REQUEST_STATES, found["state"]),
        "made_utc": stamp(found["made_at"]),
        "ready_utc": stamp(found["ready_at"]),
    }


def _arguments(text: str, logins: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the arguments that were signed, a name and value each; a selection as one."""
    given = _parsed(text)
    if given is None:
        return [("arguments", text)]
    rows: list[tuple[str, str]] = []
    for name, value in given.items():
        if name == _PREDICATE and isinstance(value, dict) and value.keys() <= SELECTS:
            people = [logins.get(each, each) for each in value.get("persons", ())]
            rows.append(("records of", in_words({**value, "persons": people})))
        else:
            rows.append((name.replace("_", " "), str(value)))
    return rows


def _parsed(text: str) -> dict[str, Any] | None:
    """Return arguments by name; None for a text that is not an object, each name once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name is given twice")
        return dict(pairs)

    try:
        given = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def logins(server: AdminSocket, found: Mapping[str, Any]) -> dict[str, str]:
    """Return the logins of the people that a request's arguments name by id."""
    predicate = (_parsed(found["arguments"]) or {}).get(_PREDICATE)
    people = predicate.get("persons", ()) if isinstance(predicate, dict) else ()
    known = {}
    for person in people:
        if _ID.fullmatch(str(person)):
            with suppress(CliError):
                known[person] = server.ask("user.show", {"who": f"id:{person}"})["login"]
    return known
