"""Hold the root in use, and during a switch also the next one, in memory and in their slots.

Each root has its generation, counted from 1. In memory there are one or two of them, and a
reader asks for the root of its snapshot's generation; on the device the one in use is in one
slot, and the other slot is blank but during a switch. Roots and the wrapping key lie in an
arena of their own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Self

from store.errors import StoreError, VaultLockedError
from store.ports import Entropy
from store.vault.arena import Arena
from store.vault.effacement import EffacementTier, Evidence
from store.vault.errors import StaleSnapshotError
from store.vault.slots import SLOT_NAMES, RootSlot, encode_slot
from store.vault.suites import KEY_BYTES, Suite
from store.vault.wrap import Wrap, WrapParameters

FIRST_GENERATION: Final = 1

_CELLS: Final = 3
_NO_KEY: Final = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A root as it came out of, or goes into, a slot."""

    number: int
    generation: int
    root: bytes = field(repr=False)
    wrap: WrapParameters
    wrapping_key: bytes = field(repr=False)


class Roots:
    """The roots of one store. Make it with ``create`` or ``open``.

    ``read``, ``generation`` and ``copy_into`` may be used from any thread, the rest from the
    writer's only.
    """

    def __init__(
        self, tier: EffacementTier, opened: _Opened, suite: Suite, entropy: Entropy
    ) -> None:
        self._tier = tier
        self._suite = suite
        self._entropy = entropy
        self._lock = threading.Lock()
        self._arena = Arena(_CELLS)
        self._wrap = opened.wrap
        self._wrapping_cell = self._arena.put(opened.wrapping_key)
        self._number = opened.number
        self._generation = opened.generation
        self._cells = {opened.generation: self._arena.put(opened.root)}
        self._spare_cell = self._arena.put(_NO_KEY)
        self._evidence: Evidence | None = None
        self._is_alone = False

    @classmethod
    def create(cls, tier: EffacementTier, wrap: Wrap, suite: Suite, entropy: Entropy) -> Self:
        """Make the first root; both slots are durable on return.

        Raises ``VaultLockedError`` when there is a root already: none is ever overwritten.
        """
        if any(tier.load()):
            raise VaultLockedError("the key directory already has a root")
        root, parameters = entropy.bytes(KEY_BYTES), wrap.parameters(entropy)
        opened = _Opened(0, FIRST_GENERATION, root, parameters, wrap.key(parameters))
        roots = cls(tier, opened, suite, entropy)
        roots._write(0, FIRST_GENERATION)
        tier.efface(1, entropy)
        roots._is_alone = True
        return roots

    @classmethod
    def open(
        cls, tier: EffacementTier, wrap: Wrap, generation: int, suite: Suite, entropy: Entropy
    ) -> Self:
        """Open the root of the store's generation.

        Raises ``VaultLockedError`` when no slot has it or the wrap does not open it.
        """
        number, slot = _current(tier.load(), generation)
        wrapping_key = wrap.key(slot.wrap)
        root = slot.open(wrapping_key)
        opened = _Opened(number, generation, root, slot.wrap, wrapping_key)
        return cls(tier, opened, suite, entropy)

    @property
    def generation(self) -> int:
        """The number of the root in use."""
        return self._generation

    @property
    def evidence(self) -> Evidence | None:
        """What shows that every earlier root is gone; None when that has not been seen yet."""
        return self._evidence

    @property
    def is_memory_locked(self) -> bool:
        """Tell whether the roots are kept out of swap."""
        return self._arena.is_locked

    def read(self, generation: int) -> bytes:
        """Return the root of a generation.

        Raises ``StaleSnapshotError`` when it is another than those in memory, and
        ``VaultLockedError`` after ``close``.
        """
        with self._lock:
            cell = self._cells.get(generation)
            if cell is not None:
                return self._arena.read(cell)
            if self._cells:
                raise StaleSnapshotError("the snapshot is of another generation")
        raise VaultLockedError("the vault is closed")

    def present(self) -> bytes:
        """Return the root in use; ``VaultLockedError`` after ``close``."""
        return self._in_use()[1]

    # --- a switch -------------------------------------------------------------------------------

    def announce(self, root: bytes) -> None:
        """Hold the next root beside the one in use: snapshots of both generations open."""
        assert self._is_alone, "a leftover slot is effaced before a switch begins"
        assert len(self._cells) == 1, "one switch at a time"
        self._arena.replace(self._spare_cell, root)
        with self._lock:
            self._cells[self._generation + 1] = self._spare_cell

    def write_next(self) -> None:
        """Put the announced root into the other slot; durable on return."""
        self._is_alone = False
        self._write(1 - self._number, self._generation + 1)

    def promote(self) -> None:
        """Use the announced root from now on; the one before it is wiped from memory."""
        with self._lock:
            old = self._cells.pop(self._generation)
            self._arena.replace(old, _NO_KEY)
            self._spare_cell = old
            self._generation += 1
            self._number = 1 - self._number

    def forget_next(self) -> None:
        """Wipe the announced root from memory, if there is one."""
        with self._lock:
            if self._cells.pop(self._generation + 1, None) is not None:
                self._arena.replace(self._spare_cell, _NO_KEY)

    def efface_other(self) -> None:
        """Destroy what the slot not in use holds; raises ``EffaceError``, ``EngineError``."""
        self._tier.efface(1 - self._number, self._entropy)
        self._see_alone()

    def is_other_blank(self) -> bool:
        """Tell whether the slot not in use is durably blank."""
        if not self._tier.is_blank(1 - self._number):
            return False
        self._see_alone()
        return True

    # --- copies and ends ------------------------------------------------------------------------

    def copy_into(self, tier: EffacementTier, number: int, wrap: Wrap) -> int:
        """Write the root in use into a slot of another key directory, under its wrap.

        Returns the root's generation. May be used from any thread.
        """
        parameters = wrap.parameters(self._entropy)
        wrapping_key = wrap.key(parameters)
        generation, root = self._in_use()
        data = encode_slot(generation, root, self._suite, parameters, wrapping_key, self._entropy)
        tier.write(number, data)
        return generation

    def destroy(self) -> Evidence:
        """Efface both slots; the second also when the first fails.

        Raises ``EffaceError`` or ``EngineError``: call it again then.
        """
        failure: StoreError | None = None
        for number in (self._number, 1 - self._number):
            try:
                self._tier.efface(number, self._entropy)
            except StoreError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return Evidence(self._generation, None, self._tier.tier, SLOT_NAMES, is_verified=True)

    def close(self) -> None:
        """Wipe roots and wrapping key from memory."""
        with self._lock:
            self._cells.clear()
            self._arena.wipe()

    def _in_use(self) -> tuple[int, bytes]:
        with self._lock:
            cell = self._cells.get(self._generation)
            if cell is None:
                raise VaultLockedError("the vault is closed")
            return self._generation, self._arena.read(cell)

    def _write(self, number: int, generation: int) -> None:
        wrapping_key = self._arena.read(self._wrapping_cell)
        root = self.read(generation)
        data = encode_slot(generation, root, self._suite, self._wrap, wrapping_key, self._entropy)
        self._tier.write(number, data)

    def _see_alone(self) -> None:
        self._is_alone = True
        if self._generation > FIRST_GENERATION:
            self._evidence = Evidence(
                self._generation - 1,
                self._generation,
                self._tier.tier,
                (SLOT_NAMES[1 - self._number],),
                is_verified=True,
            )


def _current(
    loaded: tuple[RootSlot | None, RootSlot | None], generation: int
) -> tuple[int, RootSlot]:
    """Return the slot of the store's generation and its number."""
    for number, slot in enumerate(loaded):
        if slot is not None and slot.generation == generation:
            return number, slot
    if any(loaded):
        raise VaultLockedError("no root slot has the store's generation")
    names = " nor ".join(SLOT_NAMES)
    raise VaultLockedError(f"neither {names} is whole: the key replica has to be restored")
