"""Tell who was in a conversation when something happened there."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from appliance.directory.state import Directory
from appliance.messaging.membership import Membership
from appliance.messaging.model import Conversation
from appliance.policy.predicate import Subject


@dataclass(frozen=True, slots=True)
class Roster:
    """Who was there, by person id, from timeline key ``since`` on until the next change."""

    since: int
    members: tuple[Membership, ...]
    people: frozenset[bytes]
    units: frozenset[str]


class Rosters:
    """The rosters of one conversation; between two changes of membership there is one.

    Making it is O(members log members), asking O(log members) once the roster is known.
    """

    def __init__(self, known: Conversation, directory: Directory) -> None:
        self._members = sorted(
            (*known.members.values(), *known.former.values()), key=lambda each: each.person
        )
        self._known = known
        self._directory = directory
        ends = {
            end
            for each in self._members
            for interval in each.intervals
            for end in (interval.since, interval.until)
        }
        self._changes = sorted({0, *ends})
        self._rosters: dict[int, Roster] = {}

    def at(self, key: int) -> Roster:
        """Return who was there at a timeline key."""
        since = self._changes[bisect_right(self._changes, key) - 1]
        roster = self._rosters.get(since)
        if roster is None:
            roster = self._rosters[since] = self._make(since)
        return roster

    def subject(self, roster: Roster, author: bytes, at_ms: int) -> Subject:
        """Return what predicates are about: a record of that time by ``author``, if known."""
        unit = self._unit(author)
        return Subject(
            author,
            self._known.id,
            at_ms,
            roster.people,
            unit,
            roster.units | {unit} if unit else roster.units,
            frozenset(self._known.labels),
        )

    def _make(self, since: int) -> Roster:
        members = tuple(each for each in self._members if each.hears(since))
        people = frozenset(each.person for each in members)
        units = frozenset(filter(None, map(self._unit, people)))
        return Roster(since, members, people, units)

    def _unit(self, person: bytes) -> str:
        known = self._directory.person(person)
        return "" if known is None else known.unit
