"""Seal, open and destroy among many keys, on the real engine and real files, in this process.

The keys: conversations of 1,000 parts each, and 30,000 streams of one part that expire at once.
Destructions go through the writer, as in the product: commit, settling and effacing included.
What a destruction's barriers alone cost the processor, on this disk and at this moment, is
measured beside it, as the kernel's share differs more between file systems than everything else.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Result, percentile, revision, rss_mib
from store.clocks import SystemClock, SystemEntropy
from store.disk import FileDisk
from store.engine.contract import Snapshot
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.errors import BatchFullError
from store.tables import Table
from store.vault import STANDARD, Locator, NoWrap, Vault
from store.vault.slots import SLOT_BYTES
from store.writer import Completion, Writer

CONVERSATION_PARTS: Final = 1_000
EXPIRING: Final = 30_000
SINGLES: Final = 200
RANDOM_KEYS: Final = 10_000
TIMED_PARTS: Final = 50_000
CHUNK_PARTS: Final = 20_000
TEXT: Final = bytes(200)
CONTEXT: Final = bytes(32)
COMMIT_BARRIERS: Final = 2
"""Of one LMDB commit: its pages, then the meta page."""

SLOT_WRITES: Final = 3
"""Of a root switch: with those of its commit and of settling they make nine barriers."""

NODES_BYTES: Final = 24_576
"""About what the nodes on one way have."""

SPARE: Final = "spare"
SPARE_KEY: Final = b"\xf0spare"

KEY_TABLES: Final = (Table.META, Table.TREE, Table.FOREST, Table.EPOCH, Table.FILL)

BUDGETS: Final[Mapping[str, float]] = {
    "key_row_bytes_per_key": 52,
    "seal_cpu_us": 7.0,
    "unseal_cpu_us": 5.0,
    "destroy_one_own_cpu_ms": 0.4,
    "barriers_per_destruction": 9,
    "random_keys_cpu_ms": 220,
    "expiring_epochs_cpu_ms": 400,
}
"""What we hold, and why it is not less: docs/adr/0015. Each stands beside its figure."""

Decision = Callable[[Txn], None]
"""A command of this benchmark: it marks what is to be destroyed."""

Part = tuple[Locator, bytes]


class CountingDisk(FileDisk):
    """A directory that counts its barriers."""

    syncs = 0

    def sync(self, name: str) -> None:
        self.syncs += 1
        super().sync(name)


class CountingEngine(LmdbEngine):
    """An engine that counts its commits."""

    commits = 0

    def batch(
        self, writes: Mapping[bytes, bytes | None], token: int, *, urgent: bool = False
    ) -> None:
        self.commits += 1
        super().batch(writes, token, urgent=urgent)

    def settle(self) -> None:
        self.commits += 2
        super().settle()


class Bench:
    """A store with many keys."""

    def __init__(self, directory: Path) -> None:
        self.disk = CountingDisk(directory / "keys")
        self.spare = FileDisk(directory / "spare")
        self.engine = CountingEngine(directory / "store")
        self.token = self.engine.acquire()
        with self.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            self.vault = Vault.create(txn, self.disk, SystemEntropy(), NoWrap())
            self.engine.batch(txn.writes, self.token)
        self.failures: list[BaseException] = []
        self.writer: Writer[None, Decision, None] = Writer(
            self.engine,
            lambda txn, actor, command, now_ms: command(txn),
            SystemClock(),
            self._delivered,
            begin_switch=self.vault.begin_switch,
            failed=self.failures.append,
            token=self.token,
        )

    @property
    def barriers(self) -> int:
        """Durability barriers so far."""
        return self.disk.syncs + COMMIT_BARRIERS * self.engine.commits

    def seal(self, streams: Sequence[int]) -> list[Part]:
        """Seal one part in each of ``streams``; the sealed bytes are not stored."""
        found: list[Part] = []
        for start in range(0, len(streams), CHUNK_PARTS):
            some = streams[start : start + CHUNK_PARTS]
            with self.engine.snapshot() as snapshot:
                txn = Txn(snapshot)
                found += [
                    self.vault.seal(txn, stream, STANDARD, TEXT, CONTEXT, 0) for stream in some
                ]
            if txn.writes:
                self.engine.batch(txn.writes, self.token)
        return found

    def run(self, command: Decision) -> None:
        """Carry out one command as a batch of its own."""
        self.writer.submit(None, command, None)
        self.writer.run_pending()
        if self.failures:
            raise self.failures[0]

    def destroy(self, parts: Sequence[Locator]) -> int:
        """Destroy in as many switches as it takes; return their number."""
        switches, start = 0, 0
        groups = list(_by_epoch(parts))
        while start < len(groups):
            start += self._destroy_some(groups[start:])
            switches += 1
        return switches

    def _destroy_some(self, groups: Sequence[list[Locator]]) -> int:
        done = 0

        def command(txn: Txn) -> None:
            nonlocal done
            for group in groups:
                try:
                    self.vault.doom(txn, group)
                except BatchFullError:
                    return
                done += 1

        self.run(command)
        return done

    def bare_barriers(self) -> None:
        """Do what a root switch asks of the disks, and nothing else; they are not counted."""
        for number in range(SLOT_WRITES):
            self.spare.write(SPARE, bytes((number,)) * SLOT_BYTES)
            self.spare.sync(SPARE)
        LmdbEngine.batch(self.engine, {SPARE_KEY: bytes(NODES_BYTES)}, self.token)
        LmdbEngine.settle(self.engine)

    def key_bytes(self) -> int:
        """Return the bytes of keys and values in the key tables."""
        with self.engine.snapshot() as snapshot:
            return sum(_table_bytes(snapshot, table) for table in KEY_TABLES)

    def close(self) -> None:
        self.writer.stop()
        self.vault.close()
        self.engine.close()
        self.disk.close()
        self.spare.close()

    @staticmethod
    def _delivered(completions: list[Completion[None]]) -> None:
        for completion in completions:
            if completion.error is not None:
                raise completion.error


def run(keys: int, carrier: str, directory: Path) -> Result:
    """Measure a store of ``keys`` parts and the 30,000 that expire."""
    del carrier
    bench = Bench(directory)
    gc.disable()  # what it has to look through here is this benchmark's own
    try:
        return _measure(bench, keys)
    finally:
        gc.enable()
        bench.close()


def _measure(bench: Bench, keys: int) -> Result:
    chosen = random.Random(keys)
    conversations = range(1, keys // CONVERSATION_PARTS + 1)
    figures: dict[str, float] = {}
    parts = [each for each, _ in bench.seal(list(conversations) * CONVERSATION_PARTS)]
    expiring = bench.seal(range(len(conversations) + 1, len(conversations) + 1 + EXPIRING))
    total = len(parts) + len(expiring)
    figures["key_row_bytes_per_key"] = bench.key_bytes() / total
    figures["key_file_bytes_per_key"] = bench.engine.stats().used_bytes / total
    timed = _seal_and_open(bench, conversations, figures)
    latencies: list[float] = []
    barriers = bench.barriers
    for part in chosen.sample(parts, SINGLES):
        began = time.perf_counter()
        with _cpu_ms(figures, "destroy_one_cpu_ms", SINGLES):
            bench.run(partial(bench.vault.doom, locators=[part]))
        latencies.append(time.perf_counter() - began)
        with _cpu_ms(figures, "nine_barriers_cpu_ms", SINGLES):
            bench.bare_barriers()
    own_ms = figures["destroy_one_cpu_ms"] - figures["nine_barriers_cpu_ms"]
    figures["destroy_one_own_cpu_ms"] = own_ms
    figures["barriers_per_destruction"] = (bench.barriers - barriers) / SINGLES
    with _cpu_ms(figures, "random_keys_cpu_ms"):
        figures["random_keys_switches"] = bench.destroy(chosen.sample(parts, RANDOM_KEYS))
    doomed = [each for each, _ in expiring]
    bench.run(bench.vault.close_epochs)
    with _cpu_ms(figures, "expiring_epochs_cpu_ms"):
        bench.run(lambda txn: bench.vault.doom(txn, doomed))
    figures["key_row_bytes_per_key_after"] = bench.key_bytes() / total
    return Result(
        f"vault-1e{len(str(keys)) - 1}",
        "-",
        SINGLES,
        round(figures["destroy_one_cpu_ms"] * 1e3, 1),
        0.0,
        round(percentile(latencies, 0.50) * 1e3, 3),
        round(percentile(latencies, 0.99) * 1e3, 3),
        round(rss_mib(os.getpid()), 1),
        revision(),
        {"keys": total + len(timed), **_beside_budgets(figures)},
    )


def _beside_budgets(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures, rounded, each followed by its budget."""
    found: dict[str, float] = {}
    for name, each in figures.items():
        found[name] = round(each, 2)
        if name in BUDGETS:
            found[f"{name}_budget"] = BUDGETS[name]
    return found


