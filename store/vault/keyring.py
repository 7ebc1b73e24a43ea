"""Cache the seeds of recently used epochs, so that the next key costs one or two PRF calls.

For each epoch the keyring holds its cover, and for each level the seed derived last: whoever
goes through an epoch in order finds the parent of three leaves in four. When the arena is full,
the epoch used longest ago is forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from store.errors import PartGoneError
from store.vault import ggm
from store.vault.arena import Arena
from store.vault.suites import Prf, Suite

_LARGEST_EPOCH_CELLS = 2_048
"""More cells than any cover with its derived path takes."""


EpochName = tuple[int, int, int]
"""An epoch of this site: stream, serial, and the number of the suite its keys belong to."""


class _Seeds:
    """One epoch: node -> cell, and at each level the node that was derived last (0: none)."""

    __slots__ = ("cells", "derived")

    def __init__(self, cells: dict[int, int]) -> None:
        self.cells = cells
        self.derived = [0] * ggm.DEPTH


class Keyring:
    """Seeds in an arena, least recently used epochs dropped first. Safe from any thread."""

    def __init__(self, arena: Arena) -> None:
        assert arena.free_cells >= _LARGEST_EPOCH_CELLS, "one epoch must always fit"
        self._arena = arena
        self._lock = threading.Lock()
        self._epochs: OrderedDict[EpochName, _Seeds] = OrderedDict()
        self._era = 0

    @property
    def era(self) -> int:
        """Return a number that changes with every purge and every root switch."""
        return self._era

    def part_key(self, suite: Suite, name: EpochName, index: int) -> bytes | None:
        """Return the key of part ``index``, or None when the epoch is not in the keyring.

        Raises ``PartGoneError`` when the epoch's cover lacks the part.
        """
        leaf = ggm.FIRST_LEAF + index
        parent = (leaf - 1) // ggm.FAN_OUT
        with self._lock:
            seeds = self._epochs.get(name)
            if seeds is None:
                return None
            self._epochs.move_to_end(name)
            cell = seeds.cells.get(parent)
            if cell is not None:
                seed = self._arena.read(cell)
            elif leaf in seeds.cells:
                return self._arena.read(seeds.cells[leaf])
            else:
                seed = self._descend(suite.prf, seeds, parent)
        return suite.prf(seed, ggm.PART_INPUTS[(leaf - 1) % ggm.FAN_OUT])

    def insert(self, name: EpochName, cover: ggm.Cover, era: int) -> None:
        """Keep an epoch's cover, unless the era has changed since ``era`` was read."""
        with self._lock:
            if era != self._era or name in self._epochs:
                return
            self._make_room(len(cover))
            cells = {node: self._arena.put(seed) for node, seed in cover.items()}
            self._epochs[name] = _Seeds(cells)

    def drop(self, name: EpochName) -> None:
        """Forget one epoch."""
        with self._lock:
            seeds = self._epochs.pop(name, None)
            if seeds is not None:
                self._wipe(seeds)

    def drop_many(self, names: Iterable[EpochName]) -> None:
        """Forget epochs whose keys are destroyed; none that is being read meanwhile is kept."""
        with self._lock:
            self._era += 1
            for name in names:
                seeds = self._epochs.pop(name, None)
                if seeds is not None:
                    self._wipe(seeds)

    def purge(self) -> None:
        """Forget and wipe every epoch; what is being read meanwhile is not kept either."""
        with self._lock:
            self._era += 1
            for seeds in self._epochs.values():
                self._wipe(seeds)
            self._epochs.clear()

    def _descend(self, prf: Prf, seeds: _Seeds, parent: int) -> bytes:
        """Derive from the nearest known ancestor down to ``parent``, keeping the way."""
        cells, node, way = seeds.cells, parent, []
        while node not in cells:
            if node == 0:
                raise PartGoneError("the part's key was destroyed")
            way.append(node)
            node = (node - 1) // ggm.FAN_OUT
        seed = self._arena.read(cells[node])
        for place in range(len(way) - 1, -1, -1):
            node = way[place]
            seed = prf(seed, ggm.INNER_INPUTS[(node - 1) % ggm.FAN_OUT])
            self._keep(seeds, ggm.PARENT_LEVEL - place, node, seed)
        return seed

    def _keep(self, seeds: _Seeds, level: int, node: int, seed: bytes) -> None:
        """Put a derived seed in the place of the one derived before at its level."""
        previous = seeds.derived[level]
        if previous:
            cell = seeds.cells.pop(previous)
            self._arena.replace(cell, seed)
        else:
            self._make_room(1)
            cell = self._arena.put(seed)
        seeds.cells[node] = cell
        seeds.derived[level] = node

    def _make_room(self, cells: int) -> None:
        """Forget the oldest epochs; the one in use is the newest and never among them."""
        while self._arena.free_cells < cells:
            _, seeds = self._epochs.popitem(last=False)
            self._wipe(seeds)

    def _wipe(self, seeds: _Seeds) -> None:
        for cell in seeds.cells.values():
            self._arena.free(cell)
