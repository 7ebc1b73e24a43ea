"""Show headquarters and two branches on this machine."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from cli.exits import Exit
from cli.options import command
from cli.output import emit_json


@command("demo-sites", example="strongroom demo-sites")
def demo_sites(data: Path | None, as_json: bool) -> None:
    """Show headquarters and two branches here: a line is cut, and heals.

    Three servers, in a temporary directory that goes with them, and the commands that an
    administrator uses. Takes half a minute. The last line says whether all sites agree; status 1
    if they do not. With --json the story goes to stderr.
    """
    from cli.demo_sites import play

    del data
    # The servers are stopped however it is asked to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        agrees = play()
    if as_json:
        emit_json("demo-sites", {"agree": agrees})
    if not agrees:
        click.get_current_context().exit(int(Exit.FAILED))
