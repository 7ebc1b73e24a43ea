"""What a record, its author and its clock went through counts: cases that simulated years found."""

from __future__ import annotations

import pytest
import trio

from appliance.context import SITE, Actor
from appliance.directory.commands import RenewToken, SetProfile, SetRoles, SetState
from appliance.disposal.commands import (
    ApproveRequest,
    FileConversation,
    PlaceHold,
    ReadClock,
    ReleaseHold,
    RequestDestruction,
    ResumeClock,
    RunDestruction,
    Selection,
    SignRequest,
)
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain
from store.ids import Stream, StreamKind
from store.tables import FEED
from tests.appliance.disposal.harness import DAY_MS, Hospital
from tests.appliance.disposal.test_expiry import is_gone
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id

CHAT = """
cooling_off = "0"
[[class]]
name = "record"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
[[rule]]
name = "record"
class = "record"
min = "100d"
max = "200d"
"""
WARD = CHAT + '[[rule]]\nname = "ward"\nunit = "ward"\nmin = "60d"\n'
STAFF = CHAT + '[[rule]]\nname = "staff"\nrole = "administrator"\nmin = "60d"\n'
TRAIL = CHAT + '[[rule]]\nname = "trail"\nclass = "audit"\nmin = "50d"\nmax = "60d"\n'
COOLING = CHAT.replace('cooling_off = "0"', 'cooling_off = "2d"')


def resume(house: Hospital) -> None:
    """Set the wall clock right again, and let two officers say so."""
    for login in ("dave", "erin"):
        house.officer(login, ResumeClock(house.clock.wall_ms(), "looked at a watch"))


def erase(house: Hospital, login: str) -> None:
    house.do(SITE, SetState(login, "removed"))
    who = f"id:{house.people[login].hex()}"
    command = RequestDestruction(Selection(persons=(who,)), "art. 17", erase=True)
    asked = house.officer("dave", command)
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    house.officer("dave", RunDestruction(asked.request))
    trio.run(house.service.order, house.core.disposal.orders.popleft())
    assert house.core.directory.person(house.people[login]) is None


# --- who wrote it -------------------------------------------------------------------------------


def test_moving_an_author_to_another_unit_lowers_no_minimum_that_runs() -> None:
    house = Hospital("alice", "bob", policy=WARD)
    room = house.group("alice", "bob")
    house.do(SITE, SetProfile("alice", unit="ward"))
    record = house.send("alice", room, "from the ward")
    house.do(SITE, SetProfile("alice", unit="office"))
    house.do(SITE, SetProfile("alice", name="Alice again"))
    later = house.send("alice", room, "from the office")
    house.pass_days(31)
    house.reopen()
    assert house.expire() == 1
    assert not is_gone(house, record)
    assert is_gone(house, later)
    house.pass_days(30)
    assert house.expire() == 1
    house.check()


def test_taking_a_role_from_an_author_lowers_no_minimum_that_runs() -> None:
    house = Hospital("alice", "bob", policy=STAFF)
    room = house.group("alice", "bob")
    house.do(SITE, SetRoles("alice", ("member", "administrator")))
    house.do(SITE, SetRoles("bob", ("member", "administrator")))
    record = house.send("alice", room, "as an administrator")
    house.do(SITE, SetRoles("alice", ("member",)))
    house.pass_days(31)
    house.reopen()
    assert house.expire() == 0
    assert not is_gone(house, record)
    house.pass_days(30)
    assert house.expire() == 1
    house.check()


def test_a_hold_on_a_unit_keeps_what_its_people_wrote_before_they_moved() -> None:
    house = Hospital("alice", "bob", policy=CHAT)
    house.do(SITE, SetProfile("alice", unit="ward"))
    record = house.send("alice", house.group("alice", "bob"), "from the ward")
    house.officer("dave", PlaceHold("Case", Selection(units=("ward",)), "court"))
    house.do(SITE, SetProfile("alice", unit="office"))
    house.reopen()
    house.pass_days(31)
    assert house.expire() == 0
    assert not is_gone(house, record)


