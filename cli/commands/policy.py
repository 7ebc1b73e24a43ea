"""Show, plan and set the retention policy: how long records stay, and when they end."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from cli import runs
from cli.admin import AdminSocket
from cli.errors import CliError
from cli.options import Group, acting, subcommand
from cli.output import emit_json, note, printable, say, table
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.signing import Person, SignedSession
from cli.wording import OUTCOMES, REASONS, counted, day, utc, word

STDIN: Final = "-"


@click.group(cls=Group)
def policy() -> None:
    """Show, plan and set the retention policy.

    Every version stays in the log. What keeps records longer takes one officer; what keeps
    anything shorter takes two.
    """


@subcommand(policy, "list", example="strongroom policy list")
def list_presets(data: Path | None, as_json: bool) -> None:
    """List the presets.

    Each is a starting point, to be confirmed by your own counsel.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("policy.list")
    if as_json:
        emit_json("policy.list", answer)
        return
    rows = [
        {
            "preset": preset["preset"],
            "class": rule["class"] or "every class",
            "kept_at_least": rule["min"] or "no minimum",
            "ends_after": rule["max"] or "never",
            "basis": rule["basis"],
        }
        for preset in answer["presets"]
        for rule in preset["rules"]
    ]
    say(table(rows, ("preset", "class", "kept_at_least", "ends_after", "basis")))
    say()
    say(f"Each preset is {answer['notice']}.")


@subcommand(
    policy,
    "show",
    example="strongroom policy show\nstrongroom policy show --preset hospital > policy.toml",
)
@click.option("--version", type=click.IntRange(1), metavar="N", help="An earlier version.")
@click.option("--preset", default="", metavar="NAME", help="A preset instead.")
def show(data: Path | None, version: int | None, preset: str, as_json: bool) -> None:
    """Print the policy in force.

    It is TOML, ready to be changed and imported.
    Version and hash are told on stderr; certificates name both.
    """
    if version and preset:
        raise click.UsageError("give --version or --preset, not both")
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("policy.show", {"version": version or 0, "preset": preset})
    if as_json:
        emit_json("policy.show", answer)
        return
    say(answer["text"].rstrip("\n"))
    if preset:
        note(f"Preset {preset}: {answer['notice']}.")
    elif not answer["version"]:
        note("No policy was ever set: nothing ends by its age.")
    else:
        force = "in force" if answer["in_force"] else "no longer in force"
        note(f"Version {answer['version']}, {force}; SHA-256 {answer['hash']}.")


@subcommand(
    policy, "set", example='strongroom policy set hospital --reason "first policy" --as dave'
)
@acting
@click.argument("preset")
@giving_reason
def set_policy(data: Path | None, who: Person, preset: str, reason: str, as_json: bool) -> None:
    """Make a preset the policy.

    If it keeps anything shorter than before, it becomes a request: another officer runs the
    same command to agree.
    """
    with SignedSession(who, data) as session:
        found = session.server.ask("policy.show", {"version": 0, "preset": preset})
        answer = _set(session, found["text"], reason)
    _told("policy.set", answer, as_json=as_json)
    if not as_json:
        note(f"Preset {preset}: {found['notice']}.")


@subcommand(
    policy,
    "import",
    example=(
        'strongroom policy import policy.toml --reason "new class for orders" --as dave\n'
        'strongroom policy import - --reason "as decided" --as dave < policy.toml'
    ),
)
@acting
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@giving_reason
def import_policy(data: Path | None, who: Person, file: Path, reason: str, as_json: bool) -> None:
    """Make a TOML file the policy; - takes it from stdin.

    If it keeps anything shorter than before, it becomes a request: another officer runs the
    same command to agree.
    """
    text = _read(file)
    with SignedSession(who, data) as session:
        answer = _set(session, text, reason)
    _told("policy.import", answer, as_json=as_json)


