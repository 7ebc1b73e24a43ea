"""Mark parts for destruction in a write transaction, within what one root switch may do.

Marking opens what the switch will need, so that damage fails the command that wants it and not
the batch. What the switch is going to write is reserved in the transaction: the row of each node
on a way, once, and of each epoch, with its cover at its largest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from store.errors import BatchFullError, LimitError
from store.tables import EPOCH
from store.vault import epochs, forest, ggm
from store.vault.contract import Transaction
from store.vault.epochs import EpochHeader
from store.vault.forest import NodeId, SlotId
from store.vault.limits import EMPTIED_PER_SWITCH, EPOCHS_PER_SWITCH, SWITCH_BYTES_MAX

EpochId = tuple[int, int]
"""A stream's pseudonym and the serial of its epoch."""


@dataclass(slots=True)
class Puncture:
    """An epoch that loses the parts ``removed``; ``row_bytes`` has its row now."""

    header: EpochHeader
    slot_key: bytes = field(repr=False)
    row_bytes: int
    removed: set[int]

    def growth(self, parts: int) -> int:
        """Return by how much the reserved bytes grow when so many more parts are removed."""
        known = len(self.removed)
        return self._reserved(known + parts) - (self._reserved(known) if known else 0)

    def _reserved(self, parts: int) -> int:
        largest = epochs.ROW_BYTES_MAX
        return epochs.ROW_KEY_BYTES + min(self.row_bytes + ggm.PUNCTURE_BYTES * parts, largest)


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

    ``punctured`` epochs lose some parts, ``emptied`` ones all; one in both is emptied. It does
    not hold its transaction, which holds it.
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

        Raises ``LimitError`` beyond what one switch may do (``BatchFullError`` when the
        transaction had marks before), ``IntegrityError`` when an epoch is damaged.
        """
        self._begin(txn)
        found: list[tuple[EpochId, Puncture, set[int]]] = []
        growth = 0
        for name, parts in wanted.items():
            mark = self.punctured.get(name) or self._read(txn, root, name)
            if mark is not None and (new := parts - mark.removed):
                found.append((name, mark, new))
                growth += mark.growth(len(new))
            if len(found) > EPOCHS_PER_SWITCH:
                break
        marks = {name for name, _, _ in found} | self.punctured.keys()
        cost = self._cost([mark.header.place for _, mark, _ in found], growth)
        self._expect_room(len(marks), len(self.emptied), cost)

        def undo() -> None:
            for name, mark, new in found:
                mark.removed -= new
                if not mark.removed:
                    del self.punctured[name]

        txn.on_rollback(undo)
        for name, mark, new in found:
            mark.removed |= new
            self.punctured[name] = mark
        self._reserve(txn, cost)

    def add_epochs(
        self, txn: Transaction, root: bytes, names: Iterable[EpochId]
    ) -> Collection[EpochId]:
        """Mark all parts of epochs and return the epochs that were not marked so before.

        Raises as ``add_parts`` does.
        """
        self._begin(txn)
        found: dict[EpochId, Emptied] = {}
        for name in names:
            row_key = EPOCH.key(*name)
            value = self._value(txn, name, row_key)
            if value is not None:
                row = epochs.emptied_row(value)
                found[name] = Emptied(epochs.read_header(row), row_key, row)
        places = [each.header.place for each in found.values()]
        cost = self._cost(places, len(found) * (epochs.ROW_KEY_BYTES + epochs.HEADER_BYTES))
        self._expect_room(len(self.punctured), len(self.emptied) + len(found), cost)
        for place in places:
            self._leaf(txn, root, place)

        def undo() -> None:
            for name in found:
                del self.emptied[name]

        txn.on_rollback(undo)
        self.emptied.update(found)
        self._reserve(txn, cost)
        return found

    def _begin(self, txn: Transaction) -> None:
        # What a rollback takes back may come again with other keys: no opened leaf outlives it.
        txn.on_rollback(self._leaves.clear)

    def _value(self, txn: Transaction, name: EpochId, row_key: bytes) -> bytes | None:
        """Return an epoch's row; None when nothing is left of it, or will be."""
        value = None if name in self.emptied else txn.get(row_key)
        return None if value is None or epochs.is_emptied(value) else value

    def _read(self, txn: Transaction, root: bytes, name: EpochId) -> Puncture | None:
        row_key = EPOCH.key(*name)
        value = self._value(txn, name, row_key)
        if value is None:
            return None
        header = epochs.read_header(value)
        slot_key = forest.key_in_leaf(self._leaf(txn, root, header.place), header.place)
        epochs.check_row(row_key, value, slot_key)
        return Puncture(header, slot_key, len(value), set())

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
