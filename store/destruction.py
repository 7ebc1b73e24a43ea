"""Take operations out of the log when their keys are destroyed: what stays is the skeleton.

The row keeps skeleton, chain, position, flags and locator; its parts are marked and its sealed
bytes gone. Where only the body dies, the envelope is sealed again under a fresh key first: the
old key opens both.
"""

from __future__ import annotations

from typing import Protocol

from store import records
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import IntegrityError
from store.logreader import LogReader
from store.ops import Op
from store.records import PartState, Record
from store.tables import FEED, LOG, TIMELINE
from store.vault import CONTROL, Locator


class Sealer(Protocol):
    """The vault, as far as keeping an envelope needs it."""

    def seal(
        self,
        txn: Txn,
        stream: int,
        retention_class: int,
        plaintext: bytes,
        context: bytes,
        now_ms: int,
        /,
    ) -> tuple[Locator, bytes]:
        """Seal a part under a fresh key; see ``store.vault.Vault.seal``."""
        ...


def mark_destroyed(record: Record) -> bytes:
    """Return the row's value once both parts are destroyed."""
    return records.repack(record, PartState.DESTROYED, PartState.DESTROYED, record.locator, b"")


def record_of(reader: Reader, op: Op) -> Record:
    """Return the operation's row; raises ``IntegrityError`` when there is none."""
    value = reader.get(LOG.key(op.origin, op.id.seq))
    if value is None:
        raise IntegrityError("an operation that was read has no row")
    return Record.unpack(value)


def destroy(txn: Txn, op: Op) -> Locator:
    """Take the operation out of log and feeds; return where the key is that must die.

    The caller dooms that key in the same transaction.
    """
    record = record_of(txn, op)
    txn.put(LOG.key(op.origin, op.id.seq), mark_destroyed(record))
    txn.delete(FEED.key(op.feed, op.pos))
    if op.in_timeline:
        txn.delete(TIMELINE.key(op.feed, op.key, *op.id))
    return record.locator


def supersede(txn: Txn, op: Op) -> Locator:
    """Take an operation out as ``destroy`` does, that is in the log under another name by now.

    It is no message any more that somebody would miss.
    """
    locator = destroy(txn, op)
    record = record_of(txn, op)
    row = record._replace(flags=record.flags & ~records.TIMELINE)
    txn.put(LOG.key(op.origin, op.id.seq), row.pack())
    return locator


def is_open(reader: Reader, place: tuple[int, int]) -> bool:
    """Tell whether anything of the operation at (origin, seq) is here and not destroyed yet."""
    value = reader.get(LOG.key(*place))
    if value is None:
        return False
    record = Record.unpack(value)
    is_here = record.envelope_state is PartState.PRESENT
    return is_here and record.body_state is not PartState.DESTROYED


def bury(txn: Txn, place: tuple[int, int]) -> None:
    """Mark an operation of which nothing ever came as destroyed: it must not come any more."""
    record = Record.unpack(txn.get(LOG.key(*place)) or b"")
    if record.envelope_state is PartState.DROPPED:
        txn.put(LOG.key(*place), mark_destroyed(record))


def destroy_body(
    txn: Txn,
    log: LogReader,
    vault: Sealer,
    op: Op,
    now_ms: int,
    state: PartState = PartState.DESTROYED,
) -> Locator:
    """Destroy the body alone: the envelope goes on under a fresh key of its stream's control tree.

    ``state`` is what the body is from now on: DESTROYED for ever, or DROPPED.

    Feed and timeline still show that there was something. Returns where the old key is; the
    caller dooms it in the same transaction. ``now_ms`` in Unix milliseconds.
    """
    record = record_of(txn, op)
    parts = log.parts(txn, record, op.op_hash)
    plaintext = records.envelope_only(parts.envelope_salt, parts.envelope)
    locator, sealed = vault.seal(txn, op.pseudonym, CONTROL, plaintext, op.op_hash, now_ms)
    row = records.repack(record, PartState.PRESENT, state, locator, sealed)
    txn.put(LOG.key(op.origin, op.id.seq), row)
    return record.locator
