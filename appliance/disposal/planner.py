"""Find the records that may end, and tell what would happen to them: for runs and dry runs alike.

Reads from one snapshot, in a worker thread; the writer decides about each record again. An
expiry looks only where the calendar has something old enough, an order where its predicate
points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from appliance.disposal import calendar, gather
from appliance.disposal.gather import Group
from appliance.disposal.judge import Judge, subject
from appliance.messaging.model import Place
from appliance.operations import Kind
from appliance.policy.decision import Because, Outcome, Verdict
from appliance.policy.policies import Policies
from appliance.policy.predicate import People, Predicate, matches
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW, TIMELINE_ROW
from store.ids import OpId
from store.oplog import Op
from store.tables import FEED, RECALLED, TIMELINE

if TYPE_CHECKING:
    from appliance.core import Core

KEPT_BECAUSE: Final = frozenset((Because.HOLD, Because.MINIMUM))
"""Why records that would end are held back."""


_LAST_DAY: Final = (1 << 32) - 1


class PlanRow(msgspec.Struct, frozen=True):
    """So many records of one class and day, what would become of them and why."""

    retention_class: str
    day: int
    outcome: str
    because: str
    records: int


class Oldest(msgspec.Struct, frozen=True):
    """The day of a class's oldest surviving record, and how many there are of that class."""

    retention_class: str
    day: int
    records: int


class Plan(msgspec.Struct, frozen=True):
    """What an expiry would do now; ``proven_ms`` is 0 when no time is proven."""

    rows: tuple[PlanRow, ...]
    oldest: tuple[Oldest, ...]
    proven_ms: int
    suspended: bool


class Found(msgspec.Struct, frozen=True):
    """What an order would destroy: the places of its records, and how many are held back."""

    places: tuple[Place, ...]
    held: int
    young: int


# --- expiry -----------------------------------------------------------------------------------


def due(core: Core, reader: Reader, proven_ms: int) -> Iterator[Place | None]:
    """Yield the places of what ends by age or by a recall, class by class, oldest first.

    Records, and control operations of conversations that newer ones have superseded for longer
    than the class lasts. None for each that was looked at and stays, so that the caller can stop.
    """
    judge = Judge(core)
    for number in _classes(core, judge.policies):
        shortest = judge.policies.shortest_max_ms(number)
        if shortest is None:
            continue
        until = calendar.day_of(max(0, proven_ms - shortest)) + 1
        for feed, day in _due_feeds(reader, number, until).items():
            last = core.disposal.end_of_day(day)
            for op in _aged(core, reader, feed, last):
                ends = _ends(core, reader, judge, op, proven_ms, shortest)
                yield (op.origin, op.id.seq) if ends else None
    if not destroys_recalled(judge.policies):
        return
    for key, _ in reader.range(*RECALLED.span()):
        _, origin, seq = RECALLED.columns(key)
        is_due = _is_recall_due(core, reader, judge, (origin, seq), proven_ms)
        yield (origin, seq) if is_due else None


def destroys_recalled(policies: Policies) -> bool:
    """Tell whether any rule lets a recall destroy."""
    return any(rule.recall == "destroy" for rule in policies.current.rules)


def plan(
    core: Core, reader: Reader, proven_ms: int | None, *, policies: Policies | None = None
) -> Plan:
    """Tell what an expiry would do now, by the policy in force or by another one."""
    judge = Judge(core, policies)
    counts: Counter[tuple[str, int, str, str]] = Counter()
    for number in _classes(core, judge.policies):
        shortest = judge.policies.shortest_max_ms(number)
        if shortest is None:
            continue
        name = judge.policies.class_name(number)
        until = calendar.day_of(max(0, (proven_ms or 0) - shortest)) + 1
        for feed, day in _due_feeds(reader, number, until).items():
            for op in _aged(core, reader, feed, core.disposal.end_of_day(day)):
                verdict = _verdict(core, reader, judge, op, proven_ms)
                if verdict is not None and _is_told(verdict, op, proven_ms, shortest, core):
                    born = core.disposal.day_at(op.pos)
                    counts[name, born, verdict.outcome.value, verdict.because.value] += 1
    rows = tuple(PlanRow(*key, records) for key, records in sorted(counts.items()))
    oldest = tuple(_oldest(core, reader, judge.policies))
    return Plan(rows, oldest, proven_ms or 0, core.disposal.is_suspended)


def oldest(core: Core, reader: Reader) -> list[Oldest]:
    """Return each class's oldest surviving record; one scan of the calendar."""
    return list(_oldest(core, reader, core.disposal.policies))


def _is_told(verdict: Verdict, op: Op, proven_ms: int | None, shortest: int, core: Core) -> bool:
    """Tell whether a plan mentions a record: it ends, or would if nothing held it back."""
    if verdict.outcome is not Outcome.KEEP:
        return True
    born_ms = core.disposal.born_hi(op.pos)
    is_old = born_ms is not None and proven_ms is not None and proven_ms >= born_ms + shortest
    return is_old and verdict.because in KEPT_BECAUSE


