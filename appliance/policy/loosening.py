"""Tell in plain words what a new policy loosens: what it loosens takes two people.

Loosening is whatever could let a record end, or lose more of itself, earlier than before:

    a minimum gets smaller
    a maximum gets smaller, appears, or counts from a trigger that can come earlier
    where the old policy hides or has reviewed, the new one destroys, or lets a recall destroy
    a recall that hid destroys; metadata that stayed is destroyed; offline wait becomes escrow
    the clock is trusted differently (but for: not at all), a cooling-off gets shorter, a request
    stays open longer
    a class goes, or its number has another name

In doubt it is loosening: two people asked once too often lose an hour, a record gone too early is
lost for ever.

Selectors make endless combinations; it is enough to look at few. Call the *core* of a rule the
combination that has just what the rule asks for, and of which no other rule gets more than it
must. Every combination that a rule matches is its core with something added, and additions only
bring more matching rules: they raise minima, lower maxima, and let hiding win. So a minimum that
shrinks anywhere shrinks at the core of an old rule, a maximum that shrinks anywhere shrinks at
the core of a new rule, and a hiding that turns into destroying anywhere does so where an old
rule that hides meets a new rule that destroys: at the union of their two cores. So all cores are
compared, and all unions of an old and a new one, in all aspects each. (Two rules for different
units or classes never meet; their "union" is some other combination, which does no harm.) The
tests hold this against random records and combinations.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from appliance.policy.bounds import Bounds, Combination, End, bounds_of
from appliance.policy.durations import print_duration
from appliance.policy.rules import Policy, Rule, class_numbers

_TRIGGER_WORDS: Final = {
    "age": "",
    "closed": " after the conversation is closed",
    "case_closed": " after the case is closed",
}


def loosenings(old: Policy, new: Policy) -> list[str]:
    """Return what ``new`` loosens, one sentence each; empty when one person may set it.

    O(rules^3) in the rules of both: about a second for two policies of 100 rules.
    """
    return [*_of_all(old, new), *_of_rules(old, new)]


def _of_all(old: Policy, new: Policy) -> Iterator[str]:
    """Yield what is loosened for every record alike."""
    if new.clock not in (old.clock, "none"):
        yield f"time is trusted from {new.clock} instead of {old.clock}"
    if new.cooling_ms < old.cooling_ms:
        before, after = print_duration(old.cooling_ms), print_duration(new.cooling_ms)
        yield f"the cooling-off becomes {after} instead of {before}"
    if new.expires_ms > old.expires_ms:
        before, after = print_duration(old.expires_ms), print_duration(new.expires_ms)
        yield f"a request stays open for {after} instead of {before}"
    names = {number: name for name, number in class_numbers(new).items()}
    for name, number in class_numbers(old).items():
        if names.get(number) != name:
            yield f"class {name} goes"


def _of_rules(old: Policy, new: Policy) -> Iterator[str]:
    """Yield what is loosened for some records; what a part explains, a union does not repeat."""
    before = dict.fromkeys(_core(rule) for rule in old.rules)
    after = dict.fromkeys(_core(rule) for rule in new.rules)
    told: dict[Combination, set[str]] = {}
    for core in before | after:
        found = dict(_between(old, new, core))
        told[core] = set(found)
        yield from (f"{_words(core)}: {text}" for text in found.values())
    seen = set(told)
    for one, other in product(before, after):
        union = _union(one, other)
        if union in seen:
            continue
        seen.add(union)
        for aspect, text in _between(old, new, union):
            if aspect not in told[one] | told[other]:
                yield f"{_words(union)}: {text}"


def _core(rule: Rule) -> Combination:
    """Return the combination with just what the rule asks for."""
    labels = frozenset((rule.label,) if rule.label else ())
    roles = frozenset((rule.role,) if rule.role else ())
    return Combination(rule.unit, rule.kind, labels, roles)


def _union(one: Combination, other: Combination) -> Combination:
    """Return the combination with what both have; of two units or classes, the first one's."""
    return Combination(
        one.unit or other.unit,
        one.kind or other.kind,
        one.labels | other.labels,
        one.roles | other.roles,
    )


def _between(old: Policy, new: Policy, where: Combination) -> Iterator[tuple[str, str]]:
    """Yield (aspect, what is loosened) for records of one combination."""
    before, after = bounds_of(old.rules, where), bounds_of(new.rules, where)
    if after.min_ms < before.min_ms:
        yield "min", f"kept for {_span(after.min_ms)} instead of {_span(before.min_ms)}"
    for end in after.ends:
        if not any(_comes_first(each, end) for each in before.ends):
            yield f"max {end.trigger}", f"{end.action} after {_end(end)}{_formerly(before, end)}"
    if after.recall == "destroy" or any(end.action == "destroy" for end in after.ends):
        for end in before.ends:
            if end.action != "destroy" and not _still_keeps(after, end):
                yield "action", f"may be destroyed, no longer {end.action} after {_end(end)}"
    for aspect, was, becomes in (
        ("recall", "hide", "destroy"),
        ("metadata", "keep", "destroy"),
        ("offline", "wait", "escrow"),
    ):
        if getattr(before, aspect) == was and getattr(after, aspect) == becomes:
            yield aspect, f"{aspect} is {becomes} instead of {was}"


def _comes_first(old: End, new: End) -> bool:
    """Tell whether an old end is never later than a new one: nothing closes before it is born."""
    return old.max_ms <= new.max_ms and old.trigger in ("age", new.trigger)


def _still_keeps(after: Bounds, end: End) -> bool:
    """Tell whether what kept records from destruction is still there, as early as it was."""
    return any(
        each.trigger == end.trigger and each.action != "destroy" and each.max_ms <= end.max_ms
        for each in after.ends
    )


def _words(where: Combination) -> str:
    words = [f"class {where.kind}"] if where.kind else ["every class"]
    words += [f"unit {where.unit}"] if where.unit else []
    words += [f"label {label}" for label in sorted(where.labels)]
    words += [f"role {role}" for role in sorted(where.roles)]
    return ", ".join(words)


def _span(milliseconds: int) -> str:
    return print_duration(milliseconds) if milliseconds else "no time"


def _end(end: End) -> str:
    return print_duration(end.max_ms) + _TRIGGER_WORDS[end.trigger]


def _formerly(before: Bounds, end: End) -> str:
    for each in before.ends:
        if each.trigger == end.trigger:
            return f" instead of {_end(each)}"
    return ", which had no such end" if before.ends else " instead of never"
