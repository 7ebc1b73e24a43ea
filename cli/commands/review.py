"""Read other people's messages: with two officers' word, for some hours, each record noted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.options import Group, acting, subcommand
from cli.output import emit_json, note, printable, say
from cli.reasons import giving_reason
from cli.requests import add_request_commands, requested
from cli.selection import by_id, selecting
from cli.signing import Person, SignedSession
from cli.wording import utc

if TYPE_CHECKING:
    from appliance.disposal.commands import Selection

ACTS: Final = ("review",)
HOURS_MAX: Final = 720
PAGE: Final = 64
"""Records of one page."""

STATES: Final = {
    "recalled": "recalled by its author",
    "body_destroyed": "its content is destroyed",
    "escrowed": "kept for a hold alone",
}
"""What became of a message, in words."""

_SHOWN: Final = ("record", "destroyed")


@click.group(cls=Group)
def review() -> None:
    """Read other people's messages, which takes two officers.

    One asks, another approves, and the first reads for as many hours as were asked for. Every
    record that is shown is written into the trail.
    """


@subcommand(
    review,
    "request",
    example=(
        "strongroom review request --person bob --from 2026-11-01 --until 2026-11-08 \\\n"
        '      --hours 48 --reason "complaint 12" --as dave'
    ),
)
@acting
@selecting
@click.option(
    "--hours",
    type=click.IntRange(1, HOURS_MAX),
    default=24,
    show_default=True,
    help="How long it may be read, once approved.",
)
@giving_reason
def ask(
    data: Path | None, who: Person, selection: Selection, hours: int, reason: str, as_json: bool
) -> None:
    """Ask to read what matches.

    Nothing can be read before another officer approves.
    --person means what they wrote and every conversation they were in.
    """
    from appliance.disposal.commands import RequestReview

    with SignedSession(who, data) as session:
        named = by_id(session.server, selection)
        answer = session.request("review.request", RequestReview(named, hours, reason))
    if as_json:
        emit_json("review.request", answer)
    else:
        approve = f"strongroom review approve {answer['request']} --as SECOND_OFFICER"
        say(requested(answer, approve))


add_request_commands(review, ACTS, 8)


@subcommand(
    review,
    "open",
    example=(
        "strongroom review open 8 --as dave\n"
        "strongroom review open 8 --as dave --json > records.jsonl"
    ),
)
@acting
@click.argument("request", type=click.IntRange(1))
@click.option(
    "-n", "--limit", type=click.IntRange(1), metavar="N", help="Stop after so many records."
)
@click.option("--after", default="", metavar="CURSOR", help="Go on where an earlier call stopped.")
def read(
    data: Path | None, who: Person, request: int, limit: int | None, after: str, as_json: bool
) -> None:
    """Read the records of a review.

    It must be approved, and its hours not over; every version is shown.
    With --json a line for each record. Where --limit stopped it, the cursor that goes on is
    told on stderr. Every record that is shown is recorded.
    """
    with SignedSession(who, data) as session:
        told = _tell_all(session, request, limit, after, as_json=as_json)
    if told == 0 and not as_json:
        say("No record matches.")


def _tell_all(
    session: SignedSession, request: int, limit: int | None, after: str, *, as_json: bool
) -> int:
    """Ask for page after page, and print records as they come; return how many."""
    from appliance.evidence.decide import Page

    told = 0
    while limit is None or told < limit:
        size = PAGE if limit is None else min(PAGE, limit - told)
        page = session.request("evidence.page", Page(request, after=after, limit=size))
        for line in map(json.loads, page["lines"]):
            if line["type"] in _SHOWN:
                told += 1
                _tell(line, as_json=as_json)
        after = page["after"]
        if not after:
            return told
    note(f"There may be more: --after {after}")
    return told


def _tell(line: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(f"review.{line['type']}", line)
    elif line["type"] == "record":
        say("\n".join(_record(line)))
    else:
        say(f"{utc(line['at'])}  destroyed; nothing is left of it  {line['id']}\n")


def _record(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a record's lines; no line of its text can pass for one of ours."""
    versions = record["versions"]
    by = versions[0]["by"]
    state = "" if record["state"] == "present" else f", {STATES.get(record['state'], 'changed')}"
    yield f"{utc(record['at'])}  {printable(by['login']) or by['person']}{state}"
    yield f"  conversation {record['conversation']}"
    yield f"  message      {record['id']}"
    for number, version in enumerate(versions, 1):
        if len(versions) > 1:
            yield f"  version {number}, {utc(version['at'])}"
        yield from _text(version["content"] or {})
    yield ""


def _text(content: Mapping[str, Any]) -> Iterator[str]:
    for name in ("text", "data"):
        for line in str(content.get(name, "")).split("\n"):
            if line:
                yield f"  | {printable(line)}"
