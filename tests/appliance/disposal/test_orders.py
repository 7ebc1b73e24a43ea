"""Two officers destroy before the time: asked, agreed, cooled off, carried out, and no further."""

from __future__ import annotations

import pytest
import trio

from appliance.context import SITE
from appliance.directory.commands import SetState
from appliance.disposal.commands import (
    ApproveRequest,
    FileConversation,
    ListRequests,
    PlaceHold,
    RejectRequest,
    ReleaseHold,
    RequestDestruction,
    RunDestruction,
    Selection,
    Settle,
    ShowCertificate,
    SignRequest,
)
from appliance.disposal.replies import Requested
from store.tables import SCOPE
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import is_gone
from transports.wire.errors import Refusal

POLICY = """
cooling_off = "1h"
approval_expires = "7d"
[[class]]
name = "record"
[[rule]]
name = "record"
class = "record"
min = "10d"
"""


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", policy=POLICY)


def asked(house: Hospital, **fields: object) -> Requested:
    selection = Selection(persons=("alice",))
    command = RequestDestruction(selection, "art. 17", **fields)  # type: ignore[arg-type]
    reply = house.officer("dave", command)
    assert isinstance(reply, Requested)
    house.officer("dave", SignRequest(reply.request, reply.digest))
    return reply


def approve(house: Hospital, reply: Requested, login: str = "erin") -> None:
    house.officer(login, ApproveRequest(reply.request, reply.digest))


def code(house: Hospital, login: str, command: object) -> str:
    with pytest.raises(Refusal) as caught:
        house.officer(login, command)
    return caught.value.code


def run(house: Hospital, number: int, login: str = "dave") -> int:
    house.officer(login, RunDestruction(number))
    progress = trio.run(house.service.order, house.core.disposal.orders.popleft())
    return int(progress.destroyed)


def test_an_order_takes_what_its_person_wrote_and_nothing_else(house: Hospital) -> None:
    room = house.group("alice", "bob")
    mine = house.send("alice", room, "mine")
    theirs = house.send("bob", room, "theirs")
    house.anchor()
    reply = asked(house)
    assert (reply.records, reply.held, reply.young) == (1, 0, 0)
    approve(house, reply)
    house.clock.advance(3_601_000)
    assert run(house, reply.request) == 1
    assert is_gone(house, mine)
    assert not is_gone(house, theirs)
    assert house.core.disposal.requests[reply.request].approval.state == "done"
    with house.reading() as reader:
        rows = [SCOPE.columns(key)[0] for key, _ in reader.range(*SCOPE.span())]
    assert all(number < 1 << 63 for number in rows)
    house.check()


def test_one_officer_alone_destroys_nothing(house: Hospital) -> None:
    house.send("alice", house.group("alice", "bob"), "mine")
    house.anchor()
    reply = asked(house)
    assert code(house, "dave", RunDestruction(reply.request)) == "approval.unapproved"
    same = ApproveRequest(reply.request, reply.digest)
    assert code(house, "dave", same) == "approval.same_person"
    assert code(house, "frank", same) == "permission.denied"
    other = ApproveRequest(reply.request, "00" * 32)
    assert code(house, "erin", other) == "approval.digest"


def test_it_waits_for_its_cooling_off_and_ends_when_nobody_agrees(house: Hospital) -> None:
    house.send("alice", house.group("alice", "bob"), "mine")
    house.anchor()
    first, second = asked(house), asked(house)
    approve(house, first)
    assert code(house, "dave", RunDestruction(first.request)) == "approval.cooling"
    house.pass_days(7.01)
    house.do(SITE, Settle())
    assert house.core.disposal.requests[second.request].approval.state == "expired"
    assert code(house, "erin", ApproveRequest(second.request, second.digest)) == "approval.state"


def test_what_came_after_the_approval_is_not_destroyed(house: Hospital) -> None:
    room = house.group("alice", "bob")
    house.send("alice", room, "before")
    house.anchor()
    reply = asked(house)
    approve(house, reply)
    after = house.send("alice", room, "after")
    house.pass_days(1)
    assert run(house, reply.request) == 1
    assert not is_gone(house, after)


