"""Keep a copy of the keys on a second device: without one, no backup can ever be opened.

A key replica is a directory with root slots of its own, which hold the root in use under that
directory's wrap, and a small engine with the key rows of one generation. The rows are
ciphertext under the root, so they are copied as they are; what dies with each root switch is
the root in the replica's slots.

    META row        offset  size  type   meaning
    replica         0       1     u8     version: 1
                    1       16    bytes  the replica's random identity
                    17      16    bytes  NodeId of the site
    replica.state   0       1     u8     version: 1
                    1       1     u8     side in use, 0 or 1
                    2       8     u64    generation of its rows
                    10      8     u64    when it was last in step, Unix ms
                    18      8     u64    incarnation of the site then
                    26      8     u64    its last sequence number then
                    34      8     u64    its last position then

Key rows (META vault..., TREE, FOREST, EPOCH) stand in COPY under one of two sides. One is in use
and never touched; a newer generation is copied to the other one, in as many batches as it takes:

    copy       the differences to the side that is not in use
    write      the new root into the slot not in use, durably     (a new generation only)
    commit     ``replica.state``: the other side is in use
    settle     no recovery comes back to the commit before
    efface     the old root's slot

Wherever a crash comes, the side in use and one slot belong together. A slot that does not is
effaced before the next copying, after settling.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, NamedTuple, Self

from store.engine.contract import Engine, Reader
from store.errors import (
    EngineFullError,
    FormatError,
    IntegrityError,
    StoreError,
    VaultLockedError,
)
from store.heads import SiteHead, own_incarnations, read_head
from store.ids import NODE_BYTES
from store.ports import Disk, Entropy
from store.tables import COPY, EPOCH, FOREST, TREE, meta_key, successor
from store.vault import RootSlots, StaleSnapshotError, Vault, Wrap, forest, generation_of
from store.vault.slots import SLOT_NAMES, RootSlot

COPY_BATCH_BYTES: Final = 4 << 20
"""Key and value bytes that one batch of copying writes."""

IDENTITY_BYTES: Final = 16

_VERSION = 1
_IDENTITY_KEY = meta_key("replica")
_STATE_KEY = meta_key("replica.state")
_IDENTITY = struct.Struct(f">B{IDENTITY_BYTES}s{NODE_BYTES}s")
_STATE = struct.Struct(">BBQQQQQ")
_SIDES = (0, 1)

_VAULT_META = meta_key("vault")
KEY_SPANS: Final = (
    (_VAULT_META, successor(_VAULT_META)),
    TREE.span(),
    FOREST.span(),
    EPOCH.span(),
)
"""Half-open ranges of the rows that are keys, in order."""

_COUNTERS: Final = KEY_SPANS[:2]
"""Rows of which one changes whenever any key row does: the generation, and slots used."""


class ReplicaError(StoreError):
    """The directory cannot be used as this site's key replica."""

    code: ClassVar[str] = "replica.unusable"
    hint: ClassVar[str] = "See `strongroom key-replica status`; an empty directory can be added."


class ForeignReplicaError(ReplicaError):
    """The replica belongs to another site, or to a newer incarnation of this one."""

    code: ClassVar[str] = "replica.foreign"
    hint: ClassVar[str] = "Each site needs replicas of its own; name another directory."


