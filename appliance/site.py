"""Open a site's store without any port: log, vault, views and the one writer.

Used by the server, and offline by ``init``, ``check`` and whatever prepares a data directory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nacl.signing

from appliance import newly_known, reopening
from appliance.backup_age import NoteBackup
from appliance.certificates import KEY_ENTROPY_BYTES, new_ca
from appliance.context import SITE, Actor, Outcome
from appliance.core import SECRET_BYTES, Core
from appliance.disposal.commands import (
    CarryOrder,
    Confirm,
    CutLost,
    EndFound,
    PlaceHold,
    ReadClock,
    Slice,
)
from appliance.held_wrap import HeldWrap
from appliance.operations import Kind, SecretSlot, SiteCreated, SiteSecret, encode
from appliance.revival import rebuild_views
from appliance.sites.link_commands import TakeControl
from store import schema
from store.clocks import SystemClock, SystemEntropy
from store.disk import FileDisk
from store.engine.ballast import ballast_bytes
from store.engine.contract import Engine
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.errors import StoreError
from store.fence import Fence
from store.ids import SITE_STREAM
from store.oplog import Draft, OpClass
from store.ports import Clock, Disk, Entropy
from store.vault import CONTROL, Vault, Wrap
from store.vault.effacement import Evidence
from store.writer import Completion, Writer

ENGINE_DIRECTORY: Final = "store"
"""The engine's directory inside the data directory."""

SIDECAR_DIRECTORY: Final = "fence"
"""The boot fence's directory inside the data directory."""

CERTIFICATE_FILE: Final = "decommissioned.certificate"
"""The certificate of the site's end, in the data directory, before its root goes."""

CLOSING_FILE: Final = "decommissioned"
"""The closing note, in the data directory, after the root has gone."""

URGENT: Final = frozenset(
    (PlaceHold, Slice, CarryOrder, TakeControl, CutLost, Confirm, ReadClock, EndFound, NoteBackup)
)
"""Commands that must also work on a full disk: what holds, what destroys, what saves."""

Deliver = Callable[[list[Completion[Outcome]]], None]


class NotEmptyError(StoreError):
    """The data or key directory already holds a site."""

    code = "store.not_empty"
    hint = "Choose empty directories; nothing was changed."


class AbsentError(StoreError):
    """There is no site in the data directory."""

    code = "store.absent"
    hint = "Run `strongroom init`, or name the right directory with --data."


class DecommissionedError(StoreError):
    """The site of this data directory was ended for ever, by two officers."""

    code = "store.decommissioned"
    hint = "Nothing here opens any more; the directory can be deleted."


@dataclass(slots=True)
class Ports:
    """What a site's store stands on; all of it can be simulated."""

    clock: Clock
    entropy: Entropy
    engine: Engine
    data: Disk
    keys: Disk

    def close(self) -> None:
        """Give everything free that is held open."""
        self.engine.close()
        self.data.close()
        self.keys.close()


def data_ports(data_dir: Path, key_dir: Path, map_bytes: int) -> Ports:
    """Return the real ports of a data directory and a key directory, made if absent.

    ``map_bytes`` is the most the engine may ever use; the file is sparse.
    """
    for directory in (data_dir, key_dir):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Ports(
        SystemClock(),
        SystemEntropy(),
        LmdbEngine(
            data_dir / ENGINE_DIRECTORY,
            map_bytes=map_bytes,
            ballast_bytes=ballast_bytes(map_bytes),
        ),
        FileDisk(data_dir / SIDECAR_DIRECTORY),
        FileDisk(key_dir),
    )


class _EpochAges:
    """Tells the vault how long records of a class last, once the policy is known."""

    core: Core | None = None

    def of(self, retention_class: int) -> int | None:
        """Return the shortest maximum of a class in ms; None where there is none."""
        if self.core is None:
            return None
        return self.core.disposal.policies.shortest_max_ms(retention_class)


