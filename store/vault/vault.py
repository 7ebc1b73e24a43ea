"""Seal every part under a key of its own and open it again, as long as the key exists.

    META row         value
    vault            format version u8 (1), suite u8 of new sealings, generation u64
    vault.trees      number of forest trees in use, u32
    vault.recovered  generation u64, 8 random bytes: written before a leftover root is effaced
    epochs.closed    u64, token of the last writer that has lost no batch

A root switch writes the first of them anew; see ``store.vault.switch``.

    TREE value
    offset  size  type  meaning
    0       4     u32   tree of the class
    4       8     u64   next slot

Associated data of a part = the caller's context || suite u8 || stream u64 || epoch u32 ||
index u16. The vault of an engine has one writer: ``seal``, ``doom`` and ``begin_switch`` belong
to its thread, in its transaction. ``unseal`` may be called from any thread, with a reader of that
thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Self

import msgspec

from store.engine.contract import Engine, Reader
from store.engine.txn import Txn
from store.errors import (
    EngineFullError,
    FormatError,
    IntegrityError,
    LimitError,
    PartGoneError,
    VaultLockedError,
)
from store.ports import Disk, Entropy
from store.tables import EPOCH, TREE, meta_key
from store.vault import epochs, fill, forest, ggm, switch
from store.vault.arena import Arena
from store.vault.contract import Transaction
from store.vault.doomed import Doomed, EpochId
from store.vault.effacement import EffacementTier, Evidence
from store.vault.effacement import tier as tier_named
from store.vault.forest import Edge, SlotId
from store.vault.keyring import EpochName, Keyring
from store.vault.limits import CUT_EPOCHS, EPOCH_PARTS, OPEN_EPOCHS, SEED_CELLS
from store.vault.opened import Nonces, OpenEpoch
from store.vault.roots import FIRST_GENERATION, Roots
from store.vault.suites import Suite, seal, suite_of, unseal
from store.vault.switch import Switch
from store.vault.wrap import Wrap

RetentionLookup = Callable[[int], int | None]
"""Maximum retention of a class, in milliseconds; None when it has none."""

_VERSION = 1
_TOKEN_BYTES = 8
_STATE_KEY = meta_key("vault")
_TREES_KEY = meta_key("vault.trees")
_RECOVERED_KEY = meta_key("vault.recovered")
_CLOSED_KEY = meta_key("epochs.closed")
_STATE = struct.Struct(">BBQ")
_TREE = struct.Struct(">IQ")
_PLACE = struct.Struct(">BQIH")


class Locator(msgspec.Struct, frozen=True, gc=False):
    """Where a part's key is: the stream's pseudonym, its epoch (u32) and the part (u16)."""

    stream: int
    epoch: int
    index: int


def _no_maximum(retention_class: int) -> int | None:
    del retention_class
    return None


def _read_state(reader: Reader) -> tuple[Suite, int]:
    """Return the suite of new sealings and the generation of the store."""
    value = reader.get(_STATE_KEY)
    if value is None:
        raise VaultLockedError("the store has no vault")
    if len(value) != _STATE.size or value[0] != _VERSION:
        raise FormatError("the vault's state has an unknown version")
    _, suite, generation = _STATE.unpack(value)
    return suite_of(suite), generation


def generation_of(reader: Reader) -> int:
    """Return the generation that a store's keys are of; ``VaultLockedError`` without a vault."""
    return _read_state(reader)[1]


