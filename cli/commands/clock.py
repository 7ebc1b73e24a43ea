"""Show the time that destruction goes by, and say that it is right again after a jump."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, printable, say
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.requests import confirm
from cli.signing import Person, SignedSession
from cli.wording import span, utc

SOURCES: Final = {
    "none": "none: no time is ever proven, and nothing ends by age",
    "system": "this machine's clock, which the operating system keeps right",
    "headquarters": "headquarters' signed time",
}
"""What each source is."""

STATES: Final = {
    "running": "goes on",
    "unproven": "waits, because no time is proven yet",
    "suspended": "SUSPENDED, because the clock jumped",
}
"""What each state of the clock means for destruction."""


@click.group(cls=Group)
def clock() -> None:
    """Show and confirm the time that destruction goes by.

    A jump of the machine's clock by more than five minutes suspends all destruction: nothing
    ends early because a clock is wrong. Two officers say that it is right again.
    """


@subcommand(clock, "status", example="strongroom clock status")
def status(data: Path | None, as_json: bool) -> None:
    """Show which time is proven.

    And from where, and whether destruction is suspended.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("clock.status")
    if as_json:
        emit_json("clock.status", answer)
    else:
        say("\n".join(_told(answer)))


@subcommand(
    clock, "resume", example='strongroom clock resume --reason "the battery is new" --as dave'
)
@acting
@giving_reason
@click.option("--yes", is_flag=True, help="Do not ask on the terminal.")
def resume(data: Path | None, who: Person, reason: str, yes: bool, as_json: bool) -> None:
    """Say that the clock is right again.

    Then destruction goes on.
    Compare it with a clock you trust first. It takes two officers: the first asks, a second one
    who runs the same command confirms.
    """
    from appliance.disposal.commands import ResumeClock

    confirm(f"This machine's clock says {utc(_wall_ms())}. Is that right?", yes=yes)
    with SignedSession(who, data) as session:
        answer = session.request("clock.resume", ResumeClock(_wall_ms(), reason))
    if as_json:
        emit_json("clock.resume", answer)
    elif answer["resumed"]:
        say("Destruction goes on.")
    else:
        say("Destruction stays suspended until a second officer confirms it too.")
        say("next: strongroom clock resume --reason TEXT --as SECOND_OFFICER")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _told(answer: Mapping[str, Any]) -> Iterator[str]:
    source = answer["source"]
    yield f"source:       {printable(SOURCES.get(source, source))}"
    yield f"wall clock:   {utc(answer['wall_at'])}"
    yield f"proven time:  {utc(answer['proven_at'])}"
    if answer["proven_at"]:
        yield f"difference:   {_difference(answer['ahead_seconds'])}"
    yield f"destruction:  {STATES.get(answer['state'], answer['state'])}"
    if answer["state"] == "suspended":
        yield "Put the clock right, then two officers run: strongroom clock resume"


def _difference(ahead_seconds: int) -> str:
    if not ahead_seconds:
        return "none"
    return f"{span(abs(ahead_seconds))} {'ahead' if ahead_seconds > 0 else 'behind'}"
