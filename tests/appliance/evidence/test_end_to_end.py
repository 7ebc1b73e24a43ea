"""The whole way: two officers agree, one exports, retention destroys, an outsider verifies."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.disposal.commands import ApproveRequest, RequestReview, Selection
from appliance.evidence import bundle, lines
from appliance.evidence.decide import Page, Reconstruct
from appliance.evidence.proofs import verify_export
from appliance.evidence.records import Gathered
from store.errors import PartGoneError
from tests.appliance.disposal.harness import DAY_MS, Hospital
from tests.appliance.evidence.archive import texts_of
from transports.wire.errors import Refusal
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
    return Hospital("alice", "bob", "carol", policy=CHAT)


def review(house: Hospital, hours: int = 24, **fields: Any) -> int:
    """Let dave ask for a review and erin approve it; return the request's number."""
    asked = house.officer("dave", RequestReview(Selection(**fields), hours, "complaint 12"))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    return int(asked.request)


def export(house: Hospital, request: int, **fields: Any) -> list[bytes]:
    found: list[bytes] = []
    after = ""
    while True:
        page = house.officer("dave", Page(request, after=after, **fields))
        sheet = bundle.page(house.site.ports.engine, house.site.core, page)
        found += sheet.lines
        after = sheet.after
        if not after:
            return found


def reconstruct(house: Hospital, request: int, message: Id) -> Gathered:
    chosen = house.officer("dave", Reconstruct(message.hex(), request))
    return bundle.reconstruct(house.site.ports.engine, house.site.core, chosen)


def of_type(found: list[bytes], kind: type[Any]) -> list[Any]:
    return [each for each in map(lines.decode, found) if isinstance(each, kind)]


def verify(house: Hospital, found: list[bytes]) -> bool:
    log = house.site.core.log
    return verify_export(found, log.origins[log.head.origin].verify_key).is_good


def test_edits_and_a_recall_are_reconstructed_until_the_class_lets_them_go(house: Hospital) -> None:
    room = house.group("alice", "bob")
    message = house.send("alice", room, "one")
    for text in ("two", "three", "four"):
        house.edit("alice", message, text)
    house.recall("alice", message)
    assert house.texts("bob", room) == [""]
    request = review(house, hours=720, conversations=(room.hex(),))
    gathered = reconstruct(house, request, message)
    assert texts_of(gathered.record) == ["one", "two", "three", "four"]
    assert gathered.record.state == "recalled"
    house.pass_days(29.5)
    assert reconstruct(house, request, message).record.versions
    request = review(house, conversations=(room.hex(),))
    house.pass_days(0.7)
    assert house.expire() == 1
    with pytest.raises(PartGoneError):
        reconstruct(house, request, message)


def test_an_export_before_and_after_a_destruction(house: Hospital) -> None:
    room = house.group("alice", "bob", title="Ward 3")
    old = house.send("alice", room, "CANARY old")
    house.react("bob", old, "+")
    house.pass_days(20)
    new = house.send("bob", room, "new")
    before = export(house, review(house, conversations=(room.hex(),)))
    assert verify(house, before)
    assert [each.id for each in of_type(before, lines.Record)] == [old.hex(), new.hex()]
    house.pass_days(11)
    assert house.expire() == 1
    after = export(house, review(house, conversations=(room.hex(),)), limit=1)
    assert verify(house, after)
    assert [each.id for each in of_type(after, lines.Record)] == [new.hex()]
    (stone,) = of_type(after, lines.Destroyed)
    assert (stone.id, stone.state) == (old.hex(), "destroyed")
    assert abs(stone.at - of_type(before, lines.Record)[0].at) <= DAY_MS
    assert b"CANARY" not in b"".join(after)
    assert verify(house, before)
    house.check()


def test_what_has_reached_its_end_is_shown_to_nobody(house: Hospital) -> None:
    room = house.group("alice", "bob")
    old = house.send("alice", room, "CANARY old")
    house.pass_days(31)
    house.send("alice", room, "new")
    request = review(house, conversations=(room.hex(),))
    found = export(house, request)
    assert verify(house, found)
    (stone,) = of_type(found, lines.Destroyed)
    assert (stone.id, stone.state) == (old.hex(), "expired")
    assert b"CANARY" not in b"".join(found)
    with pytest.raises(PartGoneError):
        reconstruct(house, request, old)


def test_one_officer_alone_reads_nothing(house: Hospital) -> None:
    room = house.group("alice", "bob")
    house.send("alice", room, "secret")
    asked = house.officer("dave", RequestReview(Selection((), (room.hex(),)), 24, "complaint"))
    for login, request in (("dave", asked.request), ("erin", asked.request), ("dave", 999)):
        with pytest.raises(Refusal):
            house.officer(login, Page(request))
    with pytest.raises(Refusal):
        house.officer("dave", ApproveRequest(asked.request, asked.digest))


def test_a_review_ends_in_the_middle_of_an_export(house: Hospital) -> None:
    room = house.group("alice", "bob")
    for number in range(3):
        house.send("alice", room, f"{number}")
    request = review(house, hours=1, conversations=(room.hex(),))
    page = house.officer("dave", Page(request, limit=1))
    sheet = bundle.page(house.site.ports.engine, house.site.core, page)
    house.clock.advance(3_601_000)
    with pytest.raises(Refusal, match=r"review\.over"):
        house.officer("dave", Page(request, after=sheet.after, limit=1))
