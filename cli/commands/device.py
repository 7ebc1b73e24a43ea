"""List and revoke devices."""

from __future__ import annotations

from pathlib import Path

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, say, table
from cli.places import data_directory
from cli.signing import Person, SignedSession


@click.group(cls=Group)
def device() -> None:
    """List and revoke devices."""


@subcommand(device, "list", example="strongroom device list alice")
@click.argument("login", required=False, default="")
def list_devices(data: Path | None, login: str, as_json: bool) -> None:
    """List devices whose token is valid: everybody's, or one person's."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("device.list", {"who": login})
    if as_json:
        emit_json("device.list", answer)
    else:
        columns = ("login", "device", "name", "method", "shared", "expires_at", "online")
        say(table(answer["devices"], columns))


@subcommand(
    device,
    "revoke",
    example="strongroom device revoke alice 5f0c6d1e9ab34c77815d2f60b7a3e914 --as grace",
)
@acting
@click.argument("login")
@click.argument("device_id", metavar="DEVICE")
@click.option("--reason", default="", help="Why; it stands in the log, sealed.")
def revoke(
    data: Path | None, who: Person, login: str, device_id: str, reason: str, as_json: bool
) -> None:
    """Revoke a device: its sessions end at once, and its token is void for ever."""
    from appliance.directory.commands import RevokeDevice

    try:
        wanted = bytes.fromhex(device_id)
    except ValueError:
        raise click.BadParameter("a device id is 32 hex digits", param_hint="DEVICE") from None
    with SignedSession(who, data) as session:
        session.directory(RevokeDevice(login, wanted, reason))
    if as_json:
        emit_json("device.revoke", {"login": login, "device": device_id})
    else:
        say("The device is revoked.")
