"""Hold in memory what sealing goes on from: random nonces, and the epochs that take parts."""

from __future__ import annotations

from typing import Final

from store.ports import Entropy
from store.vault import fill
from store.vault.keyring import EpochName
from store.vault.limits import EPOCH_PARTS
from store.vault.suites import Suite

_NONCE_STORE_BYTES: Final = 3_072


class Nonces:
    """Random nonces, drawn from the entropy port many at a time: a call to it costs 0.3 us."""

    __slots__ = ("_entropy", "_start", "_store")

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._store = b""
        self._start = 0

    def take(self, count: int) -> bytes:
        """Return so many random bytes, at most 3,072."""
        start = self._start
        end = start + count
        if end > len(self._store):
            self._store = self._entropy.bytes(_NONCE_STORE_BYTES)
            start, end = 0, count
        self._start = end
        return self._store[start:end]


class OpenEpoch:
    """An epoch that this process seals into; times in Unix ms and ms."""

    __slots__ = ("fill_key", "name", "next_index", "open_for_ms", "opened_ms", "suite")

    def __init__(self, name: EpochName, suite: Suite, opened_ms: int, open_for_ms: int) -> None:
        self.name = name
        self.fill_key = fill.open_key(*name[:2])
        self.suite = suite
        self.opened_ms = opened_ms
        self.open_for_ms = open_for_ms
        self.next_index = 0

    def takes(self, now_ms: int) -> bool:
        """Tell whether one more part may be sealed; a clock set back far closes it too."""
        return self.next_index < EPOCH_PARTS and abs(now_ms - self.opened_ms) < self.open_for_ms
