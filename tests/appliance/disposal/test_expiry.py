"""Records end when their time has come: not before, not what is held, and nothing stays behind."""

from __future__ import annotations

import pytest

from appliance.disposal.commands import (
    ExportLedger,
    PlaceHold,
    ReleaseHold,
    Selection,
    ShowCertificate,
)
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.ids import OpId
from store.tables import CALENDAR, FEED, TARGET, TIMELINE
from store.verifier import verify
from tests.appliance.disposal.harness import Hospital
from transports.wire import schema
from transports.wire.schema import Id

CHAT = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
"""


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", policy=CHAT)


def place(house: Hospital, message: Id) -> tuple[int, int]:
    found = house.core.conversations.place(OpId.unpack(message))
    assert found is not None
    origin, seq = found
    return origin, seq


def is_gone(house: Hospital, message: Id) -> bool:
    at = place(house, message)
    with house.reading() as reader:
        try:
            house.core.log.read(reader, *at)
        except PartGoneError:
            return True
    return False


def test_a_message_ends_after_its_maximum_and_not_before(house: Hospital) -> None:
    room = house.group("alice", "bob")
    old = house.send("alice", room, "old")
    house.pass_days(29)
    new = house.send("alice", room, "new")
    assert house.expire() == 0
    house.pass_days(2)
    assert house.expire() == 1
    assert is_gone(house, old)
    assert not is_gone(house, new)
    assert house.texts("bob", room) == ["new"]
    house.check()


def test_what_targets_a_message_goes_with_it(house: Hospital) -> None:
    room = house.group("alice", "bob")
    message = house.send("alice", room, "first")
    house.edit("alice", message, "second")
    house.react("bob", message, "+")
    house.pass_days(31)
    house.edit("alice", message, "third")
    house.pass_days(0.1)
    assert house.expire() == 1
    with house.reading() as reader:
        assert list(reader.range(*TARGET.span())) == []
        feed = house.core.conversations.get(room).pseudonym
        assert list(reader.range(*TIMELINE.span(feed))) == []
    house.check()


def test_nothing_of_a_destroyed_message_is_left_in_any_view(house: Hospital) -> None:
    room = house.group("alice", "bob")
    house.send("alice", room, "text")
    house.read_all("bob", room)
    with house.reading() as reader:
        before = sum(1 for _ in reader.range(*CALENDAR.span()))
    house.pass_days(31)
    house.expire()
    with house.reading() as reader:
        feed = house.core.conversations.get(room).pseudonym
        kinds = [house.core.log.read(reader, *row) for row in _rows(reader, feed)]
        assert before
        assert all(op.kind != 64 for op in kinds)
    house.check()
    house.reopen()
    house.check()
    assert house.texts("alice", room) == []


def _rows(reader: Reader, feed: int) -> list[tuple[int, int]]:
    return [FEED_ROW.unpack(value)[:2] for _, value in reader.range(*FEED.span(feed))]


def test_a_hold_keeps_and_its_release_by_two_lets_go(house: Hospital) -> None:
    room = house.group("alice", "bob")
    message = house.send("alice", room, "evidence")
    hold = house.officer("dave", PlaceHold("Case 1", Selection(persons=("bob",)), "court"))
    house.pass_days(60)
    assert house.expire() == 0
    assert not is_gone(house, message)
    first = house.officer("dave", ReleaseHold(hold.hold, "settled"))
    assert first.active
    assert house.expire() == 0
    second = house.officer("erin", ReleaseHold(hold.hold, "settled"))
    assert not second.active
    assert house.expire() == 1
    assert is_gone(house, message)
    house.check()


def test_a_retry_of_a_destroyed_message_is_told_so_and_resurrects_nothing(house: Hospital) -> None:
    room = house.group("alice", "bob")
    frame = schema.Send(1, house.number("alice"), schema.Body("text", "once"), conv=room)
    house.by("alice", frame)
    house.pass_days(31)
    house.expire()
    again = house.by("alice", frame)
    assert again.destroyed
    assert house.texts("bob", room) == []
    house.check()


def test_a_run_is_confirmed_with_a_certificate_that_verifies(house: Hospital) -> None:
    room = house.group("alice", "bob")
    for number in range(7):
        house.send("alice", room, f"text {number}")
    house.pass_days(31)
    assert house.expire() == 7
    (run,) = house.core.disposal.runs.values()
    assert run.confirmed is not None
    assert run.confirmed.state == "COMPLETE"
    assert run.confirmed.scope_size == run.confirmed.parts
    text = house.officer("frank", ShowCertificate(1)).text
    lines: list[str] = []
    after = ""
    while True:
        page = house.officer("frank", ExportLedger(after))
        lines += page.lines
        after = page.after
        if not after:
            break
    key = bytes(house.core.log.origins[house.core.log.head.origin].verify_key)
    report = verify(text, "\n".join(lines) + "\n", key)
    assert report
    assert "alice" not in text
