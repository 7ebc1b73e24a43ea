"""Sign in on this machine, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.options import PATH, command, command_timeout
from cli.output import emit_json, say
from cli.places import data_directory

CARRIER = click.option(
    "--carrier",
    type=click.Choice(["auto", "quic", "websocket"]),
    default="auto",
    show_default=True,
    help="auto: QUIC, and WebSocket where UDP is blocked.",
)
PROFILE = click.option("--profile", type=PATH, metavar="DIR", help="Profile directory.")


@command(
    "login",
    example="strongroom login alice@chat.hospital.example:8443 --pin sha256:4be1...",
)
@click.argument("address", metavar="LOGIN@HOST[:PORT]")
@click.option("--pin", default="", metavar="sha256:HEX", help="Fingerprint of the server's CA.")
@click.option("--password-file", metavar="FILE", help="Its first line; - for stdin; else asked.")
@click.option("--device-name", default="", metavar="TEXT", help="How this device is listed.")
@click.option("--shared", is_flag=True, help="Several people use this device.")
@PROFILE
@CARRIER
@command_timeout
def login(data: Path | None, address: str, timeout: float, as_json: bool, **given: Any) -> None:
    """Sign in by password; lasts until `logout`, idleness or 12 hours.

    People who have an invitation use `strongroom chat --join LINK` instead.
    """
    import trio

    from cli.joining import log_in

    del data
    who, directory = trio.run(log_in, address, given, timeout)
    if as_json:
        emit_json("login", {"login": who, "profile": str(directory)})
    else:
        say(f"You are {who}. Next: strongroom chat --as {who}")


@command("logout", example="strongroom logout --as alice")
@click.option("--as", "who", metavar="PERSON", help="Whose profile on this machine.")
@PROFILE
@CARRIER
@command_timeout
def logout(
    data: Path | None,
    who: str | None,
    profile: Path | None,
    carrier: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Revoke this device at the server, then wipe its profile from this machine."""
    import trio

    from cli.chat.opening import Place
    from cli.joining import log_out

    if not who and not profile:
        raise click.UsageError("--as is missing: whose profile?")
    place = Place.of(who or "", profile, data_directory(data), carrier=carrier, timeout=timeout)
    trio.run(log_out, place)
    if as_json:
        emit_json("logout", {"profile": str(place.profile)})
    else:
        say("You are signed out on this machine.")