class Vault:
    """The keys of one store. Make it with ``create`` or ``open``."""

    def __init__(
        self, roots: Roots, suite: Suite, entropy: Entropy, max_retention_ms: RetentionLookup
    ) -> None:
        self._roots = roots
        self._suite = suite
        self._entropy = entropy
        self._nonces = Nonces(entropy)
        self._max_retention_ms = max_retention_ms
        self._arena = Arena(SEED_CELLS)
        self._keyring = Keyring(self._arena)
        self._open: dict[tuple[int, int], OpenEpoch] = {}
        self._doomed: tuple[Transaction, Doomed] | None = None
        self._closed = False
        self._is_behind = False

    @classmethod
    def create(
        cls,
        txn: Transaction,
        keys: Disk,
        entropy: Entropy,
        wrap: Wrap,
        *,
        suite: int = 1,
        tier: str = "file",
        max_retention_ms: RetentionLookup = _no_maximum,
    ) -> Self:
        """Make the root and an empty forest; the slots are durable on return, rows are in ``txn``.

        Raises ``VaultLockedError`` when the key directory holds a root or the store a vault
        (neither is ever overwritten), ``FormatError`` for an unknown suite, and
        ``UnsupportedTierError`` for an effacement tier that this build lacks.
        """
        used, slots = suite_of(suite), tier_named(tier)(keys)
        if txn.get(_STATE_KEY) is not None:
            raise VaultLockedError("the store already has a root")
        roots = Roots.create(slots, wrap, used, entropy)
        txn.put(_STATE_KEY, _STATE.pack(_VERSION, suite, FIRST_GENERATION))
        forest.plant(txn, roots.present(), used, entropy)
        return cls(roots, used, entropy, max_retention_ms)

    @classmethod
    def open(
        cls,
        reader: Reader,
        keys: Disk,
        entropy: Entropy,
        wrap: Wrap,
        *,
        tier: str = "file",
        max_retention_ms: RetentionLookup = _no_maximum,
    ) -> Self:
        """Open the vault with the slot whose generation is the store's.

        Raises ``VaultLockedError`` when there is no such slot, when the wrap does not open it,
        or when its root is of another store; ``UnsupportedTierError`` as ``create`` does.
        """
        suite, generation = _read_state(reader)
        roots = Roots.open(tier_named(tier)(keys), wrap, generation, suite, entropy)
        try:
            forest.open_node(reader, roots.present(), forest.TOP)
        except IntegrityError:
            raise VaultLockedError("the root does not open this store's keys") from None
        return cls(roots, suite, entropy, max_retention_ms)

    @property
    def generation(self) -> int:
        """Return the number of the root in use."""
        return self._roots.generation

    @property
    def evidence(self) -> Evidence | None:
        """What shows that every root before the one in use is gone.

        None for the first root, and before ``recover``. Within ``deliver`` of the writer it is
        what the batch's own switch has shown; after a start, what recovery has seen.
        """
        return self._roots.evidence

    @property
    def is_memory_locked(self) -> bool:
        """Tell whether keys are kept out of swap; if not, `doctor` says so."""
        return self._arena.is_locked and self._roots.is_memory_locked

    def recover(self, engine: Engine, token: int) -> bool:
        """Leave exactly one valid root slot; call it at start, before any other write.

        A crash may have left a second root, older or newer. First no recovery may come back to
        a commit that needs it, so a commit is written and settled; then it is effaced. Returns
        whether there was something to efface. Raises ``EffaceError`` and the engine's errors.
        """
        if self._roots.is_other_blank():
            return False
        mark = struct.pack(">Q8s", self.generation, self._entropy.bytes(8))
        engine.batch({_RECOVERED_KEY: mark}, token, urgent=True)
        engine.settle()
        self._roots.efface_other()
        return True

    @property
    def is_behind(self) -> bool:
        """Tell whether a lost batch may have used keys that are still there: see ``cut_lost``."""
        return self._is_behind

    def abandon_lost(self, engine: Engine, token: int, *, urgent: bool = True) -> None:
        """Let nothing open any more that a lost batch may have left on the disk.

        Call it at start, after ``recover``, unless the writer before has signed off, and after a
        batch that did not fit on the disk, before the next one. The nodes and epochs of such a
        batch hang from keys that the store does not use yet: they end here, with a root switch.
        Its parts have keys of epochs that were open: none of these goes on, and ``cut_lost`` ends
        what is behind their last parts. ``urgent`` as for ``Engine.batch``. Raises
        ``EffaceError`` and the engine's errors; after ``EngineFullError`` call it again.
        """
        self._open.clear()
        self._is_behind = True
        with engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            begun = self._begin_switch(txn, Doomed(), self._edge(txn))
        try:
            begun.write()
            engine.batch(txn.writes, token, urgent=urgent)
        except EngineFullError:
            begun.withdraw()
            raise
        begun.finish(engine)

    def seal(
        self,
        txn: Transaction,
        stream: int,
        retention_class: int,
        plaintext: bytes,
        context: bytes,
        now_ms: int,
    ) -> tuple[Locator, bytes]:
        """Seal a part under the next key of its stream and class.

        ``stream`` is a pseudonym (u64), ``now_ms`` Unix milliseconds. An index is handed out
        once in a process: one whose transaction rolls back stays unused. The transaction also
        counts it (``store.vault.fill``). Opening an epoch writes its row and the next slot's
        number; rolled back, the epoch never was.
        """
        current = self._open.get((stream, retention_class))
        if current is None or not current.takes(now_ms):
            current = self._open_epoch(txn, stream, retention_class, now_ms)
        index = current.next_index
        current.next_index = index + 1
        name, suite = current.name, current.suite
        key = self._keyring.part_key(suite, name, index)
        if key is None:
            key = self._cold_part_key(txn, suite, name, index)
        epoch = name[1]
        txn.put(current.fill_key, fill.count(index + 1))
        associated = context + _PLACE.pack(suite.number, stream, epoch, index)
        sealed = seal(suite, key, self._nonces.take(suite.nonce_bytes), plaintext, associated)
        return Locator(stream, epoch, index), sealed

    def unseal(self, reader: Reader, locator: Locator, sealed: bytes, context: bytes) -> bytes:
        """Open a part.

        Raises ``PartGoneError`` when its key was destroyed, ``IntegrityError`` when sealed
        bytes, context or locator are not those of the sealing, ``FormatError`` for an unknown
        suite, ``StaleSnapshotError`` when ``reader`` is of an older generation.
        """
        stream, epoch, index = locator.stream, locator.epoch, locator.index
        if not sealed or index >= EPOCH_PARTS:
            raise IntegrityError("a sealed part or its locator is malformed")
        suite = suite_of(sealed[0])
        name = (stream, epoch, suite.number)
        try:
            key = self._keyring.part_key(suite, name, index)
            if key is None:
                key = self._cold_part_key(reader, suite, name, index)
        except PartGoneError:
            self._root_of(reader)  # an older snapshot may still show the part as present
            raise
        associated = context + _PLACE.pack(suite.number, stream, epoch, index)
        return unseal(suite, key, sealed, associated)

    def has_key(self, reader: Reader, locator: Locator) -> bool:
        """Tell whether a part's key can still be derived; for checks, which look after the dead.

        Raises as ``unseal``, for what is not a place in this store.
        """
        value = reader.get(EPOCH.key(locator.stream, locator.epoch))
        if value is None:
            return False
        suite = epochs.read_header(value).suite
        name = (locator.stream, locator.epoch, suite.number)
        try:
            if self._keyring.part_key(suite, name, locator.index) is None:
                self._cold_part_key(reader, suite, name, locator.index)
        except PartGoneError:
            self._root_of(reader)
            return False
        return True

    def doom(self, txn: Transaction, locators: Iterable[Locator]) -> None:
        """Mark parts whose keys end with this transaction; those already gone are allowed.

        All or nothing, and undone by a rollback. The parts open until the root switch of the
        commit is finished. With the first of a closed epoch's parts end the keys that none of
        its parts ever used. Raises ``LimitError`` when the transaction would then puncture more
        than ``EPOCHS_PER_SWITCH`` epochs, or empty more than ``EMPTIED_PER_SWITCH``, or when its
        switch might write more than ``SWITCH_BYTES_MAX`` bytes (``BatchFullError`` when it had
        marks before, so that the next batch may hold these), ``IntegrityError`` for a malformed
        locator or a damaged epoch. Cost: an epoch's first mark opens its row, unless all its
        parts are marked at once, and its leaf's first mark six nodes.
        """
        wanted: dict[EpochId, set[int]] = {}
        for locator in locators:
            if not 0 <= locator.index < EPOCH_PARTS:
                raise IntegrityError("a locator is malformed")
            wanted.setdefault((locator.stream, locator.epoch), set()).add(locator.index)
        root = self._root_of(txn)
        self._doomed_in(txn).add_parts(txn, root, wanted)

    def cut_lost(self, txn: Transaction) -> int:
        """Mark what lost batches may have used: the unused keys of epochs nobody has closed.

        Of ``CUT_EPOCHS`` at most; returns of how many. Once it returns 0, and the switches of
        those before are finished, nothing of a batch opens that was lost before
        ``abandon_lost``. An epoch that is damaged is closed and left: nothing in it can be
        destroyed before it is repaired, and it must not keep the others.
        """
        mine = {each.name[:2] for each in self._open.values()}
        others = (name for name in fill.left_open(txn) if name not in mine)
        found: list[EpochId] = list(islice(others, CUT_EPOCHS))
        root, doomed = self._root_of(txn), self._doomed_in(txn)
        for name in found:
            fill.close(txn, *name)
            with suppress(IntegrityError, FormatError):
                doomed.add_parts(txn, root, {name: set()})
        self._is_behind = bool(found)
        return len(found)

    def begin_switch(self, txn: Transaction) -> Switch | None:
        """Write the root switch for what was doomed in ``txn``; None when nothing was.

        Call it once for each transaction, when everything else is in it. Raises
        ``IntegrityError`` when a node of the forest is damaged; nothing has left the memory
        then, and a rollback undoes it all.
        """
        doomed = self._doomed_in(txn)
        self._doomed = None
        if doomed.is_empty:
            return None
        txn.reserve(-doomed.reserved_bytes)
        return self._begin_switch(txn, doomed)

    def _begin_switch(self, txn: Transaction, doomed: Doomed, edge: Edge | None = None) -> Switch:
        roots, ring = self._roots, self._keyring
        begun = switch.begin(txn, doomed, roots, ring, self._suite, self._entropy, edge)
        txn.put(_STATE_KEY, _STATE.pack(_VERSION, self._suite.number, self.generation + 1))
        return begun

    def _edge(self, reader: Reader) -> Edge:
        """Return where the forest goes on."""
        slots = tuple(SlotId(*_TREE.unpack(value)) for _, value in reader.range(*TREE.span()))
        return Edge(int.from_bytes(reader.get(_TREES_KEY) or b"", "big"), slots)

    def seal_root_into(self, slots: EffacementTier, number: int, wrap: Wrap) -> int:
        """Write the root in use into slot ``number`` of a key replica; return its generation.

        Under the wrap of that directory, with fresh parameters; durable on return. The rows
        that belong to it are those of a snapshot of that generation. A passphrase costs its
        argon2 each time. May be called from any thread. Raises the disk's errors.
        """
        return self._roots.copy_into(slots, number, wrap)

    def decommission(self) -> Evidence:
        """Destroy the root: nothing of this store, nor any backup, opens again. No way back.

        The writer has stopped. Both slots are effaced and read back; then every key is wiped
        from memory. Key replicas hold the root too until they are destroyed. Raises
        ``EffaceError`` or ``EngineError``: the other slot was tried, call it again.
        """
        self._expect_open()
        evidence = self._roots.destroy()
        self.close()
        return evidence

    def close_epochs(self, txn: Transaction) -> None:
        """Close every open epoch, as after a change of retention; the next part opens another."""
        for each in self._open.values():
            fill.close(txn, *each.name[:2])
        self._open.clear()

    def sign_off(self, txn: Transaction, token: int) -> None:
        """Close every open epoch, and note that the writer with this token has lost no batch.

        For the last batch of a stop in good order, of a writer that is not ``is_behind``.
        """
        self.close_epochs(txn)
        txn.put(_CLOSED_KEY, token.to_bytes(_TOKEN_BYTES, "big"))

    def has_signed_off(self, reader: Reader, token: int) -> bool:
        """Tell whether the writer with this token stopped in good order."""
        return reader.get(_CLOSED_KEY) == token.to_bytes(_TOKEN_BYTES, "big")

    def purge(self) -> None:
        """Wipe every cached key; the root stays, and the rows tell the rest again."""
        self._keyring.purge()

    def close(self) -> None:
        """Wipe every key and the root; whatever is asked later raises ``VaultLockedError``."""
        self._closed = True
        self._open.clear()
        self._doomed = None
        self._roots.close()
        self._keyring.purge()
        self._arena.wipe()

    def _cold_part_key(self, reader: Reader, suite: Suite, name: EpochName, index: int) -> bytes:
        """Derive a key of an epoch that the keyring lacks, and put the epoch there."""
        era = self._keyring.era
        cover = self._load_cover(reader, suite, name)
        self._keyring.insert(name, cover, era)
        return ggm.part_key(suite.prf, cover, index)

    def _load_cover(self, reader: Reader, suite: Suite, name: EpochName) -> ggm.Cover:
        """Open an epoch's cover through the forest."""
        root = self._root_of(reader)
        row_key = EPOCH.key(*name[:2])
        value = reader.get(row_key)
        if value is None or epochs.is_emptied(value):
            raise PartGoneError("the part's epoch is gone")
        header = epochs.read_header(value)
        if header.suite is not suite:
            raise IntegrityError("a sealed part names another suite than its epoch")
        slot_key = forest.slot_key(reader, root, header.place)
        return epochs.open_row(row_key, value, slot_key).cover

    def _open_epoch(
        self, txn: Transaction, stream: int, retention_class: int, now_ms: int
    ) -> OpenEpoch:
        self._expect_open()
        suite, owner = self._suite, (stream, retention_class)
        self._end_epoch(txn, owner)
        place = self._take_slot(txn, retention_class)
        slot_key = forest.prepare_slot(txn, self._root(), place, suite, self._entropy)
        serial = epochs.next_serial(txn, stream)
        name, row_key = (stream, serial, suite.number), EPOCH.key(stream, serial)
        header = epochs.EpochHeader(suite, retention_class, place, now_ms)
        keys = epochs.birth_keys(self._entropy)
        txn.put(row_key, epochs.seal_row(row_key, header, keys, slot_key, self._entropy))
        self._keyring.insert(name, keys.cover, self._keyring.era)
        open_for_ms = epochs.open_for_ms(self._max_retention_ms(retention_class))
        opened = OpenEpoch(name, suite, now_ms, open_for_ms)
        if len(self._open) >= OPEN_EPOCHS:
            self._end_epoch(txn, next(iter(self._open)))
        self._open[owner] = opened
        txn.on_rollback(lambda: self._forget(owner, opened))
        return opened

    def _end_epoch(self, txn: Transaction, owner: tuple[int, int]) -> None:
        """Close the epoch of a stream and class, if one is open."""
        ended = self._open.pop(owner, None)
        if ended is not None:
            fill.close(txn, *ended.name[:2])

    def _forget(self, owner: tuple[int, int], opened: OpenEpoch) -> None:
        """Undo the opening of an epoch whose row is rolled back; its serial will come again."""
        if self._open.get(owner) is opened:
            del self._open[owner]
        self._keyring.drop(opened.name)

    def _take_slot(self, txn: Transaction, retention_class: int) -> SlotId:
        """Return the next slot of the class's tree, and give a new class a tree."""
        row_key = TREE.key(retention_class)
        value = txn.get(row_key)
        if value is None:
            tree, slot = int.from_bytes(txn.get(_TREES_KEY) or b"", "big"), 0
            txn.put(_TREES_KEY, (tree + 1).to_bytes(4, "big"))
        else:
            tree, slot = _TREE.unpack(value)
        if tree >= forest.TREES or slot >= forest.SLOTS:
            raise LimitError("the key forest has no slot left for this class")
        txn.put(row_key, _TREE.pack(tree, slot + 1))
        return SlotId(tree, slot)

    def _doomed_in(self, txn: Transaction) -> Doomed:
        """Return the marks of a transaction; those of one that was given up are dropped."""
        if self._doomed is None or self._doomed[0] is not txn:
            self._doomed = (txn, Doomed())
        return self._doomed[1]

    def _root(self) -> bytes:
        return self._roots.present()

    def _root_of(self, reader: Reader) -> bytes:
        """Return the root that a reader's rows are under."""
        self._expect_open()
        return self._roots.read(_read_state(reader)[1])

    def _expect_open(self) -> None:
        if self._closed:
            raise VaultLockedError("the vault is closed")
