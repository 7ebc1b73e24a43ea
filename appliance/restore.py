"""Bring a site back from a backup and a key replica, before any port opens.

The backup has the records, sealed under keys as they were; the replica has the keys as they are
now. What was destroyed after the backup has no key any more, so it does not come back:

    verify     the backup, and that the replica is of its site and not older
    copy       the store into the new data directory
    keys       its key rows become the replica's, which opens them with its own root
    replay     every record whose key is gone becomes destroyed
    views      are rebuilt from the log
    renew      the site takes a new incarnation, and says so in its log
    check      log and views, as `doctor --deep` does
    root       into the new key directory: only now can anybody start the site

Until the last step the new data directory cannot be opened by a server. A file in it tells of a
restore that was interrupted; the next one begins anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from appliance import replicas, revival
from appliance.config import FILE_NAME, Config, load, replica_directories
from appliance.config_edit import with_setting, write_settings
from appliance.config_text import render
from appliance.held_wrap import HeldWrap
from appliance.revival import Revived
from appliance.site import ENGINE_DIRECTORY, SIDECAR_DIRECTORY
from store import backup
from store.backup import SETTINGS_FILE, STORE_FILE, Manifest
from store.disk import FileDisk
from store.engine.ballast import ballast_bytes
from store.engine.contract import Reader
from store.engine.lmdb import DATA_NAME, LmdbEngine
from store.errors import EngineError, IntegrityError, StoreError
from store.fence import Fence
from store.ports import Clock, Entropy
from store.replica import ForeignReplicaError, KeyReplica, ReplicaError, State
from store.vault import RootSlots, Vault, Wrap
from store.vault.slots import SLOT_NAMES

MARK_NAME: Final = "restoring"
"""File in the new data directory while a restore goes on."""

IGNORED: Final = frozenset({"lost+found", "run"})
"""Names that do not make a directory count as used."""

COPY_BYTES: Final = 1 << 20

SLOT: Final = 0
"""Root slot that a new key directory begins with."""

_MADE = (ENGINE_DIRECTORY, SIDECAR_DIRECTORY)
_PRIVATE = 0o700

Tell = Callable[[str], None]
"""Is told the name of each step as it begins."""

Inspect = Callable[[Reader, Vault], None]
"""Looks at what was restored, opened again for reading only."""


class OlderReplicaError(StoreError):
    """The key replica is not the newest: it could bring back what was destroyed since."""

    code: ClassVar[str] = "restore.older_replica"
    hint: ClassVar[str] = "Use the newest key replica; an older one is never good enough."


class UsedDirectoryError(StoreError):
    """A restore writes into new or empty directories only."""

    code: ClassVar[str] = "restore.not_empty"
    hint: ClassVar[str] = "Name directories that are new or empty; nothing was changed."


@dataclass(frozen=True, slots=True)
class Plan:
    """What to restore from and to.

    ``replicas`` are directories, of which the newest counts; ``wrap`` opens them and will
    protect the new key directory. ``settings`` are full setting names to values that the new
    configuration gets beside those of the backup. ``key`` is the site's public key, if known.
    """

    backup: Path
    replicas: tuple[Path, ...]
    data: Path
    keys: Path
    wrap: Wrap = field(repr=False)
    settings: dict[str, object] = field(default_factory=dict)
    key: bytes | None = None
    is_dry_run: bool = False


class RestoreReport(msgspec.Struct, frozen=True):
    """What a restore brought back, or would. Times in Unix ms, counts in operations.

    ``surviving`` open; ``destroyed_before`` were gone when the backup was made,
    ``destroyed_since`` are in it and open no more. ``lost`` came after the backup, as far as the
    replica knows. ``rpo_seconds`` is the time between the backup and the last sign of life of
    the site, ``rto_seconds`` what the restore took.
    """

    node: bytes
    backup_created_ms: int
    backup_generation: int
    replica: str
    replica_generation: int
    replica_synced_ms: int
    operations: int
    surviving: int
    destroyed_before: int
    destroyed_since: int
    lost: int
    old_incarnation: str
    new_incarnation: str
    rpo_seconds: int
    rto_seconds: float
    is_dry_run: bool


def restore(
    plan: Plan, *, clock: Clock, entropy: Entropy, tell: Tell, inspect: Inspect | None = None
) -> RestoreReport:
    """Carry a restore out, or with ``is_dry_run`` all of it but its end. Blocking; O(store).

    ``inspect`` is called with the restored store before a dry run takes it away, and its time is
    none of the restore's; what it raises ends the restore.

    Raises:
        IntegrityError: the backup was changed, or what it holds contradicts itself.
        NoBackupError, ReplicaError: there is none.
        ForeignReplicaError: the replica is of another site.
        OlderReplicaError: it is older than the backup, or than another one known.
        UsedDirectoryError: the data or key directory holds something.
        VaultLockedError: the wrap does not open the replica.
        EngineError: reading or writing failed.
    """
    with closing(HeldWrap(plan.wrap)) as held:
        return _restore(replace(plan, wrap=held), clock, entropy, tell, inspect)


def _restore(
    plan: Plan, clock: Clock, entropy: Entropy, tell: Tell, inspect: Inspect | None
) -> RestoreReport:
    started_ns = clock.monotonic_ns()
    tell("verify")
    manifest = _verified(plan)
    _expect_empty(plan)
    config = _configuration(plan, manifest)
    with _newest(plan, manifest, config, entropy) as (name, replica, state):
        with _new_data(plan):
            tell("copy")
            copy_store(plan.backup, manifest, plan.data)
            revived = _revive(plan, config, manifest, replica, clock, entropy, tell)
            taken_ns = clock.monotonic_ns() - started_ns
            if inspect is not None:
                _show(plan, replica, inspect)
        synced_ms = max(state.synced_ms, manifest.created_ms)
        return RestoreReport(
            manifest.node,
            manifest.created_ms,
            manifest.generation,
            name,
            state.generation,
            state.synced_ms,
            revived.counts.operations,
            revived.counts.surviving,
            revived.counts.destroyed_before,
            revived.counts.destroyed_since,
            max(0, state.pos - manifest.pos),
            f"{manifest.incarnation:016x}",
            f"{revived.incarnation:016x}",
            (synced_ms - manifest.created_ms) // 1000,
            taken_ns / 1e9,
            plan.is_dry_run,
        )


# --- what it is made from -------------------------------------------------------------------------


def _verified(plan: Plan) -> Manifest:
    found = backup.verify(plan.backup, key=plan.key)
    if found.manifest is None or not found.is_good:
        raise IntegrityError(f"the backup is not as it was made: {found.problems[0]}")
    return found.manifest


def _configuration(plan: Plan, manifest: Manifest) -> Config:
    """Return the settings of the restored site; also writes nothing yet."""
    return load(settings_text(plan, manifest), environ={}).config


def settings_text(plan: Plan, manifest: Manifest) -> str:
    """Return the new configuration file: the backup's, with what the plan changes."""
    if not any(file.name == SETTINGS_FILE for file in manifest.files):
        return render(plan.settings)
    text = (plan.backup / SETTINGS_FILE).read_text(encoding="utf-8")
    for name, value in plan.settings.items():
        text = with_setting(text, name, value)
    return text


