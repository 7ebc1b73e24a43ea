"""Ask the running server how it is: status, readiness, findings, figures; and say the version."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from cli.admin import AdminSocket
from cli.errors import CliError
from cli.exits import SEVERITY_EXITS, Exit
from cli.options import command
from cli.output import emit_json, pairs, say
from cli.places import data_directory

POLL_SECONDS: Final = 0.2
"""How often a waiting command asks, in seconds."""

DEEP_SECONDS: Final = 3_600.0
"""How long a deep examination may take, in seconds."""


@command("status", example="strongroom status --json")
def status(data: Path | None, as_json: bool) -> None:
    """Show how the running server is, where clients connect, and the CA's fingerprint."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("status")
    if as_json:
        emit_json("status", answer)
    else:
        say(pairs(answer))


@command("wait", example="strongroom wait ready --timeout 30")
@click.argument("state", type=click.Choice(["ready"]))
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait; then status 7.",
)
def wait(data: Path | None, state: str, timeout: float, as_json: bool) -> None:
    """Wait until the server is ready to serve clients."""
    # Which directory is meant may change while we wait: the demo makes its own.
    deadline = time.monotonic() + timeout
    while (answer := _asked(data_directory(data), timeout)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            hint = "Look at the server's log, and at `strongroom status`."
            raise CliError("server.timeout", "the server is not ready", hint, retryable=True)
        time.sleep(min(POLL_SECONDS, left))
    if as_json:
        emit_json("wait", {"state": state, "addresses": answer["addresses"]})


def _asked(data: Path, timeout: float) -> dict[str, Any] | None:
    """Return the status of a server that is ready, or None."""
    try:
        with AdminSocket(data, timeout=max(timeout, POLL_SECONDS)) as server:
            answer = server.ask("status")
    except CliError as error:
        if error.code == "cli.denied":
            raise
        return None
    return answer if answer["ready"] else None


@command("drain", example="strongroom drain")
def drain(data: Path | None, as_json: bool) -> None:
    """Stop the running server in good order, as SIGTERM does.

    It takes no new sessions, answers what is in flight, and tells clients when to come back.
    """
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("drain")
    if as_json:
        emit_json("drain", answer)
    else:
        say("The server is stopping.")


@command("doctor", example="strongroom doctor --deep --json")
@click.option("--deep", is_flag=True, help="Also rebuild every view from the log and compare.")
def doctor(data: Path | None, deep: bool, as_json: bool) -> None:
    """Look for problems of the running server.

    Each finding has an id, a severity, evidence and a remedy. Status 1 from a warning on, 5 when
    stored data contradicts its proofs.
    """
    with AdminSocket(data_directory(data), timeout=DEEP_SECONDS) as server:
        answer = server.ask("doctor", {"deep": deep})
    show_findings("doctor", answer["findings"], as_json=as_json)


def show_findings(schema: str, findings: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print findings and leave with the status of the gravest."""
    if as_json:
        emit_json(schema, {"findings": list(findings)})
    elif not findings:
        say("Nothing found.")
    for found in () if as_json else findings:
        more = f"\n  see {found['runbook']}" if found["runbook"] else ""
        say(f"{found['severity']}  {found['id']}\n  {found['evidence']}\n  {found['remedy']}{more}")
    worst = max((SEVERITY_EXITS[found["severity"]] for found in findings), default=Exit.OK)
    if worst:
        click.get_current_context().exit(int(worst))


@command("metrics", example="strongroom metrics | grep strongroom_sessions")
@click.option("--rules", is_flag=True, help="Print the alarms, a file of rules, instead.")
def metrics(data: Path | None, rules: bool, as_json: bool) -> None:
    """Print the server's figures in Prometheus' text format, or the alarms that ask for them."""
    if rules:
        from appliance.alerts import rules as text

        answer = {"text": text()}
    else:
        with AdminSocket(data_directory(data)) as server:
            answer = server.ask("metrics")
    if as_json:
        emit_json("metrics", answer)
    else:
        say(answer["text"].rstrip("\n"))


@command("version", example="strongroom version --json")
def version(data: Path | None, as_json: bool) -> None:
    """Print the version of this program, and what it was built from.

    With --json also the suites that seal records, the engines and the libraries in it.
    """
    from appliance.version import describe

    del data
    told = describe()
    if as_json:
        emit_json("version", told)
        return
    say(f"strongroom {told['version']}")
    say(pairs({name: told[name] for name in ("commit", "build", "made_at")}))
