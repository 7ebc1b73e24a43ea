"""Keep every version of the policy, and say what holds for a record under all of them.

A minimum, once it runs for a record, is never lowered: not by a new version of the policy, not
by moving the conversation to another class or taking a label off it, not by moving the author to
another unit or role. So a record's minimum is the largest over

    every version in force from the record's position to now
    x every class and labels its conversation had from that position on (``Filing``)
    x every unit and roles its author had from that position on (``Standing``)

all of them with each other, so that no order of events needs to be argued about. A stricter
minimum thereby counts at once, a looser one only for what comes after. The maximum, its action
and everything else follow the version, filing and standing of now: nobody has a claim to an
earlier end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Final, NamedTuple

from appliance.policy.bounds import Bounds, Combination, bounds_of
from appliance.policy.limits import BOUNDS_CACHED
from appliance.policy.rules import AUDIT_NAME, BUILT_IN, CONTROL_NAME, Policy, class_numbers

FOREVER: Final = (1 << 64) - 1
"""The last position that the present filing or standing covers."""

NO_POLICY: Final = Policy((), ())
"""What counts before any version: nothing must be kept, nothing must go."""


class Filing(NamedTuple):
    """A conversation's class and labels up to a position, inclusive."""

    retention_class: int
    labels: tuple[str, ...] = ()
    until: int = FOREVER


class Standing(NamedTuple):
    """A person's unit and access roles up to a position, inclusive."""

    unit: str = ""
    roles: frozenset[str] = frozenset()
    until: int = FOREVER


class Version(NamedTuple):
    """A version of the policy and the position from which it counts."""

    number: int
    pos: int
    policy: Policy


class Policies:
    """All versions, oldest first; immutable, but for a cache that any thread may fill."""

    __slots__ = ("_cache", "_names", "_starts", "anybody", "versions")

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        self.versions = tuple(versions)
        self._starts = [version.pos for version in self.versions]
        assert self._starts == sorted(self._starts), "versions come in the order of the log"
        self._names = {number: name for name, number in self.class_numbers().items()}
        self.anybody = _anybody(self.versions)
        """The standings of an author who is not known any more: any that a rule asks for."""
        self._cache: dict[tuple[int, tuple[Filing, ...], tuple[Standing, ...]], Bounds] = {}

    def add(self, number: int, pos: int, policy: Policy) -> Policies:
        """Return these and a new version, which counts from ``pos`` on."""
        return Policies((*self.versions, Version(number, pos, policy)))

    @property
    def current(self) -> Policy:
        """The policy in force."""
        return self.versions[-1].policy if self.versions else NO_POLICY

    @property
    def number(self) -> int:
        """The number of the version in force; 0 before the first."""
        return self.versions[-1].number if self.versions else 0

    def class_numbers(self) -> dict[str, int]:
        """Return every class that any version had, by name: numbers are never given again."""
        known = dict(BUILT_IN)
        for version in self.versions:
            known |= class_numbers(version.policy)
        return known

    def class_name(self, number: int) -> str:
        """Return a class's name; empty for a number that no version knows."""
        return self._names.get(number, "")

    def bounds(
        self, pos: int, filings: tuple[Filing, ...], standings: tuple[Standing, ...]
    ) -> Bounds:
        """Return what holds now for a record at ``pos``.

        Args:
            pos: the record's position in the log.
            filings: its conversation's filings, oldest first; the last is the present one.
            standings: its author's standings likewise.

        About 1 us when the same was asked before, else O(versions x filings x standings x
        rules).
        """
        if len(filings) > 1:
            filings = tuple(each for each in filings if each.until >= pos)
        if len(standings) > 1:
            standings = tuple(each for each in standings if each.until >= pos)
        key = (bisect_right(self._starts, pos), filings, standings)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= BOUNDS_CACHED:
                self._cache.clear()
            found = self._cache[key] = self._work_out(*key)
        return found

    def shortest_max_ms(self, retention_class: int) -> int | None:
        """Return an age before which no record of a class reaches any maximum; None: none does.

        Minima are left out of account, so records may be kept longer.
        """
        name = self.class_name(retention_class)
        found = [
            rule.max_ms
            for rule in self.current.rules
            if rule.max_ms and rule.trigger != "never" and _may_match(rule.kind, name)
        ]
        return min(found, default=None)

    def _work_out(
        self, begun: int, filings: tuple[Filing, ...], standings: tuple[Standing, ...]
    ) -> Bounds:
        """Join all that held since; ``begun`` versions had begun when the record was written."""
        combinations = list(self._combinations(filings, standings))
        now = bounds_of(self.current.rules, combinations[-1], version=self.number)
        longest = now
        for version in reversed(self.versions[max(0, begun - 1) :]):
            for combination in combinations:
                then = bounds_of(version.policy.rules, combination, version=version.number)
                if then.min_ms > longest.min_ms:
                    longest = then
        return replace(
            now,
            min_ms=longest.min_ms,
            min_rule=longest.min_rule,
            min_version=longest.min_version,
        )

    def _combinations(
        self, filings: tuple[Filing, ...], standings: tuple[Standing, ...]
    ) -> Iterator[Combination]:
        for filing, standing in product(filings, standings):
            name = self.class_name(filing.retention_class)
            labels = frozenset(filing.labels)
            yield Combination(standing.unit, name, labels, standing.roles)


def _anybody(versions: Iterable[Version]) -> tuple[Standing, ...]:
    """Return standings that fit every rule about authors; the present one fits none."""
    rules = [rule for version in versions for rule in version.policy.rules]
    roles = frozenset(rule.role for rule in rules if rule.role)
    units = sorted({rule.unit for rule in rules if rule.unit})
    if not roles and not units:
        return (Standing(),)
    return (*(Standing(unit, roles) for unit in ("", *units)), Standing())


def _may_match(kind: str, name: str) -> bool:
    return kind == name if kind else name not in (AUDIT_NAME, CONTROL_NAME)
