"""Tell which of a branch's own operations headquarters has not ordered yet.

Headquarters tells with the CONTROL lane where a branch's own operations stand in its order. Until
then an own operation is *pending*: whatever arrives meanwhile stands before it in that order.
"""

from __future__ import annotations

from store import cursors
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.oplog import Op, OpLog
from sync.pieces import Lane, Own


def confirm(txn: Txn, log: OpLog, run: Own) -> None:
    """Note a run of own operations that headquarters has ordered."""
    confirm_upto(txn, log.head.origin, run.seq + run.size - 1)


def confirm_upto(txn: Txn, number: int, seq: int) -> None:
    """Note that headquarters has ordered an own origin's operations of lane CONTROL up to one."""
    if seq > cursors.get(txn, number, Lane.CONTROL):
        cursors.put(txn, number, Lane.CONTROL, seq)


def is_pending(reader: Reader, log: OpLog, op: Op) -> bool:
    """Tell whether an operation was made here and is not confirmed yet."""
    if not log.is_own(op.origin):
        return False
    return op.id.seq > cursors.get(reader, op.origin, Lane.CONTROL)


def confirmed(reader: Reader, log: OpLog) -> int:
    """Return the last own operation of lane CONTROL that headquarters has ordered."""
    return cursors.get(reader, log.head.origin, Lane.CONTROL)
