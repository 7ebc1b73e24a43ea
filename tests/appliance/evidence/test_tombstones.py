"""Tombstones: what is destroyed is told, with its name and about its time; nothing else of it."""

from __future__ import annotations

import pytest

from appliance.evidence import lines, tombstones
from tests.appliance.evidence.archive import Archive, parse, texts_of
from transports.wire import schema
from transports.wire.schema import Id


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(monkeypatch, "alice", "bob", "carol")


@pytest.fixture
def ward(archive: Archive) -> Id:
    conv = archive.group("alice", "bob", title="Ward 3")
    archive.approve(conversations=(conv,))
    return conv


def say(archive: Archive, conv: Id, text: str) -> bytes:
    msg = archive.say("alice", conv, text).msg
    assert msg is not None
    return msg


def stones(archive: Archive) -> list[lines.Destroyed]:
    return [each for each in parse(archive.export()) if isinstance(each, lines.Destroyed)]


def test_a_destroyed_message_is_told_with_about_its_time(archive: Archive, ward: Id) -> None:
    say(archive, ward, "before")
    at = archive.clock.wall_ms()
    archive.tick(600)
    msg = say(archive, ward, "secret")
    archive.tick(600)
    say(archive, ward, "after")
    archive.destroy(msg)
    (stone,) = stones(archive)
    assert (stone.id, stone.conversation) == (msg.hex(), ward.hex())
    assert (stone.at, stone.state) == (at, "destroyed")
    assert [texts_of(each) for each in archive.records()] == [["before"], ["after"]]
    assert archive.reads()[-1].target != msg
    assert b"secret" not in b"".join(archive.export())


def test_its_edits_and_those_of_other_conversations_are_not_told(
    archive: Archive, ward: Id
) -> None:
    msg = say(archive, ward, "secret")
    edit = archive.by(
        "alice", schema.Edit(1, archive.number("alice"), Id(msg), schema.Body("text", "more"))
    ).msg
    other = say(archive, archive.direct("alice", "carol"), "elsewhere")
    for each in (msg, edit, other):
        archive.destroy(each)
    assert [each.id for each in stones(archive)] == [msg.hex()]


def test_they_are_found_page_by_page(
    archive: Archive, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [say(archive, ward, str(number)) for number in range(6)]
    for msg in messages[1:5]:
        archive.destroy(msg)
    whole = stones(archive)
    for rows in (1, 2, 3, 7):
        monkeypatch.setattr(tombstones, "DESTROYED_ROWS", rows)
        assert stones(archive) == whole
    assert [each.id for each in whole] == [each.hex() for each in messages[1:5]]
    assert {each.at for each in whole} == {archive.clock.wall_ms()}


def test_what_was_written_after_the_start_is_left_out(archive: Archive, ward: Id) -> None:
    archive.destroy(say(archive, ward, "early"))
    sheets = archive.sheets()
    first = next(sheets)
    late = say(archive, ward, "late")
    archive.destroy(late)
    found = parse([*first.lines, *(line for sheet in sheets for line in sheet.lines)])
    names = [each.id for each in found if isinstance(each, lines.Destroyed)]
    assert len(names) == 1
    assert late.hex() not in names


def test_dates_and_people_are_told_by_about_when_it_was(archive: Archive, ward: Id) -> None:
    early = say(archive, ward, "early")
    archive.tick(1_000)
    archive.change("alice", ward, "add", person=Id(archive.person("carol")))
    late = say(archive, ward, "late")
    archive.destroy(early)
    archive.destroy(late)
    archive.approve(persons=(archive.person("carol"),))
    assert [each.id for each in stones(archive)] == [late.hex()]
    archive.approve(until_ms=archive.clock.wall_ms())
    assert [each.id for each in stones(archive)] == [early.hex()]


def test_without_any_destruction_the_log_is_not_looked_through(
    archive: Archive, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(archive, ward, "one")
    monkeypatch.setattr(tombstones.Tombstones, "_scan", None)
    assert stones(archive) == []


def test_after_another_incarnation_both_are_looked_through(archive: Archive, ward: Id) -> None:
    first = say(archive, ward, "one")
    archive.act(lambda ctx: archive.site.core.log.renew(ctx.txn))
    second = say(archive, ward, "two")
    archive.destroy(first)
    archive.destroy(second)
    assert [each.id for each in stones(archive)] == [first.hex(), second.hex()]


def test_what_is_destroyed_while_a_page_is_made_becomes_a_tombstone(
    archive: Archive, ward: Id
) -> None:
    msg = say(archive, ward, "secret")
    selected = archive.select()
    archive.destroy(msg)
    sheet = archive.gather(selected)
    (stone,) = [each for each in parse(list(sheet.lines)) if isinstance(each, lines.Destroyed)]
    assert (stone.id, stone.at) == (msg.hex(), archive.clock.wall_ms())
    assert sheet.tally.destroyed == 1
