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
    """Verify pages and log, rebuild every view and compare; the server must be down.

    Status 1 from a warning on, 5 when stored data contradicts its proofs.
    """
    from appliance.administration import findings

    where = data_directory(data)
    config = configuration(where).config
    with process_lock(where):
        # Before the store is opened: what opens it trusts its pages.
        found = findings.examine_pages(pages_of(where))
        if not found:
            site = open_site(config, where)
            try:
                found = [*findings.shallow(site, config, where), *findings.deep(site)]
            finally:
                site.close()
    show_findings("check", findings.plain(found), as_json=as_json)


def pages_of(data: Path) -> list[str]:
    """Return what is wrong with the store's pages; nothing where there is no store."""
    from appliance.site import ENGINE_DIRECTORY
    from store.engine.lmdb import DATA_NAME, verify_pages

    store = data / ENGINE_DIRECTORY
    return verify_pages(store) if (store / DATA_NAME).exists() else []
