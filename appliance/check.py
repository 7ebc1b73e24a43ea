"""Prove that the views agree with the log: verify it, rebuild every view from it, compare.

The rebuild runs the very ``apply`` that wrote the views, over an empty store, from the opened
operations in the order they were applied. Pseudonyms, epochs and segment records are inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.core import Core, decode_body
from appliance.directory.model import Person
from appliance.findings import Finding, Severity
from store import feeds
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import StoreError
from store.oplog import Op
from store.tables import TENANT, VIEWS, Table, successor

SAMPLES: Final = 3
"""Differing keys named in a finding's evidence."""

RESTORE = "Stop, keep a copy of the data directory, and restore from a backup."


class EmptyReader:
    """A store without rows."""

    def get(self, key: bytes) -> bytes | None:
        """Return None."""
        del key
        return None

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield nothing."""
        del start, end, reverse, limit
        return iter(())


def check(core: Core, reader: Reader) -> list[Finding]:
    """Verify the log and compare every view with its rebuilding; O(log), memory O(views)."""
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
    except StoreError as error:
        evidence = f"the views cannot be rebuilt: {error.code}"
        return [*findings, Finding("views.rebuild", Severity.INTEGRITY, evidence, RESTORE)]
    for table in sorted(VIEWS):
        findings.extend(_compare(table, reader, scratch))
    if _people(rebuilt) != _people(core):
        evidence = "the directory in memory is not what the log says"
        findings.append(Finding("views.directory", Severity.INTEGRITY, evidence, "Restart."))
    return findings


def rebuild(core: Core, reader: Reader) -> tuple[Core, Txn]:
    """Apply every surviving operation of the log to an empty store."""
    scratch = Txn(EmptyReader())
    rebuilt = Core(core.streams, core.entropy)
    rebuilt.log = core.log
    for entry in core.log.replay(reader):
        if isinstance(entry, Op):
            feeds.show(scratch, entry, feeds.head(scratch, entry.feed))
            if entry.body is not None:
                rebuilt.apply(scratch, entry, decode_body(entry))
    return rebuilt, scratch


def _people(core: Core) -> dict[bytes, Person]:
    return {person.id: person for person in core.directory.people()}


def _compare(table: Table, reader: Reader, scratch: Reader) -> Iterator[Finding]:
    prefix = bytes((table,)) + TENANT.to_bytes(2, "big")
    stored = dict(reader.range(prefix, successor(prefix)))
    expected = dict(scratch.range(prefix, successor(prefix)))
    if stored == expected:
        return
    wrong = sorted(k for k in stored.keys() | expected.keys() if stored.get(k) != expected.get(k))
    samples = ", ".join(key.hex() for key in wrong[:SAMPLES])
    evidence = (
        f"{len(wrong)} rows of {table.name} differ: {len(stored)} stored, "
        f"{len(expected)} expected; keys {samples}"
    )
    yield Finding(f"views.{table.name.lower()}", Severity.INTEGRITY, evidence, RESTORE)