class Site:
    """An opened store. ``run`` works inline until ``start`` hands the writer to its thread."""

    def __init__(self, ports: Ports, vault: Vault, core: Core, token: int, wrap: HeldWrap) -> None:
        self.ports = ports
        self.vault = vault
        self.token = token
        self.wrap = wrap
        """What protects the key directory, and key replicas too: a key, without its passphrase."""
        wrap.forget()
        self.core = core
        self.failure: BaseException | None = None
        self._deliver: Deliver = self._keep
        self._kept: list[Completion[Outcome]] = []
        self._on_failure: Callable[[BaseException], None] | None = None
        core.wake(ports.clock)
        self.writer: Writer[Actor, Any, Outcome] = Writer(
            ports.engine,
            core.decide,
            ports.clock,
            self._delivered,
            before_commit=core.log.before_commit,
            begin_switch=vault.begin_switch,
            abandon_lost=vault.abandon_lost,
            urgent=URGENT,
            failed=self._failed,
            token=token,
        )

    # --- birth and start ------------------------------------------------------------------------

    @classmethod
    def create(cls, ports: Ports, wrap: Wrap, *, name: str) -> Site:
        """Make a new, empty organisation; raises ``NotEmptyError`` when there is one.

        The root slots are written before the rows that need them.
        """
        with ports.engine.snapshot() as reader:
            if next(iter(reader.range(b"\x10", b"\xff")), None) is not None:
                raise NotEmptyError("the data directory already holds a site")
        if any(name.startswith("root.") for name in ports.keys.names()):
            raise NotEmptyError("the key directory already holds a root")
        token = ports.engine.acquire()
        now_ms = ports.clock.wall_ms()
        with ports.engine.snapshot() as reader:
            txn = Txn(reader)
            schema.bring_up(txn)
            epochs, held = _EpochAges(), HeldWrap(wrap)
            vault = Vault.create(txn, ports.keys, ports.entropy, held, max_retention_ms=epochs.of)
            core = _begin(txn, vault, Fence(ports.data), ports.entropy, name, now_ms)
            epochs.core = core
            core.log.before_commit(txn, now_ms)
            ports.engine.batch(txn.writes, token)
        return cls(ports, vault, core, token, held)

    @classmethod
    def open(cls, ports: Ports, wrap: Wrap) -> Site:
        """Open an existing site: schema, root, recovery rule, fence, log, memory.

        Raises ``AbsentError``, ``NewerSchemaError``, ``VaultLockedError``, and the store's
        other errors.
        """
        with ports.engine.snapshot() as reader:
            if next(iter(reader.range(b"\x10", b"\xff")), None) is None:
                raise AbsentError("the data directory holds no site")
            schema.expect_known(reader)
            epochs, held = _EpochAges(), HeldWrap(wrap)
            vault = Vault.open(reader, ports.keys, ports.entropy, held, max_retention_ms=epochs.of)
        token = ports.engine.acquire()
        schema.bring_up_store(ports.engine, token)
        vault.recover(ports.engine, token)
        with ports.engine.snapshot() as reader:
            is_whole = vault.has_signed_off(reader, token - 1)
        if not is_whole:
            vault.abandon_lost(ports.engine, token)
        _renew_views(ports, token, vault)
        newly_known.catch_up(ports.engine, token, vault, ports.entropy)
        with ports.engine.snapshot() as reader:
            txn = Txn(reader)
            core = Core.open(txn, vault, Fence(ports.data), ports.entropy)
            epochs.core = core
            if core.log.breach is not None:
                core.succeed(txn, core.log.breach.value, ports.clock.wall_ms())
            ports.engine.batch(txn.writes, token, urgent=True)
        return cls(ports, vault, core, token, held)

    # --- commands -------------------------------------------------------------------------------

    def run(self, actor: Actor, command: Any) -> Any:
        """Decide and commit one command inline; returns its reply once it is durable.

        For offline use only. Raises ``Refusal`` and the store's errors.
        """
        self.writer.submit(actor, command, None)
        self.writer.run_pending()
        completion = self._kept.pop()
        if completion.error is not None:
            raise completion.error
        assert completion.outcome is not None
        return completion.outcome.reply

    def attach(self, deliver: Deliver, on_failure: Callable[[BaseException], None]) -> None:
        """Send completions, and the news of a failed writer, to the server from now on.

        Both are called in the writer's thread.
        """
        self._deliver = deliver
        self._on_failure = on_failure

    def close(self) -> None:
        """Carry out what was submitted, mark a clean stop, wipe the keys, close the engine."""
        self.writer.stop()
        if self.failure is None:
            self._sign_off()
            self.core.log.close()
        self.vault.close()
        self.wrap.close()
        self.ports.close()

    def end(self) -> Evidence:
        """Carry out what was submitted, and destroy the root of all keys; there is no way back.

        To be followed by ``close``. Raises ``EffaceError`` and ``EngineError``: say it again.
        """
        self.writer.stop()
        return self.vault.decommission()

    def _sign_off(self) -> None:
        """Note that this process has lost no batch, so that the next need not look for any."""
        if self.writer.has_lost or self.vault.is_behind:
            return
        with suppress(StoreError), self.ports.engine.snapshot() as reader:
            txn = Txn(reader)
            self.vault.sign_off(txn, self.token)
            self.ports.engine.batch(txn.writes, self.token, urgent=True)

    def _keep(self, completions: list[Completion[Outcome]]) -> None:
        self._kept.extend(completions)

    def _delivered(self, completions: list[Completion[Outcome]]) -> None:
        self._deliver(completions)

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        if self._on_failure is not None:
            self._on_failure(error)