def _seal_and_open(
    bench: Bench, conversations: Sequence[int], figures: dict[str, float]
) -> list[Part]:
    """Time both in conversations that have been used before, one chunk of parts in each."""
    streams = [conversations[number % len(conversations)] for number in range(TIMED_PARTS)]
    with _cpu_ms(figures, "seal_cpu_us", TIMED_PARTS / 1e3):
        found = bench.seal(streams)
    with (
        bench.engine.snapshot() as snapshot,
        _cpu_ms(figures, "unseal_cpu_us", TIMED_PARTS / 1e3),
    ):
        for locator, sealed in found:
            bench.vault.unseal(snapshot, locator, sealed, CONTEXT)
    return found


@contextmanager
def _cpu_ms(figures: dict[str, float], name: str, share: float = 1) -> Iterator[None]:
    """Add the processor time of a block in milliseconds, divided by ``share``."""
    before = time.process_time()
    yield
    spent_ms = (time.process_time() - before) * 1e3
    figures[name] = figures.get(name, 0.0) + spent_ms / share


def _by_epoch(parts: Sequence[Locator]) -> Iterator[list[Locator]]:
    groups: dict[tuple[int, int], list[Locator]] = {}
    for part in parts:
        groups.setdefault((part.stream, part.epoch), []).append(part)
    yield from groups.values()


def _table_bytes(snapshot: Snapshot, table: Any) -> int:
    start, end = bytes((table,)), bytes((table + 1,))
    return sum(len(key) + len(value) for key, value in snapshot.range(start, end))
