"""Look through the log for messages of which nothing is left but their skeleton.

A destroyed message is in no timeline any more; its row in the log stays, with the stream it
was sealed under and the mark that it was a message of a timeline. When it was made is told by
its neighbours in the log: at the newest surviving operation before it, or soon after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from appliance.evidence import lines, openings
from appliance.evidence.cursors import Phase, Position
from appliance.evidence.limits import DESTROYED_ROWS
from appliance.evidence.rosters import Rosters
from appliance.evidence.selection import chosen_pseudonyms
from appliance.messaging.model import Conversation
from appliance.operations import Kind
from appliance.policy.predicate import Predicate, matches
from store import hlc, records
from store.engine.contract import Reader
from store.records import PartState, Record
from store.skeleton import CLASS_OFFSET, OpClass, Skeleton
from store.tables import REGISTER

if TYPE_CHECKING:
    from appliance.core import Core

EXPIRED: Final = "expired"
"""State of a message that has reached its end and waits for its destruction."""


class Tombstones:
    """The destroyed messages that match every one of ``predicates``, as far as can be told.

    Of who wrote one nothing is left: whoever was in the conversation about then counts.
    """

    def __init__(
        self, reader: Reader, core: Core, predicates: Sequence[Predicate], horizon: int
    ) -> None:
        self._reader = reader
        self._core = core
        self._predicates = predicates
        self._horizon = horizon
        self._candidates = self._wiped()
        self._rosters: dict[int, Rosters] = {}

    def page(self, position: Position) -> tuple[list[lines.Destroyed], Position]:
        """Return what the next ``DESTROYED_ROWS`` rows tell, and where to go on."""
        found: list[lines.Destroyed] = []
        if not self._candidates:
            return found, Position(Phase.DONE)
        left, at_ms = DESTROYED_ROWS, position.at_ms
        for origin in sorted(self._core.log.origins):
            if origin < position.place:
                continue
            seq = position.key if origin == position.place else 0
            scanned = self._scan(origin, seq, left, at_ms, found)
            left -= scanned.key - seq
            at_ms = scanned.at_ms
            if left <= 0:
                return found, scanned
        return found, Position(Phase.DONE)

    def _scan(
        self, origin: int, after: int, limit: int, at_ms: int, found: list[lines.Destroyed]
    ) -> Position:
        """Look at ``limit`` rows of an origin; add what matches to ``found``."""
        log, newest, seq = self._core.log, 0, after
        for seq, row in log.records(self._reader, origin, after + 1, after + limit):
            if row.envelope_state is PartState.PRESENT:
                newest = seq
            elif self._is_meant(row):
                at_ms, newest = self._time(origin, newest, at_ms), 0
                known = self._candidates[row.locator.stream]
                if self._matches(known, at_ms):
                    found.append(line(row, known.id, at_ms))
        return Position(Phase.DESTROYED, origin, seq, at_ms=self._time(origin, newest, at_ms))

    def _is_meant(self, row: Record) -> bool:
        return (
            row.envelope_state is PartState.DESTROYED
            and row.flags & records.SHOWN == records.TIMELINE
            and row.skeleton[CLASS_OFFSET] == OpClass.MESSAGE
            and row.pos < self._horizon
            and row.locator.stream in self._candidates
        )

    def _time(self, origin: int, newest: int, at_ms: int) -> int:
        """Return when the operation ``newest`` was made; without one, ``at_ms``."""
        if not newest:
            return at_ms
        return openings.open_row(self._core.log, self._reader, origin, newest).op.received_ms

    def _matches(self, known: Conversation, at_ms: int) -> bool:
        rosters = self._rosters.get(known.pseudonym)
        if rosters is None:
            rosters = self._rosters[known.pseudonym] = Rosters(known, self._core.directory)
        roster = rosters.at(at_ms << hlc.COUNTER_BITS | _LAST_COUNT)
        subject = rosters.subject(roster, b"", at_ms)
        return all(matches(each, subject, people="participant") for each in self._predicates)

    def _wiped(self) -> dict[int, Conversation]:
        """Return the conversations that can match and have lost messages, by pseudonym."""
        conversations = self._core.conversations
        chosen = chosen_pseudonyms(self._predicates, conversations)
        known = conversations.in_memory()[0].values()
        wanted = None if chosen is None else frozenset(chosen)
        return {
            each.pseudonym: each
            for each in known
            if (wanted is None or each.pseudonym in wanted) and self._has_lost(each)
        }

    def _has_lost(self, known: Conversation) -> bool:
        row = REGISTER.key(known.pseudonym, Kind.CONVERSATION_WIPED, 0)
        return self._reader.get(row) is not None


_LAST_COUNT = (1 << hlc.COUNTER_BITS) - 1


def line(row: Record, conversation: bytes, at_ms: int) -> lines.Destroyed:
    """Return the line about a row of the log that is not to be told more of; ``at_ms`` in Unix ms.

    A message that is still present is one that has reached its end.
    """
    is_present = row.envelope_state is PartState.PRESENT
    return lines.Destroyed(
        Skeleton.unpack(row.skeleton).id.pack().hex(),
        conversation.hex(),
        at_ms,
        EXPIRED if is_present else row.envelope_state.name.lower(),
        row.skeleton,
    )
