"""Verify a data directory while no server runs on it."""

from __future__ import annotations

from pathlib import Path

from cli.commands.config import configuration
from cli.commands.status import show_findings
from cli.offline import open_site, process_lock
from cli.options import command
from cli.places import data_directory


@command("check", example="strongroom check --data /var/lib/strongroom --json")
def check(data: Path | None, as_json: bool) -> None:
    """Verify the log, rebuild every view from it and compare; the server must be down.

    Status 1 from a warning on, 5 when stored data contradicts its proofs.
    """
    from appliance.administration import findings

    where = data_directory(data)
    config = configuration(where).config
    with process_lock(where):
        site = open_site(config, where)
        try:
            found = [*findings.shallow(site, config, where), *findings.deep(site)]
        finally:
            site.close()
    show_findings("check", findings.plain(found), as_json=as_json)
