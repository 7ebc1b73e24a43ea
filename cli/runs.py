"""Follow a destruction run to its end, and say what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from cli.admin import AdminSocket
from cli.errors import CliError
from cli.output import note, printable, say
from cli.wording import CAUSES, RUN_STATES, SITE_STATES, counted, utc, word

POLL_SECONDS: Final = 0.5
"""How often a waiting command asks how far a run is, in seconds."""


LOOKING_SECONDS: Final = 3_600.0
"""How long the server may look through its records for what is meant, in seconds."""


def looking(what: str) -> None:
    """Say on a terminal that the server is looking through its records, which may take a while."""
    if sys.stderr.isatty():
        note(f"{what} ...")


def follow(server: AdminSocket, request: int, timeout_seconds: float) -> dict[str, Any]:
    """Wait until a request is carried out, showing how far it is on a terminal.

    Returns the run's status once it is confirmed. Raises ``CliError``: "server.timeout" after
    ``timeout_seconds`` (the run goes on); "run.held_back" when everything stayed, "run.unknown"
    when the request is over.
    """
    deadline = time.monotonic() + timeout_seconds
    status = _status(server, request)
    with click.progressbar(
        length=max(status["expected"], 1),
        label=f"Request {request}",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        while not status["over"]:
            bar.update(min(status["records"], status["expected"]) - bar.pos)
            if time.monotonic() >= deadline:
                raise CliError(
                    "server.timeout",
                    f"request {request} is not carried out yet",
                    "It goes on by itself: `strongroom destroy runs` tells when it is done.",
                    retryable=True,
                )
            time.sleep(POLL_SECONDS)
            status = _status(server, request)
        bar.update(max(status["expected"], 1) - bar.pos)
    if status["run"]:
        return status
    if status["held_back"]:
        kept = counted(status["held_back"], "record")
        raise CliError("run.held_back", f"nothing ended: holds or minimums keep {kept}")
    hint = f"See what became of it: strongroom request show {request}"
    raise CliError("run.unknown", f"nothing came of request {request}", hint)


def in_words(site: Mapping[str, Any]) -> str:
    """Say what a branch has answered to an order."""
    told = f"{site['destroyed']} destroyed, {site['held_back']} held, {site['absent']} not there"
    return f"{word(SITE_STATES, site['state'])} ({told})"


def _status(server: AdminSocket, request: int) -> dict[str, Any]:
    return server.ask("run.status", {"request": request})


def tell(run: Mapping[str, Any]) -> None:
    """Say in words how a run stands; what is not destroyed everywhere is not called so."""
    parts = counted(run["parts"], "sealed part")
    say(f"Run {run['run']}, {word(CAUSES, run['cause'])}: {word(RUN_STATES, run['state'])}.")
    say(f"  keys destroyed  {parts}")
    if run["held_back"]:
        say(f"  held back       {counted(run['held_back'], 'record')}")
    say(f"  begun           {utc(run['started_at'])}")
    if run["confirmed_at"]:
        say(f"  confirmed       {utc(run['confirmed_at'])}")
    for site in run.get("sites", ()):
        say(f"  site            {printable(site['name'])}: {in_words(site)}")
    if run["devices_asked"]:
        asked, answered = run["devices_asked"], run["devices_answered"]
        say(f"  devices         {answered} of {asked} have dropped their copies")
