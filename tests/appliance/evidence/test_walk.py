"""Walks: every record that is meant, once, whatever the pages and whoever writes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.directory.commands import SetProfile
from appliance.evidence import walk
from tests.appliance.evidence.archive import Archive, parse, texts_of
from transports.wire import schema
from transports.wire.schema import Id

DAY_SECONDS = 86_400


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(monkeypatch, "alice", "bob", "carol")


@pytest.fixture
def busy(archive: Archive) -> dict[str, Id]:
    """Three conversations, with messages on three days."""
    convs = {
        "ward": archive.group("alice", "bob", title="Ward 3"),
        "pair": archive.direct("bob", "carol"),
        "all": archive.group("carol", "alice", "bob", title="All"),
    }
    for day in range(3):
        for name, conv in convs.items():
            for number in range(2):
                archive.say("bob", conv, f"{name} {day} {number}")
        archive.tick(DAY_SECONDS)
    return convs


EVERY = sorted(
    f"{name} {day} {n}" for name in ("ward", "pair", "all") for day in "012" for n in "01"
)


def of(*names: str) -> list[str]:
    return [each for each in EVERY if each.split()[0] in names]


def test_a_person_counts_who_wrote_or_was_there(archive: Archive, busy: dict[str, Id]) -> None:
    for login, names in (("alice", ("ward", "all")), ("carol", ("pair", "all"))):
        archive.approve(persons=(archive.person(login),))
        assert archive.exported() == of(*names)
    archive.approve(persons=(archive.person("bob"),))
    assert archive.exported() == EVERY


def test_a_person_counts_only_while_they_were_there(archive: Archive, busy: dict[str, Id]) -> None:
    ward = busy["ward"]
    archive.change("alice", ward, "add", person=Id(archive.person("carol")))
    archive.say("bob", ward, "with carol")
    archive.change("alice", ward, "remove", person=Id(archive.person("carol")))
    archive.say("bob", ward, "without carol")
    archive.approve(persons=(archive.person("carol"),), conversations=(ward,))
    (record,) = archive.records()
    assert texts_of(record) == ["with carol"]


def test_dates_units_and_labels_select(archive: Archive, busy: dict[str, Id]) -> None:
    start = archive.clock.wall_ms() - 3 * DAY_SECONDS * 1_000
    archive.approve(from_ms=start + 1, until_ms=start + 2 * DAY_SECONDS * 1_000)
    assert archive.exported() == [each for each in EVERY if each.split()[1] == "1"]
    archive.do(SITE, SetProfile("carol", unit="Ward 4"))
    archive.approve(units=("Ward 4",))
    assert archive.exported() == of("pair", "all")
    archive.approve(labels=("trial",))
    assert archive.exported() == []
    archive.approve(units=("Ward 5",))
    assert archive.exported() == []


def test_all_fields_must_match(archive: Archive, busy: dict[str, Id]) -> None:
    alice = archive.person("alice")
    archive.approve(persons=(alice,), conversations=(busy["ward"], busy["pair"]))
    assert archive.exported() == of("ward")
    archive.approve(persons=(alice,), conversations=(busy["pair"],))
    assert archive.exported() == []


@settings(max_examples=15)
@given(limit=st.integers(1, 20), by_day=st.booleans(), start=st.sampled_from(["date", "person"]))
def test_pages_of_any_size_hold_the_same_records_in_the_same_order(
    limit: int, by_day: bool, start: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        archive = Archive(monkeypatch, "alice", "bob", "carol")
        fill(archive)
        people: dict[str, Any] = {"persons": (archive.person("bob"),)}
        archive.approve(**(people if start == "person" else {"from_ms": 1}))
        whole = [each.id for each in archive.records()]
        pages = list(archive.sheets(limit=limit, by_day=by_day))
    parsed = [line for sheet in pages for line in parse(list(sheet.lines))]
    assert [each.id for each in parsed if hasattr(each, "versions")] == whole
    assert len(whole) == 12
    counts = [sum(hasattr(each, "versions") for each in parse(list(p.lines))) for p in pages]
    assert max(counts) <= limit
    assert [sheet.progress for sheet in pages] == sorted(sheet.progress for sheet in pages)
    if by_day:
        for sheet in pages:
            records = [each for each in parse(list(sheet.lines)) if hasattr(each, "versions")]
            days = {(each.conversation, each.at // (DAY_SECONDS * 1_000)) for each in records}
            assert len(days) <= 1
            assert bool(records) == (sheet.group is not None)


def fill(archive: Archive) -> None:
    convs = [archive.group("alice", "bob"), archive.direct("bob", "carol")]
    for _day in range(3):
        for conv in convs:
            for number in range(2):
                archive.say("bob", conv, f"{number}")
        archive.tick(DAY_SECONDS)


def test_a_page_may_be_empty_when_much_is_looked_through(
    archive: Archive, busy: dict[str, Id], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE_WALKED", 2)
    archive.approve(from_ms=1, persons=(archive.person("alice"),))
    assert archive.exported() == of("ward", "all")
    archive.approve(labels=("none",))
    assert archive.exported() == []
    archive.approve(from_ms=archive.clock.wall_ms())
    pages = list(archive.sheets())
    assert [sheet.tally.records for sheet in pages] == [0] * len(pages)
    assert len(pages) > len(EVERY) / 2


def test_a_heavy_record_fills_a_page(
    archive: Archive, busy: dict[str, Id], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE_BYTES", 1)
    archive.approve(from_ms=1)
    pages = list(archive.sheets())
    assert len(pages) >= len(EVERY)
    assert pages[-1].tally.records == len(EVERY)


def test_edits_count_for_the_weight_of_a_record(
    archive: Archive, busy: dict[str, Id], monkeypatch: pytest.MonkeyPatch
) -> None:
    msg = archive.say("bob", busy["pair"], "x").msg
    assert msg is not None
    archive.say("bob", busy["pair"], "y")
    for _ in range(9):
        edit = schema.Edit(1, archive.number("bob"), msg, schema.Body("text", "z" * 100))
        archive.by("bob", edit)
    monkeypatch.setattr(walk, "PAGE_BYTES", 9_000)
    archive.approve(conversations=(busy["pair"],), from_ms=archive.clock.wall_ms())
    assert [sheet.tally.records for sheet in archive.sheets()][:2] == [1, 2]


def test_what_is_written_after_the_start_is_left_out(archive: Archive, busy: dict[str, Id]) -> None:
    archive.approve(from_ms=1)
    sheets = archive.sheets(limit=5)
    lines = [*next(sheets).lines]
    for conv in busy.values():
        archive.say("bob", conv, "too late")
    archive.say("alice", archive.direct("alice", "carol"), "too late")
    lines += [line for sheet in sheets for line in sheet.lines]
    records = [each for each in parse(lines) if hasattr(each, "versions")]
    assert sorted(texts_of(each)[0] for each in records) == EVERY


def test_an_export_goes_on_after_a_restart(archive: Archive, busy: dict[str, Id]) -> None:
    archive.approve(from_ms=1)
    sheet = archive.page(limit=4)
    records = parse(list(sheet.lines))
    while sheet.after:
        archive.reopen()
        sheet = archive.page(sheet.after, limit=4)
        records += parse(list(sheet.lines))
    found = [each for each in records if hasattr(each, "versions")]
    assert sorted(texts_of(each)[0] for each in found) == EVERY