@subcommand(
    policy, "plan", example="strongroom policy plan\nstrongroom policy plan policy.toml --json"
)
@click.argument(
    "file", required=False, type=click.Path(dir_okay=False, allow_dash=True, path_type=Path)
)
def plan(data: Path | None, file: Path | None, as_json: bool) -> None:
    """Tell what would end now.

    By the policy in force or by a file; nothing is changed.
    Counts by class and day what would be hidden, destroyed, put up for review or held back, and
    why; and says which is the oldest surviving record of each class.
    """
    arguments = {"text": _read(file)} if file is not None else {}
    runs.looking("Looking for what would end now")
    with AdminSocket(data_directory(data), timeout=runs.LOOKING_SECONDS) as server:
        answer = server.ask("policy.plan", arguments)
    if as_json:
        emit_json("policy.plan", answer)
    else:
        say("\n".join(_planned(answer)))


def _read(file: Path) -> str:
    """Read a policy and check it here, so that every mistake is told with its place."""
    from appliance.policy.limits import TEXT_BYTES
    from appliance.policy.text import PolicyError, read_policy

    raw = (
        sys.stdin.buffer.read(TEXT_BYTES + 1)
        if str(file) == STDIN
        else file.read_bytes()[: TEXT_BYTES + 1]
    )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CliError("policy.invalid", "the policy is not UTF-8") from None
    try:
        read_policy(text)
    except PolicyError as error:
        problems = "\n".join(f"  {printable(str(each))}" for each in error.problems)
        raise CliError("policy.invalid", f"this is no policy:\n{problems}", error.hint) from None
    return text


def _set(session: SignedSession, text: str, reason: str) -> dict[str, Any]:
    """Sign a policy made from the version in force."""
    from appliance.disposal.commands import SetPolicy

    base = session.server.ask("policy.show", {"version": 0, "preset": ""})["version"]
    return session.request("policy.set", SetPolicy(text, base, reason))


def _told(schema: str, answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(schema, answer)
        return
    if answer["version"]:
        say(f"Version {answer['version']} of the policy is in force.")
        return
    number = answer["request"]
    if answer["ready_at"]:
        say(f"Two officers want it; it is in force from {utc(answer['ready_at'])}.")
        say(f"Until then either may stop it: strongroom request reject {number}")
        return
    say("Not in force yet: it keeps something shorter than before, so it takes two officers.")
    for each in answer["loosens"]:
        say(f"  - {printable(each)}")
    say(f"next: another officer runs the same command, or: strongroom request approve {number}")


def _planned(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a plan."""
    if answer["suspended"]:
        yield "Destruction is suspended: the clock jumped. See `strongroom clock status`."
    if answer["proven_at"]:
        yield f"Proven time: {utc(answer['proven_at'])}; ages count up to it."
    else:
        yield "No time is proven yet, so no record counts as old enough."
    yield ""
    rows = [
        {
            "class": row["retention_class"],
            "day": day(row["day"]),
            "records": f"{row['records']:,}",
            "would_be": word(OUTCOMES, row["outcome"]),
            "because": word(REASONS, row["because"]),
        }
        for row in answer["rows"]
    ]
    yield (
        table(rows, ("class", "day", "records", "would_be", "because"))
        if rows
        else "Nothing would end now."
    )
    yield ""
    if rows:
        yield _sum(answer["rows"])
    yield from _oldest(answer["oldest"])


def _sum(rows: Iterable[Mapping[str, Any]]) -> str:
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["outcome"]] = totals.get(row["outcome"], 0) + row["records"]
    parts = (f"{total:,} {word(OUTCOMES, outcome)}" for outcome, total in sorted(totals.items()))
    return "In all: " + ", ".join(parts) + "."


def _oldest(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for each in found:
        count = counted(each["records"], "record")
        yield (
            f"Oldest surviving record of class {each['retention_class']}: "
            f"{day(each['day'])} ({count} in the class)."
        )
