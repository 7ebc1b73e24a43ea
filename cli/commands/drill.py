"""Rehearse a disaster while the server goes on: restore the newest backup, compare, clean up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.commands.config import configuration
from cli.commands.restore import STEPS as RESTORE_STEPS
from cli.commands.restore import plain as plain_restore
from cli.commands.status import show_findings
from cli.errors import CliError
from cli.exits import SEVERITY_EXITS, Exit
from cli.offline import wrap_for
from cli.options import PATH, Group, subcommand
from cli.output import emit_json, local_time, note, say
from cli.places import data_directory
from cli.programs import become_owner

if TYPE_CHECKING:
    from appliance.drill import DrillReport

STEPS: Final = {
    **RESTORE_STEPS,
    "find": "looking for the newest backup",
    "live": "noting what the live site says",
    "compare": "comparing with the live site",
    "clear": "removing what was restored",
}
"""What each step of a drill is told as."""


@click.group("drill", cls=Group)
def group() -> None:
    """Rehearse a disaster; nothing of the site is changed."""


@subcommand(group, "restore", example="strongroom drill restore /mnt/backup --json")
@click.argument("backups", type=PATH, required=False)
def restore(data: Path | None, backups: Path | None, as_json: bool) -> None:
    """Restore the newest backup into a scratch directory and compare it with the live site.

    BACKUPS is a backup or a directory of backups; else the setting backup.directory. The keys
    come from the newest key replica, as they would in earnest; no root is written. Tells how much
    would be lost (RPO) and how long a restore takes (RTO). The server may run.

    Status 1 when the key replica is behind, 5 when the backup is damaged or contradicts the live
    ledger, or when something that was destroyed opens again.
    """
    from appliance.administration.findings import plain as plain_findings
    from appliance.config import key_directory, replica_directories
    from appliance.drill import Place, drill
    from store.clocks import SystemClock, SystemEntropy
    from store.vault import harden

    where = data_directory(data)
    if where.is_dir():
        become_owner(where)
    config = configuration(where).config
    replicas = replica_directories(config, where)
    if not replicas:
        raise CliError(
            "replica.unusable",
            "the site has no key replica, so no backup of it can be restored",
            "Add one: strongroom key-replica add DIR.",
        )
    harden()
    place = Place(
        where,
        key_directory(config, where),
        replicas,
        wrap_for(config, where),
        config.store.map_bytes,
    )

    def tell(step: str) -> None:
        if not as_json:
            note(f"  {STEPS[step]} ...")

    with _ended_by_signals():
        report = drill(
            place,
            _backups(backups, config.backup.directory, where),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            tell=tell,
        )
    findings = plain_findings(report.findings)
    if as_json:
        emit_json("drill.restore", plain(report, findings))
        worst = max((SEVERITY_EXITS[each["severity"]] for each in findings), default=Exit.OK)
        click.get_current_context().exit(int(worst))
    _tell(report)
    show_findings("drill.restore", findings, as_json=False)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that it cleans up; in the background too."""
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(each, signal.default_int_handler) for each in wanted]
    try:
        yield
    finally:
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)


def _backups(given: Path | None, configured: str, data: Path) -> Path:
    if given is not None:
        return given.absolute()
    if not configured:
        raise click.UsageError("name a directory of backups, or set backup.directory")
    return data / configured


def plain(report: DrillReport, findings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a report as JSON values."""
    restored = plain_restore(report.restored)
    return {
        "ok": all(SEVERITY_EXITS[each["severity"]] is Exit.OK for each in findings),
        "backup": {"directory": report.backup, **restored["backup"]},
        "replica": restored["replica"],
        "operations": report.restored.operations,
        "surviving": report.restored.surviving,
        "live_operations": report.live_operations,
        "missing": report.missing,
        "rpo_seconds": report.rpo_seconds,
        "rto_seconds": report.rto_seconds,
        "ledger_size": report.ledger_size,
        "live_ledger_size": report.live_ledger_size,
        "destroyed": report.destroyed,
        "revived": report.revived,
        "findings": findings,
    }


def _tell(report: DrillReport) -> None:
    restored = report.restored
    say(f"The backup in {report.backup} was restored, and removed again.")
    say(f"  made                    {local_time(restored.backup_created_ms)}")
    say(f"  operations              {restored.operations}, {restored.surviving} open")
    say(f"  missing                 {report.missing} of {report.live_operations} in the live site")
    say(f"  time that is lost (RPO) {report.rpo_seconds} s")
    say(f"  time taken (RTO)        {report.rto_seconds:.1f} s")
    say(f"  ledger                  {report.ledger_size} of {report.live_ledger_size} leaves")
    say(f"  destroyed in the site   {report.destroyed}, open again here: {report.revived}")
