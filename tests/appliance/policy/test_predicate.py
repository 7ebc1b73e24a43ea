"""Which records a predicate means, for a hold and for an order, and its one written form."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.limits import HOLD_TOLERANCE_MS, PREDICATE_VALUES
from appliance.policy.predicate import (
    Predicate,
    PredicateError,
    Subject,
    canonical_json,
    from_json,
    is_empty,
    matches,
    matches_hold,
    normalised,
    problems,
)

ALICE, BOB, CAROL = (bytes((number,)) * 16 for number in (1, 2, 3))
WARD, DESK = (bytes((number,)) * 16 for number in (8, 9))
AT = 1_750_000_000_000

SUBJECT = Subject(
    ALICE,
    WARD,
    AT,
    frozenset((ALICE, BOB)),
    "surgery",
    frozenset(("surgery", "trading")),
    frozenset(("trial",)),
)

# What is selected; whether it matches by its author, and by its participants.
CASES: list[tuple[dict[str, Any], bool, bool]] = [
    ({}, False, False),
    ({"persons": (ALICE,)}, True, True),
    ({"persons": (BOB,)}, False, True),
    ({"persons": (CAROL,)}, False, False),
    ({"persons": (CAROL, ALICE)}, True, True),
    ({"persons": (CAROL, BOB)}, False, True),
    ({"units": ("surgery",)}, True, True),
    ({"units": ("trading",)}, False, True),
    ({"units": ("it",)}, False, False),
    ({"conversations": (WARD,)}, True, True),
    ({"conversations": (DESK,)}, False, False),
    ({"conversations": (DESK, WARD)}, True, True),
    ({"labels": ("trial",)}, True, True),
    ({"labels": ("study", "trial")}, True, True),
    ({"labels": ("study",)}, False, False),
    ({"from_ms": AT}, True, True),
    ({"from_ms": AT + 1}, False, False),
    ({"until_ms": AT + 1}, True, True),
    ({"until_ms": AT}, False, False),
    ({"from_ms": AT - 1, "until_ms": AT + 1}, True, True),
    ({"persons": (ALICE,), "conversations": (DESK,)}, False, False),
    ({"persons": (BOB,), "units": ("trading",)}, False, True),
    ({"persons": (BOB,), "units": ("it",)}, False, False),
    ({"persons": (ALICE,), "labels": ("study",)}, False, False),
    ({"units": ("surgery",), "until_ms": AT}, False, False),
]


@pytest.mark.parametrize(("fields", "author", "participant"), CASES)
def test_all_fields_must_match_and_one_value_of_each(
    fields: dict[str, Any], author: bool, participant: bool
) -> None:
    predicate = Predicate(**fields)
    assert matches(predicate, SUBJECT, people="author") is author
    assert matches(predicate, SUBJECT, people="participant") is participant


def test_an_author_who_left_is_still_a_participant() -> None:
    alone = Subject(ALICE, WARD, AT, frozenset((BOB,)), "surgery")
    assert matches(Predicate(persons=(ALICE,)), alone, people="participant")
    assert matches(Predicate(units=("surgery",)), alone, people="participant")


def test_a_hold_looks_a_day_further_at_both_ends_and_nothing_else_does() -> None:
    for predicate in (
        Predicate(from_ms=AT + HOLD_TOLERANCE_MS),
        Predicate(until_ms=AT - HOLD_TOLERANCE_MS + 1),
    ):
        assert matches_hold(predicate, SUBJECT)
        assert not matches(predicate, SUBJECT, people="participant")
    assert not matches_hold(Predicate(from_ms=AT + HOLD_TOLERANCE_MS + 1), SUBJECT)
    assert not matches_hold(Predicate(until_ms=AT - HOLD_TOLERANCE_MS), SUBJECT)
    assert matches_hold(Predicate(persons=(BOB,)), SUBJECT)


def test_an_empty_predicate_matches_nothing_even_in_a_hold() -> None:
    assert is_empty(Predicate())
    assert not matches_hold(Predicate(), SUBJECT)
    assert problems(Predicate())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"persons": (b"short",)}, "persons: an id has 16 bytes"),
        ({"conversations": (bytes(17),)}, "conversations: an id has 16 bytes"),
        ({"units": ("",)}, "units: 1 to 100 characters"),
        ({"labels": ("a" * 101,)}, "labels: 1 to 100 characters"),
        ({"labels": ("a",) * (PREDICATE_VALUES + 1)}, "labels: at most 1000"),
        ({"from_ms": 5, "until_ms": 5}, "dates: from must be before until"),
        ({"from_ms": -5}, "dates: Unix milliseconds"),
        ({"until_ms": 1 << 53}, "dates: Unix milliseconds"),
    ],
)
def test_a_predicate_that_may_not_be_used_says_why(fields: dict[str, Any], told: str) -> None:
    assert problems(Predicate(**fields)) == [told]


def test_nothing_is_wrong_with_a_usual_one() -> None:
    assert problems(Predicate(persons=(ALICE,), from_ms=5, until_ms=6)) == []


# --- the written form -----------------------------------------------------------------------------

ids = st.sampled_from([ALICE, BOB, CAROL, WARD, DESK])
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


predicates = st.builds(
    Predicate,
    persons=some(ids),
    conversations=some(ids),
    units=some(texts),
    labels=some(texts),
    from_ms=st.integers(0, 1_000),
    until_ms=st.just(0) | st.integers(1_001, (1 << 53) - 1),
).filter(lambda predicate: not is_empty(predicate))

subjects = st.builds(
    Subject,
    author=ids,
    conversation=ids,
    at_ms=st.integers(0, 2_000),
    participants=st.frozensets(ids),
    author_unit=texts,
    units=st.frozensets(texts),
    labels=st.frozensets(texts),
)


def test_the_form_is_sorted_json_with_ids_in_hex() -> None:
    predicate = Predicate((BOB, ALICE, BOB), units=("手术",), from_ms=5)
    hexes = f'["{"01" * 16}","{"02" * 16}"]'
    assert canonical_json(predicate) == f'{{"from_ms":5,"persons":{hexes},"units":["手术"]}}'


@given(predicates)
def test_what_is_written_reads_back(predicate: Predicate) -> None:
    text = canonical_json(predicate)
    assert from_json(text) == normalised(predicate)
    assert canonical_json(from_json(text)) == text
    spaced = json.dumps(dict(reversed(json.loads(text).items())), indent=1)
    assert from_json(spaced) == normalised(predicate)


@given(predicates, subjects)
def test_the_written_form_means_the_same_records(predicate: Predicate, subject: Subject) -> None:
    again = from_json(canonical_json(predicate))
    for people in ("author", "participant"):
        found = matches(predicate, subject, people=people)
        assert matches(again, subject, people=people) is found


@given(predicates, subjects)
def test_a_hold_covers_whatever_an_order_would_destroy(
    predicate: Predicate, subject: Subject
) -> None:
    if matches(predicate, subject, people="author"):
        assert matches_hold(predicate, subject)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", "[" * 9_999, '{"persons":["zz"]}', '{"persons":"aa"}'),
        *('{"persons":["00"]}', '{"from_ms":"1"}', '{"from_ms":9,"until_ms":8}'),
        *('{"everything":true}', '{"units":[""]}'),
    ],
)
def test_any_other_text_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(PredicateError) as caught:
        from_json(text)
    assert "zz" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_of_it_shows_in_a_log() -> None:
    assert repr(Predicate(labels=("secret",))) == "<Predicate>"
    assert "surgery" not in repr(SUBJECT)


def test_a_predicate_survives_its_encoding() -> None:
    predicate = Predicate((ALICE,), (WARD,), ("u",), ("l",), 1, 2)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(predicate), type=Predicate) == predicate
