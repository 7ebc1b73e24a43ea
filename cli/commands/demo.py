"""Run a demo organisation on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config import FILE_NAME, Config, key_directory
from cli.commands.config import configuration
from cli.commands.init import write_private
from cli.commands.serve import LISTEN, Announcement, listen_flags
from cli.errors import CliError
from cli.offline import in_force, open_site, process_lock
from cli.options import command
from cli.places import DEMO_DATA, DEMO_KEYS

if TYPE_CHECKING:
    from appliance.site import Site

DEFAULT_LISTEN = "127.0.0.1:8443"


@command("demo", example="strongroom demo --listen 127.0.0.1:8443")
@LISTEN
def demo(data: Path | None, listen: str | None, as_json: bool) -> None:
    """Run a demo organisation: alice, bob and carol chat, grace administers.

    Made in ./demo-data and ./demo-keys on the first run, used again afterwards. Profiles for
    everybody are in demo-data/profiles, so that `strongroom chat --as alice` asks nothing.
    """
    from cli import demonstration, logs
    from cli.running import run
    from store.vault import harden

    where = (data or Path(DEMO_DATA)).absolute()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    with process_lock(where):
        if not (where / FILE_NAME).exists():
            _write_config(where, listen or DEFAULT_LISTEN)
        flags = listen_flags(listen)

        def read() -> Config:
            return in_force(configuration(where, flags=flags).config, where)

        config = read()
        _require_port(config)
        logs.configure(config.log.format, config.log.level)
        refused = harden()
        site = _open_or_make(config, where)
        try:
            demonstration.populate(site)
            demonstration.renew_profiles(site, where, _reached_at(config))
            demonstration.open_group(site)
        except BaseException:
            site.close()
            raise
        run(site, config, where, Announcement(where, as_json, refused, _next_step()), read)


def _write_config(data: Path, listen: str) -> None:
    from appliance.config_text import render

    keys = data.with_name(DEMO_KEYS if data.name == DEMO_DATA else data.name + "-keys")
    values = {**listen_flags(listen), "keys.directory": os.path.relpath(keys, data)}
    write_private(data / FILE_NAME, render(values))


def _require_port(config: Config) -> None:
    """Refuse port 0: the profiles name the port before it is open."""
    if not config.listen.port:
        raise CliError("cli.usage", "the demo needs a port of its own: --listen 127.0.0.1:8443")


def _reached_at(config: Config) -> str:
    host = config.listen.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"[{host}]:{config.listen.port}" if ":" in host else f"{host}:{config.listen.port}"


def _open_or_make(config: Config, data: Path) -> Site:
    from appliance.site import AbsentError, Site, data_ports
    from cli.demonstration import NAME
    from store.vault import NoWrap

    try:
        return open_site(config, data)
    except AbsentError:
        ports = data_ports(data, key_directory(config, data), config.store.map_bytes)
        return Site.create(ports, NoWrap(), name=NAME)


def _next_step() -> str:
    program = sys.argv[0] if Path(sys.argv[0]).name == "strongroom" else "strongroom"
    return f"{shlex.quote(program)} chat --as alice"