@pytest.mark.parametrize("gone", ["alice", "bob"])
def test_erasing_a_person_takes_nothing_from_a_hold_on_their_unit(gone: str) -> None:
    """Whether they wrote it or were only there when it was written."""
    house = Hospital("alice", "bob", policy=CHAT)
    house.do(SITE, SetProfile(gone, unit="ward"))
    record = house.send("alice", house.group("alice", "bob"), "of the ward")
    house.officer("dave", PlaceHold("Case", Selection(units=("ward",)), "court"))
    house.pass_days(31)
    erase(house, gone)
    assert house.expire() == 0
    house.reopen()
    assert house.expire() == 0
    assert not is_gone(house, record)


def test_erasing_an_author_lowers_no_minimum_of_their_unit() -> None:
    house = Hospital("alice", "bob", policy=WARD)
    house.do(SITE, SetProfile("alice", unit="ward"))
    record = house.send("alice", house.group("alice", "bob"), "from the ward")
    house.pass_days(31)
    erase(house, "alice")
    assert house.expire() == 0
    assert not is_gone(house, record)
    house.pass_days(30)
    assert house.expire() == 1
    house.check()


def test_erasing_a_person_takes_what_their_devices_said_of_themselves() -> None:
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    house.send("bob", room, "old")
    house.pass_days(31)
    assert house.expire() == 1
    device = house.do(SITE, RenewToken("alice", bytes(32), name="telephone")).device
    house.do(Actor(house.people["alice"], device), schema.Wiped(certificate=1))
    feed = house.core.streams.pseudonym(Stream(StreamKind.DEVICE, device))
    with house.reading() as reader:
        assert list(reader.range(*FEED.span(feed)))
    house.anchor()
    erase(house, "alice")
    with house.reading() as reader:
        assert list(reader.range(*FEED.span(feed))) == []
    house.check()


# --- what goes with it --------------------------------------------------------------------------


def test_the_minimum_of_a_copy_keeps_the_message_that_it_passed_on() -> None:
    house = Hospital("alice", "bob", "carol", policy=CHAT)
    house.do(SITE, CreateDuty("on-call", "On call"))
    house.do(SITE, AssignDuty("on-call", "bob"))
    house.do(SITE, SetChain("on-call", ("carol",), 60))
    record_room = house.direct("alice", "carol")
    house.officer("dave", FileConversation(record_room.hex(), "record"))
    message = house.say("alice", None, "come", to="duty:on-call", priority="urgent").msg
    assert message is not None
    house.tick(61)
    assert house.texts("carol", record_room) == ["come"]
    house.pass_days(31)
    assert house.expire() == 0
    assert house.texts("carol", record_room) == ["come"]
    house.pass_days(70)
    assert house.expire() == 1
    assert is_gone(house, message)
    house.check()


@pytest.mark.parametrize("held", ["dave", "erin"])
def test_a_request_is_never_forgotten_but_whole(held: str) -> None:
    """Were its end forgotten before its beginning, it would be open again after a restart."""
    house = Hospital("alice", "bob", policy=TRAIL)
    hold = house.officer("dave", PlaceHold("Case", Selection(persons=("bob",)), "court")).hold
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(hold, "settled"))
    other = house.officer("dave", PlaceHold("Case", Selection(persons=(held,)), "court")).hold
    house.pass_days(62)
    for _ in range(2):
        house.expire()
        house.check()
        house.reopen()
        house.do(SITE, ReadClock())
        assert all(not each.is_open for each in house.core.disposal.requests.values())
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(other, "settled"))
    assert house.expire() > 0
    assert list(house.core.disposal.requests) == [2]
    house.check()


# --- wrong clocks -------------------------------------------------------------------------------


