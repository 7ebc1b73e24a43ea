"""What several matching rules ask for together."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.bounds import Bounds, Combination, End, bounds_of, is_match
from appliance.policy.rules import Policy, Rule
from tests.appliance.policy.strategies import policies

CHAT = Combination("surgery", "standard", frozenset(("trial",)), frozenset(("member",)))


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (Rule("a"), True),
        (Rule("a", unit="surgery"), True),
        (Rule("a", unit="trading"), False),
        (Rule("a", kind="standard"), True),
        (Rule("a", kind="record"), False),
        (Rule("a", label="trial"), True),
        (Rule("a", label="study"), False),
        (Rule("a", role="member"), True),
        (Rule("a", role="auditor"), False),
        (Rule("a", "surgery", "standard", "trial", "member"), True),
        (Rule("a", "surgery", "standard", "trial", "auditor"), False),
    ],
)
def test_a_rule_matches_when_all_its_selectors_fit(rule: Rule, matches: bool) -> None:
    assert is_match(rule, CHAT) is matches


def test_the_trail_matches_only_rules_that_name_it() -> None:
    trail = CHAT._replace(kind="audit")
    assert not is_match(Rule("a"), trail)
    assert is_match(Rule("a", kind="audit"), trail)
    assert not is_match(Rule("a"), CHAT._replace(kind="control"))
    assert is_match(Rule("a"), CHAT._replace(kind=""))


def test_nothing_is_asked_where_no_rule_matches() -> None:
    assert bounds_of([Rule("a", kind="record", min_ms=5)], CHAT) == Bounds()
    assert Bounds().max_ms is None


def test_the_longest_minimum_and_the_shortest_maximum_count() -> None:
    rules = [Rule("a", min_ms=5, max_ms=30), Rule("b", min_ms=9, max_ms=20), Rule("c", max_ms=25)]
    bounds = bounds_of(rules, CHAT, version=3)
    assert (bounds.min_ms, bounds.min_rule, bounds.min_version) == (9, "b", 3)
    assert bounds.ends == (End("age", 20, "destroy", "b"),)
    assert bounds.max_ms == 20


def test_a_maximum_below_the_minimum_counts_as_the_minimum() -> None:
    assert bounds_of([Rule("a", min_ms=50), Rule("b", max_ms=20)], CHAT).max_ms == 50


def test_each_trigger_has_its_own_maximum() -> None:
    rules = [
        Rule("a", max_ms=30),
        Rule("b", max_ms=20, trigger="closed"),
        Rule("c", max_ms=10, trigger="case_closed", action="review"),
        Rule("d", max_ms=40, trigger="closed", action="hide"),
        Rule("e", max_ms=1, trigger="never"),
    ]
    assert bounds_of(rules, CHAT).ends == (
        End("age", 30, "destroy", "a"),
        End("case_closed", 10, "review", "c"),
        End("closed", 20, "destroy", "b"),
    )
    assert bounds_of(rules, CHAT).max_ms == 10


@pytest.mark.parametrize("order", [1, -1])
def test_of_equal_maxima_the_action_that_keeps_more_counts(order: int) -> None:
    rules = [Rule(action, max_ms=9, action=action) for action in ("hide", "review", "destroy")]
    assert bounds_of(rules[::order], CHAT).ends[0].action == "hide"
    assert bounds_of(rules[1:][::order], CHAT).ends[0].action == "review"


@pytest.mark.parametrize(
    ("field", "lenient", "strict"),
    [
        ("recall", "destroy", "hide"),
        ("metadata", "destroy", "keep"),
        ("offline", "escrow", "wait"),
    ],
)
def test_where_rules_differ_what_keeps_more_wins(field: str, lenient: str, strict: str) -> None:
    one = msgspec.structs.replace(Rule("a"), **{field: lenient})
    other = msgspec.structs.replace(Rule("b"), **{field: strict})
    assert getattr(bounds_of([one], CHAT), field) == lenient
    assert getattr(bounds_of([other], CHAT), field) == strict
    assert getattr(bounds_of([one, other], CHAT), field) == strict
    assert getattr(bounds_of([other, one], CHAT), field) == strict


combinations = st.builds(
    Combination,
    st.sampled_from(["", "surgery", "trading"]),
    st.sampled_from(["", "standard", "record", "audit"]),
    st.frozensets(st.sampled_from(["trial", "study"])),
    st.frozensets(st.sampled_from(["member", "auditor"])),
)


@given(policies, policies, combinations)
def test_a_further_rule_never_shortens_a_minimum(
    one: Policy, other: Policy, where: Combination
) -> None:
    many = (*one.rules, *other.rules)
    assert bounds_of(many, where).min_ms >= bounds_of(one.rules, where).min_ms


@given(policies, policies, combinations)
def test_the_order_of_rules_does_not_matter(one: Policy, other: Policy, where: Combination) -> None:
    many = (*one.rules, *other.rules)
    assert _unnamed(bounds_of(many, where)) == _unnamed(bounds_of(many[::-1], where))


def _unnamed(bounds: Bounds) -> tuple[object, ...]:
    ends = [end[:3] for end in bounds.ends]
    return bounds.min_ms, ends, bounds.recall, bounds.metadata, bounds.offline
