"""What two people must agree to: every way to let a record end earlier is found and told."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.policy.decision import Facts, Outcome, decide, first_due
from appliance.policy.loosening import loosenings
from appliance.policy.policies import Policies
from appliance.policy.presets import PRESETS
from appliance.policy.rules import Policy, RetentionClass, Rule
from tests.appliance.policy import strategies

YEAR = 366 * 86_400_000
DAY = 86_400_000

BASE = Rule("base", min_ms=2 * YEAR, max_ms=7 * YEAR)


def rules(*found: Rule, **fields: Any) -> Policy:
    return Policy(found, (RetentionClass(16, "record"),), **fields)


def changed(**fields: Any) -> Rule:
    return msgspec.structs.replace(BASE, **fields)


LOOSER = [
    (rules(BASE), rules(), "every class: kept for no time instead of 2y"),
    (rules(BASE), rules(changed(min_ms=YEAR)), "every class: kept for 1y instead of 2y"),
    (rules(BASE), rules(changed(max_ms=3 * YEAR)), "every class: destroy after 3y instead of 7y"),
    (rules(), rules(changed(min_ms=0)), "every class: destroy after 7y instead of never"),
    (rules(), rules(changed(action="hide")), "every class: hide after 7y instead of never"),
    (
        rules(BASE),
        rules(BASE, Rule("label", label="x", max_ms=YEAR)),
        "every class, label x: destroy after 1y instead of 7y",
    ),
    (
        rules(BASE),
        rules(changed(kind="record")),
        "every class: kept for no time instead of 2y",
    ),
    (
        rules(changed(action="hide")),
        rules(BASE),
        "every class: may be destroyed, no longer hide after 7y",
    ),
    (
        rules(changed(action="review")),
        rules(BASE),
        "every class: may be destroyed, no longer review after 7y",
    ),
    (
        rules(Rule("a", max_ms=YEAR, action="hide", recall="destroy")),
        rules(Rule("a", max_ms=2 * YEAR, action="hide", recall="destroy")),
        "every class: may be destroyed, no longer hide after 1y",
    ),
    (rules(BASE), rules(changed(recall="destroy")), "every class: recall is destroy instead"),
    (rules(), rules(Rule("a", recall="destroy")), "every class: recall is destroy instead of hide"),
    (
        rules(changed(metadata="keep")),
        rules(BASE),
        "every class: metadata is destroy instead of keep",
    ),
    (rules(BASE), rules(changed(offline="escrow")), "every class: offline is escrow instead of"),
    (
        rules(changed(trigger="closed")),
        rules(BASE),
        "every class: destroy after 7y, which had no such end",
    ),
    (
        rules(changed(trigger="closed")),
        rules(changed(trigger="case_closed")),
        "destroy after 7y after the case is closed, which had no such end",
    ),
    (
        rules(changed(trigger="closed")),
        rules(changed(trigger="closed", max_ms=3 * YEAR)),
        "destroy after 3y after the conversation is closed instead of 7y after the",
    ),
    (
        rules(Rule("a", max_ms=5_000, action="hide")),
        rules(
            Rule("a", max_ms=5_000, action="hide", trigger="closed"),
            Rule("b", max_ms=9_000, trigger="case_closed"),
        ),
        "every class: may be destroyed, no longer hide after 5s",
    ),
    (rules(Rule("a", trigger="never")), rules(Rule("a", max_ms=DAY)), "instead of never"),
    (rules(clock="none"), rules(clock="system"), "time is trusted from system instead of none"),
    (rules(clock="headquarters"), rules(clock="system"), "time is trusted from system instead"),
    (rules(cooling_ms=DAY), rules(cooling_ms=0), "the cooling-off becomes 0 instead of 1d"),
    (rules(expires_ms=DAY), rules(expires_ms=2 * DAY), "a request stays open for 2d instead of"),
    (rules(), Policy((), ()), "class record goes"),
    (rules(), Policy((), (RetentionClass(16, "orders"),)), "class record goes"),
    (rules(), Policy((), (RetentionClass(17, "record"),)), "class record goes"),
]


@pytest.mark.parametrize(("old", "new", "told"), LOOSER)
def test_what_is_looser_is_told(old: Policy, new: Policy, told: str) -> None:
    assert any(told in each for each in loosenings(old, new)), loosenings(old, new)


STRICTER = [
    (rules(), rules(changed(max_ms=0))),
    (rules(BASE), rules(changed(min_ms=3 * YEAR))),
    (rules(BASE), rules(changed(max_ms=8 * YEAR))),
    (rules(BASE), rules(changed(max_ms=0))),
    (rules(BASE), rules(changed(action="hide"))),
    (rules(BASE), rules(changed(metadata="keep"))),
    (rules(BASE), rules(changed(trigger="closed"))),
    (rules(BASE), rules(changed(trigger="never", max_ms=0))),
    (rules(changed(recall="destroy")), rules(BASE)),
    (rules(changed(offline="escrow")), rules(BASE)),
    (rules(BASE), rules(BASE, Rule("label", label="x", min_ms=9 * YEAR))),
    (rules(BASE), rules(BASE, changed(name="again"))),
    (rules(BASE), rules(changed(name="other", basis="law"))),
    (rules(clock="system"), rules(clock="none")),
    (rules(cooling_ms=DAY), rules(cooling_ms=2 * DAY)),
    (rules(expires_ms=2 * DAY), rules(expires_ms=DAY)),
    (rules(), Policy((), (RetentionClass(16, "record"), RetentionClass(17, "orders")))),
]


@pytest.mark.parametrize(("old", "new"), STRICTER)
def test_what_is_stricter_needs_one_person(old: Policy, new: Policy) -> None:
    assert loosenings(old, new) == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_policy_does_not_loosen_itself(name: str) -> None:
    assert loosenings(PRESETS[name], PRESETS[name]) == []


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"keep"}))
def test_every_preset_loosens_the_one_that_keeps_all(name: str) -> None:
    assert loosenings(PRESETS["keep"], PRESETS[name])


def test_hiding_that_meets_a_new_destruction_is_seen_where_both_meet() -> None:
    hide = Rule("hide", label="x", max_ms=5_000, action="hide")
    destroy = Rule("destroy", unit="u", max_ms=5_000)
    old = rules(hide, destroy)
    new = rules(destroy, changed(name="hide", label="x", min_ms=0, max_ms=0))
    assert loosenings(old, new) == [
        "every class, unit u, label x: may be destroyed, no longer hide after 5s"
    ]


def test_a_class_and_a_unit_meet_but_two_classes_or_units_never_do() -> None:
    """Old rules hide, one new rule destroys earlier: only where both can match is it told."""
    hidden = [
        Rule(f"h{kind}", kind=kind, max_ms=5_000, action="hide") for kind in ("record", "audit")
    ]
    destroyed = Rule("d", unit="u", max_ms=5_000)
    old = rules(*hidden, Rule("u", unit="v", max_ms=5_000, action="hide"), destroyed)
    new = rules(destroyed, *(msgspec.structs.replace(each, max_ms=0) for each in hidden))
    assert loosenings(old, new) == [
        "class record, unit u: may be destroyed, no longer hide after 5s"
    ]


def test_hiding_that_meets_a_rule_only_the_new_policy_has_is_seen_too() -> None:
    hide = Rule("hide", label="x", max_ms=5_000, action="hide")
    old = rules(hide, Rule("wide", unit="u", max_ms=5_000))
    new = rules(Rule("narrow", unit="u", role="auditor", max_ms=5_000))
    assert loosenings(old, new) == [
        "every class, unit u, label x, role auditor: may be destroyed, no longer hide after 5s"
    ]


def test_a_mode_that_rules_share_is_seen_where_both_meet() -> None:
    kept = Rule("a", label="x", recall="hide")
    old = rules(Rule("b", unit="u", recall="destroy"), kept)
    new = rules(Rule("b", unit="u", recall="destroy"))
    assert loosenings(old, new) == [
        "every class, unit u, label x: recall is destroy instead of hide"
    ]


def test_a_reason_is_told_where_it_is_and_not_again_wherever_it_shows() -> None:
    many = [Rule(f"r{n}", label=f"l{n}", min_ms=5_000) for n in range(6)]
    assert loosenings(rules(BASE, *many), rules(changed(min_ms=0), *many)) == [
        "every class: kept for no time instead of 2y",
        *(f"every class, label l{n}: kept for 5s instead of 2y" for n in range(6)),
    ]


# --- the promise: without a reason told, nothing ends earlier -------------------------------------


def destroyed_at_ms(policies: Policies, facts: Facts, times_ms: list[int]) -> int | None:
    """Return the first of these times at which the record would be destroyed."""
    bounds = policies.bounds(facts.pos, facts.filings, facts.standings)
    for now_ms in times_ms:
        if decide(facts, bounds, now_ms).outcome is Outcome.DESTROY:
            return now_ms
    return None


def turning_points(policies: Policies, facts: Facts) -> set[int]:
    bounds = policies.bounds(facts.pos, facts.filings, facts.standings)
    due = first_due(facts, bounds)
    born_ms = facts.born_hi_ms or 0
    return {0, 99_000, born_ms, born_ms + bounds.min_ms} | ({due.at_ms} if due else set())


def check(old: Policy, new: Policy, facts: Facts) -> None:
    alone = Policies().add(1, 5, old)
    both = alone.add(2, 20, new)
    times_ms = sorted(turning_points(alone, facts) | turning_points(both, facts))
    earliest_ms = destroyed_at_ms(both, facts, times_ms)
    if earliest_ms is not None:
        before_ms = destroyed_at_ms(alone, facts, times_ms)
        assert before_ms is not None
        assert before_ms <= earliest_ms
        kept = alone.bounds(facts.pos, facts.filings, facts.standings).metadata == "keep"
        now = both.bounds(facts.pos, facts.filings, facts.standings).metadata
        assert now == "keep" or not kept


# One field of one rule, a rule more or a rule less: most such steps loosen nothing at all.
changes = st.one_of(
    st.tuples(st.just("drop"), st.integers(0, 3), st.none()),
    st.tuples(st.just("add"), st.integers(0, 3), strategies.rules),
    st.tuples(
        st.sampled_from(sorted(set(Rule.__struct_fields__) - {"name", "basis"})),
        st.integers(0, 3),
        strategies.rules,
    ),
)


def alter(policy: Policy, what: str, index: int, rule: Rule | None) -> Policy:
    found = list(policy.rules)
    index = min(index, len(found) - 1)
    if what == "add" or index < 0:
        found += [rule] if rule else []
    elif what == "drop":
        del found[index]
    else:
        found[index] = msgspec.structs.replace(found[index], **{what: getattr(rule, what)})
    return strategies.named(found)


@settings(max_examples=400)
@given(
    strategies.policies,
    st.lists(changes, min_size=1, max_size=3),
    st.lists(strategies.facts, min_size=6, max_size=6),
)
def test_what_loosens_nothing_ends_no_record_earlier(
    old: Policy, steps: list[tuple[str, int, Rule | None]], many: list[Facts]
) -> None:
    new = old
    for step in steps:
        new = alter(new, *step)
    if not loosenings(old, new):
        for facts in many:
            check(old, new, facts)


@settings(max_examples=100)
@given(strategies.policies, st.lists(strategies.facts, min_size=6, max_size=6))
def test_the_same_policy_again_changes_nothing(old: Policy, many: list[Facts]) -> None:
    assert loosenings(old, strategies.named(list(old.rules))) == []
    for facts in many:
        check(old, old, facts)
