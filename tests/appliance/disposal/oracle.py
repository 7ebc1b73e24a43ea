"""Tell from the rules alone which records must still be there, and which must be gone.

Written from what the product promises, not from how it decides. Two questions are answered
apart, and between them lies what nobody promised:

    must it live?   a hold covers it since some moment, or it is younger, by true time, than a
                    minimum that counted for it at some moment of its life
    must it go?     it is older than its maximum and than every minimum since it was written, and
                    no hold may cover it; older by the site's own clock, which lags true time
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, product
from typing import NamedTuple

from appliance.disposal.commands import Selection
from tests.appliance.disposal.truth import Truth

Place = tuple[int, int]

SECOND_MS = 1_000
DAY_MS = 86_400_000
YEAR_MS = 366 * DAY_MS

MARGIN_MS = 5 * 60 * SECOND_MS
"""Added to when a record was there at the latest."""

ROUNDING_MS = SECOND_MS
"""More than all roundings of proven time over the years."""

UNSURE_MS = 60 * DAY_MS
"""How near to the end of a hold's dates it is not promised that the hold covers a record."""

AUDIT = "audit"


class Term(NamedTuple):
    """One rule of the policy; 0 is no minimum, or no maximum."""

    name: str
    kind: str = ""
    min_ms: int = 0
    max_ms: int = 0
    unit: str = ""
    label: str = ""
    role: str = ""
    recall: str = "hide"


class Policy(NamedTuple):
    """All rules and the cooling-off."""

    terms: tuple[Term, ...]
    cooling_ms: int = DAY_MS


class Filing(NamedTuple):
    """A class by its name, and labels."""

    kind: str
    labels: frozenset[str] = frozenset()


class Standing(NamedTuple):
    """A person's unit and access roles."""

    unit: str = ""
    roles: frozenset[str] = frozenset()


NOBODY = Standing()
_NO_FILINGS = (Filing(AUDIT),)


def fits(term: Term, filing: Filing, standing: Standing, *, anybody: bool = False) -> bool:
    """Tell whether a rule is about such records; ``anybody``: the author may have been."""
    if term.kind != filing.kind and (term.kind or filing.kind == AUDIT):
        return False
    if term.label and term.label not in filing.labels:
        return False
    if anybody:
        return True
    return (not term.unit or term.unit == standing.unit) and (
        not term.role or term.role in standing.roles
    )


@dataclass(slots=True, eq=False)
class Soul:
    """A person, with every unit and role they had."""

    login: str
    standings: list[Standing] = field(default_factory=list)
    is_erased: bool = False

    @property
    def now(self) -> Standing:
        return self.standings[-1] if self.standings and not self.is_erased else NOBODY


@dataclass(slots=True, eq=False)
class Talk:
    """A conversation, with every class, label and member it had."""

    id: bytes
    filings: list[Filing]
    members: set[bytes] = field(default_factory=set)
    ever: set[bytes] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Record:
    """A message, or an entry of the audit.

    ``version``, ``filing`` and ``standing`` number what was in force when it was written.
    ``born_hi_ms`` is when it was there at the latest, by the site's clock; None: not dated yet.
    ``born_lo_ms`` is when it was not there yet: at the anchor before it, which may be long ago
    where the clock was suspended. Between the two the site knows nothing of its date.
    A copy passed an urgent message on: it ends with that one, but not under its own minimum.
    """

    place: Place
    name: bytes = field(repr=False)
    author: bytes = field(repr=False)
    talk: Talk | None = field(repr=False)
    born_ms: int
    claimed_ms: int
    version: int
    filing: int
    standing: int
    readers: frozenset[bytes] = field(repr=False)
    text: str = field(default="", repr=False)
    key: int = 0
    minimum_ms: int = 0
    born_lo_ms: float = 0
    born_hi_ms: float | None = None
    held_by: set[int] = field(default_factory=set)
    is_recalled: bool = False
    was_blocked: bool = False
    is_copy: bool = False
    died_ms: int = 0
    targets: list[Place] = field(default_factory=list)
    copies: list[Record] = field(default_factory=list)
    leader: Record | None = field(default=None, repr=False)
    """The entry of the audit that this one follows."""
    words: list[str] = field(default_factory=list, repr=False)
    """What it was changed to."""


