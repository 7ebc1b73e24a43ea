"""Work out what one policy asks of one kind of record: how long at least, how long at most.

A record is seen as a *combination*: its author's unit and access roles, its conversation's class
and labels. Every rule whose selectors all fit matches, and what several matching rules say is
joined so:

    of        counts
    min       the largest
    max       the smallest, for each trigger on its own (an age and a time after closing cannot be
              compared before the closing is known); its rule's action; of equal ones the action
              that keeps more: hide, then review, then destroy
    metadata  keep if any says keep
    recall    destroy only if all say destroy
    offline   escrow only if all say escrow

So where rules differ, the one that keeps more wins, except that maxima are there to end things.
A maximum below the minimum counts as the minimum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.policy.rules import AUDIT_NAME, CONTROL_NAME, Rule

ACTION_ORDER: Final = {"hide": 0, "review": 1, "destroy": 2}
"""Actions by how much they keep, most first: hidden stays for ever, a reviewer may end it."""

_APART: Final = frozenset((AUDIT_NAME, CONTROL_NAME))
"""Classes that a rule matches only by name."""


class Combination(NamedTuple):
    """What a record is, as far as selectors ask; ``kind`` is its class's name."""

    unit: str = ""
    kind: str = ""
    labels: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()


class End(NamedTuple):
    """The smallest maximum that counts from one trigger, in ms, and the rule that says so."""

    trigger: str
    max_ms: int
    action: str
    rule: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for a record; ``min_rule`` is empty, and ``ends`` has no item, for no bound.

    ``min_version`` is the version of the policy that the minimum comes from.
    """

    min_ms: int = 0
    min_rule: str = ""
    min_version: int = 0
    ends: tuple[End, ...] = ()
    recall: str = "hide"
    metadata: str = "destroy"
    offline: str = "wait"

    @property
    def max_ms(self) -> int | None:
        """The least age at which the record can come to its end; None when it never does.

        With a trigger other than age this is a lower bound: nothing closes before it is born.
        """
        if not self.ends:
            return None
        return max(self.min_ms, min(end.max_ms for end in self.ends))


def is_match(rule: Rule, combination: Combination) -> bool:
    """Tell whether all selectors of a rule fit."""
    return (
        (combination.kind not in _APART if not rule.kind else rule.kind == combination.kind)
        and (not rule.unit or rule.unit == combination.unit)
        and (not rule.label or rule.label in combination.labels)
        and (not rule.role or rule.role in combination.roles)
    )


def bounds_of(rules: Iterable[Rule], combination: Combination, *, version: int = 0) -> Bounds:
    """Return what the rules of one version ask of one combination; O(rules)."""
    matched = [rule for rule in rules if is_match(rule, combination)]
    if not matched:
        return Bounds()
    longest = max(matched, key=lambda rule: rule.min_ms)
    return Bounds(
        longest.min_ms,
        longest.name if longest.min_ms else "",
        version if longest.min_ms else 0,
        _ends(matched),
        "destroy" if all(rule.recall == "destroy" for rule in matched) else "hide",
        "keep" if any(rule.metadata == "keep" for rule in matched) else "destroy",
        "escrow" if all(rule.offline == "escrow" for rule in matched) else "wait",
    )


def _ends(matched: list[Rule]) -> tuple[End, ...]:
    ends: dict[str, End] = {}
    for rule in matched:
        if not rule.max_ms or rule.trigger == "never":
            continue
        end = End(rule.trigger, rule.max_ms, rule.action, rule.name)
        known = ends.get(rule.trigger)
        if known is None or _rank(end) < _rank(known):
            ends[rule.trigger] = end
    return tuple(ends[trigger] for trigger in sorted(ends))


def _rank(end: End) -> tuple[int, int]:
    return end.max_ms, ACTION_ORDER[end.action]