def test_an_order_that_would_reach_further_is_over(house: Hospital) -> None:
    house.send("alice", house.group("alice", "bob"), "free")
    held_room = house.group("alice", "bob")
    held = house.send("alice", held_room, "held when it was asked")
    hold = PlaceHold("Case", Selection(conversations=(held_room.hex(),)), "court")
    number = house.officer("dave", hold).hold
    house.anchor()
    reply = asked(house)
    assert (reply.records, reply.held) == (1, 1)
    approve(house, reply)
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(number, "settled"))
    house.pass_days(1)
    house.do(SITE, Settle())
    assert not house.core.disposal.active_holds()
    assert house.officer("dave", RunDestruction(reply.request)).outgrown
    assert house.core.disposal.requests[reply.request].approval.state == "outgrown"
    assert not is_gone(house, held)


def test_a_hold_placed_after_the_approval_still_wins(house: Hospital) -> None:
    message = house.send("alice", house.group("alice", "bob"), "mine")
    house.anchor()
    reply = asked(house)
    approve(house, reply)
    house.pass_days(1)
    house.officer("dave", RunDestruction(reply.request))
    house.officer("erin", PlaceHold("Case", Selection(persons=("bob",)), "court"))
    progress = trio.run(house.service.order, house.core.disposal.orders.popleft())
    assert progress.destroyed == 0
    assert not is_gone(house, message)


def test_a_minimum_is_stronger_than_an_order(house: Hospital) -> None:
    room = house.group("alice", "bob")
    house.officer("dave", FileConversation(room.hex(), "record"))
    house.send("alice", room, "chart")
    house.anchor()
    assert code(house, "dave", RequestDestruction(Selection(persons=("alice",)), "x")) == (
        "order.empty"
    )
    house.pass_days(11)
    assert asked(house).records == 1


def test_a_person_is_erased_with_what_they_wrote_and_what_is_known_of_them(
    house: Hospital,
) -> None:
    room = house.group("alice", "bob")
    house.send("alice", room, "mine")
    house.send("bob", room, "theirs")
    house.read_all("alice", room)
    house.anchor()
    who = f"id:{house.people['alice'].hex()}"
    erase = RequestDestruction(Selection(persons=(who,)), "art. 17", erase=True)
    assert code(house, "dave", erase) == "person.not_removed"
    house.do(SITE, SetState("alice", "removed"))
    reply = house.officer("dave", erase)
    assert code(house, "erin", ApproveRequest(reply.request, reply.digest)) == "approval.unsigned"
    assert code(house, "erin", SignRequest(reply.request, reply.digest)) == "permission.denied"
    house.officer("dave", SignRequest(reply.request, reply.digest))
    approve(house, reply)
    house.pass_days(1)
    run(house, reply.request)
    assert house.core.directory.person(house.people["alice"]) is None
    assert house.core.directory.resolve("alice") is None
    assert house.texts("bob", room) == ["theirs"]
    text = house.officer("frank", ShowCertificate(1)).text
    assert "alice" not in text
    assert "art. 17" not in text
    house.check()
    house.reopen()
    assert house.core.directory.resolve("alice") is None
    assert house.texts("bob", room) == ["theirs"]
    house.check()


def test_requests_are_listed_for_officers_and_auditors_and_can_be_refused(
    house: Hospital,
) -> None:
    house.send("alice", house.group("alice", "bob"), "mine")
    house.anchor()
    reply = asked(house)
    (item,) = house.officer("frank", ListRequests()).requests
    assert (item.request, item.act, item.state, item.by) == (1, "destroy", "open", "dave")
    house.officer("erin", RejectRequest(reply.request, "not now"))
    assert house.officer("frank", ListRequests()).requests == ()
    (item,) = house.officer("frank", ListRequests(closed=True)).requests
    assert item.state == "rejected"
    house.check()
