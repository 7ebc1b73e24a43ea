"""Say which records are meant, by who, where, how labelled and when: holds, orders, reviews."""

from __future__ import annotations

import msgspec


class Predicate(msgspec.Struct, array_like=True, frozen=True):
    """A set of records. Fields that are given must all match; one of each field's values does.

    ``persons`` and ``conversations`` are 16-byte ids, ``from_ms`` and ``until_ms`` Unix ms
    (inclusive, exclusive; 0: open).
    """

    persons: tuple[bytes, ...] = ()
    conversations: tuple[bytes, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int = 0

    def __repr__(self) -> str:
        return "<Predicate>"
