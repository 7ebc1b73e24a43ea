"""Keep the active legal holds so that asking which ones cover a record stays cheap.

A record is asked about often (every message of a nightly run) and mostly covered by nothing, so
each hold waits under one of its fields, the most telling one it has: its conversations, else its
persons, else its units, else its labels; a hold of dates only is tried on every record. Asking
looks up the record's own values and tries just the holds that wait there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from appliance.policy.predicate import Predicate, Subject, matches_hold

V = TypeVar("V", bytes, str)

_NOTHING: Final[Mapping[int, Predicate]] = {}


class Holds:
    """The holds in force, by their number; immutable, but for an index made when first needed."""

    __slots__ = ("_active", "_index")

    def __init__(self, active: Mapping[int, Predicate] = _NOTHING) -> None:
        self._active = dict(active)
        self._index: _Index | None = None

    def place(self, number: int, predicate: Predicate) -> Holds:
        """Return these and one more; O(holds)."""
        return Holds({**self._active, number: predicate})

    def release(self, number: int) -> Holds:
        """Return these without one, which need not be there; O(holds)."""
        return Holds({key: value for key, value in self._active.items() if key != number})

    def covering(self, subject: Subject) -> tuple[int, ...]:
        """Return the numbers of the holds that cover a record, in order; empty for none.

        O(holds that name its conversation, a participant, a unit or a label).
        """
        if not self._active:
            return ()
        index = self._index
        if index is None:
            index = self._index = _Index(self._active)
        found = index.candidates(subject)
        if not found:
            return ()
        active = self._active
        return tuple(sorted(each for each in found if matches_hold(active[each], subject)))

    def units(self) -> frozenset[str]:
        """Return every unit that any of them names; O(holds)."""
        return frozenset(unit for each in self._active.values() for unit in each.units)

    def __len__(self) -> int:
        return len(self._active)

    def __contains__(self, number: object) -> bool:
        return number in self._active

    def __iter__(self) -> Iterator[int]:
        return iter(self._active)


class _Index:
    """Where each hold waits."""

    def __init__(self, active: Mapping[int, Predicate]) -> None:
        self.conversations: dict[bytes, list[int]] = {}
        self.persons: dict[bytes, list[int]] = {}
        self.units: dict[str, list[int]] = {}
        self.labels: dict[str, list[int]] = {}
        self.everywhere: list[int] = []
        for number, predicate in active.items():
            self._add(number, predicate)

    def _add(self, number: int, predicate: Predicate) -> None:
        if predicate.conversations:
            _enter(self.conversations, predicate.conversations, number)
        elif predicate.persons:
            _enter(self.persons, predicate.persons, number)
        elif predicate.units:
            _enter(self.units, predicate.units, number)
        elif predicate.labels:
            _enter(self.labels, predicate.labels, number)
        else:
            self.everywhere.append(number)

    def candidates(self, subject: Subject) -> set[int]:
        """Return the holds that may cover a record."""
        found = set(self.everywhere)
        found.update(self.conversations.get(subject.conversation, ()))
        if self.persons:
            found.update(self.persons.get(subject.author, ()))
            _gather(found, self.persons, subject.participants)
        if self.units:
            found.update(self.units.get(subject.author_unit, ()))
            _gather(found, self.units, subject.units)
        if self.labels:
            _gather(found, self.labels, subject.labels)
        return found


def _enter(table: dict[V, list[int]], values: Iterable[V], number: int) -> None:
    for value in values:
        table.setdefault(value, []).append(number)


def _gather(found: set[int], table: dict[V, list[int]], values: frozenset[V]) -> None:
    """Add what waits under any of ``values``; O(the smaller of both)."""
    for value in values & table.keys():
        found.update(table[value])
