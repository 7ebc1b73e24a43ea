"""Records: what an export tells of one message, its conversation and the people there."""

from __future__ import annotations

import pytest

from appliance.context import SITE
from appliance.directory.commands import SetProfile
from appliance.evidence import lines
from appliance.limits import REPEAT_SECONDS
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain
from appliance.positions import format_key
from tests.appliance.evidence.archive import Archive, parse, texts_of
from transports.wire import schema
from transports.wire.schema import Id


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(monkeypatch, "alice", "bob", "carol")
    made.approve(from_ms=1)
    return made


def contexts(archive: Archive) -> list[lines.Conversation]:
    return [each for each in parse(archive.export()) if isinstance(each, lines.Conversation)]


def test_a_record_tells_its_message(archive: Archive) -> None:
    ward = archive.group("alice", "bob", title="Ward 3")
    reply = archive.say("alice", ward, "first")
    archive.tick(5)
    archive.say("bob", ward, "second", reply=reply.msg, mentions=archive.ids("alice"))
    first, second = archive.records()
    assert reply.msg is not None
    assert (first.id, first.conversation, first.state) == (reply.msg.hex(), ward.hex(), "present")
    (version,) = second.versions
    assert (version.kind, version.by.login, version.by.name) == ("message", "bob", "Bob")
    assert version.device == archive.actor("bob").device.hex()
    assert version.at == first.at + 5_000
    assert version.content == {
        "kind": "text",
        "text": "second",
        "data": "",
        "priority": "normal",
        "reply": first.id,
        "mentions": [archive.person("alice").hex()],
        "duty": "",
    }


def test_a_context_tells_who_was_there_and_is_told_once(archive: Archive) -> None:
    ward = archive.group("alice", "bob", title="Ward 3")
    archive.do(SITE, SetProfile("bob", unit="Ward 3"))
    for text in ("one", "two"):
        archive.say("alice", ward, text)
    archive.change("alice", ward, "add", person=Id(archive.person("carol")))
    archive.say("alice", ward, "three")
    archive.change("alice", ward, "remove", person=Id(archive.person("bob")))
    archive.say("alice", ward, "four")
    found = contexts(archive)
    there = [[member.login for member in each.members] for each in found]
    assert [sorted(each) for each in there] == [
        ["alice", "bob"],
        ["alice", "bob", "carol"],
        ["alice", "carol"],
    ]
    assert {(each.title, each.kind, each.retention_class) for each in found} == {
        ("Ward 3", "group", 2)
    }
    (bob,) = [member for member in found[0].members if member.login == "bob"]
    assert (bob.name, bob.unit) == ("Bob", "Ward 3")
    assert [each.context for each in found] == [lines.named(each).context for each in found]


def test_receipts_are_counted_and_told_with_their_times(archive: Archive) -> None:
    ward = archive.group("alice", "bob", "carol", title="Ward 3")
    first = archive.say("alice", ward, "first")
    archive.tick(10)
    archive.read_all("bob", ward)
    at = archive.clock.wall_ms()
    archive.by("carol", schema.Got(archive.listed("carol")[ward].pos))
    archive.say("alice", ward, "second")
    read, unread = archive.records()
    assert (read.delivered, read.read) == (2, 1)
    assert (unread.delivered, unread.read) == (0, 0)
    (context,) = contexts(archive)
    marks = {each.login: each for each in context.members}
    assert (marks["bob"].read_key, marks["bob"].read_at) == (first.key, at)
    assert (marks["carol"].read_key, marks["carol"].delivered_key) == ("", first.key)
    assert marks["alice"].read_at == 0


def test_the_authors_own_mark_does_not_count(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    archive.say("bob", pair, "first")
    archive.say("alice", pair, "second")
    archive.read_all("alice", pair)
    first, second = archive.records()
    assert (first.read, second.read) == (1, 0)


def test_events_are_told_in_order_with_their_makers(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    msg = archive.say("alice", pair, "now", priority="urgent").msg
    assert msg is not None
    archive.by("bob", schema.React(1, archive.number("bob"), msg, "+", True))
    archive.tick(REPEAT_SECONDS)
    archive.by("bob", schema.Confirm(1, msg))
    archive.by("bob", schema.React(1, archive.number("bob"), msg, "+", False))
    archive.by("alice", schema.Recall(1, archive.number("alice"), msg))
    (record,) = archive.records()
    told = [(each.kind, each.by.login) for each in record.events]
    assert told == [
        ("reaction", "bob"),
        ("escalation", ""),
        ("confirm", "bob"),
        ("reaction", "bob"),
        ("recall", "alice"),
    ]
    assert [each.content for each in record.events][:2] == [
        {"emoji": "+", "on": True},
        {"to": "", "step": 0},
    ]
    assert record.state == "recalled"
    assert record.events[1].by.person == ""


def test_a_copy_is_a_record_of_its_own_and_an_event_of_the_first(archive: Archive) -> None:
    archive.do(SITE, CreateDuty("on-call", "On call"))
    archive.do(SITE, AssignDuty("on-call", "bob"))
    archive.do(SITE, SetChain("on-call", ("carol",), 60))
    frame = schema.Send(1, archive.number("alice"), schema.Body("text", "come"), to="duty:on-call")
    archive.by("alice", schema.Send(1, frame.n, frame.body, to=frame.to, priority="urgent"))
    archive.tick(60)
    original, copy = sorted(archive.records(), key=lambda each: each.key)
    assert (original.copy_of, copy.copy_of) == ("", original.id)
    assert [each.kind for each in original.events] == ["message", "escalation"]
    assert original.events[0].id == copy.id
    assert texts_of(copy) == ["come"]
    assert archive.reconstruct(bytes.fromhex(copy.id)).record == copy


def test_whose_name_is_not_known_is_told_by_id(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    archive.say("alice", pair, "first")
    directory = archive.site.core.directory
    directory._replace(archive.person("alice"), directory.person(archive.person("alice")), None)
    (record,) = archive.records()
    assert record.versions[0].by == lines.Named(archive.person("alice").hex(), "", "")


def test_a_body_that_is_gone_leaves_the_rest(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    msg = archive.say("alice", pair, "secret").msg
    assert msg is not None
    archive.destroy(msg, keep_envelope=True)
    (record,) = archive.records()
    assert record.state == "body_destroyed"
    (version,) = record.versions
    assert (version.content, version.proof.body, version.by.login) == (None, None, "alice")


def test_operations_of_which_nothing_is_left_are_counted(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    msg = archive.say("alice", pair, "first").msg
    assert msg is not None
    edited = archive.by(
        "alice", schema.Edit(1, archive.number("alice"), msg, schema.Body("text", "second"))
    ).msg
    archive.destroy(edited)
    (record,) = archive.records()
    assert (texts_of(record), record.lost) == (["first"], 1)


def test_keys_are_told_as_clients_know_them(archive: Archive) -> None:
    pair = archive.direct("alice", "bob")
    reply = archive.say("alice", pair, "first")
    (record,) = archive.records()
    assert record.key == reply.key == format_key(int(record.key, 16))