def test_two_officers_can_resume_after_a_clock_was_set_ahead_by_years() -> None:
    """The log's own time never goes back; what officers agree to counts by the wall clock."""
    house = Hospital("alice", "bob", policy=CHAT)
    message = house.send("alice", house.group("alice", "bob"), "text")
    house.anchor()
    now_ms = house.clock.wall_ms()
    house.clock.set_wall_ms(now_ms + 1_000 * DAY_MS)
    house.anchor()
    house.clock.set_wall_ms(now_ms)
    house.anchor()
    resume(house)
    house.pass_days(31)
    assert house.expire() == 1
    assert is_gone(house, message)
    house.check()


@pytest.mark.parametrize("days", [-400, 400])
def test_a_hold_by_dates_takes_what_was_written_while_the_clock_was_wrong(days: int) -> None:
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    house.pass_days(1)
    now_ms = house.clock.wall_ms()
    house.clock.set_wall_ms(now_ms + days * DAY_MS)
    wrong = house.send("alice", room, "dated wrong")
    house.clock.set_wall_ms(now_ms)
    behind = house.send("alice", room, "dated behind that")
    dates = Selection(from_ms=now_ms - DAY_MS, until_ms=now_ms + DAY_MS)
    house.officer("dave", PlaceHold("Case", dates, "court"))
    house.pass_days(40)
    assert house.expire() == 0
    assert not is_gone(house, wrong)
    assert not is_gone(house, behind)


def released(house: Hospital) -> tuple[Id, int]:
    """Agree to release the hold on an old message; return both."""
    message = house.send("alice", house.group("alice", "bob"), "evidence")
    hold = house.officer("dave", PlaceHold("Case", Selection(persons=("bob",)), "court")).hold
    house.pass_days(40)
    for login in ("dave", "erin"):
        assert house.officer(login, ReleaseHold(hold, "settled")).active
    house.serve()
    return message, hold


def test_a_clock_set_ahead_shortens_no_cooling_off() -> None:
    house = Hospital("alice", "bob", policy=COOLING)
    message, hold = released(house)
    house.clock.set_wall_ms(house.clock.wall_ms() + 3 * DAY_MS)
    house.serve()
    assert hold in house.core.disposal.active
    house.clock.set_wall_ms(house.clock.wall_ms() - 3 * DAY_MS)
    house.serve()
    resume(house)
    house.pass_days(1)
    house.serve()
    assert not is_gone(house, message)
    house.pass_days(1.1)
    house.serve()
    assert hold not in house.core.disposal.active
    house.pass_days(1)
    house.serve()
    assert is_gone(house, message)
    house.check()


def test_a_cooling_off_begins_again_when_the_clock_is_confirmed() -> None:
    """For a clock that was behind when two people agreed tells nothing of how long that was."""
    house = Hospital("alice", "bob", policy=COOLING)
    house.clock.set_wall_ms(house.clock.wall_ms() - 10 * DAY_MS)
    _, hold = released(house)
    house.clock.set_wall_ms(house.clock.wall_ms() + 10 * DAY_MS)
    house.serve()
    resume(house)
    house.reopen()
    house.do(SITE, SetProfile("bob", unit="any"))
    house.serve()
    assert hold in house.core.disposal.active
    house.pass_days(2.1)
    house.serve()
    assert hold not in house.core.disposal.active
    house.check()


def test_an_order_waits_for_a_cooling_off_that_began_again() -> None:
    house = Hospital("alice", "bob", policy=COOLING)
    house.send("alice", house.group("alice", "bob"), "mine")
    house.anchor()
    asked = house.officer("dave", RequestDestruction(Selection(persons=("alice",)), "art. 17"))
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    house.clock.reboot(off_ms=3 * DAY_MS)
    house.reopen()
    house.serve()
    resume(house)
    with pytest.raises(Refusal, match=r"approval\.cooling"):
        house.officer("dave", RunDestruction(asked.request))
    house.pass_days(2.1)
    assert not house.officer("dave", RunDestruction(asked.request)).outgrown
