"""Run the appliance of a data directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.config import configuration
from cli.offline import in_force, open_site, process_lock
from cli.options import command
from cli.output import emit_json, note, say
from cli.places import data_directory

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.server import Appliance


def listen_flags(listen: str | None) -> dict[str, Any]:
    """Return the settings that ``--listen HOST:PORT`` stands for; raises ``UsageError``."""
    from appliance.config import split_address

    if listen is None:
        return {}
    try:
        host, port = split_address(listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    return {"listen.host": host, "listen.port": port}


LISTEN = click.option("--listen", metavar="HOST:PORT", help="Address to listen on.")


@command("serve", example="strongroom serve --data /var/lib/strongroom")
@LISTEN
@click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="How to log.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
def serve(
    data: Path | None,
    listen: str | None,
    log_format: str | None,
    log_level: str | None,
    as_json: bool,
) -> None:
    """Run the appliance in the foreground until SIGTERM or Ctrl-C.

    Prints where clients connect and the CA's fingerprint once it serves. On SIGTERM it takes no
    new sessions, answers what is in flight, tells clients when to come back, and ends with 0.
    """
    from appliance.site import CLOSING_FILE
    from cli import logs
    from cli.running import run
    from store.vault import harden

    where = data_directory(data)
    flags = {**listen_flags(listen), "log.format": log_format, "log.level": log_level}

    def read() -> Config:
        return in_force(configuration(where, flags=flags).config, where)

    config = read()
    logs.configure(config.log.format, config.log.level)
    refused = harden()
    with process_lock(where):
        site = open_site(config, where)
        run(site, config, where, Announcement(where, as_json, refused), read)
    if (where / CLOSING_FILE).exists():
        note(f"The site was decommissioned: {where} is dead. See {where / CLOSING_FILE}.")


class Announcement:
    """Say on stdout that the appliance serves, and where."""

    def __init__(self, data: Path, as_json: bool, refused: list[str], next_step: str = "") -> None:
        self._data = data
        self._as_json = as_json
        self._refused = refused
        self._next_step = next_step

    def __call__(self, appliance: Appliance) -> None:
        """Print it."""
        from appliance.certificates import ca_fingerprint

        core = appliance.site.core
        name = appliance.config.site.name or core.site_name
        addresses, fingerprint = list(appliance.addresses), ca_fingerprint(core)
        if self._as_json:
            answer = {"name": name, "addresses": addresses, "ca": fingerprint}
            emit_json("serve", {**answer, "data": str(self._data), "notices": self._refused})
            return
        step = self._next_step or f"strongroom invite list --data {self._data}"
        say(f"{name} serves on {', '.join(addresses)} (TCP and UDP)")
        say(f"  CA    {fingerprint}")
        say(f"  data  {self._data}")
        say(f"  next  {step}")
        for sentence in self._refused:
            say(f"  notice: {sentence}")
