"""Durations read strictly, print shortly, and a year is never too short."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.durations import (
    DAY_MS,
    LONGEST_MS,
    UNITS,
    YEAR_MS,
    DurationError,
    parse_duration,
    print_duration,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("30s", 30_000),
        ("15m", 900_000),
        ("12h", 43_200_000),
        ("180d", 180 * 86_400_000),
        ("6y", 6 * 366 * 86_400_000),
        ("1000y", LONGEST_MS),
    ],
)
def test_a_number_and_a_unit_are_a_duration(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds
    assert print_duration(milliseconds) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "0s", "5", "d", "1.5h", "-1d", "+1d", " 1d", "1d ", "1 d", "1d\n", "01d", "1h30m"),
        *("1D", "1w", "1ms", "1001y", "366001d", "9999999999999999s", "١d", "1ｄ"),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        parse_duration(text)


@given(st.integers(0, LONGEST_MS // 1_000).map(lambda seconds: seconds * 1_000))
def test_what_is_printed_reads_back(milliseconds: int) -> None:
    assert parse_duration(print_duration(milliseconds)) == milliseconds


@given(st.integers(1, 100_000), st.sampled_from(sorted(UNITS)))
def test_what_is_read_prints_no_longer(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    if number * UNITS[unit] > LONGEST_MS:
        return
    again = print_duration(parse_duration(text))
    assert parse_duration(again) == parse_duration(text)
    assert len(again) <= len(text)


@pytest.mark.parametrize("milliseconds", [-1_000, 1, 999, 1_001, LONGEST_MS + 1_000])
def test_what_has_no_text_is_refused(milliseconds: int) -> None:
    with pytest.raises(DurationError):
        print_duration(milliseconds)


@given(st.integers(1, 40), st.dates(date(1970, 1, 1), date(2100, 12, 28)))
def test_no_years_of_the_calendar_are_longer(years: int, start: date) -> None:
    day = 28 if (start.month, start.day) == (2, 29) else start.day
    first = start.replace(day=day)
    last = first.replace(year=first.year + years)
    assert parse_duration(f"{years}y") >= (last - first).days * DAY_MS
    assert years * YEAR_MS - (last - first).days * DAY_MS <= years * DAY_MS
