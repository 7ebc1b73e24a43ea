"""Pages: header first, signature last, and one hash over all lines between."""

from __future__ import annotations

import msgspec
import pytest

from appliance.evidence import bundle, lines
from appliance.evidence.proofs import verify_export
from store.vault import StaleSnapshotError
from tests.appliance.evidence.archive import REVIEW, Archive, parse
from transports.wire import schema
from transports.wire.schema import Id


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(monkeypatch, "alice", "bob")


@pytest.fixture
def ward(archive: Archive) -> Id:
    conv = archive.group("alice", "bob", title="Ward 3")
    for number in range(5):
        archive.say("alice", conv, f"{number}")
    archive.close_segments()
    archive.approve(conversations=(conv,), from_ms=1)
    return conv


def test_the_header_tells_who_asked_for_what_and_what_was_approved(
    archive: Archive, ward: Id
) -> None:
    asked = {"persons": ("alice",), "until_ms": 1 << 50}
    header, *_ = parse(archive.export(selection=asked, reason="complaint 12"))
    assert isinstance(header, lines.Header)
    log = archive.site.core.log
    assert (header.site, header.node, header.request) == ("House", log.node.hex(), REVIEW)
    assert header.sites == (lines.SiteKey(log.node.hex(), archive.site_key.hex()),)
    assert (header.by.login, header.reason) == ("dave", "complaint 12")
    assert header.started_at == archive.clock.wall_ms()
    assert [each.login for each in header.asked.persons] == ["alice"]
    assert (header.asked.until_at, header.asked.conversations) == (1 << 50, ())
    assert (header.approved.conversations, header.approved.from_at) == ((ward.hex(),), 1)


@pytest.mark.parametrize("limit", range(1, 7))
def test_an_export_verifies_whatever_its_pages(archive: Archive, ward: Id, limit: int) -> None:
    for by_day in (False, True):
        found = archive.export(limit=limit, by_day=by_day)
        verdict = verify_export(found, archive.site_key)
        assert (verdict.findings, verdict.tally.records) == ((), 5)


def test_an_empty_export_is_complete_too(archive: Archive) -> None:
    archive.approve(labels=("none",))
    found = archive.export()
    assert [type(each) for each in parse(found)] == [lines.Header, lines.End]
    assert verify_export(found, archive.site_key).is_good


def test_pages_of_two_exports_do_not_mix(archive: Archive, ward: Id) -> None:
    one = [*archive.sheets(limit=3)]
    archive.by("bob", schema.Got(archive.listed("bob")[ward].pos))
    two = [*archive.sheets(limit=3)]
    mixed = [*one[0].lines, *(line for sheet in two[1:] for line in sheet.lines)]
    assert not verify_export(mixed, archive.site_key).is_good


def test_a_page_may_be_asked_for_again(archive: Archive, ward: Id) -> None:
    first = archive.page(limit=2)
    again = [archive.page(first.after, limit=2) for _ in range(2)]
    assert again[0] == again[1]
    rest = again[1]
    found = [*first.lines, *rest.lines]
    while rest.after:
        rest = archive.page(rest.after, limit=2)
        found += rest.lines
    assert verify_export(found, archive.site_key).is_good
    assert len(archive.reads()) == 1 + 2 + 2 * 2 + 1


def test_a_conversation_is_told_once_or_for_each_day(archive: Archive, ward: Id) -> None:
    def told(by_day: bool) -> int:
        found = parse(archive.export(limit=2, by_day=by_day))
        return sum(isinstance(each, lines.Conversation) for each in found)

    assert (told(by_day=False), told(by_day=True)) == (1, 3)


def test_the_group_of_a_page_is_its_conversation_and_day(archive: Archive, ward: Id) -> None:
    groups = [sheet.group for sheet in archive.sheets(limit=4)]
    assert groups == [(ward.hex(), "2025-06-15"), (ward.hex(), "2025-06-15"), None]


def test_it_is_made_again_when_keys_died_meanwhile(
    archive: Archive, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = bundle._page, []

    def stale_once(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise StaleSnapshotError("keys were destroyed")
        return make(*arguments)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(bundle, "_page", stale_once)
    assert archive.page().tally.records == 5
    assert len(calls) == 2


def test_the_end_is_signed_by_the_site_alone(archive: Archive, ward: Id) -> None:
    found = archive.export()
    end = lines.decode(found[-1])
    assert isinstance(end, lines.End)
    forged = msgspec.structs.replace(end, signature=b"\0" * 64)
    assert not verify_export([*found[:-1], lines.encode(forged)], archive.site_key).is_good
