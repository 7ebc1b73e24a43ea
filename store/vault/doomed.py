"""Mark parts for destruction in a write transaction, within what one root switch may do.

Marking opens what the switch will need, so that damage fails the command that wants it and not
the batch. What the switch is going to write is reserved in the transaction: the row of each node
on a way, once, and of each epoch, with its cover at its largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from store.errors import BatchFullError, LimitError
from store.tables import EPOCH
from store.vault import epochs, fill, forest, ggm
from store.vault.contract import Transaction
from store.vault.epochs import EpochHeader
from store.vault.forest import NodeId, SlotId
from store.vault.limits import (
    EMPTIED_PER_SWITCH,
    EPOCH_PARTS,
    EPOCHS_PER_SWITCH,
    SWITCH_BYTES_MAX,
)

EpochId = tuple[int, int]
"""A stream's pseudonym and the serial of its epoch."""


@dataclass(slots=True)
class Puncture:
    """An epoch that loses the parts ``removed``, and if it is closed, all behind its ``count``.

    ``row_bytes`` has its row now.
    """

    header: EpochHeader
    slot_key: bytes = field(repr=False)
    row_bytes: int
    count: int | None
    removed: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        """The first of the keys at its end that all go."""
        return EPOCH_PARTS if self.count is None else self.count

    def reserved(self, more: int = 0) -> int:
        """Return the bytes its row may have when so many more parts are removed."""
        punctures = len(self.removed) + more + (self.count is not None)
        longest = min(self.row_bytes + ggm.PUNCTURE_BYTES * punctures, epochs.ROW_BYTES_MAX)
        return epochs.ROW_KEY_BYTES + longest


class Emptied(NamedTuple):
    """An epoch that loses all its parts, and the row that stays of it."""

    header: EpochHeader
    row_key: bytes
    row: bytes


class _Cost(NamedTuple):
    """What some marks add to a switch: nodes, and bytes of rows, theirs included."""

    nodes: set[NodeId]
    row_bytes: int


class Doomed:
    """What one transaction destroys, and what its switch may write.

    ``punctured`` epochs lose some keys, ``emptied`` ones all, and none is both. It does not hold
    its transaction, which holds it.
    """

    def __init__(self) -> None:
        self.punctured: dict[EpochId, Puncture] = {}
        self.emptied: dict[EpochId, Emptied] = {}
        self.reserved_bytes = 0
        self._nodes: set[NodeId] = set()
        self._leaves: dict[NodeId, bytes] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is marked."""
        return not self.punctured and not self.emptied

    def places(self) -> set[SlotId]:
        """Return the slots whose keys must die."""
        places = {each.header.place for each in self.emptied.values()}
        return places | {each.header.place for each in self.punctured.values()}

    def add_parts(self, txn: Transaction, root: bytes, wanted: Mapping[EpochId, set[int]]) -> None:
        """Mark parts by epoch; those already gone are allowed. All or nothing.

        A closed epoch is cut behind its last part; if none of its parts would be left, it is
        emptied, and its row is not even opened. Raises ``LimitError`` beyond what one switch may
        do (``BatchFullError`` when the transaction had marks before), ``IntegrityError`` when an
        epoch is damaged.
        """
        txn.on_rollback(self._leaves.clear)  # a leaf that is rolled back may come with other keys
        emptied: dict[EpochId, Emptied] = {}
        first: dict[EpochId, Puncture] = {}
        added: list[tuple[Puncture, set[int]]] = []
        growth = 0
        for name, parts in wanted.items():
            mark = self.punctured.get(name) or self._find(txn, root, name, parts)
            if isinstance(mark, Emptied):
                emptied[name] = mark
                growth += epochs.ROW_KEY_BYTES + epochs.HEADER_BYTES
            elif mark is not None:
                new = parts - mark.removed
                added.append((mark, new))
                growth += mark.reserved(len(new))
                if name in self.punctured:
                    growth -= mark.reserved()
                else:
                    first[name] = mark
            if len(first) > EPOCHS_PER_SWITCH:
                break
        places = [each.header.place for each in emptied.values()]
        places += [each.header.place for each in first.values()]
        cost = self._cost(places, growth)
        self._expect_room(len(self.punctured) + len(first), len(self.emptied) + len(emptied), cost)

        def undo() -> None:
            for mark, new in added:
                mark.removed -= new
            for name in first:
                del self.punctured[name]
            for name in emptied:
                del self.emptied[name]

        txn.on_rollback(undo)
        for mark, new in added:
            mark.removed |= new
        self.punctured.update(first)
        self.emptied.update(emptied)
        for name in (*emptied, *(name for name, mark in first.items() if mark.count is not None)):
            fill.forget(txn, *name)
        self._reserve(txn, cost)

    def _find(
        self, txn: Transaction, root: bytes, name: EpochId, parts: set[int]
    ) -> Puncture | Emptied | None:
        """Read an epoch that has no mark yet; None when nothing is left of it, or will be."""
        row_key = EPOCH.key(*name)
        value = None if name in self.emptied else txn.get(row_key)
        if value is None or epochs.is_emptied(value):
            return None
        header = epochs.read_header(value)
        leaf = self._leaf(txn, root, header.place)
        count = fill.closed_count(txn, *name)
        if count is not None and parts.issuperset(range(count)):
            return Emptied(header, row_key, epochs.emptied_row(value))
        slot_key = forest.key_in_leaf(leaf, header.place)
        epochs.check_row(row_key, value, slot_key)
        return Puncture(header, slot_key, len(value), count)

    def _leaf(self, txn: Transaction, root: bytes, place: SlotId) -> bytes:
        """Return the keys of a slot's leaf, opened once."""
        leaf = forest.leaf_of(place)
        keys = self._leaves.get(leaf)
        if keys is None:
            keys = self._leaves[leaf] = forest.leaf_keys(txn, root, place)
        return keys

    def _cost(self, places: Iterable[SlotId], growth: int) -> _Cost:
        """Add the nodes on the ways to slots that are not counted yet."""
        leaves = {forest.leaf_of(place): place for place in places}
        ways = (forest.way_to(place) for leaf, place in leaves.items() if leaf not in self._nodes)
        nodes = {step.node for way in ways for step in way} - self._nodes
        return _Cost(nodes, growth + len(nodes) * forest.NODE_ROW_BYTES)

    def _expect_room(self, punctured: int, emptied: int, cost: _Cost) -> None:
        """Raise when that many epochs, or bytes, are too much for one switch."""
        kind = LimitError if self.is_empty else BatchFullError
        if punctured > EPOCHS_PER_SWITCH:
            raise kind(f"one root switch punctures at most {EPOCHS_PER_SWITCH} epochs")
        if emptied > EMPTIED_PER_SWITCH:
            raise kind(f"one root switch destroys at most {EMPTIED_PER_SWITCH} whole epochs")
        if self.reserved_bytes + cost.row_bytes > SWITCH_BYTES_MAX:
            raise kind(f"one root switch writes at most {SWITCH_BYTES_MAX} bytes")

    def _reserve(self, txn: Transaction, cost: _Cost) -> None:
        def undo() -> None:
            self._nodes -= cost.nodes
            self.reserved_bytes -= cost.row_bytes

        txn.on_rollback(undo)
        txn.reserve(cost.row_bytes)
        self._nodes |= cost.nodes
        self.reserved_bytes += cost.row_bytes
