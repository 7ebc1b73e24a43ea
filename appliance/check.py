"""Prove that the views agree with the log: verify it, rebuild every view from it, compare.

The rebuild runs the very ``apply`` that wrote the views, over an empty store, from the opened
operations in the order they were applied. Pseudonyms, epochs and segment records are inputs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from appliance.core import Core
from appliance.directory.model import Person
from appliance.findings import Finding, Severity
from appliance.messaging.answers import DESTROYED
from store import feeds
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import StoreError
from store.oplog import Entry, Op
from store.records import PartState, Record
from store.tables import IDEMPOTENCY, LOG, RECEIPT, TENANT, VIEWS, Table, successor
from store.vault import StaleSnapshotError

SAMPLES: Final = 3
"""Differing keys named in a finding's evidence."""

_PLACE = struct.Struct(">IQ")

RESTORE = "Stop, keep a copy of the data directory, and restore from a backup."


class ViewlessReader:
    """A store as it is, but without any row of a view."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def get(self, key: bytes) -> bytes | None:
        """Return the row's value; None for a view's."""
        return None if key[0] in VIEWS else self._reader.get(key)

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of a range inside one table; none for a view's."""
        if start[0] in VIEWS:
            return iter(())
        return self._reader.range(start, end, reverse=reverse, limit=limit)


def check(core: Core, reader: Reader) -> list[Finding]:
    """Verify the log and compare every view with its rebuilding; O(log), memory O(views).

    Raises ``StaleSnapshotError`` when keys are destroyed meanwhile.
    """
    findings = [
        Finding(
            f"log.{found.problem.name.lower()}",
            Severity.INTEGRITY,
            f"operation {found.origin}/{found.seq}: {found.problem}",
            RESTORE,
        )
        for found in core.log.verify(reader)
    ]
    try:
        rebuilt, scratch = rebuild(core, reader)
    except StaleSnapshotError:
        raise
    except StoreError as error:
        evidence = f"the views cannot be rebuilt: {error.code}"
        return [*findings, Finding("views.rebuild", Severity.INTEGRITY, evidence, RESTORE)]
    for table in sorted(VIEWS):
        findings.extend(_compare(table, reader, scratch))
    findings.extend(_destroyed_retries(reader))
    if _in_force(rebuilt) != _in_force(core):
        evidence = "the policy, holds or requests in memory are not what the log says"
        findings.append(Finding("views.in_force", Severity.INTEGRITY, evidence, "Restart."))
    if _branches(rebuilt) != _branches(core):
        evidence = "branches or headquarters in memory are not what the log says"
        findings.append(Finding("views.sites", Severity.INTEGRITY, evidence, "Restart."))
    if _people(rebuilt) != _people(core):
        evidence = "the directory in memory is not what the log says"
        findings.append(Finding("views.directory", Severity.INTEGRITY, evidence, "Restart."))
    return findings


def rebuild(core: Core, reader: Reader) -> tuple[Core, Txn]:
    """Apply every surviving operation of the log to a store without views.

    Memory O(views): some 600 bytes for each operation.
    """
    scratch = Txn(ViewlessReader(reader))
    rebuilt = Core(core.vault, core.streams, core.entropy)
    rebuilt.read_through(core.log)
    for entry in core.log.replay(reader):
        show(rebuilt, scratch, entry)
        scratch.keep()  # else what it would take to undo all of it were most of the memory
    return rebuilt, scratch


def show(core: Core, txn: Txn, entry: Entry) -> None:
    """Write the views' rows of one entry of the log, and fold it into the memory of ``core``."""
    if isinstance(entry, Op) and not entry.is_quarantined:
        feeds.show(txn, entry, feeds.head(txn, entry.feed))
        if entry.body is not None and core.heeds(entry):
            core.apply(txn, entry, core.body_of(entry))


def _people(core: Core) -> dict[bytes, Person]:
    return {person.id: person for person in core.directory.people()}


def _branches(core: Core) -> tuple[object, ...]:
    known = core.sites
    return known.branches, known.headquarters, known.lease, known.clock_fixes


def _in_force(core: Core) -> tuple[object, ...]:
    known = core.disposal
    return (
        known.policies.versions,
        known.holds,
        known.requests,
        {number: run.confirmed for number, run in known.runs.items()},
        known.replicas,
        known.across.known,
        known.across.receipts,
        known.across.lost,
    )


def _is_input(table: Table, key: bytes, value: bytes, expected: bytes | None) -> bool:
    """Tell whether a row says what the log cannot say any more, and so is taken as it is.

    The answer to a retry of what was destroyed, and the position of a late message that has
    been destroyed since.
    """
    if table is Table.IDEMPOTENCY:
        return _is_destroyed_retry(value)
    if table is not Table.RECEIPT or len(key) != RECEIPT.key_bytes:
        return False
    is_late = RECEIPT.columns(key)[1] == 0
    return is_late and (expected is None or expected <= value)


def _is_destroyed_retry(value: bytes) -> bool:
    return len(value) == _PLACE.size + 1 and value[-1] == DESTROYED


def _destroyed_retries(reader: Reader) -> Iterator[Finding]:
    """Look whether what retries are told is destroyed is marked so in the log."""
    wrong = 0
    for _, value in reader.range(*IDEMPOTENCY.span()):
        if not _is_destroyed_retry(value):
            continue
        origin, seq = _PLACE.unpack(value[:-1])
        row = reader.get(LOG.key(origin, seq))
        if row is None or Record.unpack(row).body_state is PartState.PRESENT:
            wrong += 1
    if wrong:
        evidence = f"{wrong} retries are told of a destruction that the log does not know"
        yield Finding("views.retries", Severity.INTEGRITY, evidence, RESTORE)


def _compare(table: Table, reader: Reader, scratch: Reader) -> Iterator[Finding]:
    prefix = bytes((table,)) + TENANT.to_bytes(2, "big")
    span = prefix, successor(prefix)
    wrong, samples = 0, []
    for key in _differing(table, span, reader, scratch):
        wrong += 1
        if wrong <= SAMPLES:
            samples.append(key.hex())
    if not wrong:
        return
    stored, expected = (sum(1 for _ in each.range(*span)) for each in (reader, scratch))
    evidence = (
        f"{wrong} rows of {table.name} differ: {stored} stored, "
        f"{expected} expected; keys {', '.join(samples)}"
    )
    yield Finding(f"views.{table.name.lower()}", Severity.INTEGRITY, evidence, RESTORE)


def _differing(
    table: Table, span: tuple[bytes, bytes], reader: Reader, scratch: Reader
) -> Iterator[bytes]:
    """Yield the keys under which two stores have not the same, one row in memory at a time."""
    for key, value in reader.range(*span):
        expected = scratch.get(key)
        if value != expected and not _is_input(table, key, value, expected):
            yield key
    yield from (key for key, _ in scratch.range(*span) if reader.get(key) is None)
