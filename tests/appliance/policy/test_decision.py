"""One record's fate: the precedence in all its combinations, ages, triggers, and reading."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.bounds import Bounds, Combination, End, bounds_of
from appliance.policy.decision import (
    Because,
    Facts,
    Outcome,
    Verdict,
    decide,
    first_due,
    is_expired_for_reading,
)
from appliance.policy.policies import Filing, Standing
from appliance.policy.rules import Policy
from tests.appliance.policy import strategies

BORN = 1_000_000
MIN = 100
MAX = 300

FACTS = Facts(7, BORN, (Filing(2),), (Standing(),))

KEEP, HIDE, DESTROY, REVIEW = Outcome.KEEP, Outcome.HIDE, Outcome.DESTROY, Outcome.REVIEW
HOLD, MINIMUM, REQUEST = Because.HOLD, Because.MINIMUM, Because.REQUEST
MAXIMUM, RECALL, NONE = Because.MAXIMUM, Because.RECALL, Because.NONE


def ending(action: str = "destroy", trigger: str = "age", max_ms: int = MAX) -> Bounds:
    return Bounds(MIN, "least", 1, (End(trigger, max_ms, action, "most"),))


# hold, younger than the minimum, erasure request, past the maximum, deleted by a user.
# A record cannot truly be both younger than its minimum and past its maximum; there the minimum
# is as long as the maximum and longer, by a stricter version.
PRECEDENCE = [
    ((0, 0, 0, 0, 0), (KEEP, NONE)),
    ((0, 0, 0, 0, 1), (HIDE, RECALL)),
    ((0, 0, 0, 1, 0), (DESTROY, MAXIMUM)),
    ((0, 0, 0, 1, 1), (DESTROY, MAXIMUM)),
    ((0, 0, 1, 0, 0), (DESTROY, REQUEST)),
    ((0, 0, 1, 0, 1), (DESTROY, REQUEST)),
    ((0, 0, 1, 1, 0), (DESTROY, REQUEST)),
    ((0, 0, 1, 1, 1), (DESTROY, REQUEST)),
    ((0, 1, 0, 0, 0), (KEEP, MINIMUM)),
    ((0, 1, 0, 0, 1), (HIDE, MINIMUM)),
    ((0, 1, 0, 1, 0), (KEEP, MINIMUM)),
    ((0, 1, 0, 1, 1), (HIDE, MINIMUM)),
    ((0, 1, 1, 0, 0), (KEEP, MINIMUM)),
    ((0, 1, 1, 0, 1), (HIDE, MINIMUM)),
    ((0, 1, 1, 1, 0), (KEEP, MINIMUM)),
    ((0, 1, 1, 1, 1), (HIDE, MINIMUM)),
    ((1, 0, 0, 0, 0), (KEEP, HOLD)),
    ((1, 0, 0, 0, 1), (HIDE, HOLD)),
    ((1, 0, 0, 1, 0), (KEEP, HOLD)),
    ((1, 0, 0, 1, 1), (HIDE, HOLD)),
    ((1, 0, 1, 0, 0), (KEEP, HOLD)),
    ((1, 0, 1, 0, 1), (HIDE, HOLD)),
    ((1, 0, 1, 1, 0), (KEEP, HOLD)),
    ((1, 0, 1, 1, 1), (HIDE, HOLD)),
    ((1, 1, 0, 0, 0), (KEEP, HOLD)),
    ((1, 1, 0, 0, 1), (HIDE, HOLD)),
    ((1, 1, 0, 1, 0), (KEEP, HOLD)),
    ((1, 1, 0, 1, 1), (HIDE, HOLD)),
    ((1, 1, 1, 0, 0), (KEEP, HOLD)),
    ((1, 1, 1, 0, 1), (HIDE, HOLD)),
    ((1, 1, 1, 1, 0), (KEEP, HOLD)),
    ((1, 1, 1, 1, 1), (HIDE, HOLD)),
]


def test_the_table_of_precedence_is_complete() -> None:
    assert len({when for when, _ in PRECEDENCE}) == 32


@pytest.mark.parametrize(("when", "verdict"), PRECEDENCE)
def test_hold_minimum_request_maximum_user_deletion(
    when: tuple[int, int, int, int, int], verdict: tuple[Outcome, Because]
) -> None:
    held, young, requested, aged, deleted = map(bool, when)
    age_ms = MAX if aged else MAX - 1
    bounds = Bounds(age_ms + 1 if young else MIN, "least", 1, ending().ends)
    facts = replace(FACTS, is_held=held, is_requested=requested, is_user_deleted=deleted)
    assert decide(facts, bounds, BORN + age_ms)[:2] == verdict
    # A recall is treated as any deletion, as long as the rule lets it hide only.
    facts = replace(FACTS, is_held=held, is_requested=requested, is_recalled=deleted)
    assert decide(facts, bounds, BORN + age_ms)[:2] == verdict


# --- rules and moments --------------------------------------------------------------------------


def test_a_verdict_names_its_rule_and_when_it_counts() -> None:
    at = BORN + MIN - 1
    assert decide(FACTS, ending(), at) == Verdict(KEEP, MINIMUM, "least", BORN + MIN)
    at = BORN + MIN
    assert decide(FACTS, ending(), at) == Verdict(KEEP, NONE, "", BORN + MAX)
    at = BORN + MAX
    assert decide(FACTS, ending(), at) == Verdict(DESTROY, MAXIMUM, "most", BORN + MAX)
    assert decide(FACTS, Bounds(), at) == Verdict(KEEP, NONE, "", None)


@pytest.mark.parametrize("action", [DESTROY, HIDE, REVIEW])
def test_the_maximum_leads_to_the_rules_action(action: Outcome) -> None:
    bounds = ending(action.value)
    assert decide(FACTS, bounds, BORN + MAX - 1).outcome is KEEP
    assert decide(FACTS, bounds, BORN + MAX)[:2] == (action, MAXIMUM)
    recalled = replace(FACTS, is_recalled=True)
    lenient = replace(bounds, recall="destroy")
    assert decide(recalled, lenient, BORN + MAX)[:2] == (action, MAXIMUM)


def test_a_recall_destroys_where_the_rule_says_so_once_the_minimum_has_passed() -> None:
    bounds = replace(ending(), recall="destroy")
    recalled = replace(FACTS, is_recalled=True)
    assert decide(recalled, bounds, BORN + MIN - 1)[:2] == (HIDE, MINIMUM)
    assert decide(recalled, bounds, BORN + MIN)[:2] == (DESTROY, RECALL)
    assert decide(FACTS, bounds, BORN + MIN)[:2] == (KEEP, NONE)
    held = replace(recalled, is_held=True)
    assert decide(held, bounds, BORN + MIN)[:2] == (HIDE, HOLD)


def test_a_deletion_by_a_user_never_destroys() -> None:
    bounds = replace(ending(), recall="destroy")
    deleted = replace(FACTS, is_user_deleted=True)
    assert decide(deleted, bounds, BORN + MIN)[:2] == (HIDE, RECALL)


CHANGES: tuple[dict[str, Any], ...] = ({}, {"is_requested": True}, {"is_recalled": True})
LENIENT = replace(Bounds(), recall="destroy")


@pytest.mark.parametrize("bounds", [Bounds(), ending(), LENIENT])
@pytest.mark.parametrize("changes", CHANGES)
def test_without_proven_time_nothing_is_destroyed(bounds: Bounds, changes: dict[str, Any]) -> None:
    assert decide(replace(FACTS, **changes), bounds, None).because is MINIMUM


@pytest.mark.parametrize("changes", CHANGES)
def test_without_a_known_birth_every_minimum_still_runs(changes: dict[str, Any]) -> None:
    unresolved = replace(FACTS, born_hi_ms=None, **changes)
    assert decide(unresolved, ending(), 1 << 60).because is MINIMUM
    assert decide(unresolved, ending(), 1 << 60).outcome in (KEEP, HIDE)
    assert decide(replace(FACTS, **changes), ending(), BORN - 1).because is MINIMUM


def test_where_no_minimum_ever_counted_an_order_or_a_recall_need_not_know_the_age() -> None:
    unresolved = replace(FACTS, born_hi_ms=None)
    assert decide(replace(unresolved, is_requested=True), Bounds(), BORN)[:2] == (DESTROY, REQUEST)
    assert decide(replace(unresolved, is_recalled=True), LENIENT, BORN)[:2] == (DESTROY, RECALL)
    assert decide(unresolved, LENIENT, BORN).outcome is KEEP


# --- triggers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "closed", "other"),
    [
        ("closed", {"closed_ms": BORN + 50}, {"case_closed_ms": BORN}),
        ("case_closed", {"case_closed_ms": BORN + 50}, {"closed_ms": BORN}),
    ],
)
def test_what_is_not_closed_has_no_maximum(
    trigger: str, closed: dict[str, Any], other: dict[str, Any]
) -> None:
    bounds = ending(trigger=trigger)
    assert decide(FACTS, bounds, 1 << 60)[:2] == (KEEP, NONE)
    facts = replace(FACTS, **closed)
    assert decide(facts, bounds, BORN + 50 + MAX - 1)[:2] == (KEEP, NONE)
    assert decide(facts, bounds, BORN + 50 + MAX)[:2] == (DESTROY, MAXIMUM)
    assert decide(replace(FACTS, **other), bounds, 1 << 60)[:2] == (KEEP, NONE)


def test_a_closing_before_the_birth_counts_as_at_the_birth() -> None:
    closed = replace(FACTS, closed_ms=BORN - 500)
    due = first_due(closed, ending(trigger="closed"))
    assert due is not None
    assert due.at_ms == BORN + MAX


def test_the_minimum_counts_from_the_birth_whatever_the_trigger() -> None:
    closed = replace(FACTS, closed_ms=BORN + 10)
    bounds = ending(trigger="closed", max_ms=5)
    assert decide(closed, bounds, BORN + MIN - 1)[:2] == (KEEP, MINIMUM)
    assert decide(closed, bounds, BORN + MIN) == Verdict(DESTROY, MAXIMUM, "most", BORN + MIN)


def test_of_several_ends_the_one_that_comes_first_decides() -> None:
    ends = (End("age", 300, "destroy", "a"), End("closed", 100, "hide", "b"))
    bounds = Bounds(ends=ends)
    soon, late = replace(FACTS, closed_ms=BORN + 10), replace(FACTS, closed_ms=BORN + 250)
    assert decide(soon, bounds, BORN + 999)[:3] == (HIDE, MAXIMUM, "b")
    assert decide(late, bounds, BORN + 999)[:3] == (DESTROY, MAXIMUM, "a")
    same = replace(FACTS, closed_ms=BORN + 200)
    assert decide(same, bounds, BORN + 999)[:3] == (HIDE, MAXIMUM, "b")


# --- reading ------------------------------------------------------------------------------------


def test_reading_is_refused_from_the_maximum_on_unless_held() -> None:
    assert not is_expired_for_reading(FACTS, ending(), BORN + MAX - 1)
    assert is_expired_for_reading(FACTS, ending(), BORN + MAX)
    assert not is_expired_for_reading(replace(FACTS, is_held=True), ending(), BORN + MAX)
    assert not is_expired_for_reading(FACTS, Bounds(), 1 << 60)


def test_reading_is_not_refused_by_an_unknown_clock_or_birth() -> None:
    assert not is_expired_for_reading(FACTS, ending(), None)
    assert not is_expired_for_reading(replace(FACTS, born_hi_ms=None), ending(), 1 << 60)


# --- whatever the facts -------------------------------------------------------------------------

any_facts = st.builds(
    lambda facts, held, born: replace(facts, is_held=held, born_hi_ms=born),
    strategies.facts,
    st.booleans(),
    st.none() | strategies.times_ms,
)


@given(any_facts, strategies.policies, st.none() | strategies.times_ms)
def test_nothing_is_destroyed_while_held_or_young_or_without_a_cause(
    facts: Facts, policy: Policy, now_ms: int | None
) -> None:
    bounds = bounds_of(policy.rules, Combination(kind="standard"))
    verdict = decide(facts, bounds, now_ms)
    if verdict.outcome is DESTROY:
        assert not facts.is_held
        assert now_ms is not None
        if bounds.min_ms:
            assert facts.born_hi_ms is not None
            assert now_ms - facts.born_hi_ms >= bounds.min_ms
        due = first_due(facts, bounds)
        is_due = due is not None and now_ms >= due.at_ms
        assert is_due or facts.is_requested or facts.is_recalled
    if (facts.is_recalled or facts.is_user_deleted) and verdict.because is not MAXIMUM:
        assert verdict.outcome is not KEEP


@given(any_facts, strategies.policies, strategies.times_ms)
def test_what_its_maximum_ended_could_not_be_read_before(
    facts: Facts, policy: Policy, now_ms: int
) -> None:
    bounds = bounds_of(policy.rules, Combination(kind="standard"))
    if decide(facts, bounds, now_ms).because is MAXIMUM:
        assert is_expired_for_reading(facts, bounds, now_ms)