class State(NamedTuple):
    """What a replica holds: ``seq`` and ``pos`` are of the site's log when it was in step."""

    side: int
    generation: int
    synced_ms: int
    incarnation: int
    seq: int
    pos: int

    def pack(self) -> bytes:
        """Return the row's value."""
        return _STATE.pack(_VERSION, *self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the row's value; raises ``FormatError``."""
        if len(data) != _STATE.size or data[0] != _VERSION or data[1] not in _SIDES:
            raise FormatError("a key replica of another version")
        return cls(*_STATE.unpack(data)[1:])


class SideReader:
    """The key rows of one side under their own keys, as a store has them."""

    def __init__(self, reader: Reader, side: int) -> None:
        self._reader = reader
        self._prefix = COPY.prefix(side)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        return self._reader.get(self._prefix + key)

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with ``start <= key < end``, descending if ``reverse``."""
        prefix = self._prefix
        pairs = self._reader.range(prefix + start, prefix + end, reverse=reverse, limit=limit)
        for key, value in pairs:
            yield key[len(prefix) :], value


class KeyReplica:
    """One replica directory: its slots on ``disk``, its rows in ``engine``.

    Make it with ``create`` or ``open``. One thread at a time; what reads needs no writer's
    token, so that a replica can be opened on a read-only engine.
    """

    def __init__(
        self, engine: Engine, disk: Disk, wrap: Wrap, entropy: Entropy, identity: bytes, node: bytes
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._slots = RootSlots(disk)
        self._wrap = wrap
        self._entropy = entropy
        self._token = 0
        self._number: int | None = None
        self._top: bytes | None = None
        """The top node's row that the root in slot ``_number`` opens."""
        self.identity = identity
        self.node = node

    @classmethod
    def create(
        cls, engine: Engine, disk: Disk, wrap: Wrap, entropy: Entropy, *, node: bytes
    ) -> Self:
        """Make an empty replica for the site ``node``; it holds nothing before ``sync``.

        Raises ``ReplicaError`` when the directory holds a replica or a root already.
        """
        with engine.snapshot() as reader:
            is_used = reader.get(_IDENTITY_KEY) is not None
        if is_used or any(disk.read(name) is not None for name in SLOT_NAMES):
            raise ReplicaError("the directory already holds keys")
        identity = entropy.bytes(IDENTITY_BYTES)
        replica = cls(engine, disk, wrap, entropy, identity, node)
        replica._token = engine.acquire()
        engine.batch({_IDENTITY_KEY: _IDENTITY.pack(_VERSION, identity, node)}, replica._token)
        return replica

    @classmethod
    def open(cls, engine: Engine, disk: Disk, wrap: Wrap, entropy: Entropy) -> Self:
        """Open a replica; nothing is written.

        Raises ``ReplicaError`` when there is none, ``FormatError`` for one of another build.
        """
        with engine.snapshot() as reader:
            row = reader.get(_IDENTITY_KEY)
        if row is None:
            raise ReplicaError("the directory holds no key replica")
        if len(row) != _IDENTITY.size or row[0] != _VERSION:
            raise FormatError("a key replica of another version")
        _version, identity, node = _IDENTITY.unpack(row)
        return cls(engine, disk, wrap, entropy, identity, node)

    def state(self) -> State | None:
        """Return what the replica holds; None before its first copy is complete."""
        with self._engine.snapshot() as reader:
            return _state(reader)

    @contextmanager
    def rows(self) -> Iterator[SideReader]:
        """Give the key rows in use, to be read; raises ``ReplicaError`` when there are none."""
        with self._engine.snapshot() as reader:
            state = _state(reader)
            if state is None:
                raise ReplicaError("the key replica was never complete")
            yield SideReader(reader, state.side)

    def sync(self, reader: Reader, vault: Vault, now_ms: int) -> int:
        """Bring the replica in step with a snapshot of the site's store.

        Returns the generation that is then acknowledged: no root of an earlier one is in the
        replica any more. O(1) when no key row has changed, else O(key rows). Raises
        ``StaleSnapshotError`` when keys were destroyed meanwhile (repeat with a new snapshot),
        ``ForeignReplicaError``, ``VaultLockedError`` when the wrap does not open the replica,
        ``EffaceError``, and the errors of engine and disk: then open the replica anew.
        """
        head, generation = read_head(reader), generation_of(reader)
        state = self._accepted(reader, head, generation)
        self._prepare(state)
        side = 0 if state is None else state.side
        if state is None or not self._is_in_step(reader, state.side):
            side = 0 if state is None else 1 - state.side
            self._copy(reader, side)
        number = self._number
        if number is None or self._top_row(side) != self._top:
            number = 0 if number is None else 1 - number
            vault.seal_root_into(self._slots, number, self._wrap)
            if not self._opens(side, number, generation):
                raise StaleSnapshotError("keys were destroyed while they were copied")
        self._take_up(State(side, generation, now_ms, head.incarnation, head.seq, head.pos), number)
        return generation

    def open_vault(self, reader: Reader) -> Vault:
        """Open a store that has this replica's key rows with this replica's root.

        For a restore: nothing is written to the replica. Raises ``VaultLockedError``.
        """
        return Vault.open(reader, self._disk, self._entropy, self._wrap)

    def destroy(self) -> None:
        """Efface both root slots: the replica opens nothing any more.

        Raises ``EffaceError`` or ``EngineError``; call it again then.
        """
        for number, _ in enumerate(SLOT_NAMES):
            self._slots.efface(number, self._entropy)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    # --- who it follows -------------------------------------------------------------------------

    def _accepted(self, reader: Reader, head: SiteHead, generation: int) -> State | None:
        """Return the state, if the store is of the replica's site and not one left behind.

        A store that was put back in time has keys that are destroyed: never take them again.
        """
        if head.node != self.node:
            raise ForeignReplicaError("the key replica is of another site")
        state = self.state()
        if state is not None and state.incarnation not in own_incarnations(reader):
            raise ForeignReplicaError("the key replica follows a newer incarnation of this site")
        if state is not None and state.generation > generation:
            raise ForeignReplicaError("the key replica is newer than this store")
        return state

    # --- copying --------------------------------------------------------------------------------

    def _is_in_step(self, reader: Reader, side: int) -> bool:
        """Tell whether a side has all key rows of the store, by the rows that count them."""
        with self._engine.snapshot() as own:
            copy = SideReader(own, side)
            return all(list(reader.range(*span)) == list(copy.range(*span)) for span in _COUNTERS)

    def _copy(self, reader: Reader, side: int) -> None:
        """Make a side's rows those of the store."""
        prefix = COPY.prefix(side)
        writes: dict[bytes, bytes | None] = {}
        size = 0
        with self._engine.snapshot() as own:
            for key, value in key_differences(reader, SideReader(own, side)):
                writes[prefix + key] = value
                size += len(prefix) + len(key) + len(value or b"")
                if size >= COPY_BATCH_BYTES:
                    self._engine.batch(writes, self._token)
                    writes, size = {}, 0
        if writes:
            self._engine.batch(writes, self._token)

    # --- roots ----------------------------------------------------------------------------------

    def _prepare(self, state: State | None) -> None:
        """Become the writer, find the slot in use, and efface any other; once."""
        if self._token and self._number is not None:
            return
        self._token = self._token or self._engine.acquire()
        self._number = None if state is None else self._slot_in_use(state)
        others = [number for number, _ in enumerate(SLOT_NAMES) if number != self._number]
        if any(not self._slots.is_blank(number) for number in others):
            self._engine.settle()
            for number in others:
                self._slots.efface(number, self._entropy)

    def _slot_in_use(self, state: State) -> int | None:
        """Return the slot that opens the side in use; None when no slot is of its generation."""
        slots = self._slots.load()
        numbers = [n for n, slot in enumerate(slots) if _generation(slot) == state.generation]
        for number in numbers:
            if self._opens(state.side, number, state.generation):
                self._top = self._top_row(state.side)
                return number
        if numbers:
            raise VaultLockedError("the key replica's root does not open its rows")
        return None

    def _opens(self, side: int, number: int, generation: int) -> bool:
        """Tell whether a slot holds the root that a side's rows are under.

        Raises ``VaultLockedError`` when the wrap does not open it.
        """
        slot = self._slots.load()[number]
        if slot is None or slot.generation != generation:
            return False
        root = slot.open(self._wrap.key(slot.wrap))
        with self._engine.snapshot() as own:
            try:
                forest.open_node(SideReader(own, side), root, forest.TOP)
            except IntegrityError:
                return False
        return True

    def _take_up(self, state: State, number: int) -> None:
        """Commit that a side and a slot are in use; end the root in the other one."""
        is_new = number != self._number
        try:
            self._engine.batch({_STATE_KEY: state.pack()}, self._token, urgent=True)
        except EngineFullError:
            if is_new:
                self._slots.efface(number, self._entropy)
            raise
        if is_new:
            self._engine.settle()
            self._slots.efface(1 - number, self._entropy)
            self._number, self._top = number, self._top_row(state.side)

    def _top_row(self, side: int) -> bytes | None:
        with self._engine.snapshot() as own:
            return SideReader(own, side).get(forest.TOP.key())


def _state(reader: Reader) -> State | None:
    row = reader.get(_STATE_KEY)
    return None if row is None else State.unpack(row)


def _generation(slot: RootSlot | None) -> int | None:
    return None if slot is None else slot.generation


def key_rows(reader: Reader) -> Iterator[tuple[bytes, bytes]]:
    """Yield all rows of a store that are keys, in order."""
    for span in KEY_SPANS:
        yield from reader.range(*span)


def has_all_keys(reader: Reader, other: Reader) -> bool:
    """Tell whether a store, of the same generation as another, has every key row of that one.

    Within a generation rows are only added; the counters of slots tell how many there are.
    """
    return all((reader.get(key) or b"") >= value for key, value in other.range(*TREE.span()))


def key_differences(source: Reader, copy: Reader) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield what makes the key rows of ``copy`` those of ``source``; None deletes."""
    olds = key_rows(copy)
    old = next(olds, None)
    for key, value in key_rows(source):
        while old is not None and old[0] < key:
            yield old[0], None
            old = next(olds, None)
        if old is not None and old[0] == key:
            is_same, old = old[1] == value, next(olds, None)
            if is_same:
                continue
        yield key, value
    while old is not None:
        yield old[0], None
        old = next(olds, None)
