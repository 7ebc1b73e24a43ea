"""Back the running site up, and tell how far that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from appliance import backups
from appliance.administration import replicas
from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.backup_age import NoteBackup
from appliance.context import SITE
from appliance.reload import in_force
from store import backup
from store.backup import Manifest
from transports.wire.errors import Refusal


class Target(Arguments, frozen=True):
    """The directory of a backup, as an absolute path."""

    directory: str


def described(manifest: Manifest, directory: Path) -> dict[str, Any]:
    """Return a backup as JSON values."""
    return {
        "directory": str(directory),
        "node": manifest.node.hex(),
        "key": manifest.verify_key.hex(),
        "incarnation": f"{manifest.incarnation:016x}",
        "seq": manifest.seq,
        "pos": manifest.pos,
        "chain": manifest.chain.hex(),
        "generation": manifest.generation,
        "ledger": {"size": manifest.ledger_size, "root": manifest.ledger_root.hex()},
        "created_at": manifest.created_ms,
        "program": manifest.program,
        "schema_version": manifest.schema,
        "bytes": manifest.bytes,
    }


async def create(host: Host, arguments: Target) -> Answer:
    """Back the site up into a new directory while it serves.

    Afterwards the key replicas are brought in step, so that they open all that is in it.
    """
    data_dir, target = _places(host, arguments)
    config = in_force(host)
    manifest = await trio.to_thread.run_sync(backups.create, host.site, config, data_dir, target)
    await host.execute(SITE, NoteBackup(manifest.created_ms))
    statuses = await host.replicas.sync()
    return {**described(manifest, target), "replicas": replicas.plain(host.site, statuses)}


async def progress(host: Host, arguments: Target) -> Answer:
    """Tell how much of a backup that is being made has been copied."""
    _, target = _places(host, arguments)
    done = await trio.to_thread.run_sync(backup.copied_bytes, target)
    return {"done_bytes": done, "total_bytes": host.site.ports.engine.stats().used_bytes}


def _places(host: Host, arguments: Target) -> tuple[Path, Path]:
    data_dir, target = host.health.data_dir, Path(arguments.directory)
    if data_dir is None or not target.is_absolute():
        raise Refusal("request.invalid")
    return data_dir, target


OPERATIONS: Final[Mapping[str, Operation]] = {
    "backup.create": Operation(Target, create),
    "backup.progress": Operation(Target, progress),
}
"""What the peer's uid alone allows, by name."""
