"""No clock, wrong or attacked, hastens destruction; a jump suspends it until two people agree."""

from __future__ import annotations

import pytest

from appliance.context import SITE
from appliance.disposal.commands import ReadClock, ResumeClock
from tests.appliance.disposal.harness import DAY_MS, Hospital
from tests.appliance.disposal.test_expiry import CHAT, is_gone
from transports.wire.errors import Refusal


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", policy=CHAT)


def test_a_clock_set_ahead_destroys_nothing_and_suspends(house: Hospital) -> None:
    message = house.send("alice", house.group("alice", "bob"), "text")
    house.anchor()
    house.clock.set_wall_ms(house.clock.wall_ms() + 365 * DAY_MS)
    assert house.expire() == 0
    house.do(SITE, ReadClock())
    assert house.core.disposal.is_suspended
    assert house.expire() == 0
    assert not is_gone(house, message)
    house.clock.set_wall_ms(house.clock.wall_ms() - 365 * DAY_MS)
    house.pass_days(40)
    assert house.expire() == 0
    house.check()


def test_two_officers_let_destruction_go_on(house: Hospital) -> None:
    message = house.send("alice", house.group("alice", "bob"), "text")
    house.anchor()
    house.clock.advance(31 * DAY_MS)
    house.clock.set_wall_ms(house.clock.wall_ms() + 3_600_000)
    house.do(SITE, ReadClock())
    assert house.core.disposal.is_suspended
    with pytest.raises(Refusal, match=r"clock\.differs"):
        house.officer("dave", ResumeClock(1, "wrong"))
    first = house.officer("dave", ResumeClock(house.clock.wall_ms(), "looked at a watch"))
    assert not first.resumed
    assert house.core.disposal.is_suspended
    assert house.officer("erin", ResumeClock(house.clock.wall_ms(), "me too")).resumed
    assert not house.core.disposal.is_suspended
    assert house.expire() == 1
    assert is_gone(house, message)
    house.check()
    with pytest.raises(Refusal, match=r"clock\.not_suspended"):
        house.officer("dave", ResumeClock(house.clock.wall_ms(), "again"))


def test_time_while_the_machine_was_off_hastens_nothing(house: Hospital) -> None:
    room = house.group("alice", "bob")
    old = house.send("alice", room, "old")
    house.anchor()
    house.clock.reboot(off_ms=40 * DAY_MS)
    house.reopen()
    house.do(SITE, ReadClock(anchor=True))
    assert house.core.disposal.is_suspended
    new = house.send("alice", room, "new")
    for login in ("dave", "erin"):
        house.officer(login, ResumeClock(house.clock.wall_ms(), "was off"))
    house.pass_days(29)
    assert house.expire() == 0
    house.pass_days(2)
    assert house.expire() == 2
    assert is_gone(house, old)
    assert is_gone(house, new)
    house.check()
    house.reopen()
    house.check()


def test_a_restart_of_the_process_alone_loses_no_time(house: Hospital) -> None:
    message = house.send("alice", house.group("alice", "bob"), "text")
    house.anchor()
    house.clock.advance(31 * DAY_MS)
    house.reopen()
    house.do(SITE, ReadClock(anchor=True))
    assert not house.core.disposal.is_suspended
    assert house.expire() == 1
    assert is_gone(house, message)


def test_without_a_time_source_nothing_ends_by_age() -> None:
    house = Hospital("alice", "bob", policy='clock = "none"\n' + CHAT)
    house.send("alice", house.group("alice", "bob"), "text")
    house.pass_days(100)
    assert house.expire() == 0
    house.check()
