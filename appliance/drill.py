"""Rehearse a disaster: restore the newest backup beside the live site, and compare the two.

The drill takes what a real restore would have: the newest backup, and the newest key replica. It
works in ``drill`` inside the data directory, which lies on the data's device and is for the
service's user alone. No root is ever written there: it is opened from the replica into memory and
wiped at the end. So what a crash leaves behind is as sealed as a backup, and the next destruction
ends its keys; the next drill and ``doctor`` remove it.

    find        the newest backup of this site
    live        the head of the live log, and all that it says is destroyed
    verify ...  the restore, in all steps but the one that writes a root
    compare     log, ledger and destroyed records with the live site, read-only
    clear       the scratch directory goes
"""

from __future__ import annotations

import fcntl
import os
import shutil
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from appliance import restore
from appliance.findings import Finding, Severity
from appliance.health import DISK_FLOOR_BYTES
from appliance.restore import Plan, RestoreReport, Tell
from appliance.site import ENGINE_DIRECTORY, AbsentError
from store import backup, envelope, hlc, schema
from store.backup import Manifest, NoBackupError
from store.disk import FileDisk
from store.engine.contract import Reader
from store.engine.lmdb import LmdbEngine
from store.errors import FormatError, IntegrityError, StoreError, VaultLockedError
from store.heads import SiteHead, read_head
from store.ids import Origin
from store.ledger import Ledger
from store.merkle import verify_consistency
from store.origins import OriginRow
from store.origins import load as load_origins
from store.ports import Clock, Entropy
from store.records import Parts, PartState, Record
from store.skeleton import op_hash
from store.tables import LOG
from store.vault import StaleSnapshotError, Vault, Wrap, generation_of

SCRATCH_NAME: Final = "drill"
"""Directory in the data directory in which a drill works."""

COPIES: Final = 2
"""How often the store may lie in the scratch directory: the copy, and its rows written anew."""

OPEN_TRIES: Final = 10
"""How often the live keys are opened anew when they are changed meanwhile."""

TIME_TRIES: Final = 1_000
"""How many operations are looked at for one whose time can still be read."""

LOCK_TRIES: Final = 10
"""How often the scratch directory is made anew when another drill has just removed it."""

_RESTORE = "Keep this backup and the live data as they are, and make a new backup."


class DrillRunningError(StoreError):
    """Another drill of this site is going on."""

    code: ClassVar[str] = "drill.running"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Wait for it to end."


class DrillSpaceError(StoreError):
    """A drill must never fill the disk that the live site writes to."""

    code: ClassVar[str] = "drill.space"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Free space on the data's disk; nothing was written."


@dataclass(frozen=True, slots=True)
class Place:
    """Where the live site is: its directories, what opens its keys, and its key replicas."""

    data: Path
    keys: Path
    replicas: tuple[Path, ...]
    wrap: Wrap
    map_bytes: int


class DrillReport(msgspec.Struct, frozen=True):
    """What a drill showed. Times in Unix ms, counts in operations.

    ``missing`` operations of the live site came after the backup, which would be lost with it;
    between the newest restored operation and the newest live one lie ``rpo_seconds``.
    ``destroyed`` are those that the live site says have ended, ``revived`` those of them that
    open again. ``ledger_size`` leaves were proved to be the beginning of ``live_ledger_size``.
    """

    backup: str
    restored: RestoreReport
    live_operations: int
    missing: int
    rpo_seconds: int
    rto_seconds: float
    ledger_size: int
    live_ledger_size: int
    destroyed: int
    revived: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Live:
    """What the live site said when the drill began."""

    head: SiteHead
    generation: int
    destroyed: dict[Origin, array[int]]