@contextmanager
def _newest(
    plan: Plan, manifest: Manifest, config: Config, entropy: Entropy
) -> Iterator[tuple[str, KeyReplica, State]]:
    """Give the newest of the plan's replicas; refuse when a newer one is known."""
    opened = [
        (directory, replicas.open_in(directory, plan.wrap, entropy, readonly=True))
        for directory in plan.replicas
    ]
    try:
        states = [(_state(each.replica), str(directory), each) for directory, each in opened]
        state, name, best = max(states, key=lambda item: (item[0].generation, item[0].pos))
        _expect_usable(manifest, best.replica, state)
        _expect_newest(plan, config, state, entropy)
        yield name, best.replica, state
    finally:
        for _, each in opened:
            each.close()


def _state(replica: KeyReplica) -> State:
    state = replica.state()
    if state is None:
        raise ReplicaError("the key replica was never complete")
    return state


def _expect_usable(manifest: Manifest, replica: KeyReplica, state: State) -> None:
    if replica.node != manifest.node:
        raise ForeignReplicaError("the key replica is of another site than the backup")
    if state.generation < manifest.generation:
        raise OlderReplicaError("the key replica is older than the backup")


def _expect_newest(plan: Plan, config: Config, state: State, entropy: Entropy) -> None:
    """Look at the other replicas that the site had, as far as they are on this machine."""
    named = {path.resolve() for path in plan.replicas}
    for directory in replica_directories(config, plan.data):
        if directory.resolve() in named:
            continue
        known = _known(directory, plan.wrap, entropy)
        if known is not None and known.generation > state.generation:
            raise OlderReplicaError(f"the key replica in {directory} is newer")


def _known(directory: Path, wrap: Wrap, entropy: Entropy) -> State | None:
    """Return the state of a replica that may be there."""
    with suppress(StoreError, OSError):
        opened = replicas.open_in(directory, wrap, entropy, readonly=True)
        try:
            return opened.replica.state()
        finally:
            opened.close()
    return None


# --- what it is made in ---------------------------------------------------------------------------


def _expect_empty(plan: Plan) -> None:
    for directory in (plan.data, plan.keys):
        present = _present(directory)
        if present and not (directory == plan.data and MARK_NAME in present):
            raise UsedDirectoryError(f"{directory} is not empty")
    places = [plan.data, plan.keys, plan.backup, *plan.replicas]
    resolved = [place.resolve() for place in places]
    if any(
        one.is_relative_to(other)
        for number, one in enumerate(resolved)
        for other in resolved[:number] + resolved[number + 1 :]
    ):
        raise UsedDirectoryError("data, keys, backup and replicas must lie apart")


