"""Bring a store back to a snapshot, in its place, with the keys as they are now.

It is a restore whose key replica is the site itself: what was destroyed since the snapshot has no
key any more and stays destroyed, and no key is ever copied. The site takes a new incarnation. The
program that is gone back to does this, on data that a newer one may have written; it needs
nothing of that but the key rows and the head of the log, which have versions of their own.

    copy ... check     as in ``appliance.restore``, in ``reverting`` inside the data directory
    exchange           the store with the made one: one step of the file system
    exchange           the fence with its fence; a crash before this costs one more incarnation
    remove             ``reverting``, which then holds what is left behind
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from appliance import revival
from appliance.findings import Finding, Severity
from appliance.restore import copy_store
from appliance.site import ENGINE_DIRECTORY, SIDECAR_DIRECTORY, AbsentError
from appliance.upgrade.paths import exchange, sync_directory
from store import backup
from store.backup import Manifest
from store.disk import FileDisk
from store.engine.ballast import ballast_bytes
from store.engine.contract import Engine, Reader
from store.engine.lmdb import LmdbEngine
from store.errors import IntegrityError
from store.fence import Fence
from store.heads import read_head
from store.ports import Clock, Disk, Entropy
from store.replica import State
from store.vault import Vault, Wrap, generation_of

SCRATCH_NAME: Final = "reverting"
"""Directory in the data directory in which the reverted store is made."""


class RevertReport(msgspec.Struct, frozen=True):
    """What a snapshot brought back. Counts in operations, times in Unix ms.

    ``lost`` came after the snapshot; ``destroyed_since`` are in it and open no more.
    """

    snapshot: str
    created_ms: int
    operations: int
    surviving: int
    destroyed_since: int
    lost: int
    old_incarnation: str
    new_incarnation: str


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """The keys of the store that is left behind; see ``appliance.revival.KeySource``."""

    engine: Engine
    keys: Disk
    wrap: Wrap
    entropy: Entropy

    def state(self) -> State:
        """Return the head of the store as a key replica that is in step would tell it."""
        with self.engine.snapshot() as reader:
            head = read_head(reader)
            return State(0, generation_of(reader), 0, head.incarnation, head.seq, head.pos)

    @contextmanager
    def rows(self) -> Iterator[Reader]:
        """Give the store, in which the key rows stand under their own keys."""
        with self.engine.snapshot() as reader:
            yield reader

    def open_vault(self, reader: Reader) -> Vault:
        """Open a store that has these key rows; raises ``VaultLockedError``."""
        return Vault.open(reader, self.keys, self.entropy, self.wrap)


def revert(
    data: Path,
    keys: Path,
    snapshot: Path,
    wrap: Wrap,
    *,
    map_bytes: int,
    clock: Clock,
    entropy: Entropy,
    tell: Callable[[str], None],
) -> RevertReport:
    """Put the snapshot in the place of the store of ``data``; the server is down. O(store).

    Wherever it is interrupted, the data directory holds the old store or the new one, whole.

    Raises ``AbsentError`` without data, ``NoBackupError``, ``IntegrityError`` for a snapshot that
    was changed or is of another site, ``VaultLockedError`` when the wrap does not open the keys,
    ``FormatError`` when the keys are of a program too new, and ``EngineError``.
    """
    if not (data / ENGINE_DIRECTORY).is_dir():
        raise AbsentError(f"{data} holds no organisation")
    scratch = data / SCRATCH_NAME
    shutil.rmtree(scratch, ignore_errors=True)
    live = LmdbEngine(data / ENGINE_DIRECTORY, map_bytes=map_bytes)
    disk = FileDisk(keys)
    try:
        source = LiveKeys(live, disk, wrap, entropy)
        tell("verify")
        manifest = _verified(snapshot, live)
        tell("copy")
        scratch.mkdir(mode=0o700)
        copy_store(snapshot, manifest, scratch)
        report = _made(scratch, source, manifest, snapshot, map_bytes, clock, entropy, tell)
        tell("exchange")
        for name in (ENGINE_DIRECTORY, SIDECAR_DIRECTORY):
            exchange(scratch / name, data / name)
        return report
    finally:
        live.close()
        disk.close()
        shutil.rmtree(scratch, ignore_errors=True)
        sync_directory(data)


def examine_leftovers(data: Path) -> Iterator[Finding]:
    """Remove what an interrupted revert left, and yield a finding that tells of it.

    For whoever has the data directory to themselves, as the server and ``check`` have.
    """
    scratch = data / SCRATCH_NAME
    if not scratch.is_dir():
        return
    shutil.rmtree(scratch, ignore_errors=True)
    is_left = scratch.exists()
    yield Finding(
        "upgrade.leftover",
        Severity.WARNING if is_left else Severity.NOTICE,
        "a rollback of the store was interrupted; what it left behind "
        + ("cannot be removed" if is_left else "is removed"),
        f"Remove the directory {SCRATCH_NAME} in the data directory, as root."
        if is_left
        else "See that the store is the one that you want; if not, roll back again.",
    )


def lost_since(data: Path, snapshot: Path, map_bytes: int) -> int:
    """Return how many operations came after a snapshot; nothing is written.

    Raises ``NoBackupError``, ``FormatError``, ``EngineError``.
    """
    manifest = backup.load_manifest(snapshot)[0]
    engine = LmdbEngine(data / ENGINE_DIRECTORY, map_bytes=map_bytes, readonly=True)
    try:
        with engine.snapshot() as reader:
            return max(0, read_head(reader).pos - manifest.pos)
    finally:
        engine.close()


def _verified(snapshot: Path, live: Engine) -> Manifest:
    with live.snapshot() as reader:
        key = read_head(reader).verify_key
    found = backup.verify(snapshot, key=key)
    if found.manifest is None or not found.is_good:
        raise IntegrityError(f"the snapshot is not as it was made: {found.problems[0]}")
    return found.manifest


def _made(
    scratch: Path,
    source: LiveKeys,
    manifest: Manifest,
    snapshot: Path,
    map_bytes: int,
    clock: Clock,
    entropy: Entropy,
    tell: Callable[[str], None],
) -> RevertReport:
    """Make the copied store a site again, cleanly stopped, and say what it holds."""
    engine = LmdbEngine(
        scratch / ENGINE_DIRECTORY, map_bytes=map_bytes, ballast_bytes=ballast_bytes(map_bytes)
    )
    fence = FileDisk(scratch / SIDECAR_DIRECTORY)
    try:
        revived = revival.revive(
            engine, Fence(fence), source, manifest, clock=clock, entropy=entropy, tell=tell
        )
        revived.core.log.close()
        revived.vault.close()
    finally:
        fence.close()
        engine.close()
    state, counts = source.state(), revived.counts
    return RevertReport(
        str(snapshot),
        manifest.created_ms,
        counts.operations,
        counts.surviving,
        counts.destroyed_since,
        max(0, state.pos - manifest.pos),
        f"{state.incarnation:016x}",
        f"{revived.incarnation:016x}",
    )