class Oracle:
    """Everything that counts for what must live and what must go."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.policies: list[Policy] = []
        self.people: dict[bytes, Soul] = {}
        self.talks: dict[bytes, Talk] = {}
        self.alive: dict[Place, Record] = {}
        self.dead: dict[Place, Record] = {}
        self.holds: dict[int, Selection] = {}
        self.blocked: dict[Place, Record] = {}
        self._numbers = count()
        self._due: list[tuple[float, int, Record]] = []
        self._undated: list[Record] = []
        self._unconfirmed: list[Record] = []

    # --- what happens ---------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Follow a new record."""
        self.alive[record.place] = record
        anchored = self.truth.anchored
        record.born_lo_ms = anchored.now_ms - anchored.lag_ms - ROUNDING_MS
        self._undated.append(record)
        if record.talk is not None:
            record.talk.records.append(record)
        self._recount((record,))

    def die(self, record: Record) -> None:
        """Follow the end of a record."""
        del self.alive[record.place]
        record.died_ms = self.truth.now_ms
        self.dead[record.place] = record
        if record.talk is not None:
            record.talk.records.remove(record)
        else:
            self.unblock()

    def lose(self, record: Record) -> None:
        """Follow the loss of a record with a commit that no device kept."""
        self.die(record)
        del self.dead[record.place]

    def lose_anchor(self) -> None:
        """Follow the loss of an anchor: the next one dates everything, later than it was."""
        self.truth.anchored = self.truth.anchored_before
        self._undated = list(self.alive.values())
        for record in self._undated:
            record.born_hi_ms = None

    def set_policy(self, policy: Policy) -> None:
        self.policies.append(policy)
        self._recount(self.alive.values())

    def stand(self, person: bytes, standing: Standing) -> None:
        """Follow a person's new unit or roles."""
        soul = self.people[person]
        soul.standings.append(standing)
        self._recount(each for each in self.alive.values() if each.author == person)
        if any(hold.units for hold in self.holds.values()):
            self._cover(self.alive.values())

    def erase(self, person: bytes) -> None:
        self.people[person].is_erased = True
        self._recount(each for each in self.alive.values() if each.author == person)

    def file(self, talk: Talk, filing: Filing) -> None:
        talk.filings.append(filing)
        self._recount(talk.records)

    def hold(self, number: int, selection: Selection) -> None:
        self.holds[number] = selection
        self._cover(self.alive.values())

    def release(self, number: int) -> None:
        del self.holds[number]
        for record in self.alive.values():
            record.held_by.discard(number)
        self.unblock()

    def anchored(self, *, confirmed: bool) -> None:
        """Follow an anchor: what is there by now is dated."""
        truth = self.truth
        truth.anchors()
        born_hi_ms = truth.proven_ms + MARGIN_MS + ROUNDING_MS
        for record in self._undated:
            record.born_hi_ms = born_hi_ms
            self._enter(record)
        if confirmed:
            self._unconfirmed.clear()
        else:
            self._unconfirmed += self._undated
        self._undated.clear()

    def confirmed(self) -> None:
        """Follow two people's word that the wall clock is right: the lag is over."""
        step_ms, self.truth.lag_ms = self.truth.lag_ms, 0.0
        for record in self._unconfirmed:
            if record.place in self.alive and record.born_hi_ms is not None:
                record.born_hi_ms += step_ms
        for record in self.alive.values():
            self._enter(record)
        self.unblock()

    def unblock(self) -> None:
        """Look again at what could not go."""
        waiting, self.blocked = self.blocked, {}
        for record in waiting.values():
            record.was_blocked = True
            if record.place in self.alive:
                self._enter(record)

    # --- what must live -------------------------------------------------------------------------

    def wrongs(self, record: Record, reason: str) -> str:
        """Return why a record must not end now; empty when it may.

        ``reason`` "requested": two people ordered it, and a maximum is not asked for.
        """
        age_ms = self.truth.now_ms - record.born_ms
        if record.held_by:
            return f"hold {min(record.held_by)} covers it"
        if age_ms < record.minimum_ms:
            return f"{age_ms} ms old, with a minimum of {record.minimum_ms} ms"
        if record.is_copy or reason == "requested" or self._may_be_recalled(record):
            return ""
        longest = self._shortest_max(record)
        if longest is None or age_ms < longest:
            return f"{age_ms} ms old, with a maximum of {longest} ms"
        return ""

    def must_be_read(self, record: Record) -> bool:
        """Tell whether a survivor must not be withheld from its readers either."""
        return not record.is_copy and bool(self.wrongs(record, ""))

    def is_meant(self, record: Record, selection: Selection) -> bool:
        """Tell whether an order can mean a record: what its people wrote."""
        author = self.people.get(record.author)
        units = {each.unit for each in author.standings} if author is not None else set()
        talk = record.talk
        return (
            talk is not None
            and (not selection.persons or self._is_named(record.author, selection.persons))
            and (not selection.conversations or talk.id.hex() in selection.conversations)
            and (not selection.units or not units.isdisjoint(selection.units))
            and (not selection.labels or self._had_label(talk.filings, selection.labels))
            and (not selection.from_ms or record.claimed_ms >= selection.from_ms)
            and (not selection.until_ms or record.claimed_ms < selection.until_ms)
        )

    def _may_be_recalled(self, record: Record) -> bool:
        if not record.is_recalled:
            return False
        terms = list(self._terms(record, self.standing(record)))
        return bool(terms) and all(term.recall == "destroy" for term in terms)

    def _shortest_max(self, record: Record) -> int | None:
        """Return the least maximum by which a record may end; None: it has none."""
        soul = self.people.get(record.author)
        standings = {self.standing(record)}
        if soul is not None and soul.is_erased:
            standings.add(soul.standings[-1])
        found = (term.max_ms for each in standings for term in self._terms(record, each))
        return min((each for each in found if each), default=None)

    def _recount(self, records: Iterable[Record]) -> None:
        """Let what counts from now on count; a minimum that counted stays."""
        for record in records:
            terms = self._terms(record, self.standing(record))
            minimum_ms = max((term.min_ms for term in terms), default=0)
            record.minimum_ms = max(record.minimum_ms, minimum_ms)
            self._cover((record,))
            self._enter(record)

    def _cover(self, records: Iterable[Record]) -> None:
        for number, selection in self.holds.items():
            for record in records:
                if number not in record.held_by and self._is_covered(record, selection):
                    record.held_by.add(number)

    def _is_covered(self, record: Record, selection: Selection) -> bool:
        """Tell whether a hold certainly covers a record, whatever happened meanwhile."""
        talk = record.talk
        if talk is None:
            return False
        people = {record.author, *record.readers}
        if selection.persons and not any(
            self._is_named(person, selection.persons) for person in people
        ):
            return False
        if selection.conversations and talk.id.hex() not in selection.conversations:
            return False
        if selection.labels and not self._had_label(
            talk.filings[record.filing :], selection.labels
        ):
            return False
        if selection.units:
            author = self.people[record.author]
            units = {each.unit for each in author.standings[record.standing :]}
            units |= {self.people[each].now.unit for each in record.readers}
            if units.isdisjoint(selection.units):
                return False
        return (not selection.from_ms or record.born_ms >= selection.from_ms) and (
            not selection.until_ms or record.born_ms < selection.until_ms
        )

    # --- what must go ---------------------------------------------------------------------------

    def may_be_held(self, record: Record) -> bool:
        """Tell whether any hold may cover a record, by whatever it can be taken to mean."""
        if record.leader is not None and record.leader.place in self.alive:
            return True
        messages = (record, *record.copies)
        return any(self._may_cover(each, hold) for each in messages for hold in self.holds.values())

    def due(self) -> list[Record]:
        """Return the records whose end has come since this was asked last."""
        now_ms, found = self.truth.proven_ms, []
        while self._due and self._due[0][0] <= now_ms:
            at_ms, _, record = heapq.heappop(self._due)
            if record.place in self.alive and at_ms == self.ends_ms(record):
                found.append(record)
        return found

    def has_due(self, proven_ms: float) -> bool:
        """Tell whether anything comes to its end until then."""
        return bool(self._due) and self._due[0][0] <= proven_ms

    def ends_ms(self, record: Record) -> float | None:
        """Return when a record must go, by the site's clock; None: never, as things are."""
        if record.born_hi_ms is None or record.is_copy:
            return None
        terms = self._terms(record, self.standing(record))
        longest = min((term.max_ms for term in terms if term.max_ms), default=None)
        if longest is None:
            return None
        ends_ms = record.born_hi_ms + max(longest, self._every_minimum(record))
        for copy in record.copies:
            minimum_ms = self._every_minimum(copy)
            if minimum_ms and copy.born_hi_ms is None:
                return None
            ends_ms = max(ends_ms, (copy.born_hi_ms or 0) + minimum_ms)
        return ends_ms

    def _every_minimum(self, record: Record) -> int:
        """Return the largest minimum of any rule, filing and standing since, mixed as may be."""
        filings = _NO_FILINGS if record.talk is None else record.talk.filings[record.filing :]
        author = self.people.get(record.author)
        standings = author.standings[record.standing :] if author is not None else []
        is_erased = author is not None and author.is_erased
        return max(
            (
                term.min_ms
                for policy in self.policies[record.version :]
                for filing, standing in product(set(filings), set(standings) or {NOBODY})
                for term in policy.terms
                if fits(term, filing, standing, anybody=is_erased)
            ),
            default=0,
        )

    def _may_cover(self, record: Record, selection: Selection) -> bool:
        talk = record.talk
        if (talk is None) and (selection.conversations or selection.labels):
            return False
        people = {record.author} | (talk.ever if talk is not None else set())
        souls = [self.people[each] for each in people if each in self.people]
        is_anybody = any(soul.is_erased for soul in souls)
        units = {each.unit for soul in souls for each in soul.standings}
        return (
            (
                not selection.persons
                or any(self._is_named(person, selection.persons) for person in people)
            )
            and (not selection.units or is_anybody or not units.isdisjoint(selection.units))
            and (
                not selection.conversations
                or (talk is not None and talk.id.hex() in selection.conversations)
            )
            and (
                not selection.labels
                or (talk is not None and self._had_label(talk.filings, selection.labels))
            )
            and (_is_near(selection, record.claimed_ms) or _is_near(selection, *_span(record)))
        )

    def _enter(self, record: Record) -> None:
        at_ms = self.ends_ms(record)
        if at_ms is not None:
            record.was_blocked |= at_ms <= self.truth.proven_ms
            heapq.heappush(self._due, (at_ms, next(self._numbers), record))

    # --- parts ----------------------------------------------------------------------------------

    def standing(self, record: Record) -> Standing:
        """Return the present standing of who wrote a record."""
        author = self.people.get(record.author)
        return NOBODY if author is None else author.now

    def _terms(self, record: Record, standing: Standing) -> Iterator[Term]:
        """Yield the rules that are about a record now."""
        filing = _NO_FILINGS[0] if record.talk is None else record.talk.filings[-1]
        return (term for term in self.policies[-1].terms if fits(term, filing, standing))

    def _is_named(self, person: bytes, names: tuple[str, ...]) -> bool:
        soul = self.people.get(person)
        return f"id:{person.hex()}" in names or (soul is not None and soul.login in names)

    @staticmethod
    def _had_label(filings: Iterable[Filing], labels: tuple[str, ...]) -> bool:
        return any(not filing.labels.isdisjoint(labels) for filing in filings)


def _span(record: Record) -> tuple[float, float]:
    """Return between when and when a record may be taken to have been written."""
    first_ms = min(record.born_ms, record.born_lo_ms)
    return first_ms, max(record.born_ms, record.born_hi_ms or record.born_ms)


def _is_near(selection: Selection, first_ms: float, last_ms: float = 0) -> bool:
    if selection.from_ms and max(first_ms, last_ms) < selection.from_ms - UNSURE_MS:
        return False
    return not selection.until_ms or first_ms < selection.until_ms + UNSURE_MS
