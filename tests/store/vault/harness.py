"""Put a vault on a simulated engine and key directory, as the composition root would."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import shake_256
from random import Random
from typing import TypeVar, cast

from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.contract import Reader
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.faults import Probe
from store.ports import Disk, Entropy
from store.vault import Locator, NoWrap, Vault, Wrap
from store.vault.limits import STANDARD
from store.vault.slots import RootSlots
from store.vault.vault import RetentionLookup
from store.writer import Completion, Writer

T = TypeVar("T")

CONTEXT = b"h" * 32
"""Stands for an op_hash."""

PART_ROW = struct.Struct(">BQIH")
PART_TABLE = 0x10
PRESENT, DESTROYED = b"\x01", b"\x00"


class VectorEntropy:
    """Bytes that never change: the n-th call gives SHAKE-256("vector" || n)."""

    def __init__(self) -> None:
        self._calls = 0

    def bytes(self, count: int) -> bytes:
        self._calls += 1
        return shake_256(b"vector" + self._calls.to_bytes(4, "big")).digest(count)


def no_maximum(retention_class: int) -> int | None:
    return None


def part_key(locator: Locator) -> bytes:
    """Return the key of the row that ``keep`` writes, as the log has one."""
    return PART_ROW.pack(PART_TABLE, locator.stream, locator.epoch, locator.index)


@dataclass
class Store:
    """An engine, a key directory and the open vault on them."""

    wrap: Wrap = field(default_factory=NoWrap)
    suite: int = 1
    entropy: Entropy = field(default_factory=lambda: SeededEntropy("vault"))
    medium: Medium = field(default_factory=Medium)
    disk: Disk = field(default_factory=MemoryDisk)
    max_retention_ms: RetentionLookup = no_maximum
    failures: list[BaseException] = field(default_factory=list)
    completions: list[Completion[object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = MemoryEngine(self.medium)
        self.token = self.engine.acquire()
        with self.transaction() as txn:
            self.vault = Vault.create(
                txn,
                self.disk,
                self.entropy,
                self.wrap,
                suite=self.suite,
                max_retention_ms=self.max_retention_ms,
            )
        self._start_writer()

    @contextmanager
    def transaction(self) -> Iterator[Txn]:
        """Commit what a block writes; for what destroys nothing."""
        with self.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            yield txn
            self.engine.batch(txn.writes, self.token)

    def run(self, *commands: Callable[[Txn], T]) -> list[T]:
        """Carry commands out in one batch of the writer; raises the first one's error."""
        completions = self.try_run(*commands)
        for completion in completions:
            if completion.error is not None:
                raise completion.error
        return [cast("T", completion.outcome) for completion in completions]

    def try_run(self, *commands: Callable[[Txn], object]) -> list[Completion[object]]:
        """Carry commands out and return what became of each."""
        self.completions.clear()
        for command in commands:
            self.writer.submit(None, command, None)
        while self.writer.run_pending():
            pass
        return list(self.completions)

    def seal(
        self, text: bytes, stream: int = 7, retention_class: int = STANDARD, now_ms: int = 0
    ) -> tuple[Locator, bytes]:
        with self.transaction() as txn:
            return self.vault.seal(txn, stream, retention_class, text, CONTEXT, now_ms)

    def unseal(self, locator: Locator, sealed: bytes, context: bytes = CONTEXT) -> bytes:
        with self.engine.snapshot() as snapshot:
            return self.vault.unseal(snapshot, locator, sealed, context)

    # --- parts with rows ------------------------------------------------------------------------

    def keep(
        self,
        txn: Txn,
        text: bytes,
        stream: int = 7,
        retention_class: int = STANDARD,
        now_ms: int = 0,
    ) -> Locator:
        """Be a command that seals a part and writes its row."""
        locator, sealed = self.vault.seal(txn, stream, retention_class, text, CONTEXT, now_ms)
        txn.put(part_key(locator), PRESENT + sealed)
        return locator

    def kept(self, count: int, stream: int = 7, retention_class: int = STANDARD) -> list[Locator]:
        """Seal parts in one batch; each one's text is its locator's row key."""
        return self.run(
            *[
                lambda txn, n=n: self.keep(txn, b"%d/%d" % (stream, n), stream, retention_class)
                for n in range(count)
            ]
        )

    def close_epochs(self) -> None:
        """Close every open epoch in a batch of its own, as a stop in good order does."""
        with self.transaction() as txn:
            self.vault.close_epochs(txn)

    def destroy(self, txn: Txn, locators: Iterable[Locator]) -> None:
        """Be a command that dooms parts and marks their rows."""
        found = list(locators)
        self.vault.doom(txn, found)
        for locator in found:
            txn.put(part_key(locator), DESTROYED)

    def destroy_now(self, *locators: Locator) -> None:
        """Destroy parts in a batch of its own."""
        self.run(lambda txn: self.destroy(txn, locators))

    def open_kept(self, reader: Reader, locator: Locator) -> bytes:
        """Open a part from its row, which must be marked as present."""
        row = reader.get(part_key(locator)) or b""
        assert row[:1] == PRESENT
        return self.vault.unseal(reader, locator, row[1:], CONTEXT)

    def rows(self) -> dict[Locator, bytes]:
        """Return the row of each part there is."""
        with self.engine.snapshot() as snapshot:
            found = snapshot.range(bytes((PART_TABLE,)), bytes((PART_TABLE + 1,)))
            return {Locator(*PART_ROW.unpack(key)[1:]): value for key, value in found}

    # --- starting, stopping, crashing -----------------------------------------------------------

    def reopen(self, wrap: Wrap | None = None) -> None:
        """Close the vault and open it again, as a restart does."""
        self.vault.close()
        self.engine = MemoryEngine(self.medium)
        with self.engine.snapshot() as snapshot:
            self.vault = Vault.open(
                snapshot,
                self.disk,
                self.entropy,
                wrap or self.wrap,
                max_retention_ms=self.max_retention_ms,
            )
        self.token = self.engine.acquire()
        self.vault.recover(self.engine, self.token)
        self._start_writer()

    def abandon_lost(self) -> None:
        """Do what a start does after recovery: let nothing of a lost batch open any more."""
        self.vault.abandon_lost(self.engine, self.token)
        while self.run(self.vault.cut_lost)[0]:
            pass

    def probe(self, probe: Probe | None) -> None:
        """Let one probe see every step of both devices."""
        assert isinstance(self.disk, MemoryDisk)
        self.medium.probe = self.disk.probe = probe

    def crash(self, rng: Random, *, lose_newest_meta: bool = False) -> None:
        """Cut the power; nothing is started again."""
        assert isinstance(self.disk, MemoryDisk)
        self.probe(None)
        self.medium.crash(rng, lose_newest_meta=lose_newest_meta)
        self.disk.crash(rng)

    def valid_generations(self) -> list[int]:
        """Return the generations of the valid root slots."""
        return [slot.generation for slot in RootSlots(self.disk).load() if slot is not None]

    def _deliver(self, completions: list[Completion[object]]) -> None:
        self.completions.extend(completions)

    def _start_writer(self) -> None:
        self.failures.clear()
        self.writer: Writer[None, Callable[[Txn], object], object] = Writer(
            self.engine,
            lambda txn, actor, command, now_ms: command(txn),
            ManualClock(),
            self._deliver,
            begin_switch=self.vault.begin_switch,
            abandon_lost=self.vault.abandon_lost,
            failed=self.failures.append,
            token=self.token,
        )
