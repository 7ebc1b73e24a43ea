"""Read the trail of privileged acts, export the ledger, and verify certificates offline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from cli import requests, runs
from cli.admin import AdminSocket
from cli.errors import CliError
from cli.exits import Exit
from cli.files import PRIVATE, STDOUT, save
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, pairs, printable, say
from cli.places import data_directory
from cli.reasons import read_reason
from cli.signing import Person, SignedSession
from cli.wording import counted, utc

POLL_SECONDS: Final = 1.0
"""How often ``--follow`` looks whether the ledger has grown, in seconds."""

PAGE: Final = 100
"""Entries of one answer."""

EVERYTHING: Final = 1 << 31
"""More entries than any answer holds."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def audit() -> None:
    """Read the trail of privileged acts, and verify what was destroyed.

    Every privileged act, and every look at other people's records, is a leaf of the ledger. It
    can be exported and verified on any machine, without this server.
    """


@subcommand(
    audit,
    "tail",
    example=(
        "strongroom audit tail -n 20 --as frank\nstrongroom audit tail --follow --as frank --json"
    ),
)
@acting
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Newest entries."
)
@click.option("--follow", is_flag=True, help="Go on with what is added, until interrupted.")
def tail(data: Path | None, who: Person, lines: int, follow: bool, as_json: bool) -> None:
    """Print the newest privileged acts.

    Oldest first; with --json a line for each. Reading the trail is an entry of the trail.
    """
    with SignedSession(who, data) as session:
        after = session.server.ask("audit.ledger")["size"] - 1 - lines
        after, size = _print_from(session, max(-1, after), as_json=as_json)
        while follow:
            time.sleep(POLL_SECONDS)
            # Our own last reading has left one entry: that alone is nothing new.
            if session.server.ask("audit.ledger")["size"] > size + 1:
                after, size = _print_from(session, after, as_json=as_json)


@subcommand(
    audit,
    "show",
    example="strongroom audit show 17 --as frank\nstrongroom audit show --run 3 --as frank",
)
@acting
@click.argument("index", required=False, type=click.IntRange(0))
@click.option("--run", type=click.IntRange(1), metavar="RUN", help="A destruction run instead.")
def show(data: Path | None, who: Person, index: int | None, run: int | None, as_json: bool) -> None:
    """Show one entry of the trail, or a run.

    With --run a destruction run, and the request behind it.
    """
    if (index is None) == (run is None):
        raise click.UsageError("give the number of an entry, or --run")
    with SignedSession(who, data) as session:
        if run is None:
            _show_entry(session, index or 0, as_json=as_json)
        else:
            _show_run(session, run, as_json=as_json)


def _show_entry(session: SignedSession, index: int, *, as_json: bool) -> None:
    answer = _read(session, index - 1, 1)
    found = [each for each in answer["entries"] if each["index"] == index]
    if not found:
        raise CliError("audit.unknown", f"the trail has no entry {index}")
    if as_json:
        emit_json("audit.show", found[0])
    else:
        say(pairs(_shown(found[0])))


def _show_run(session: SignedSession, number: int, *, as_json: bool) -> None:
    run = session.server.ask("run.status", {"run": number})
    found = requests.find(session, run["request"]) if run["request"] else None
    if as_json:
        emit_json("audit.show", {**run, "asked": found})
        return
    runs.tell(run)
    if found is not None:
        say()
        say(requests.described(found, requests.logins(session.server, found)))


@subcommand(audit, "export", example="strongroom audit export -o ledger.txt --as frank")
@acting
@click.option(
    "-o", "--output", type=PATH, metavar="FILE", required=True, help="Where to; - is stdout."
)
def export(data: Path | None, who: Person, output: Path, as_json: bool) -> None:
    """Export the ledger.

    Every leaf and every signed checkpoint, and no content at all.
    Whoever has it, and the site's public key from `audit key`, can verify any certificate.
    """
    count = 0

    def counted_lines(session: SignedSession) -> Iterator[str]:
        nonlocal count
        for line in _exported(session):
            count += 1
            yield line + "\n"

    with SignedSession(who, data) as session:
        save(output, counted_lines(session))
    if as_json:
        emit_json("audit.export", {"file": str(output), "lines": count})
    elif str(output) != STDOUT:
        say(f"The ledger is in {output} ({counted(count, 'line')}).")


@subcommand(
    audit,
    "verify",
    example=(
        "strongroom audit verify certificate-3.txt --ledger ledger.txt --key site.key\n"
        "strongroom audit verify certificate-3.txt --ledger ledger.txt --key site.key \\\n"
        "      --scope scope-3.txt --message OPERATION_ID"
    ),
)
@click.argument("certificate", required=False, type=_FILE)
@click.option("--ledger", type=_FILE, metavar="FILE", required=True, help="From `audit export`.")
@click.option(
    "--key",
    "key_file",
    type=_FILE,
    metavar="FILE",
    required=True,
    help="The site's public key, from `audit key`, got by a way you trust.",
)
@click.option("--scope", type=_FILE, metavar="FILE", help="With --message: from `audit scope`.")
@click.option(
    "--closing", type=_FILE, metavar="FILE", help="The closing note, for the end of a site."
)
@click.option("--message", metavar="ID", help="With --scope: is this one among what it destroyed?")
def verify(data: Path | None, as_json: bool, **given: Any) -> None:
    """Verify a certificate offline.

    It needs no server, no data directory and no network.
    Without a certificate, the ledger alone. Status 0 when everything holds, 5 when anything was
    changed or contradicts itself, and 1 when the certificate holds but --message is not among
    what it destroyed.
    """
    from cli.verifying import Question, verified

    del data
    if (given["scope"] is None) != (given["message"] is None):
        raise click.UsageError("--scope and --message go together")
    for needs in ("scope", "closing"):
        if given[needs] is not None and given["certificate"] is None:
            raise click.UsageError(f"--{needs} needs a certificate")
    verdict = verified(Question(**given), step=_silent if as_json else _tell_step)
    if as_json:
        emit_json("audit.verify", verdict.as_json())
    else:
        say("\n".join(verdict.as_text()))
    if verdict.is_covered is False:
        click.get_current_context().exit(int(Exit.FAILED))