def drill(
    place: Place, backups: Path, *, clock: Clock, entropy: Entropy, tell: Tell
) -> DrillReport:
    """Restore the newest backup in ``backups`` and compare; the server may run. O(store).

    Raises:
        AbsentError: there is no live site.
        NoBackupError: there is no backup of it.
        IntegrityError: the newest backup was changed, or contradicts itself.
        DrillRunningError, DrillSpaceError: not now.
        ReplicaError, OlderReplicaError, VaultLockedError: the key replicas are of no use.
        NewerSchemaError, EngineError: the live store cannot be read.
    """
    if not (place.data / ENGINE_DIRECTORY).is_dir():
        raise AbsentError(f"{place.data} holds no organisation")
    with _scratch(place.data) as scratch, _live_engine(place) as engine:
        tell("find")
        with engine.snapshot() as reader:
            schema.expect_known(reader)
            head = read_head(reader)
        found, manifest = newest_backup(backups, head.node)
        _expect_room(place.data, manifest)
        tell("live")
        live = _look(engine)
        comparison = _Comparison(engine, live, manifest)
        plan = Plan(
            found,
            place.replicas,
            scratch / "data",
            scratch / "keys",
            place.wrap,
            key=head.verify_key,
            is_dry_run=True,
        )

        def compare(reader: Reader, vault: Vault) -> None:
            tell("compare")
            comparison.run(reader, vault)

        restored = restore.restore(plan, clock=clock, entropy=entropy, tell=tell, inspect=compare)
        rpo_seconds = _rpo_seconds(place, engine, live, manifest, entropy)
        tell("clear")
    return DrillReport(
        str(found),
        restored,
        live.head.pos,
        max(0, live.head.pos - manifest.pos),
        rpo_seconds,
        restored.rto_seconds,
        manifest.ledger_size,
        comparison.live_ledger_size,
        sum(map(len, live.destroyed.values())),
        comparison.revived,
        tuple(comparison.findings(restored)),
    )


# --- the backup -----------------------------------------------------------------------------------


def newest_backup(directory: Path, node: bytes) -> tuple[Path, Manifest]:
    """Return the newest backup of a site: ``directory`` itself, or one of those in it.

    Raises ``NoBackupError``, and ``IntegrityError`` for a backup whose manifest cannot be read:
    it may be the newest one.
    """
    candidates = [directory]
    if not (directory / backup.MANIFEST_NAME).exists():
        with suppress(OSError):
            candidates += sorted(path for path in directory.iterdir() if path.is_dir())
    found = []
    for path in candidates:
        if path.suffix == backup.PARTIAL:
            continue
        try:
            manifest, _ = backup.load_manifest(path)
        except NoBackupError:
            continue
        except FormatError:
            raise IntegrityError(f"the manifest of the backup in {path} is damaged") from None
        if manifest.node == node:
            found.append((manifest.created_ms, manifest.pos, path, manifest))
    if not found:
        raise NoBackupError(f"{directory} holds no backup of this site")
    _, _, path, manifest = max(found, key=lambda each: each[:2])
    return path, manifest


def _expect_room(data: Path, manifest: Manifest) -> None:
    free = shutil.disk_usage(data).free
    needed = COPIES * manifest.bytes + DISK_FLOOR_BYTES
    if free < needed:
        raise DrillSpaceError(f"a drill needs {needed >> 20} MiB, {free >> 20} are free")


# --- the live site --------------------------------------------------------------------------------


@contextmanager
def _live_engine(place: Place) -> Iterator[LmdbEngine]:
    engine = LmdbEngine(place.data / ENGINE_DIRECTORY, map_bytes=place.map_bytes, readonly=True)
    try:
        yield engine
    finally:
        engine.close()


def _look(engine: LmdbEngine) -> _Live:
    """Note head, generation and all that is destroyed, at one moment; O(log)."""
    with engine.snapshot() as reader:
        origins = load_origins(reader)
        destroyed: dict[Origin, array[int]] = {}
        for key, value in reader.range(*LOG.span()):
            if Record.unpack(value).body_state is PartState.DESTROYED:
                number, seq = LOG.columns(key)
                destroyed.setdefault(origins[number].origin, array("Q")).append(seq)
        return _Live(read_head(reader), generation_of(reader), destroyed)


