"""The life of an urgent message as plain state."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appliance.limits import REPEAT_SECONDS
from appliance.messaging import urgency
from appliance.messaging.urgency import Urgent
from store.tables import URGENT

ALICE, BOB, CAROL = b"a" * 16, b"b" * 16, b"c" * 16


def begun(duty: bytes = b"", *waiting: bytes) -> Urgent:
    people = frozenset(waiting or (BOB, CAROL))
    return Urgent((1, 9), 77, b"v" * 16, ALICE, duty, people, people, 0, 0, 1000, 121_000)


def test_everybody_must_confirm_but_for_a_duty_anybody_does() -> None:
    first = begun().confirmed(BOB)
    assert first is not None
    assert first.waiting == {CAROL}
    assert first.confirmed(BOB) == first
    assert first.confirmed(CAROL) is None
    assert begun(b"d" * 16).confirmed(BOB) is None


def test_who_leaves_is_not_waited_for() -> None:
    assert begun(b"", BOB).without(BOB) is None
    left = begun().without(BOB)
    assert left is not None
    assert left.waiting == {CAROL}


@given(st.integers(1, 10**12), st.integers(0, 1000))
def test_it_is_due_at_the_repetition_or_when_the_step_ends(now: int, seconds: int) -> None:
    due = replace(begun(), step_ms=now).next_ms(now, seconds)
    expected = min(seconds, REPEAT_SECONDS) if seconds else REPEAT_SECONDS
    assert due == now + expected * 1000


def test_a_repetition_counts_and_a_step_starts_anew() -> None:
    repeated = begun(b"d" * 16).repeated(121_000, 300)
    assert (repeated.repeats, repeated.step, repeated.due_ms) == (1, 0, 241_000)
    passed = repeated.passed_on(CAROL, 301_000, 300)
    assert passed is not None
    assert (passed.repeats, passed.step, passed.step_ms) == (0, 1, 301_000)
    assert CAROL in passed.asked
    assert passed.passed_on(ALICE, 600_000, 300) is None
    assert begun().passed_on(BOB, 600_000, 0) is None


def test_the_row_says_when_it_is_due_and_where_it_stands() -> None:
    state = replace(begun(), step=3, repeats=2, copies=((1, 20), (1, 30)))
    key, value = state.row()
    assert URGENT.columns(key) == (121_000, 1, 9)
    assert urgency.unpack(value) == (3, 2, 1000)
    assert (state.current, begun().current) == ((1, 30), (1, 9))
