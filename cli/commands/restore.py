"""Bring a site back from a backup and a key replica, while no server runs on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.backup import read_key
from cli.offline import process_lock
from cli.options import PATH, command
from cli.output import emit_json, local_time, note, say
from cli.places import data_directory
from cli.replica_wrap import wrap_of, wrapping

if TYPE_CHECKING:
    from appliance.restore import RestoreReport

STEPS = {
    "verify": "verifying the backup",
    "copy": "copying the store",
    "keys": "taking the keys of the replica",
    "replay": "replaying what was destroyed since the backup",
    "views": "rebuilding every view from the log",
    "renew": "beginning a new incarnation",
    "check": "checking log and views",
    "root": "writing the new key directory",
}
"""What each step of a restore is told as."""


@command(
    "restore",
    example=(
        "strongroom restore /mnt/backup/2026-11-24 --replica /mnt/usb/strongroom-keys \\\n"
        "    --data /var/lib/strongroom --keys /mnt/keys --dry-run"
    ),
)
@click.argument("backup", type=PATH)
@click.option(
    "--replica",
    "replicas",
    type=PATH,
    multiple=True,
    required=True,
    metavar="DIR",
    help="Key replica; repeat for all there are, the newest counts.",
)
@click.option("--keys", type=PATH, required=True, metavar="DIR", help="New key directory.")
@wrapping
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The site's public key, from `audit key`, to check the backup against.",
)
@click.option("--dry-run", is_flag=True, help="Do all of it but its end, and tell what would be.")
def restore(
    data: Path | None,
    backup: Path,
    replicas: tuple[Path, ...],
    keys: Path,
    passphrase_file: str | None,
    credential_file: str | None,
    key_file: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a new data and key directory from a backup and the newest key replica.

    What was destroyed after the backup stays destroyed. The site takes a new incarnation, so
    clients read everything anew. What protects the replica will protect the new keys.
    """
    from appliance.restore import Plan
    from appliance.restore import restore as carry_out
    from store.clocks import SystemClock, SystemEntropy
    from store.vault import harden

    where = data_directory(data)
    is_new = not where.exists()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    harden()
    wrap, settings = wrap_of(replicas, passphrase_file, credential_file)
    settings["keys.directory"] = os.path.relpath(keys.absolute(), where)
    plan = Plan(
        backup.absolute(),
        tuple(each.absolute() for each in replicas),
        where,
        keys.absolute(),
        wrap,
        settings,
        read_key(key_file),
        dry_run,
    )

    def tell(step: str) -> None:
        if not as_json:
            note(f"  {STEPS[step]} ...")

    with process_lock(where):
        report = carry_out(plan, clock=SystemClock(), entropy=SystemEntropy(), tell=tell)
    if dry_run and is_new:
        _remove_empty(where)
    if as_json:
        emit_json("restore", plain(report))
    else:
        _tell(report, where)


def plain(report: RestoreReport) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "dry_run": report.is_dry_run,
        "node": report.node.hex(),
        "backup": {
            "created_at": report.backup_created_ms,
            "generation": report.backup_generation,
            "incarnation": report.old_incarnation,
        },
        "replica": {
            "directory": report.replica,
            "generation": report.replica_generation,
            "synced_at": report.replica_synced_ms,
        },
        "incarnation": report.new_incarnation,
        "operations": report.operations,
        "surviving": report.surviving,
        "destroyed_before": report.destroyed_before,
        "destroyed_since": report.destroyed_since,
        "lost_at_least": report.lost,
        "rpo_seconds": report.rpo_seconds,
        "rto_seconds": round(report.rto_seconds, 3),
    }


def _tell(report: RestoreReport, data: Path) -> None:
    done = "would be restored" if report.is_dry_run else "is restored"
    say(f"Site {report.node.hex()} {done}.")
    say(f"  backup made             {local_time(report.backup_created_ms)}")
    say(f"  key replica             {report.replica}")
    say(f"    last in step          {local_time(report.replica_synced_ms)}")
    say(f"  operations in backup    {report.operations}")
    say(f"    that open             {report.surviving}")
    say(f"    destroyed before it   {report.destroyed_before}")
    say(f"    destroyed after it    {report.destroyed_since}")
    say(f"  lost, made after it     {report.lost} at least")
    say(f"  time lost (RPO)         {report.rpo_seconds} s at least")
    say(f"  time taken (RTO)        {report.rto_seconds:.1f} s")
    if report.is_dry_run:
        say("Nothing was kept. The same command without --dry-run restores it.")
    else:
        say(f"Next: strongroom serve --data {data}")


def _remove_empty(data: Path) -> None:
    """Remove what the lock of a dry run has made."""
    from contextlib import suppress

    from cli.places import pid_file, run_directory

    with suppress(OSError):
        pid_file(data).unlink()
        run_directory(data).rmdir()
        data.rmdir()
