"""Place, list and release legal holds: what they cover stays, whatever else would end it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import CliError
from cli.options import Group, acting, subcommand
from cli.output import emit_json, printable, say, table
from cli.reasons import giving_reason
from cli.selection import by_id, in_words, selecting
from cli.signing import Person, SignedSession
from cli.wording import stamp, utc

if TYPE_CHECKING:
    from appliance.disposal.commands import Selection


@click.group(cls=Group)
def hold() -> None:
    """Place, list and release legal holds.

    A hold goes before everything: no maximum, recall, erasure or order ends what it covers.
    Placing takes one officer, releasing two. Nobody who is held is told.
    """


@subcommand(
    hold,
    "place",
    example=(
        'strongroom hold place "Case 17" --person bob --from 2026-01-01 \\\n'
        '      --reason "letter from counsel" --as dave'
    ),
)
@acting
@click.argument("name")
@selecting
@giving_reason
def place(
    data: Path | None, who: Person, name: str, selection: Selection, reason: str, as_json: bool
) -> None:
    """Hold everything that matches, from this moment on.

    --person covers what they wrote and every conversation they were in. Dates are widened by a
    day at both ends, so that no clock error lets the hold miss a record.
    """
    from appliance.disposal.commands import PlaceHold

    with SignedSession(who, data) as session:
        named = by_id(session.server, selection)
        answer = session.request("hold.place", PlaceHold(name, named, reason))
    if as_json:
        emit_json("hold.place", answer)
    else:
        say(f"Hold {answer['hold']} is in force.")


@subcommand(hold, "list", example="strongroom hold list --released --as dave")
@acting
@click.option("--released", is_flag=True, help="Also those that were released.")
def list_holds(data: Path | None, who: Person, released: bool, as_json: bool) -> None:
    """List holds, oldest first; reading them is recorded."""
    with SignedSession(who, data) as session:
        found = _fetch(session, released=released)
    if as_json:
        emit_json("hold.list", {"holds": found})
    elif found:
        columns = ("hold", "name", "state", "covers", "by", "placed_utc", "everywhere_utc")
        say(table(map(_row, found), (*columns, "released_utc") if released else columns))
    else:
        say("No hold." if released else "No hold is in force.")


@subcommand(hold, "show", example="strongroom hold show 3 --as dave")
@acting
@click.argument("number", metavar="HOLD", type=click.IntRange(1))
def show(data: Path | None, who: Person, number: int, as_json: bool) -> None:
    """Show one hold, and from when on it is guaranteed at every branch."""
    with SignedSession(who, data) as session:
        found = next(
            (each for each in _fetch(session, released=True) if each["hold"] == number), None
        )
    if found is None:
        raise CliError("hold.unknown", f"there is no hold {number}")
    if as_json:
        emit_json("hold.show", found)
        return
    say(f"Hold {number}: {printable(found['name'])}")
    say(f"  state     {'in force' if found['active'] else 'released'}")
    say(f"  covers    {printable(in_words(found['selection']))}")
    say(f"  placed    {utc(found['placed_at'])} by {printable(found['by'])}")
    say(f"  reason    {printable(found['reason'])}")
    if found["active"]:
        say(f"  sites     {_everywhere(found)}")
    if not found["active"]:
        say(f"  released  {utc(found['released_at'])}")


@subcommand(
    hold, "release", example='strongroom hold release 3 --reason "case is closed" --as dave'
)
@acting
@click.argument("number", metavar="HOLD", type=click.IntRange(1))
@giving_reason
def release(data: Path | None, who: Person, number: int, reason: str, as_json: bool) -> None:
    """End a hold; it takes two officers.

    What it covered returns to its normal rule.
    The first officer asks; a second one who runs the same command, with a reason of their own,
    agrees. It ends when the policy's cooling-off is over.
    """
    from appliance.disposal.commands import ReleaseHold

    with SignedSession(who, data) as session:
        answer = session.request("hold.release", ReleaseHold(number, reason))
    if as_json:
        emit_json("hold.release", answer)
    elif not answer["active"]:
        say(f"Hold {number} is released: what it covered returns to its normal rule.")
    elif answer["ready_at"]:
        say(f"Two officers release hold {number}; it ends {utc(answer['ready_at'])}.")
        say(f"Until then either may stop it: strongroom request reject {answer['request']}")
    else:
        say(f"Hold {number} stays in force until a second officer releases it too.")
        say(f"next: strongroom hold release {number} --reason TEXT --as SECOND_OFFICER")


def _everywhere(found: Mapping[str, Any]) -> str:
    """Say from when on nothing is destroyed against a hold at any site."""
    if not found["waits_for"]:
        return "in force everywhere"
    names = ", ".join(map(printable, found["waits_for"]))
    if not found["everywhere_at"]:
        return f"on its way to {names}"
    return f"guaranteed everywhere from {utc(found['everywhere_at'])}; not heard from {names}"


def _fetch(session: SignedSession, *, released: bool) -> list[dict[str, Any]]:
    from appliance.disposal.commands import ListHolds

    holds: list[dict[str, Any]] = session.request("hold.list", ListHolds(released))["holds"]
    return holds


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "state": "in force" if found["active"] else "released",
        "covers": in_words(found["selection"]),
        "placed_utc": stamp(found["placed_at"]),
        "everywhere_utc": stamp(found["everywhere_at"]) if found["waits_for"] else "already",
        "released_utc": stamp(found["released_at"]),
    }
