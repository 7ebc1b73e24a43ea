"""Two people agree to read others' conversations for a time; each record shown is a leaf."""

from __future__ import annotations

import pytest

from appliance.disposal.commands import ApproveRequest, ReadTrail, RequestReview, Selection
from appliance.evidence.decide import Page
from appliance.operations import Kind, decode
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import CHAT
from transports.wire.errors import Refusal


def reviewing(house: Hospital, hours: int = 2) -> int:
    command = RequestReview(Selection(persons=("alice",)), hours, "complaint 12")
    reply = house.officer("frank", command)
    house.officer("dave", ApproveRequest(reply.request, reply.digest))
    return int(reply.request)


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", "carol", policy=CHAT)


def test_a_review_shows_records_in_its_scope_and_leaves_a_leaf_for_each(house: Hospital) -> None:
    room = house.group("alice", "bob")
    first = house.send("alice", room, "one")
    house.edit("alice", first, "two")
    house.recall("alice", first)
    second = house.send("bob", room, "three")
    house.send("bob", house.group("bob", "carol"), "elsewhere")
    number = reviewing(house)
    before = house.core.log.ledger.size
    page = house.officer("frank", Page(number))
    assert [each.entry.id.pack() for each in page.found] == [first, second]
    reads = [op for op in house.ops if op.kind == Kind.PRIVILEGED_READ]
    assert {decode(op.kind, op.body or b"").target for op in reads} >= {first, second}  # type: ignore[attr-defined]
    assert house.core.log.ledger.size >= before + 2
    trail = house.officer("frank", ReadTrail(after=before - 1))
    assert f"export of record {first.hex()}" in [entry.detail for entry in trail.entries]
    house.check()


def test_a_review_needs_both_and_ends_with_its_time(house: Hospital) -> None:
    house.send("alice", house.group("alice", "bob"), "one")
    command = RequestReview(Selection(persons=("alice",)), 2, "complaint 12")
    reply = house.officer("dave", command)
    with pytest.raises(Refusal, match=r"approval\.unapproved"):
        house.officer("dave", Page(reply.request))
    house.officer("erin", ApproveRequest(reply.request, reply.digest))
    assert house.officer("erin", Page(reply.request)).found
    with pytest.raises(Refusal, match=r"permission\.denied"):
        house.officer("frank", Page(reply.request))
    house.clock.advance(2 * 3_601_000)
    with pytest.raises(Refusal, match=r"review\.over"):
        house.officer("dave", Page(reply.request))
