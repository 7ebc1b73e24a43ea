"""Times in UTC that say so, and words for whatever the server answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.disposal.decide_slices import EXPIRY, HEADQUARTERS, ORDERED, RECALL
from appliance.policy import approvals
from appliance.policy.decision import Because, Outcome
from cli import wording


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "-"), (1_795_509_000_999, "2026-11-24 08:30:00 UTC"), (1, "1970-01-01 00:00:00 UTC")],
)
def test_a_time_is_utc_and_says_so(milliseconds: int, text: str) -> None:
    assert wording.utc(milliseconds) == text


@given(st.integers(1))
def test_no_time_is_beyond_words(milliseconds: int) -> None:
    assert wording.stamp(milliseconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (86_400, "1 day"),
        (172_800, "2 days"),
        (7_200, "2 hours"),
        (5_400, "90 minutes"),
        (60, "1 minute"),
        (61, "61 seconds"),
        (1, "1 second"),
        (0, "0 seconds"),
    ],
)
def test_a_span_is_said_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert wording.span(seconds) == text


def test_counts_have_their_plural() -> None:
    told = [wording.counted(number, "record") for number in (0, 1, 1_234)]
    assert told == ["0 records", "1 record", "1,234 records"]


def test_a_day_is_a_date() -> None:
    assert [wording.day(20_781), wording.day(0)] == ["2026-11-24", "not dated"]


def test_there_are_words_for_everything_that_can_be_said() -> None:
    assert set(wording.ACTS) == set(approvals.ACTS)
    assert set(wording.REQUEST_STATES) == {*approvals.State, "ready"}
    assert set(wording.OUTCOMES) == set(Outcome)
    assert set(wording.REASONS) == set(Because)
    assert set(wording.CAUSES) == {EXPIRY, RECALL, HEADQUARTERS, *ORDERED.values(), "decommission"}


def test_what_is_not_known_is_shown_as_it_is() -> None:
    assert wording.word(wording.ACTS, "novel") == "novel"
