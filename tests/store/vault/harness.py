"""Put a vault on a simulated engine and key directory, as the composition root would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import shake_256

from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.ports import Disk, Entropy
from store.vault import Locator, NoWrap, Vault, Wrap
from store.vault.limits import STANDARD
from store.vault.vault import RetentionLookup

CONTEXT = b"h" * 32
"""Stands for an op_hash."""


class VectorEntropy:
    """Bytes that never change: the n-th call gives SHAKE-256("vector" || n)."""

    def __init__(self) -> None:
        self._calls = 0

    def bytes(self, count: int) -> bytes:
        self._calls += 1
        return shake_256(b"vector" + self._calls.to_bytes(4, "big")).digest(count)


def no_maximum(retention_class: int) -> int | None:
    return None


@dataclass
class Store:
    """An engine, a key directory and the open vault on them."""

    wrap: Wrap = field(default_factory=NoWrap)
    suite: int = 1
    entropy: Entropy = field(default_factory=lambda: SeededEntropy("vault"))
    medium: Medium = field(default_factory=Medium)
    disk: Disk = field(default_factory=MemoryDisk)
    max_retention_ms: RetentionLookup = no_maximum

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

    @contextmanager
    def transaction(self) -> Iterator[Txn]:
        with self.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            yield txn
            self.engine.batch(txn.writes, self.token)

    def seal(
        self, text: bytes, stream: int = 7, retention_class: int = STANDARD, now_ms: int = 0
    ) -> tuple[Locator, bytes]:
        with self.transaction() as txn:
            return self.vault.seal(txn, stream, retention_class, text, CONTEXT, now_ms)

    def unseal(self, locator: Locator, sealed: bytes, context: bytes = CONTEXT) -> bytes:
        with self.engine.snapshot() as snapshot:
            return self.vault.unseal(snapshot, locator, sealed, context)

    def reopen(self, wrap: Wrap | None = None) -> None:
        """Close the vault and open it again, as a restart does."""
        self.vault.close()
        self.engine = MemoryEngine(self.medium)
        self.token = self.engine.acquire()
        with self.engine.snapshot() as snapshot:
            self.vault = Vault.open(
                snapshot,
                self.disk,
                self.entropy,
                wrap or self.wrap,
                max_retention_ms=self.max_retention_ms,
            )