def _rpo_seconds(
    place: Place, engine: LmdbEngine, live: _Live, manifest: Manifest, entropy: Entropy
) -> int:
    """Return the time between the newest operation in the backup and the newest one there was."""
    if live.head.pos <= manifest.pos:
        return 0
    disk = FileDisk(place.keys)
    try:
        for _ in range(OPEN_TRIES):
            with suppress(VaultLockedError, StaleSnapshotError), engine.snapshot() as reader:
                vault = Vault.open(reader, disk, entropy, place.wrap)
                try:
                    return _between(reader, vault, live, manifest)
                finally:
                    vault.close()
        raise VaultLockedError("the live keys do not open, or change all the time")
    finally:
        disk.close()


def _between(reader: Reader, vault: Vault, live: _Live, manifest: Manifest) -> int:
    numbers = _numbers(reader)
    backed_up = numbers[Origin(manifest.node, manifest.incarnation)]
    newest_ms = _time_of(reader, vault, live.head.number, live.head.seq)
    saved_ms = _time_of(reader, vault, backed_up, manifest.seq)
    return max(0, (newest_ms or manifest.created_ms) - (saved_ms or manifest.created_ms)) // 1000


def _time_of(reader: Reader, vault: Vault, number: int, seq: int) -> int | None:
    """Return when an operation was made, in Unix ms, or the last one before it that tells."""
    end = LOG.key(number, seq + 1)
    for _, value in reader.range(LOG.span(number)[0], end, reverse=True, limit=TIME_TRIES):
        record = Record.unpack(value)
        if record.envelope_state is PartState.PRESENT:
            context = op_hash(record.skeleton)
            parts = Parts.unpack(vault.unseal(reader, record.locator, record.sealed, context))
            return hlc.millis(envelope.decode(parts.envelope).t)
    return None


def _numbers(reader: Reader) -> dict[Origin, int]:
    return {row.origin: number for number, row in load_origins(reader).items()}


# --- comparing ------------------------------------------------------------------------------------


class _Comparison:
    """Compares a restored store with the live one; what contradicts is gathered."""

    def __init__(self, engine: LmdbEngine, live: _Live, manifest: Manifest) -> None:
        self._engine = engine
        self._live = live
        self._manifest = manifest
        self._problems: list[Finding] = []
        self.revived = 0
        self.live_ledger_size = 0

    def run(self, restored: Reader, vault: Vault) -> None:
        """Compare log, ledgers and what is destroyed; O(origins + destroyed)."""
        rows = load_origins(restored)
        renewed = max(number for number, row in rows.items() if row.is_own)
        with self._engine.snapshot() as live:
            numbers = _numbers(live)
            for number, row in rows.items():
                if number == renewed:
                    continue
                theirs = numbers.get(row.origin)
                if theirs is None:
                    self._broken("drill.log", "the live site does not know an origin of the backup")
                    continue
                self._compare_log(restored, number, live, theirs)
                if row.is_own:
                    self._compare_ledger(restored, number, live, theirs)
        self._count_revived(restored, rows, vault)

    def findings(self, restored: RestoreReport) -> Iterator[Finding]:
        """Yield what a drill found; a replica that is behind explains records that revive."""
        yield from self._problems
        is_behind = restored.replica_generation < self._live.generation
        if is_behind:
            yield Finding(
                "drill.replica_behind",
                Severity.WARNING,
                f"the newest key replica is of generation {restored.replica_generation}, the site "
                f"of {self._live.generation}",
                "See `strongroom key-replica status`, and repeat the drill.",
            )
        if self.revived:
            yield Finding(
                "drill.revived",
                Severity.WARNING if is_behind else Severity.INTEGRITY,
                f"{self.revived} operations that were destroyed open again from this backup",
                "Bring the key replica in step; until then their destruction is not complete.",
            )

    def _compare_log(self, restored: Reader, number: int, live: Reader, theirs: int) -> None:
        """See that the restored log of an origin is the beginning of the live one."""
        for key, value in restored.range(*LOG.span(number), reverse=True, limit=1):
            row = live.get(LOG.key(theirs, LOG.columns(key)[1]))
            if row is None or Record.unpack(row).chain != Record.unpack(value).chain:
                self._broken("drill.log", "the backup's log is not the beginning of the live log")

    def _compare_ledger(self, restored: Reader, number: int, live: Reader, theirs: int) -> None:
        old, new = Ledger.open(restored, number), Ledger.open(live, theirs)
        if theirs == self._live.head.number:
            self.live_ledger_size = new.size
        is_proved = old.size <= new.size and verify_consistency(
            old.size, new.size, old.root(), new.root(), new.consistency(live, old.size, new.size)
        )
        if not is_proved:
            self._broken("drill.ledger", "the live ledger does not extend the backup's ledger")

    def _count_revived(self, restored: Reader, rows: dict[int, OriginRow], vault: Vault) -> None:
        for number, row in rows.items():
            for seq in self._live.destroyed.get(row.origin, ()):
                value = restored.get(LOG.key(number, seq))
                if value is not None and _opens(restored, Record.unpack(value), vault):
                    self.revived += 1

    def _broken(self, kind: str, evidence: str) -> None:
        self._problems.append(Finding(kind, Severity.INTEGRITY, evidence, _RESTORE))


