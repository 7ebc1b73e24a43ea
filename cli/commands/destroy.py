"""Ask for, approve and carry out the destruction of records, and fetch its certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import runs
from cli.admin import AdminSocket
from cli.errors import CliError
from cli.files import save
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, printable, say, table
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.requests import add_request_commands, requested, sign_own
from cli.selection import by_id, selecting
from cli.signing import Person, SignedSession
from cli.wording import CAUSES, RUN_STATES, stamp, word

if TYPE_CHECKING:
    from appliance.disposal.commands import Selection

ACTS: Final = ("destroy", "erase")

RUN_SECONDS: Final = 3_600.0
"""How long a run is waited for unless told otherwise, in seconds."""


@click.group(cls=Group)
def destroy() -> None:
    """Destroy records before their time, and prove what was destroyed.

    One officer asks, another approves, and after the cooling-off an officer carries it out.
    What a hold covers, and what must be kept for a minimum, stays. Records that reach their
    maximum end by themselves; their runs and certificates are here as well.
    """


@subcommand(
    destroy,
    "request",
    example=(
        "strongroom destroy request --conversation 5f0c6d1e9ab34c77815d2f60b7a3e914 \\\n"
        '      --until 2026-01-01 --reason "order of the court" --as dave\n'
        "strongroom destroy request --person bob --erase \\\n"
        '      --reason "asked to be forgotten" --as dave'
    ),
)
@acting
@selecting
@click.option("--erase", is_flag=True, help="Erase a person: with --person, all they wrote.")
@giving_reason
def ask(
    data: Path | None, who: Person, selection: Selection, erase: bool, reason: str, as_json: bool
) -> None:
    """Ask for destruction of what matches.

    Nothing ends before another officer approves.
    --person means what they wrote, not what others wrote to them. The answer says how many
    records would end now and how many a hold or a minimum keeps.
    """
    from appliance.disposal.commands import RequestDestruction

    if erase and not selection.persons:
        raise click.UsageError("--erase needs --person")
    runs.looking("Looking for what would end now")
    with SignedSession(who, data, timeout=runs.LOOKING_SECONDS) as session:
        command = RequestDestruction(by_id(session.server, selection), reason, erase)
        answer = session.request("destroy.request", command)
        sign_own(session, answer["request"])
    if as_json:
        emit_json("destroy.request", answer)
    else:
        approve = f"strongroom destroy approve {answer['request']} --as SECOND_OFFICER"
        say(requested(answer, approve))


add_request_commands(destroy, ACTS, 7)


@subcommand(destroy, "run", example="strongroom destroy run 7 --as dave")
@acting
@click.argument("request", type=click.IntRange(1))
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=RUN_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for its end; then status 7, and it goes on.",
)
def run(data: Path | None, who: Person, request: int, timeout: float, as_json: bool) -> None:
    """Carry out an approved request.

    Its cooling-off must be over. Waits until the run is confirmed.
    A request that would by now reach records that nobody approved is void: ask anew.
    """
    from appliance.disposal.commands import RunDestruction

    runs.looking("Looking for what would end now")
    with SignedSession(who, data, timeout=runs.LOOKING_SECONDS) as session:
        if session.request("destroy.run", RunDestruction(request))["outgrown"]:
            hint = "Ask anew: strongroom destroy request"
            message = f"request {request} would now reach records that nobody approved; it is over"
            raise CliError("approval.outgrown", message, hint)
        status = runs.follow(session.server, request, timeout)
    if as_json:
        emit_json("destroy.run", status)
        return
    runs.tell(status)
    say(f"next: strongroom destroy certificate {status['run']} --as {who.login}")


@subcommand(destroy, "runs", example="strongroom destroy runs --limit 20 --as dave")
@acting
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
def list_runs(data: Path | None, who: Person, limit: int, as_json: bool) -> None:
    """List destruction runs, newest first.

    They are by order, by recall, and by the end of retention. Reading them is recorded.
    """
    from appliance.disposal.commands import ListRuns

    with SignedSession(who, data) as session:
        answer = session.request("run.list", ListRuns(limit))
    if as_json:
        emit_json("destroy.runs", answer)
    elif answer["runs"]:
        times = ("begun_utc", "confirmed_utc")
        columns = ("run", "why", "state", "parts", "held_back", "waits_for", *times)
        say(table(map(_row, answer["runs"]), columns))
    else:
        say("Nothing was ever destroyed.")


@subcommand(destroy, "progress", example="strongroom destroy progress 3")
@click.argument("number", metavar="RUN", type=click.IntRange(1))
def progress(data: Path | None, number: int, as_json: bool) -> None:
    """Show how far a run is."""
    with AdminSocket(data_directory(data)) as server:
        status = server.ask("run.status", {"run": number})
    if as_json:
        emit_json("destroy.progress", status)
    else:
        runs.tell(status)


@subcommand(
    destroy,
    "certificate",
    example=(
        "strongroom destroy certificate 3 -o certificate-3.txt --as dave\n"
        "strongroom destroy certificate 3 --html certificate-3.html --as dave"
    ),
)
@acting
@click.argument("number", metavar="RUN", type=click.IntRange(1))
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write the certificate there.")
@click.option("--html", type=PATH, metavar="FILE", help="Write a page to print there.")
def certificate(
    data: Path | None,
    who: Person,
    number: int,
    output: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Fetch the certificate of a run.

    It is a text that anybody can verify with `audit verify`.
    The page to print says the same in a table; only the text can be verified.
    """
    from appliance.disposal.commands import ShowCertificate

    with SignedSession(who, data) as session:
        answer = session.request("run.certificate", ShowCertificate(number))
    if output is not None:
        save(output, [answer["text"]])
    if html is not None:
        from cli.certificate_page import page

        save(html, [page(answer["text"])])
    if as_json:
        emit_json("destroy.certificate", answer)
    elif output is None and html is None:
        say(answer["text"].rstrip("\n"))
    else:
        for path in (output, html):
            if path is not None:
                say(f"Certificate of run {number} is in {path}.")


@subcommand(
    destroy,
    "attest",
    example='strongroom destroy attest north --reason "seen burnt, report 17" --as dave',
)
@acting
@click.argument("name", metavar="BRANCH")
@giving_reason
def attest(data: Path | None, who: Person, name: str, reason: str, as_json: bool) -> None:
    """Attest that nothing is left of a revoked branch.

    No order waits for it any more; certificates say that it was attested lost.
    """
    from appliance.disposal.commands import AttestLost

    with SignedSession(who, data) as session:
        answer = session.request("site.lost", AttestLost(name, reason))
    if as_json:
        emit_json("destroy.attest", answer)
    else:
        say(f"No order waits for {printable(answer['name'])} any more.")


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "why": word(CAUSES, found["cause"]),
        "state": word(RUN_STATES, found["state"]),
        "waits_for": ", ".join(
            each["name"] for each in found["sites"] if each["state"] in ("missing", "held")
        ),
        "begun_utc": stamp(found["started_at"]),
        "confirmed_utc": stamp(found["confirmed_at"]),
    }
