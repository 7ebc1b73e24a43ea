"""Keep what a hold covers although it has to go: out of everybody's sight, until the hold ends.

    ESCROW row    origin u32, seq u64 -> number of the order u64 (0: it left with its scope),
                  origin u32 and seq u64 of what the operation targets (0: of nothing known)

The body keeps its key and its sealing; its state is ESCROWED, so the log does not show it, and no
view knows it any more. Reviews and exports read it as long as a hold covers it (``Kept``).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from appliance.disposal import gather
from appliance.disposal.gather import Group
from appliance.disposal.judge import holding
from appliance.messaging.model import Place
from store import records
from store.destruction import record_of
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.ids import OpId
from store.oplog import Op
from store.records import PartState
from store.tables import ESCROW, LOG

if TYPE_CHECKING:
    from appliance.core import Core

SCOPE: Final = 0
"""Stands for a conversation that left this branch, in place of an order."""

_ROW: Final = struct.Struct(">QIQ")
_NOTHING: Final = (0, 0)


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
        target = core.conversations.place(OpId.unpack(op.target)) if op.target else None
        txn.put(ESCROW.key(*place), _ROW.pack(order, *(target or _NOTHING)))


def drop(txn: Txn, found: Group) -> None:
    """Forget that a record was hidden: it ends now, or is shown again."""
    for op in found.ops:
        txn.delete(ESCROW.key(op.origin, op.id.seq))


class Kept:
    """What is kept for holds alone, as it is when this is made; O(kept).

    What goes together is kept together: a hold on a message or on a copy of it keeps both, and
    all that targets them.
    """

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader
        self._targeting: defaultdict[Place, list[Place]] = defaultdict(list)
        for key, value in reader.range(*ESCROW.span()):
            _, target_origin, target_seq = _ROW.unpack(value)
            origin, seq = ESCROW.columns(key)
            self._targeting[target_origin, target_seq].append((origin, seq))

    def targeting(self, place: Place) -> Sequence[Place]:
        """Return where there is something hidden that targets an operation."""
        return self._targeting.get(place, ())

    def group(self, place: Place) -> Group:
        """Return an operation with all that goes with it, shown or hidden.

        Raises ``PartGoneError`` and ``UnknownOpError``.
        """
        op = self._core.log.read(self._reader, *place)
        return Group((*gather.around(self._core, self._reader, op).ops, *self._below(place)))

    def is_held(self, op: Op) -> bool:
        """Tell whether a hold covers an operation, what goes with it, or what it belongs to."""
        *_, top = (op, *gather.above(self._core, self._reader, op))
        whole = self.group((top.origin, top.id.seq))
        return bool(holding(self._core, whole) or holding(self._core, Group((op,))))

    def is_free(self, op: Op) -> bool:
        """Tell whether an operation is hidden, and no hold keeps it any more: then it must go."""
        is_hidden = self._reader.get(ESCROW.key(op.origin, op.id.seq)) is not None
        return is_hidden and not self.is_held(op)

    def _below(self, place: Place) -> Iterator[Op]:
        for each in self.targeting(place):
            yield self._core.log.read(self._reader, *each)
            yield from self._below(each)
