"""Find the records that are meant: conversation by conversation, each in the order of its timeline.

A walk stops at the bounds of a page and goes on from its position, whatever was written or
destroyed in between. It opens the messages themselves only; what targets them is weighed by
the size of its rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from appliance.directory.limits import DAY_MS
from appliance.directory.state import Directory
from appliance.evidence.cursors import Phase, Position
from appliance.evidence.limits import MEMBER_BYTES, OPERATION_BYTES, PAGE_BYTES, PAGE_WALKED
from appliance.evidence.rosters import Roster, Rosters
from appliance.evidence.selection import chosen_pseudonyms
from appliance.messaging import timeline
from appliance.messaging.model import Conversation, Place
from appliance.messaging.state import Conversations
from appliance.messaging.targets import Read
from appliance.messaging.timeline import Entry, IsOver, never_over
from appliance.policy.predicate import Predicate, matches
from store import hlc
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.tables import LOG, TARGET, TIMELINE

_LAST_PSEUDONYM: Final = (1 << 64) - 1


class Found(NamedTuple):
    """A message that is meant; ``is_there`` is False when it is gone, or nobody's to read now."""

    conversation: bytes
    entry: Entry
    is_there: bool

    @property
    def place(self) -> Place:
        """Where the message is in this site's log."""
        return self.entry.origin, self.entry.id.seq

    @property
    def group(self) -> tuple[bytes, int]:
        """The conversation-day it belongs to: conversation id, days since 1970."""
        return self.conversation, hlc.millis(self.entry.key) // DAY_MS


class Sight(NamedTuple):
    """What of the log is seen.

    ``read`` opens an operation; what ``is_over`` is found, but not there any more; ``hidden``
    tells where else there is something that targets a message.
    """

    read: Read
    is_over: IsOver = never_over
    hidden: Callable[[Place], Iterable[Place]] = lambda place: ()


class Walked(NamedTuple):
    """One page: what was found, and where to go on."""

    found: tuple[Found, ...]
    position: Position


class Walker:
    """Walks on one view of the store; a record has to match every one of ``predicates``.

    ``horizon`` is the position in the log from which on records are too new.
    """

    def __init__(
        self,
        reader: Reader,
        sight: Sight,
        directory: Directory,
        conversations: Conversations,
        predicates: Sequence[Predicate],
        horizon: int,
    ) -> None:
        self._reader = reader
        self._sight = sight
        self._directory = directory
        self._conversations = conversations
        self._predicates = predicates
        self._horizon = horizon
        self._rosters: tuple[bytes, Rosters] | None = None
        self._chosen = chosen_pseudonyms(predicates, conversations)

    def page(self, position: Position, limit: int, *, by_day: bool) -> Walked:
        """Return at most ``limit`` records after ``position``; with ``by_day`` of one day only."""
        found: list[Found] = []
        weight = 0
        last_roster: Roster | None = None
        for walked, (known, entry) in enumerate(self._entries(position)):
            if walked >= PAGE_WALKED or len(found) >= limit or weight >= PAGE_BYTES:
                return Walked(tuple(found), position)
            if entry is not None:
                match = self.match(known, entry)
                if match is not None:
                    if by_day and found and found[-1].group != match.group:
                        return Walked(tuple(found), position)
                    found.append(match)
                    roster = self.roster(known, entry.key)
                    weight += self._weight(match.place)
                    if roster is not last_roster:
                        weight += MEMBER_BYTES * len(roster.members)
                        last_roster = roster
                position = _position(known, entry)
            else:
                position = Position(Phase.RECORDS, known.pseudonym)
        return Walked(tuple(found), Position(Phase.DESTROYED))

    def match(self, known: Conversation, entry: Entry) -> Found | None:
        """Return the message if it is meant."""
        if entry.pos >= self._horizon:
            return None
        try:
            op = self._sight.read(entry.origin, entry.id.seq)
        except PartGoneError:
            op = None
        roster = self.roster(known, entry.key)
        subject = self._rosters_of(known).subject(
            roster,
            op.actor if op is not None else b"",
            op.received_ms if op is not None else hlc.millis(entry.key),
        )
        if not all(matches(each, subject, people="participant") for each in self._predicates):
            return None
        return Found(known.id, entry, op is not None and not self._sight.is_over(op))

    def roster(self, known: Conversation, key: int) -> Roster:
        """Return who was in a conversation at a timeline key."""
        return self._rosters_of(known).at(key)

    def _rosters_of(self, known: Conversation) -> Rosters:
        if self._rosters is None or self._rosters[0] != known.id:
            self._rosters = (known.id, Rosters(known, self._directory))
        return self._rosters[1]

    def _entries(self, position: Position) -> Iterator[tuple[Conversation, Entry | None]]:
        """Yield the messages after a position; at each further conversation first no message."""
        after = (position.key, position.op_id)
        for known in self._visited(position.place):
            is_first = known.pseudonym == position.place
            if not is_first:
                yield known, None
            start = position.key if is_first else 0
            whole = [(0, hlc.LIMIT)]
            for entry in timeline.entries(self._reader, known.pseudonym, whole, start, hlc.LIMIT):
                if not is_first or (entry.key, entry.id.pack()) > after:
                    yield known, entry

    def _visited(self, first: int) -> Iterator[Conversation]:
        """Yield the conversations to look into, in order of pseudonyms, from one on."""
        for pseudonym in self._pseudonyms(first):
            stream = self._conversations.streams.stream(pseudonym)
            known = None if stream is None else self._conversations.get(stream.id)
            if known is not None and all(_may_hold(each, known) for each in self._predicates):
                yield known

    def _pseudonyms(self, first: int) -> Iterator[int]:
        if self._chosen is not None:
            yield from self._chosen[bisect_left(self._chosen, first) :]
            return
        end = TIMELINE.span()[1]
        while first <= _LAST_PSEUDONYM:
            rows = self._reader.range(TIMELINE.prefix(first), end, limit=1)
            pseudonym = next((TIMELINE.columns(key)[0] for key, _ in rows), None)
            if pseudonym is None:
                return
            yield pseudonym
            first = pseudonym + 1

    def _weight(self, root: Place) -> int:
        """Return about how much a record takes, in bytes; O(what targets it), nothing opened."""
        places = [root]
        for key, _ in self._reader.range(*TARGET.span(*root)):
            _, _, origin, seq = TARGET.columns(key)
            places.append((origin, seq))
        places += self._sight.hidden(root)
        rows = (self._reader.get(LOG.key(*place)) or b"" for place in places)
        return sum(len(row) + OPERATION_BYTES for row in rows)


def _may_hold(predicate: Predicate, known: Conversation) -> bool:
    return not predicate.labels or not set(predicate.labels).isdisjoint(known.labels)


def _position(known: Conversation, entry: Entry) -> Position:
    return Position(Phase.RECORDS, known.pseudonym, entry.key, entry.id.pack())