def _silent(step: str) -> None:
    del step


def _tell_step(step: str) -> None:
    say(f"ok: {step}")


@subcommand(audit, "key", example="strongroom audit key\nstrongroom audit key -o site.key")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write it there.")
def key(data: Path | None, output: Path | None, as_json: bool) -> None:
    """Print the public key of this site.

    Hand it to auditors by a way of its own.
    A certificate proves nothing to who got the key together with it.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("audit.key")
    if output is not None:
        save(output, [answer["key"] + "\n"])
    if as_json:
        emit_json("audit.key", answer)
    elif output is None:
        say(answer["key"])
    else:
        say(f"The public key of site {answer['node']} is in {output}.")


@subcommand(
    audit,
    "reconstruct",
    example=(
        "strongroom audit reconstruct MESSAGE --request 8 \\\n"
        '      --reason "disputed order" --as dave'
    ),
)
@acting
@click.argument("message")
@click.option(
    "--request", type=click.IntRange(1), required=True, metavar="N", help="The approved review."
)
@click.option("--reason", default="", metavar="TEXT", help="Why; - takes it from stdin.")
def reconstruct(
    data: Path | None, who: Person, message: str, request: int, reason: str, as_json: bool
) -> None:
    """Show one message with every version.

    Also one that was edited or recalled.
    MESSAGE is its id in hex. It must be within an approved review; showing it is recorded.
    """
    from cli import evidence

    why = read_reason(reason) if reason else ""
    evidence.reconstruct(who, data, message, request, why, as_json=as_json)


@subcommand(audit, "scope", example="strongroom audit scope 3 -o scope-3.txt --as frank")
@acting
@click.argument("number", metavar="RUN", type=click.IntRange(1))
@click.option(
    "-o", "--output", type=PATH, metavar="FILE", required=True, help="Where to; - is stdout."
)
def scope(data: Path | None, who: Person, number: int, output: Path, as_json: bool) -> None:
    """Write the scope of a run.

    With it, `audit verify` tells whether the run destroyed a message whose id one has; it names
    none by itself. Handing it out is recorded.
    """
    from appliance.disposal.commands import ShowScopeKey
    from appliance.disposal.export import scope as scope_lines

    with SignedSession(who, data) as session:
        answer = session.request("run.scope", ShowScopeKey(number))
    leaves = list(map(bytes.fromhex, answer["leaves"]))
    key = bytes.fromhex(answer["scope_key"])
    save(output, scope_lines(answer["run"], key, leaves), mode=PRIVATE)
    if as_json:
        emit_json("audit.scope", {"run": number, "parts": len(answer["leaves"])})
    elif str(output) != STDOUT:
        say(f"The scope of run {number} is in {output} ({counted(len(answer['leaves']), 'part')}).")


# --- the trail --------------------------------------------------------------------------------


def _print_from(session: SignedSession, after: int, *, as_json: bool) -> tuple[int, int]:
    """Print all entries after one; return the last one printed, and the ledger's size."""
    while True:
        answer = _read(session, after, PAGE)
        for entry in answer["entries"]:
            if as_json:
                emit_json("audit.entry", entry)
            else:
                say(_line(entry))
            after = entry["index"]
        if not answer["entries"] or after + 1 >= answer["size"]:
            return after, answer["size"]


def _read(session: SignedSession, after: int, limit: int) -> dict[str, Any]:
    """Read entries after one, -1 for the first ones: then as many as fit in one answer.

    Without an entry to go on from, the server counts from the end, so it is asked for all.
    """
    from appliance.disposal.commands import ReadTrail

    return session.request("audit.read", ReadTrail(after, limit if after >= 0 else EVERYTHING))


def _line(entry: Mapping[str, Any]) -> str:
    parts = (utc(entry["at"]), entry["by"] or "the site", entry["act"] or entry["kind"])
    head = "  ".join(map(printable, parts))
    return f"{entry['index']:>6}  {head}  {printable(entry['detail'])}".rstrip()


def _shown(entry: Mapping[str, Any]) -> dict[str, str]:
    return {
        "entry": str(entry["index"]),
        "kind": entry["kind"],
        "act": entry["act"],
        "by": entry["by"] or "the site",
        "time": utc(entry["at"]),
        "detail": entry["detail"],
        "operation": entry["op"],
    }


def _exported(session: SignedSession) -> Iterator[str]:
    """Yield the lines of the export, page after page."""
    from appliance.disposal.commands import ExportLedger

    after = ""
    while True:
        page = session.request("ledger.export", ExportLedger(after))
        yield from page["lines"]
        after = page["after"]
        if not after:
            return