def _renew_views(ports: Ports, token: int, vault: Vault) -> None:
    """Write the views anew where that was asked for; a crash meanwhile begins it again."""
    with ports.engine.snapshot() as reader:
        if not reopening.is_asked(reader):
            return
    rebuild_views(ports.engine, token, vault, ports.entropy)
    with ports.engine.snapshot() as reader:
        txn = Txn(reader)
        reopening.done(txn)
        ports.engine.batch(txn.writes, token, urgent=True)


def _begin(txn: Txn, vault: Vault, fence: Fence, entropy: Entropy, name: str, now_ms: int) -> Core:
    """Append a new site's first operations: its birth and its secrets."""
    seed = entropy.bytes(SECRET_BYTES)
    core = Core.create(txn, vault, fence, entropy, seed)
    public_key = bytes(nacl.signing.SigningKey(seed).verify_key)
    ca_entropy = entropy.bytes(KEY_ENTROPY_BYTES)
    ca = new_ca(ca_entropy, name, now_ms, entropy)
    bodies: list[tuple[Kind, SiteCreated | SiteSecret]] = [
        (Kind.SITE_CREATED, SiteCreated(public_key, name)),
        (Kind.SITE_SECRET, SiteSecret(SecretSlot.SIGNING_SEED, seed)),
        (Kind.SITE_SECRET, SiteSecret(SecretSlot.CA_ENTROPY, ca_entropy)),
        (Kind.SITE_SECRET, SiteSecret(SecretSlot.TENANT, entropy.bytes(SECRET_BYTES))),
        (Kind.SITE_SECRET, SiteSecret(SecretSlot.CA_CERTIFICATE, ca)),
    ]
    for kind, body in bodies:
        op_class = OpClass.PRIVILEGED if kind is Kind.SITE_CREATED else OpClass.CONTROL
        draft = Draft(kind, op_class, SITE_STREAM, CONTROL, body=encode(body))
        core.append(txn, draft, body, now_ms)
    return core


__all__ = ["SITE", "AbsentError", "NotEmptyError", "Ports", "Site", "data_ports"]
