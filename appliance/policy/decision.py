"""Decide about one record: keep it, hide it, destroy it, or ask somebody.

The first line that applies decides; a minimum protects from everything below it, a hold from
everything at all:

    when                                                      outcome   because
    a legal hold covers it                                    KEEP (a)  HOLD
    it is younger than its minimum, or its age is not proven  KEEP (a)  MINIMUM
    its erasure or destruction was ordered by two people      DESTROY   REQUEST
    it has reached its maximum                                as the rule says: DESTROY, HIDE or
                                                              REVIEW    MAXIMUM
    its author recalled it, and the rule lets recalls destroy DESTROY   RECALL
    its author recalled it, or a person deleted it            HIDE      RECALL
    nothing                                                   KEEP      NONE

    (a) HIDE when it was recalled or deleted: both go on hiding it, else a hold would show itself
        to those it concerns. Hidden is not destroyed: every version can be shown again.

**Age** is proven time less the latest time at which the record can have been born
(``appliance.policy.clock``, ``appliance.policy.born``). Without proven time nothing is destroyed:
so a site that trusts no clock, or whose clock jumped, destroys nothing. While the birth is unknown
the record is too young for every minimum and every maximum; where no minimum has ever counted for
it, an order or a recall need not know its age.

**Maxima** count from their trigger: the birth, the closing of the conversation, the closing of
the case, and never before the birth. What is not closed has no such maximum. Of several ends the
one that comes first decides, with its own action; at the same moment the action that keeps more.
The minimum always counts from the birth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from appliance.policy.bounds import ACTION_ORDER, Bounds, End
from appliance.policy.policies import Filing, Standing


class Outcome(StrEnum):
    """What becomes of a record."""

    KEEP = "keep"
    HIDE = "hide"
    DESTROY = "destroy"
    REVIEW = "review"


class Because(StrEnum):
    """What decided."""

    HOLD = "hold"
    MINIMUM = "minimum"
    REQUEST = "request"
    MAXIMUM = "maximum"
    RECALL = "recall"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a record; times in Unix ms of proven time, None when there is none yet.

    ``filings`` and ``standings`` are as ``Policies.bounds`` takes them. ``is_requested``: two
    people ordered its destruction, or the erasure of its author.
    """

    pos: int
    born_hi_ms: int | None
    filings: tuple[Filing, ...]
    standings: tuple[Standing, ...]
    closed_ms: int | None = None
    case_closed_ms: int | None = None
    is_held: bool = False
    is_recalled: bool = False
    is_requested: bool = False
    is_user_deleted: bool = False


class Verdict(NamedTuple):
    """What becomes of a record, what decided, by which rule, and from when that counts.

    ``rule`` is empty when no rule decided. ``due_ms`` is the proven time from which the record
    may or must end: for KEEP and HIDE the next one known, None when none is.
    """

    outcome: Outcome
    because: Because
    rule: str = ""
    due_ms: int | None = None


class Due(NamedTuple):
    """When a record comes to its end (Unix ms of proven time), and by which of its ends."""

    at_ms: int
    end: End


def decide(facts: Facts, bounds: Bounds, proven_now_ms: int | None) -> Verdict:
    """Decide about a record at a proven time; None: no time is proven, or the clock jumped."""
    kept = Outcome.HIDE if facts.is_recalled or facts.is_user_deleted else Outcome.KEEP
    if facts.is_held:
        return Verdict(kept, Because.HOLD)
    born_ms = facts.born_hi_ms
    if proven_now_ms is None or _is_young(born_ms, bounds, proven_now_ms):
        passes_ms = None if born_ms is None else born_ms + bounds.min_ms
        return Verdict(kept, Because.MINIMUM, bounds.min_rule, passes_ms)
    if facts.is_requested:
        return Verdict(Outcome.DESTROY, Because.REQUEST)
    due = first_due(facts, bounds)
    if due is not None and proven_now_ms >= due.at_ms:
        outcome = Outcome(due.end.action)
        return Verdict(outcome, Because.MAXIMUM, due.end.rule, due.at_ms)
    if facts.is_recalled and bounds.recall == "destroy":
        return Verdict(Outcome.DESTROY, Because.RECALL)
    because = Because.NONE if kept is Outcome.KEEP else Because.RECALL
    return Verdict(kept, because, "", None if due is None else due.at_ms)


def _is_young(born_ms: int | None, bounds: Bounds, proven_now_ms: int) -> bool:
    """Tell whether a minimum still runs; where there is none, nothing need be proven of the age."""
    if not bounds.min_ms:
        return False
    return born_ms is None or proven_now_ms < born_ms + bounds.min_ms


def first_due(facts: Facts, bounds: Bounds) -> Due | None:
    """Return the end that comes first, not before the minimum has passed; None: none is known."""
    born_ms = facts.born_hi_ms
    if born_ms is None or not bounds.ends:
        return None
    found = None
    for end in bounds.ends:
        began_ms = _began_ms(facts, born_ms, end.trigger)
        if began_ms is not None:
            rank = (began_ms + end.max_ms, ACTION_ORDER[end.action], end)
            found = rank if found is None else min(found, rank)
    if found is None:
        return None
    return Due(max(found[0], born_ms + bounds.min_ms), found[2])


def is_expired_for_reading(facts: Facts, bounds: Bounds, reading_now_ms: int | None) -> bool:
    """Tell whether a record may no longer be read, before its destruction has come to it.

    ``reading_now_ms`` is the clock for readers (``Clock.reading_ms``); None refuses nothing.
    What is held stays readable.
    """
    if facts.is_held or reading_now_ms is None:
        return False
    due = first_due(facts, bounds)
    return due is not None and reading_now_ms >= due.at_ms


def _began_ms(facts: Facts, born_ms: int, trigger: str) -> int | None:
    """Return when the age for a trigger begins; None when it has not."""
    if trigger == "age":
        return born_ms
    closed_ms = facts.closed_ms if trigger == "closed" else facts.case_closed_ms
    return None if closed_ms is None else max(born_ms, closed_ms)
