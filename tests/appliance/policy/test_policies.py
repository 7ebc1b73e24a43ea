"""All versions together: no change, of anything, ever lowers a minimum that runs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy import policies as module
from appliance.policy.bounds import Combination, bounds_of
from appliance.policy.policies import FOREVER, Filing, Policies, Standing
from appliance.policy.rules import Policy, RetentionClass, Rule
from tests.appliance.policy import strategies

RECORD = RetentionClass(16, "record")
STANDARD = (Filing(2),)
NOBODY = (Standing(),)


def policy(min_ms: int, max_ms: int = 0, **selectors: Any) -> Policy:
    return Policy((Rule("rule", min_ms=min_ms, max_ms=max_ms, **selectors),), (RECORD,))


def test_before_any_policy_nothing_is_asked() -> None:
    bounds = Policies().bounds(1, STANDARD, NOBODY)
    assert (bounds.min_ms, bounds.max_ms) == (0, None)
    assert Policies().number == 0
    assert Policies().shortest_max_ms(2) is None


def test_a_stricter_minimum_counts_at_once_for_what_is_there() -> None:
    found = Policies().add(1, 10, policy(5)).add(2, 20, policy(9))
    assert found.bounds(1, STANDARD, NOBODY).min_ms == 9
    assert found.bounds(15, STANDARD, NOBODY).min_version == 2


def test_a_looser_minimum_counts_only_for_what_comes_after() -> None:
    found = Policies().add(1, 10, policy(9)).add(2, 20, policy(5))
    assert found.bounds(19, STANDARD, NOBODY).min_ms == 9
    assert found.bounds(19, STANDARD, NOBODY).min_version == 1
    assert found.bounds(20, STANDARD, NOBODY).min_ms == 5


def test_a_version_that_was_replaced_before_the_record_does_not_count() -> None:
    found = Policies().add(1, 10, policy(9)).add(2, 20, policy(5)).add(3, 30, policy(7))
    assert found.bounds(25, STANDARD, NOBODY).min_ms == 7
    assert found.bounds(35, STANDARD, NOBODY).min_version == 3


def test_the_maximum_is_the_present_one_but_never_below_the_minimum() -> None:
    found = Policies().add(1, 10, policy(9, 90)).add(2, 20, policy(5, 6))
    assert found.bounds(25, STANDARD, NOBODY).max_ms == 6
    assert found.bounds(15, STANDARD, NOBODY).max_ms == 9
    assert found.add(3, 30, policy(5)).bounds(15, STANDARD, NOBODY).max_ms is None


def test_another_class_does_not_lower_a_minimum_but_gives_its_maximum() -> None:
    rules = (Rule("record", kind="record", min_ms=9), Rule("chat", kind="standard", max_ms=4))
    found = Policies().add(1, 1, Policy(rules, (RECORD,)))
    moved = (Filing(16, until=20), Filing(2))
    assert found.bounds(20, moved, NOBODY).min_ms == 9
    assert found.bounds(20, moved, NOBODY).max_ms == 9
    assert found.bounds(21, moved, NOBODY).min_ms == 0
    assert found.bounds(21, moved, NOBODY).max_ms == 4


def test_taking_a_label_off_does_not_lower_a_minimum() -> None:
    found = Policies().add(1, 1, policy(9, label="trial"))
    labelled = (Filing(2, ("trial",), 20), Filing(2))
    assert found.bounds(20, labelled, NOBODY).min_ms == 9
    assert found.bounds(21, labelled, NOBODY).min_ms == 0


@pytest.mark.parametrize("selector", [{"unit": "surgery"}, {"role": "auditor"}])
def test_moving_the_author_does_not_lower_a_minimum(selector: dict[str, Any]) -> None:
    found = Policies().add(1, 1, policy(9, **selector))
    moved = (Standing("surgery", frozenset(("auditor",)), 20), Standing())
    assert found.bounds(20, STANDARD, moved).min_ms == 9
    assert found.bounds(21, STANDARD, moved).min_ms == 0


def test_a_class_is_known_by_the_name_that_any_version_gave_it() -> None:
    found = Policies().add(1, 1, policy(0)).add(2, 2, Policy((), (RetentionClass(17, "x"),)))
    assert found.class_numbers() == {"control": 0, "audit": 1, "standard": 2, "record": 16, "x": 17}
    assert [found.class_name(number) for number in (1, 16, 17, 99)] == ["audit", "record", "x", ""]


def test_versions_come_in_the_order_of_the_log() -> None:
    with pytest.raises(AssertionError):
        Policies().add(1, 10, policy(0)).add(2, 9, policy(0))


# --- against a model that goes through every position ---------------------------------------------

versions = st.lists(st.tuples(strategies.policies, st.integers(1, 15)), max_size=3)
filings = strategies.histories(strategies.filings)
standings = strategies.histories(strategies.standings)


def build(found: list[tuple[Policy, int]]) -> Policies:
    policies, pos = Policies(), 0
    for number, (each, later) in enumerate(found, 1):
        pos += later
        policies = policies.add(number, pos, each)
    return policies


def at(periods: tuple[module.Filing | module.Standing, ...], pos: int) -> int:
    return next(index for index, each in enumerate(periods) if each.until >= pos)


@given(versions, st.integers(1, 40), filings, standings)
def test_whatever_applied_at_any_moment_goes_on_to_apply(
    found: list[tuple[Policy, int]],
    pos: int,
    filings: tuple[Filing, ...],
    standings: tuple[Standing, ...],
) -> None:
    policies = build(found)
    bounds = policies.bounds(pos, filings, standings)
    for moment in range(pos, 60):
        in_force = [version for version in policies.versions if version.pos <= moment]
        if not in_force:
            continue
        filing, standing = filings[at(filings, moment)], standings[at(standings, moment)]
        where = Combination(
            standing.unit,
            policies.class_name(filing.retention_class),
            frozenset(filing.labels),
            standing.roles,
        )
        then = bounds_of(in_force[-1].policy.rules, where)
        assert bounds.min_ms >= then.min_ms
        if moment == 59:
            assert bounds.ends == then.ends
            assert (bounds.recall, bounds.metadata) == (then.recall, then.metadata)


@given(versions, strategies.policies, st.integers(1, 40), filings, standings)
def test_no_further_version_lowers_a_minimum(
    found: list[tuple[Policy, int]],
    new: Policy,
    pos: int,
    filings: tuple[Filing, ...],
    standings: tuple[Standing, ...],
) -> None:
    policies = build(found)
    after = policies.add(len(found) + 1, 50, new)
    before = policies.bounds(pos, filings, standings)
    assert after.bounds(pos, filings, standings).min_ms >= before.min_ms


@given(versions, st.integers(1, 40), filings, strategies.filings, standings)
def test_no_further_filing_lowers_a_minimum(
    found: list[tuple[Policy, int]],
    pos: int,
    filings: tuple[Filing, ...],
    new: Filing,
    standings: tuple[Standing, ...],
) -> None:
    policies = build(found)
    moved = (*filings[:-1], filings[-1]._replace(until=50), new)
    before = policies.bounds(pos, filings, standings)
    assert policies.bounds(pos, moved, standings).min_ms >= before.min_ms


@given(versions, filings, standings, st.sampled_from([1, 2, 16, 17]))
def test_no_record_of_a_class_ends_before_the_shortest_maximum(
    found: list[tuple[Policy, int]],
    filings: tuple[Filing, ...],
    standings: tuple[Standing, ...],
    number: int,
) -> None:
    policies = build(found)
    filed = (*filings[:-1], filings[-1]._replace(retention_class=number))
    max_ms = policies.bounds(1, filed, standings).max_ms
    shortest_ms = policies.shortest_max_ms(number)
    if max_ms is not None:
        assert shortest_ms is not None
        assert shortest_ms <= max_ms


# --- the cache --------------------------------------------------------------------------------


@given(versions, st.lists(st.tuples(st.integers(1, 40), filings, standings), max_size=6))
def test_what_was_asked_before_does_not_change_an_answer(
    found: list[tuple[Policy, int]],
    asked: list[tuple[int, tuple[Filing, ...], tuple[Standing, ...]]],
) -> None:
    policies = build(found)
    for question in asked:
        assert policies.bounds(*question) == build(found).bounds(*question)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUNDS_CACHED", 10)
    found = Policies().add(1, 1, policy(9, unit="u7"))
    for number in range(100):
        bounds = found.bounds(1, STANDARD, (Standing(f"u{number}"),))
        assert bounds.min_ms == (9 if number == 7 else 0)
        assert len(found._cache) <= 10


def test_the_same_question_is_worked_out_once() -> None:
    found = Policies().add(1, 1, policy(9))
    first = found.bounds(5, STANDARD, NOBODY)
    earlier = (Filing(16, until=4), Filing(2, until=FOREVER))
    assert found.bounds(7, earlier, NOBODY) is first
