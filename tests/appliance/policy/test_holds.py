"""Active holds: the quick answer is the slow one, and a record asks few of many holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy import holds as module
from appliance.policy.holds import Holds
from appliance.policy.predicate import Predicate, Subject, matches_hold

PEOPLE = tuple(bytes((number,)) * 16 for number in range(4))
UNITS = ("surgery", "trading", "it")
LABELS = ("trial", "study")


def few(values: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


predicates = st.builds(
    Predicate,
    persons=few(PEOPLE),
    conversations=few(PEOPLE),
    units=few(UNITS),
    labels=few(LABELS),
    from_ms=st.sampled_from([0, 1_000_000_000]),
    until_ms=st.sampled_from([0, 2_000_000_000]),
)
subjects = st.builds(
    Subject,
    author=st.sampled_from(PEOPLE),
    conversation=st.sampled_from(PEOPLE),
    at_ms=st.integers(0, 3_000_000_000),
    participants=st.frozensets(st.sampled_from(PEOPLE)),
    author_unit=st.sampled_from(("", *UNITS)),
    units=st.frozensets(st.sampled_from(UNITS)),
    labels=st.frozensets(st.sampled_from(LABELS)),
)
SUBJECT = Subject(PEOPLE[0], PEOPLE[3], 5)


@given(st.dictionaries(st.integers(1, 99), predicates, max_size=8), subjects)
def test_the_holds_that_cover_a_record_are_those_that_match_it(
    active: dict[int, Predicate], subject: Subject
) -> None:
    slowly = sorted(n for n, each in active.items() if matches_hold(each, subject))
    assert Holds(active).covering(subject) == tuple(slowly)


ALL = Subject(
    author=PEOPLE[0],
    conversation=PEOPLE[3],
    at_ms=5,
    participants=frozenset(PEOPLE[1:2]),
    author_unit="surgery",
    units=frozenset(("trading",)),
    labels=frozenset(("trial",)),
)


@pytest.mark.parametrize(
    "predicate",
    [
        Predicate(persons=PEOPLE[:1]),
        Predicate(persons=PEOPLE[1:2]),
        Predicate(conversations=PEOPLE[3:]),
        Predicate(units=("surgery",)),
        Predicate(units=("trading",)),
        Predicate(labels=("trial",)),
        Predicate(until_ms=6),
    ],
)
def test_a_hold_is_found_by_whatever_it_names(predicate: Predicate) -> None:
    assert Holds({1: predicate}).covering(ALL) == (1,)
    stranger = Subject(b"?" * 16, b"?" * 16, 1 << 40)
    assert Holds({1: predicate}).covering(stranger) == ()


def test_a_hold_counts_from_its_placing_to_its_release() -> None:
    none = Holds()
    one = none.place(7, Predicate(persons=(PEOPLE[0],)))
    two = one.place(3, Predicate(until_ms=5))
    assert none.covering(SUBJECT) == ()
    assert one.covering(SUBJECT) == (7,)
    assert two.covering(SUBJECT) == (3, 7)
    assert two.release(7).covering(SUBJECT) == (3,)
    assert two.release(7).release(3).covering(SUBJECT) == ()
    assert one.release(99).covering(SUBJECT) == (7,)


def test_holds_tell_what_is_active() -> None:
    found = Holds({7: Predicate(until_ms=5)}).place(8, Predicate(until_ms=6))
    assert (len(found), 7 in found, 9 in found, sorted(found)) == (2, True, False, [7, 8])


def test_a_record_is_tried_against_few_of_a_thousand_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def counting(predicate: Predicate, subject: Subject) -> bool:
        tried.append(predicate)
        return matches_hold(predicate, subject)

    monkeypatch.setattr(module, "matches_hold", counting)
    active = {
        number: Predicate(persons=(number.to_bytes(16),), from_ms=1) for number in range(1, 1_000)
    }
    found = Holds({**active, 1_000: Predicate(conversations=(PEOPLE[3],))})
    assert found.covering(SUBJECT) == (1_000,)
    assert found.covering(SUBJECT) == (1_000,)
    assert len(tried) == 2
