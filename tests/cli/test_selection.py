"""Which records are meant: dates that leave nothing to guess, and a selection said back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from appliance.disposal.commands import Selection
from cli.selection import CONVERSATION_ID, MOMENT, in_words, selecting

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(1, LAST_MS), ZONES)
def test_a_moment_with_its_zone_is_that_moment(milliseconds: int, zone: timezone) -> None:
    moment = (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)
    assert MOMENT.convert(moment.isoformat(timespec="milliseconds"), None, None) == milliseconds


@given(st.dates(date(1970, 1, 2)))
def test_a_date_is_its_first_moment_in_utc(day: date) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert MOMENT.convert(day.isoformat(), None, None) == round(start.timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T08:30Z", "2026-11-24t08:30z", "2026-11-24 09:30+01:00", "2026-11-24T08:30:00.0Z"],
)
def test_spellings_of_one_moment(text: str) -> None:
    assert MOMENT.convert(text, None, None) == 1_795_509_000_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-24T08:30", "has no time zone"),
        ("2026-11-24 08:30:00", "has no time zone"),
        ("24.11.2026", "is no date"),
        ("20261124", "is no date"),
        ("2026-W48-2", "is no date"),
        ("yesterday", "is no date"),
        ("", "is no date"),
        ("2026-11-24T08:30Z ", "is no date"),
        ("２０２６-11-24", "is no date"),
        ("2026-02-30", "is not in the calendar"),
        ("2026-11-24T25:00Z", "is not in the calendar"),
        ("0001-01-01T00:00+14:00", "is not in the calendar"),
        ("9999-12-31T23:59-14:00", "is not in the calendar"),
        ("1970-01-01", "must be after 1970-01-01"),
        ("1969-07-20", "must be after 1970-01-01"),
    ],
)
def test_what_is_no_moment_is_told_why(text: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        MOMENT.convert(text, None, None)


def test_a_conversation_is_32_hex_digits() -> None:
    assert CONVERSATION_ID.convert("AB" * 16, None, None) == "ab" * 16
    for text in ("ab", "zz" * 16, "ab" * 17, "ward 3"):
        with pytest.raises(click.BadParameter, match="no id of a conversation"):
            CONVERSATION_ID.convert(text, None, None)


def chosen(*arguments: str) -> tuple[Selection | None, str]:
    """Return what these options choose, or what is told about them."""
    found: list[Selection] = []

    @click.command("choose")
    @selecting
    def choose(selection: Selection) -> None:
        found.append(selection)

    done = CliRunner().invoke(choose, list(arguments))
    return (found[0] if found else None), done.output


def test_options_choose_what_they_name_once() -> None:
    conversation = "5f0c6d1e9ab34c77815d2f60b7a3e914"
    made, _ = chosen(
        *("--person", "bob", "--person", "al", "--person", "bob"),
        *("--conversation", conversation.upper(), "--unit", "Ward 3", "--label", "x"),
        *("--from", "2026-01-01", "--until", "2026-01-02T00:00+01:00"),
    )
    assert made == Selection(
        ("bob", "al"), (conversation,), ("Ward 3",), ("x",), 1_767_225_600_000, 1_767_308_400_000
    )


def test_nothing_chosen_is_refused() -> None:
    made, told = chosen()
    assert made is None
    assert "say which records" in told


@pytest.mark.parametrize("until", ["2026-01-01", "2025-12-31"])
def test_an_end_that_is_not_later_is_refused(until: str) -> None:
    made, told = chosen("--from", "2026-01-01", "--until", until)
    assert made is None
    assert "--until must be later than --from" in told


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"persons": ["bob", "al"], "units": ["Ward 3"]}, "person bob or al, unit Ward 3"),
        ({"conversations": ["5f"], "labels": ["x"]}, "conversation 5f, label x"),
        (
            {"persons": [], "from_at": 1_767_225_600_000, "until_at": 1_767_308_400_000},
            "from 2026-01-01 00:00:00 UTC, before 2026-01-01 23:00:00 UTC",
        ),
        ({"from_ms": 1_767_225_600_000}, "from 2026-01-01 00:00:00 UTC"),
        ({}, "nothing"),
    ],
)
def test_a_selection_is_said_in_words(selection: dict[str, object], words: str) -> None:
    assert in_words(selection) == words
