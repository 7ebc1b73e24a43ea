"""Make the copy of a store a living site again with the keys of a replica.

Works on ports alone: the copied store is an engine, and nothing is written to the replica. The
order is that of ``appliance.restore``; each step may be repeated on the same store.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from appliance import check
from appliance.core import Core
from appliance.messaging.answers import DESTROYED
from appliance.operations import SPECS, ClockChanged, Kind, encode
from appliance.policy.clock import State as ClockState
from store.backup import Manifest
from store.destruction import mark_destroyed
from store.engine.contract import Engine, Reader
from store.engine.txn import Txn
from store.errors import IntegrityError, PartGoneError
from store.fence import Fence
from store.heads import own_incarnations
from store.ids import SITE_STREAM, Origin
from store.logreader import LogReader
from store.oplog import Draft
from store.ops import Entry
from store.origins import OriginRow
from store.origins import load as load_origins
from store.ports import Clock, Entropy
from store.records import PartState, Record
from store.replica import (
    ForeignReplicaError,
    State,
    has_all_keys,
    key_differences,
)
from store.schema import bring_up_store
from store.skeleton import op_hash
from store.streams import Streams
from store.tables import EPOCH, IDEMPOTENCY, LOG, ORIGIN, TENANT, VIEWS, successor
from store.vault import Vault, fill, generation_of

BATCH_BYTES: Final = 4 << 20
"""Key and value bytes that one batch writes."""

REASON: Final = "restored from a backup"

_PROOF: Final = b"strongroom/restore/1"
_IDEMPOTENCY_ROW = struct.Struct(">IQB")


@dataclass(frozen=True, slots=True)
class Counts:
    """Operations in the log: all, those that open, and those that are gone."""

    operations: int
    surviving: int
    destroyed_before: int
    destroyed_since: int


class KeySource(Protocol):
    """Where the newest keys are: a key replica, or the site that is left behind."""

    def state(self) -> State | None:
        """Return what it holds, and of which incarnation."""
        ...

    def rows(self) -> AbstractContextManager[Reader]:
        """Give its key rows under their own keys."""
        ...

    def open_vault(self, reader: Reader) -> Vault:
        """Open a store that has these key rows with the root that goes with them."""
        ...


class Revived(NamedTuple):
    """A site that is ready but for its root in a key directory; close ``vault`` in the end."""

    core: Core
    vault: Vault
    counts: Counts
    incarnation: int


def revive(
    engine: Engine,
    fence: Fence,
    replica: KeySource,
    manifest: Manifest,
    *,
    clock: Clock,
    entropy: Entropy,
    tell: Callable[[str], None],
) -> Revived:
    """Take the replica's keys and let the site begin anew; O(store).

    Raises ``IntegrityError`` when keys, log and views do not fit together,
    ``ForeignReplicaError`` when the keys are of another site, ``VaultLockedError`` when the
    replica's root does not open them, and the engine's errors.
    """
    token = engine.acquire()
    bring_up_store(engine, token)
    tell("keys")
    take_keys(engine, token, replica)
    with engine.snapshot() as reader:
        vault = replica.open_vault(reader)
    try:
        tell("replay")
        counts = replay_destruction(engine, token, vault)
        tell("views")
        rebuild_views(engine, token, vault, entropy)
        tell("renew")
        core = _begin_anew(engine, token, vault, fence, manifest, clock, entropy)
        tell("check")
        with engine.snapshot() as reader:
            findings = check.check(core, reader)
        if findings:
            raise IntegrityError(f"what was restored contradicts itself: {findings[0].evidence}")
    except BaseException:
        vault.close()
        raise
    return Revived(core, vault, counts, core.log.head.incarnation)


# --- keys -----------------------------------------------------------------------------------------


def take_keys(engine: Engine, token: int, replica: KeySource) -> None:
    """Replace the key rows of a copied store by the replica's.

    Of the same generation, a copy that has more rows than the replica keeps its own: both are
    under the same root. An incarnation of the site that only the replica knows is noted.
    """
    with replica.rows() as rows, engine.snapshot() as reader:
        is_newer = generation_of(reader) == generation_of(rows) and has_all_keys(reader, rows)
        if not is_newer:
            _write(engine, token, _counted(key_differences(rows, reader), reader))
    state = replica.state()
    with engine.snapshot() as reader:
        known = load_origins(reader)
        if state is None or state.incarnation in own_incarnations(reader):
            return
    number, newest = max((n, row) for n, row in known.items() if row.is_own)
    lost = OriginRow(Origin(newest.origin.node, state.incarnation), newest.verify_key, is_own=True)
    number = max(known) + 1
    engine.batch({ORIGIN.key(number): lost.pack()}, token)


def _counted(
    changes: Iterable[tuple[bytes, bytes | None]], copy: Reader
) -> Iterator[tuple[bytes, bytes | None]]:
    """Add to each epoch that the copy does not know that none of its keys is in use here.

    What was sealed under them since the backup is lost; the first start ends these keys.
    """
    for key, value in changes:
        if key[0] == EPOCH.table and value is not None and copy.get(key) is None:
            stream, epoch = EPOCH.columns(key)
            yield fill.open_key(stream, epoch), fill.count(0)
        yield key, value


# --- destruction ----------------------------------------------------------------------------------


def replay_destruction(engine: Engine, token: int, vault: Vault) -> Counts:
    """Mark every operation whose key is gone; count the rest. O(operations).

    Raises ``IntegrityError`` when a whole epoch is missing: keys that were destroyed leave
    their epoch's row, so these were never in the replica.
    """
    operations = surviving = before = since = 0

    def gone() -> Iterator[tuple[bytes, bytes | None]]:
        nonlocal operations, surviving, before, since
        with engine.snapshot() as reader:
            for key, value in reader.range(*LOG.span()):
                record = Record.unpack(value)
                operations += 1
                if record.envelope_state is not PartState.PRESENT:
                    before += 1
                elif _opens(reader, vault, record):
                    surviving += 1
                else:
                    since += 1
                    yield key, mark_destroyed(record)

    _write(engine, token, gone())
    return Counts(operations, surviving, before, since)


def _opens(reader: Reader, vault: Vault, record: Record) -> bool:
    locator = record.locator
    try:
        vault.unseal(reader, locator, record.sealed, op_hash(record.skeleton))
    except PartGoneError:
        if reader.get(EPOCH.key(locator.stream, locator.epoch)) is None:
            raise IntegrityError("the key replica never had some of the backup's keys") from None
        return False
    return True


# --- views ----------------------------------------------------------------------------------------


def rebuild_views(engine: Engine, token: int, vault: Vault, entropy: Entropy) -> None:
    """Write every view anew from what survives in the log; O(store), in bounded batches.

    What cannot be derived from it any more stays: that a message which was destroyed had been
    sent, so that a retry does not send it again.
    """
    _write(engine, token, _old_views(engine))
    with engine.snapshot() as reader:
        streams = Streams.load(reader, vault, entropy)
        log = LogReader.load(reader, vault, streams)
        core = Core(vault, streams, entropy)
        core.read_through(log)
        entries = log.replay(reader)
        while _rebuild_some(engine, token, core, entries):
            pass


def _rebuild_some(engine: Engine, token: int, core: Core, entries: Iterator[Entry]) -> bool:
    """Show entries of the log up to one batch; tell whether there may be more."""
    with engine.snapshot() as reader:
        txn = Txn(reader)
        for entry in entries:
            check.show(core, txn, entry)
            if txn.bytes_written >= BATCH_BYTES:
                break
        else:
            engine.batch(txn.writes, token)
            return False
        engine.batch(txn.writes, token)
    return True


def _old_views(engine: Engine) -> Iterator[tuple[bytes, bytes | None]]:
    with engine.snapshot() as reader:
        for table in sorted(VIEWS):
            prefix = bytes((table,)) + TENANT.to_bytes(2, "big")
            for key, value in reader.range(prefix, successor(prefix)):
                yield key, _kept(reader, value) if table == IDEMPOTENCY.table else None


def _kept(reader: Reader, value: bytes) -> bytes | None:
    """Return the idempotency row of an operation whose body is gone; None for the others."""
    origin, seq, _state = _IDEMPOTENCY_ROW.unpack(value)
    row = reader.get(LOG.key(origin, seq))
    state = PartState.DESTROYED if row is None else Record.unpack(row).body_state
    if state is PartState.PRESENT:
        return None
    return _IDEMPOTENCY_ROW.pack(origin, seq, DESTROYED) if state is PartState.DESTROYED else value


# --- a new beginning ------------------------------------------------------------------------------


def _begin_anew(
    engine: Engine,
    token: int,
    vault: Vault,
    fence: Fence,
    manifest: Manifest,
    clock: Clock,
    entropy: Entropy,
) -> Core:
    """Open the site under a new incarnation, which says in the log what it follows."""
    with engine.snapshot() as reader:
        txn, now_ms = Txn(reader), clock.wall_ms()
        core = Core.open(txn, vault, fence, entropy)
        _expect_site(core, manifest)
        if core.log.breach is None:
            core.log.renew(txn)
        core.wake(clock)
        core.succeed(txn, REASON, now_ms)
        _suspend(core, txn, now_ms)
        core.log.before_commit(txn, now_ms)
        engine.batch(txn.writes, token)
    return core


def _suspend(core: Core, txn: Txn, now_ms: int) -> None:
    """Let destruction wait for two people: a hold placed after the backup is not known here."""
    if core.disposal.clock.state is ClockState.UNPROVEN:
        return
    spec, body = SPECS[Kind.CLOCK_CHANGED], ClockChanged(True, now_ms, now_ms)
    draft = Draft(
        Kind.CLOCK_CHANGED, spec.op_class, SITE_STREAM, spec.retention_class, body=encode(body)
    )
    core.append(txn, draft, body, now_ms)


def _expect_site(core: Core, manifest: Manifest) -> None:
    """Prove that the keys open the signing key of the very site that signed the backup."""
    try:
        VerifyKey(manifest.verify_key).verify(_PROOF, core.sign(_PROOF))
    except (BadSignatureError, ValueError):
        raise ForeignReplicaError("the keys are not those of the backup's site") from None


def _write(engine: Engine, token: int, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write changes in batches; None deletes. They may be made from earlier snapshots."""
    writes: dict[bytes, bytes | None] = {}
    size = 0
    for key, value in changes:
        writes[key] = value
        size += len(key) + len(value or b"")
        if size >= BATCH_BYTES:
            engine.batch(writes, token)
            writes, size = {}, 0
    if writes:
        engine.batch(writes, token)