def _present(directory: Path) -> set[str]:
    try:
        return {path.name for path in directory.iterdir()} - IGNORED
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise EngineError(f"reading {directory}: {error.strerror}") from error


@contextmanager
def _new_data(plan: Plan) -> Iterator[None]:
    """Prepare the data directory, and clear it again after a dry run or a failure."""
    is_new = not plan.data.exists()
    if (plan.data / MARK_NAME).exists():
        _clear(plan.data)
    with _writing():
        plan.data.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        (plan.data / MARK_NAME).touch(mode=0o600)
        _sync(plan.data)
    is_kept = False
    try:
        yield
        is_kept = not plan.is_dry_run
    finally:
        if not is_kept:
            _clear(plan.data)
            if is_new:
                with suppress(OSError):
                    plan.data.rmdir()


def _clear(data: Path) -> None:
    """Remove what a restore makes; there are no roots in it."""
    for name in _MADE:
        shutil.rmtree(data / name, ignore_errors=True)
    (data / FILE_NAME).unlink(missing_ok=True)
    (data / MARK_NAME).unlink(missing_ok=True)


def copy_store(backup_directory: Path, manifest: Manifest, data: Path) -> None:
    """Copy a backup's store into ``data``, and see that it is still the one that was verified.

    Raises ``IntegrityError`` when it is not, ``EngineError``.
    """
    (expected,) = (file for file in manifest.files if file.name == STORE_FILE)
    digest = hashlib.sha256()
    target = data / ENGINE_DIRECTORY
    with _writing():
        target.mkdir(mode=_PRIVATE)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(target / DATA_NAME, flags, 0o600)
        with (
            (backup_directory / STORE_FILE).open("rb") as source,
            os.fdopen(descriptor, "wb") as copy,
        ):
            while piece := source.read(COPY_BYTES):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            os.fsync(descriptor)
        _sync(target)
    if digest.digest() != expected.digest:
        raise IntegrityError("the backup changed while it was read")


def _revive(
    plan: Plan,
    config: Config,
    manifest: Manifest,
    replica: KeyReplica,
    clock: Clock,
    entropy: Entropy,
    tell: Tell,
) -> Revived:
    """Make the copied store a site again, and let the site have its root."""
    map_bytes = config.store.map_bytes
    engine = LmdbEngine(
        plan.data / ENGINE_DIRECTORY, map_bytes=map_bytes, ballast_bytes=ballast_bytes(map_bytes)
    )
    try:
        fence = FileDisk(plan.data / SIDECAR_DIRECTORY)
        revived = revival.revive(
            engine, Fence(fence), replica, manifest, clock=clock, entropy=entropy, tell=tell
        )
        try:
            if not plan.is_dry_run:
                tell("root")
                _finish(plan, manifest, revived, entropy)
        finally:
            revived.vault.close()
            fence.close()
    finally:
        engine.close()
    return revived


def _show(plan: Plan, replica: KeyReplica, inspect: Inspect) -> None:
    engine = LmdbEngine(plan.data / ENGINE_DIRECTORY, readonly=True, is_still=True)
    try:
        with engine.snapshot() as reader:
            vault = replica.open_vault(reader)
            try:
                inspect(reader, vault)
            finally:
                vault.close()
    finally:
        engine.close()


def _finish(plan: Plan, manifest: Manifest, revived: Revived, entropy: Entropy) -> None:
    """Write settings, a clean stop, and the root; from then on a server can start."""
    with _writing():
        write_settings(plan.data / FILE_NAME, settings_text(plan, manifest))
    revived.core.log.close()
    with keys_in(plan.keys, entropy) as slots:
        revived.vault.seal_root_into(slots, SLOT, plan.wrap)
        with _writing():
            (plan.data / MARK_NAME).unlink()
            _sync(plan.data)


@contextmanager
def keys_in(directory: Path, entropy: Entropy) -> Iterator[RootSlots]:
    """Give the slots of a new key directory; slot ``SLOT`` is for the caller to write.

    After a failure no root stays in it. Raises ``UsedDirectoryError`` when it is not empty,
    ``EngineError`` when it cannot be made.
    """
    if _present(directory):
        raise UsedDirectoryError(f"{directory} is not empty")
    is_new = not directory.exists()
    with _writing():
        directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    disk = FileDisk(directory)
    slots = RootSlots(disk)
    try:
        slots.efface(1 - SLOT, entropy)
        yield slots
    except BaseException:
        with suppress(StoreError):
            for number, name in enumerate(SLOT_NAMES):
                slots.efface(number, entropy)
                disk.remove(name)
        if is_new:
            with suppress(OSError):
                directory.rmdir()
        raise
    finally:
        disk.close()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"restoring: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
