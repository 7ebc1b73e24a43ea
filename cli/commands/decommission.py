"""Ask for the end of a site and carry it out: all of its keys destroyed, and a certificate."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from cli import runs
from cli.admin import AdminSocket
from cli.errors import CliError
from cli.files import STDOUT, save
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, note, say
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.requests import add_request_commands, requested, sign_own
from cli.signing import Person, SignedSession

ACTS: Final = ("decommission",)

WARNING: Final = (
    "This ends the organisation {name} for ever. The keys of every message, person and log entry\n"
    "are destroyed, here and in each key replica; no backup opens after it. There is no way back."
)

_AGAIN: Final = "Say the same command again: it goes on where it stopped."


@click.group(cls=Group)
def decommission() -> None:
    """End this site for ever: the root of all keys is destroyed, and with it every record.

    One officer asks, another approves, and after the cooling-off an officer carries it out.
    While any legal hold is active nobody can.
    """


@subcommand(
    decommission,
    "request",
    example=(
        'strongroom decommission request --reason "the branch closes" --as dave\n'
        "strongroom decommission request --transferred \\\n"
        '      --reason "records are with headquarters" --as dave'
    ),
)
@acting
@click.option(
    "--transferred",
    is_flag=True,
    help="What must be kept by law was handed over to another custodian; both officers sign it.",
)
@giving_reason
def ask(data: Path | None, who: Person, transferred: bool, reason: str, as_json: bool) -> None:
    """Ask for the end of this site.

    Nothing happens before another officer approves. Refused while a hold is active and, without
    --transferred, while any record must still be kept by a minimum.
    """
    from appliance.disposal.commands import RequestDecommission

    runs.looking("Looking for what must still be kept")
    with SignedSession(who, data, timeout=runs.LOOKING_SECONDS) as session:
        command = RequestDecommission(reason, transferred)
        answer = session.request("decommission.request", command)
        sign_own(session, answer["request"])
    if as_json:
        emit_json("decommission.request", answer)
    else:
        approve = f"strongroom decommission approve {answer['request']} --as SECOND_OFFICER"
        say(requested(answer, approve))


add_request_commands(decommission, ACTS, 9)


@subcommand(
    decommission,
    "run",
    example="strongroom decommission run 9 -o end.txt --as dave",
)
@acting
@click.argument("request", type=click.IntRange(1))
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    required=True,
    help="The certificate; FILE.ledger, FILE.key and FILE.closing come beside it.",
)
@click.option(
    "--yes-destroy-everything",
    "name",
    metavar="NAME",
    help="The organisation's name, instead of typing it on the terminal.",
)
def run(
    data: Path | None, who: Person, request: int, output: Path, name: str | None, as_json: bool
) -> None:
    """Destroy all keys of this site, by an approved request whose cooling-off is over.

    The certificate and the ledger are written before the keys go, the closing note after. Then
    the server ends, and its data directory is dead. Every key replica must be reachable, or
    retired by two officers.
    """
    from appliance.disposal.commands import RunDecommission

    _expect_place(output)
    with SignedSession(who, data, timeout=runs.LOOKING_SECONDS) as session:
        _confirm(session.server.ask("status")["name"], name)
        session.reconnect()
        key = session.server.ask("audit.key")["key"]
        _tell("Counting all that is there", as_json=as_json)
        answer = session.request("decommission.run", RunDecommission(request))
        save(output, [answer["text"]])
        save(_beside(output, "ledger"), _ledger(session.server))
        save(_beside(output, "key"), [key + "\n"])
        _tell(f"The certificate is in {output}; destroying the keys", as_json=as_json)
        closing = _finish(session.server)
    save(_beside(output, "closing"), [closing])
    if as_json:
        files = {each: str(_beside(output, each)) for each in ("ledger", "key", "closing")}
        emit_json("decommission.run", {"run": answer["run"], "certificate": str(output), **files})
        return
    say(f"This site is ended: its keys are destroyed. {data_directory(data)} is dead.")
    say(f"  certificate   {output}")
    say(f"  ledger        {_beside(output, 'ledger')}")
    say(f"  closing note  {_beside(output, 'closing')}")
    say(
        f"next: strongroom audit verify {output} --ledger {output}.ledger --key {output}.key "
        f"--closing {output}.closing"
    )


def _expect_place(output: Path) -> None:
    if str(output) == STDOUT:
        raise click.UsageError("-o takes a file: what it says is needed after this server is gone")
    if output.is_dir() or not os.access(output.absolute().parent, os.W_OK | os.X_OK):
        raise CliError("cli.usage", f"{output} cannot be written", "Nothing was destroyed.")


def _confirm(name: str, given: str | None) -> None:
    """Have the organisation's name typed; raises ``CliError`` when it is another."""
    if given is None:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask on: say --yes-destroy-everything")
        note(WARNING.format(name=name))
        given = click.prompt("Type the organisation's name to go on", err=True)
    if given != name:
        hint = "Nothing was destroyed."
        raise CliError("cli.usage", "that is not the name of this organisation", hint)


def _ledger(server: AdminSocket) -> Iterator[str]:
    after = ""
    while True:
        page = server.ask("decommission.ledger", {"after": after})
        yield from (line + "\n" for line in page["lines"])
        after = page["after"]
        if not after:
            return


def _finish(server: AdminSocket) -> str:
    """Let the server destroy the root everywhere; return its closing note."""
    try:
        answer: dict[str, Any] = server.ask("decommission.finish")
    except CliError as error:
        raise CliError(
            error.code, error.message, error.hint or _AGAIN, retryable=error.retryable
        ) from None
    closing: str = answer["note"]
    return closing


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name}.{suffix}")


def _tell(text: str, *, as_json: bool) -> None:
    if not as_json:
        note(f"{text} ...")
