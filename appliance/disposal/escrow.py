"""Keep what a hold covers although it has to go: out of everybody's sight, until the hold ends.

    ESCROW row    origin u32, seq u64 -> number of the order u64 (0: it left with its scope)

The body keeps its key and its sealing; its state is ESCROWED, so the log does not show it, and no
view knows it any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from appliance.disposal.gather import Group
from appliance.messaging.model import Place
from store import records
from store.destruction import record_of
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.records import PartState
from store.tables import ESCROW, LOG

if TYPE_CHECKING:
    from appliance.core import Core

SCOPE: Final = 0
"""Stands for a conversation that left this branch, in place of an order."""

_BYTES: Final = 8


def keep(core: Core, txn: Txn, found: Group, order: int) -> None:
    """Hide a record and all that goes with it from everybody; what is hidden stays so."""
    for op in found.ops:
        place = (op.origin, op.id.seq)
        if op.body is not None:
            core.forget(txn, op)
            record = record_of(txn, op)
            states = (record.envelope_state, PartState.ESCROWED)
            row = records.repack(record, *states, record.locator, record.sealed)
            txn.put(LOG.key(*place), row)
        elif txn.get(ESCROW.key(*place)) is None:
            continue
        txn.put(ESCROW.key(*place), order.to_bytes(_BYTES, "big"))


def drop(txn: Txn, found: Group) -> None:
    """Forget that a record was hidden: it ends now, or is shown again."""
    for op in found.ops:
        txn.delete(ESCROW.key(op.origin, op.id.seq))


def rows(reader: Reader) -> Iterator[tuple[Place, int]]:
    """Yield where hidden operations are, and the order that each waits for."""
    for key, value in reader.range(*ESCROW.span()):
        origin, seq = ESCROW.columns(key)
        yield (origin, seq), int.from_bytes(value, "big")
