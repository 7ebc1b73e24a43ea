"""Somebody who has every byte ever written to a site's devices, but for what was effaced.

That is: all rows that any commit ever brought to the medium, and the key directory as its device
holds it now. What opens with that opens to anybody, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from store.disk import MemoryDisk
from store.engine.memory import Medium
from store.records import Parts
from store.records import Record as Row
from store.skeleton import op_hash
from store.tables import LOG, Table
from tests.store.vault.attacker import Attacker, Versions, every_version, roots_on

Place = tuple[int, int]


class Thief:
    """All that can be opened; ``O(versions of rows x keys of their epochs)`` to look through.

    ``of`` takes all there is of one site; a thief may also have rows of several.
    """

    @classmethod
    def of(cls, medium: Medium, keys: MemoryDisk) -> Self:
        """Take every row ever written to a medium, and a key directory as it is now."""
        return cls(keys, every_version(medium))

    def __init__(self, keys: MemoryDisk, versions: Versions) -> None:
        self._versions = versions
        self._attacker = Attacker(self._versions, roots_on(keys))

    def places(self) -> list[Place]:
        """Return the place of each operation that ever had a row."""
        rows = [LOG.columns(key) for key in self._versions if key[0] == Table.LOG]
        return sorted((origin, seq) for origin, seq in rows)

    def opens(self, place: Place) -> set[bytes]:
        """Return what any version of an operation's row opens to: envelope and body."""
        return set(self._opened(place))

    def bodies(self, place: Place) -> set[bytes | None]:
        """Return the bodies that an operation's row opens to; None where the body was gone."""
        return {Parts.unpack(plain).body for plain in self._opened(place)}

    def everything(self) -> bytes:
        """Return all that opens, in one piece."""
        return b"\0".join(plain for place in self.places() for plain in self._opened(place))

    def _opened(self, place: Place) -> Iterator[bytes]:
        for value in self._versions.get(LOG.key(*place), ()):
            row = Row.unpack(value)
            if row.sealed:
                yield from self._attacker.open(row.locator, row.sealed, op_hash(row.skeleton))
