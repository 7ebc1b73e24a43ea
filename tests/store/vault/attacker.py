"""Somebody who kept every row ever written, and finds a root: what can they open?

The attack uses the documented layouts only and knows nothing of which keys should be dead: it
tries each version of each row with every key that it has for the row's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from store.disk import MemoryDisk
from store.engine.contract import Reader
from store.engine.memory import Medium
from store.errors import IntegrityError, PartGoneError
from store.tables import EPOCH
from store.vault import Locator, NoWrap, epochs, forest, ggm
from store.vault.epochs import EpochKeys
from store.vault.forest import FAN_OUT, TOP, NodeId, SlotId, child_key
from store.vault.slots import RootSlots
from store.vault.suites import suite_of, unseal
from store.vault.vault import _PLACE
from tests.store.vault.harness import (
    CONTEXT,
    PART_ROW,
    PART_TABLE,
    PRESENT,
    Store,
    part_key,
)

Versions = dict[bytes, set[bytes]]


def every_version(medium: Medium) -> Versions:
    """Return all values that each key ever had, those of batches that failed included."""
    retained = medium._retained
    assert retained is not None
    found: Versions = {}
    for key, value in zip(retained[::2], retained[1::2], strict=True):
        found.setdefault(key, set()).add(value)
    return found


def roots_on(disk: MemoryDisk) -> set[bytes]:
    """Return the roots that a key directory holds, as its device has it now."""
    wrap = NoWrap()
    slots = [slot for slot in RootSlots(disk).load() if slot is not None]
    return {slot.open(wrap.key(slot.wrap)) for slot in slots}


class _OneRow:
    """A reader of one row."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self._row = (key, value)

    def get(self, key: bytes) -> bytes | None:
        return self._row[1] if key == self._row[0] else None

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        raise NotImplementedError


class Attacker:
    """One who has versions of rows, and roots."""

    def __init__(self, versions: Versions, roots: Iterable[bytes]) -> None:
        self._versions = versions
        self._roots = set(roots)
        self._opened: dict[NodeId, set[bytes]] = {}
        self._epochs: dict[bytes, list[EpochKeys]] = {}

    @classmethod
    def at(cls, store: Store) -> Attacker:
        """Take every row ever written, the key directory as its device has it, and the root."""
        assert isinstance(store.disk, MemoryDisk)
        assert isinstance(store.wrap, NoWrap)
        return cls(every_version(store.medium), {*roots_on(store.disk), store.vault._root()})

    def texts(self, locator: Locator) -> set[bytes]:
        """Return what each version of a part's row opens to."""
        values = self._versions.get(part_key(locator), set())
        sealings = [value[1:] for value in values if value[:1] == PRESENT]
        return {text for sealed in sealings for text in self.open(locator, sealed, CONTEXT)}

    def everything(self) -> set[bytes]:
        """Return what opens of all parts that were ever written, lost batches included."""
        keys = [key for key in self._versions if key[0] == PART_TABLE]
        places = [Locator(*PART_ROW.unpack(key)[1:]) for key in keys]
        return {text for place in places for text in self.texts(place)}

    def index_seeds(self, stream: int, epoch: int) -> set[bytes]:
        """Return the seeds of an epoch's index keys."""
        return {keys.index_seed for keys in self._epoch_keys(EPOCH.key(stream, epoch))}

    def open(self, locator: Locator, sealed: bytes, context: bytes) -> Iterator[bytes]:
        """Yield what a sealing opens to with each key there is for its place."""
        suite = suite_of(sealed[0])
        place = _PLACE.pack(suite.number, locator.stream, locator.epoch, locator.index)
        for keys in self._epoch_keys(EPOCH.key(locator.stream, locator.epoch)):
            try:
                key = ggm.part_key(suite.prf, keys.cover, locator.index)
                yield unseal(suite, key, sealed, context + place)
            except (IntegrityError, PartGoneError):
                continue

    def _epoch_keys(self, row_key: bytes) -> list[EpochKeys]:
        if row_key not in self._epochs:
            self._epochs[row_key] = list(self._opened_epochs(row_key))
        return self._epochs[row_key]

    def _opened_epochs(self, row_key: bytes) -> Iterator[EpochKeys]:
        for value in self._versions.get(row_key, set()):
            if epochs.is_emptied(value):
                continue
            for slot_key in self._slot_keys(epochs.read_header(value).place):
                try:
                    yield epochs.open_row(row_key, value, slot_key)
                except IntegrityError:
                    continue

    def _slot_keys(self, place: SlotId) -> set[bytes]:
        leaf = forest.leaf_of(place)
        return {child_key(keys, place.slot % FAN_OUT) for keys in self._node(leaf, place)}

    def _node(self, node: NodeId, place: SlotId) -> set[bytes]:
        """Return the keys in each version of a node that opens with a key there is for it."""
        if node not in self._opened:
            self._opened[node] = {
                keys
                for key in self._keys_of(node, place)
                for value in self._versions.get(node.key(), set())
                if (keys := _opened(node, key, value)) is not None
            }
        return self._opened[node]

    def _keys_of(self, node: NodeId, place: SlotId) -> set[bytes]:
        if node == TOP:
            return self._roots
        step = forest.way_to(place)[node.level - 1]
        return {child_key(keys, step.child) for keys in self._node(step.node, place)}


def _opened(node: NodeId, key: bytes, value: bytes) -> bytes | None:
    reader: Reader = _OneRow(node.key(), value)
    try:
        return forest.open_node(reader, key, node)
    except IntegrityError:
        return None