def _oldest(core: Core, reader: Reader, policies: Policies) -> Iterator[Oldest]:
    for number in _classes(core, policies):
        first, records = 0, 0
        for page in calendar.pages(reader, number, _LAST_DAY):
            first = page.day if not records else first
            records += page.records
        if records:
            yield Oldest(policies.class_name(number), first, records)


def _classes(core: Core, policies: Policies) -> list[int]:
    """Return every class that anything can be in."""
    known = core.disposal.policies.class_numbers() | policies.class_numbers()
    return sorted(set(known.values()))


def _due_feeds(reader: Reader, number: int, until_day: int) -> dict[int, int]:
    """Return the feeds with records old enough, and the newest such day of each."""
    found: dict[int, int] = {}
    for page in calendar.pages(reader, number, until_day):
        found[page.feed] = page.day
    return found


def _aged(core: Core, reader: Reader, feed: int, last: int) -> Iterator[Op]:
    """Yield what survives in a feed up to a position, opened."""
    rows = reader.range(FEED.key(feed, 0), FEED.key(feed, last + 1))
    for _, value in rows:
        origin, seq, _ = FEED_ROW.unpack(value)
        try:
            op = core.log.read(reader, origin, seq)
        except PartGoneError:
            continue
        if op.body is not None:
            yield op


def _ends(core: Core, reader: Reader, judge: Judge, op: Op, proven_ms: int, shortest: int) -> bool:
    verdict = _verdict(core, reader, judge, op, proven_ms)
    if verdict is not None:
        return verdict.outcome is Outcome.DESTROY
    born_ms = core.disposal.born_hi(op.pos)
    is_old = born_ms is not None and born_ms + shortest <= proven_ms
    return is_old and gather.is_superseded(core, reader, op)


def _verdict(
    core: Core, reader: Reader, judge: Judge, op: Op, proven_ms: int | None
) -> Verdict | None:
    """Judge a record; None for what is none: it goes with a message, or steers."""
    if core.retention_class(op) is None:
        return None
    return judge.judge(gather.around(core, reader, op), proven_ms)


def recalled(core: Core, reader: Reader, names: Iterable[OpId], proven_ms: int) -> list[Place]:
    """Return which of some recalled messages are to be destroyed now."""
    judge, found = Judge(core), []
    for name in dict.fromkeys(names):
        place = core.conversations.place(name)
        if place is not None and _is_recall_due(core, reader, judge, place, proven_ms):
            found.append(place)
    return found


def _is_recall_due(core: Core, reader: Reader, judge: Judge, place: Place, proven_ms: int) -> bool:
    found = gather.group(core, reader, place)
    if found is None:
        return False
    verdict = judge.judge(found, proven_ms, is_recalled=True)
    return verdict.outcome is Outcome.DESTROY


# --- orders -----------------------------------------------------------------------------------


def ordered(
    core: Core, reader: Reader, predicate: Predicate, proven_ms: int | None, last_pos: int
) -> Found:
    """Find what an order's predicate means among everything up to a position.

    Destroying looks at authors: what others wrote in the same conversation is not theirs.
    """
    judge = Judge(core)
    places: list[Place] = []
    held = young = 0
    for found in matching(core, reader, predicate, people="author"):
        if found.root.pos > last_pos:
            continue
        verdict = judge.judge(found, proven_ms, is_requested=True)
        if verdict.outcome is Outcome.DESTROY:
            places.append((found.root.origin, found.root.id.seq))
        elif verdict.because is Because.HOLD:
            held += 1
        else:
            young += 1
    return Found(tuple(sorted(places)), held, young)


def matching(
    core: Core,
    reader: Reader,
    predicate: Predicate,
    *,
    people: People,
) -> Iterator[Group]:
    """Yield every surviving message that a predicate means, with all that goes with it.

    Conversation by conversation, in the order of their ids.
    """
    for conversation_id in _conversations(core, predicate):
        known = core.conversations.get(conversation_id)
        if known is None:
            continue
        for row, value in reader.range(*TIMELINE.span(known.pseudonym)):
            origin, _ = TIMELINE_ROW.unpack(value)
            found = gather.group(core, reader, (origin, TIMELINE.columns(row)[4]))
            if found is None or found.root.kind != Kind.MESSAGE or found.root.target:
                continue
            if matches(predicate, subject(core, found.root), people=people):
                yield found


def _conversations(core: Core, predicate: Predicate) -> list[bytes]:
    """Return the conversations in which a predicate can find anything, sorted."""
    if predicate.conversations:
        return sorted(predicate.conversations)
    if predicate.persons:
        people = (core.conversations.ever(person) for person in predicate.persons)
        return sorted({each for ever in people for each in ever})
    return sorted(core.conversations.ids())
