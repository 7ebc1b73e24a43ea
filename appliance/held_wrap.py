"""Hold the key that protects a site's roots, and forget the passphrase that it came from.

A running site seals its root anew with every destruction, in its key directory and in every key
replica. That takes the wrapping key, never the passphrase again: so the passphrase is dropped as
soon as the site is open, and the key stays in locked memory, like the root. All directories of a
site share one salt and its costs therefore; what a salt is for, that no table of guesses serves
against two organisations, it does as before.
"""

from __future__ import annotations

import threading

from store.errors import VaultLockedError
from store.ports import Entropy
from store.vault import Wrap
from store.vault.arena import Arena
from store.vault.wrap import WrapParameters


class HeldWrap:
    """A wrap that holds the first key that was asked of it; from any thread.

    Args:
        wrap: what the operator gave; until ``forget`` it also gives keys for other salts.
    """

    def __init__(self, wrap: Wrap) -> None:
        self._wrap: Wrap | None = wrap
        self._lock = threading.Lock()
        self._arena = Arena(1)
        self._held: tuple[WrapParameters, int] | None = None

    def parameters(self, entropy: Entropy) -> WrapParameters:
        """Return those of the key that is held; fresh ones before there is any."""
        with self._lock:
            if self._held is not None:
                return self._held[0]
            return self._given().parameters(entropy)

    def key(self, parameters: WrapParameters) -> bytes:
        """Return the 32-byte wrapping key.

        Raises ``VaultLockedError`` as the wrap given does, and for other parameters than the
        held ones once that is forgotten.
        """
        with self._lock:
            if self._held is not None and self._held[0] == parameters:
                return self._arena.read(self._held[1])
            key = self._given().key(parameters)
            if self._held is None:
                self._held = parameters, self._arena.put(key)
            return key

    def forget(self) -> None:
        """Drop what the operator gave; the held key is all that is needed from now on."""
        with self._lock:
            self._wrap = None

    def close(self) -> None:
        """Forget everything, and wipe the key."""
        with self._lock:
            self._wrap = self._held = None
            self._arena.wipe()

    def _given(self) -> Wrap:
        if self._wrap is None:
            raise VaultLockedError("these keys are wrapped apart from the site's own")
        return self._wrap