def _opens(reader: Reader, record: Record, vault: Vault) -> bool:
    """Tell whether a record that should have ended says anything of its body."""
    if record.envelope_state is PartState.DESTROYED:
        return vault.has_key(reader, record.locator)
    return record.body_state is PartState.PRESENT


# --- the scratch directory ------------------------------------------------------------------------


@contextmanager
def _scratch(data: Path) -> Iterator[Path]:
    """Give an empty directory of this drill's own, and remove it in the end, whatever happens."""
    scratch = data / SCRATCH_NAME
    descriptor = _locked(scratch)
    if descriptor is None:
        raise DrillRunningError("another drill is going on")
    try:
        _empty(scratch)
        yield scratch
    finally:
        _remove(scratch)
        os.close(descriptor)


def remove_leftovers(data: Path) -> bool:
    """Remove what a drill that was killed has left; tell whether there was anything.

    Raises ``OSError`` when it cannot be removed. What a drill works on now stays.
    """
    scratch = data / SCRATCH_NAME
    if not scratch.is_dir():
        return False
    descriptor = _locked(scratch)
    if descriptor is None:
        return False
    try:
        shutil.rmtree(scratch)
    finally:
        os.close(descriptor)
    return True


def examine_leftovers(data: Path) -> Iterator[Finding]:
    """Remove leftovers and yield a finding that tells of them, or that they cannot be removed."""
    try:
        if remove_leftovers(data):
            yield Finding(
                "drill.leftover",
                Severity.NOTICE,
                "a restore drill was interrupted; what it left behind is removed",
                "Repeat the drill: strongroom drill restore.",
            )
    except OSError as error:
        yield Finding(
            "drill.leftover",
            Severity.WARNING,
            f"what an interrupted drill left behind cannot be removed: {error.strerror}",
            f"Remove the directory {SCRATCH_NAME} in the data directory, as root.",
        )


def _locked(scratch: Path) -> int | None:
    """Return the locked directory, made if absent; None while another process has it."""
    for _ in range(LOCK_TRIES):
        scratch.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Whoever had it may have removed it meanwhile: then this lock is on nothing.
        with suppress(FileNotFoundError):
            if scratch.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
    return None


def _empty(scratch: Path) -> None:
    for path in scratch.iterdir():
        shutil.rmtree(path)


def _remove(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
