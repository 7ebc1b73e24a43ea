"""Sessions end when they must: idle, after their time, or revoked; against a naive model."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.directory.limits import DAY_MS, HOUR_MS, SESSIONS_PER_PERSON
from appliance.directory.model import Device
from appliance.directory.policy import Lifetimes
from appliance.directory.sessions import PASSIVE, Ended, Reason, Session, Sessions
from transports.wire import schema
from transports.wire.errors import Refusal

ALICE, BOB = b"a" * 16, b"b" * 16
MINUTE = 60.0
HOUR = 3_600.0


def device(name: bytes = b"d", method: str = "password", shared: bool = False) -> Device:
    added = 1_000
    expires = added + Lifetimes().of(method, shared=shared).absolute_ms
    return Device(name * 16, "", name * 32, added, expires, shared, method)


def opened(
    sessions: Sessions, number: int, on: Device, now: float = 0.0, person: bytes = ALICE
) -> None:
    sessions.open(Session(number, person, on.id), on, now, wall_ms=1_000 + int(now * 1000))


@pytest.mark.parametrize(
    ("method", "shared", "idle_minutes"),
    [("password", False, 30), ("password", True, 15), ("invite", True, 15), ("site", True, 15)],
)
def test_an_idle_session_ends_and_its_token_too(
    method: str, shared: bool, idle_minutes: int
) -> None:
    sessions = Sessions()
    on = device(method=method, shared=shared)
    opened(sessions, 1, on)
    sessions.touch(1, 10 * MINUTE)
    end = (10 + idle_minutes) * MINUTE
    assert sessions.expire(end - 1) == []
    assert sessions.expire(end) == [Ended(ALICE, on.id, (1,), Reason.IDLE)]
    assert len(sessions) == 0
    assert sessions.expire(end) == []


def test_a_device_of_ones_own_is_never_idle_but_ends_after_180_days() -> None:
    sessions = Sessions()
    on = device(method="invite")
    opened(sessions, 1, on)
    assert sessions.expire(180 * 24 * HOUR - 1) == []
    assert sessions.expire(180 * 24 * HOUR) == [Ended(ALICE, on.id, (1,), Reason.EXPIRED)]


def test_commands_do_not_lengthen_the_longest_day() -> None:
    sessions = Sessions()
    on = device()
    opened(sessions, 1, on)
    for minute in range(0, 12 * 60, 10):
        sessions.touch(1, minute * MINUTE)
        assert sessions.expire(minute * MINUTE) == []
    assert sessions.expire(12 * HOUR) == [Ended(ALICE, on.id, (1,), Reason.EXPIRED)]


def test_coming_back_after_being_idle_is_refused_also_while_disconnected() -> None:
    sessions = Sessions()
    on = device()
    opened(sessions, 1, on)
    sessions.close(1)
    opened(sessions, 2, on, 29 * MINUTE)
    sessions.close(2)
    with pytest.raises(Refusal) as caught:
        opened(sessions, 3, on, 59 * MINUTE)
    assert caught.value.code == "auth.expired"
    assert sessions.expire(59 * MINUTE) == [Ended(ALICE, on.id, (), Reason.IDLE)]


def test_a_new_token_of_the_same_device_starts_afresh() -> None:
    sessions = Sessions()
    old = device()
    opened(sessions, 1, old)
    later = 40 * MINUTE
    added = 1_000 + int(later * 1000)
    new = Device(old.id, "", b"n" * 32, added, added + 12 * HOUR_MS, False, "password")
    opened(sessions, 2, new, later)
    assert sessions.expire(later + 30 * MINUTE - 1) == []
    assert [each.sessions for each in sessions.expire(later + 30 * MINUTE)] == [(1, 2)]


def test_a_token_whose_time_is_over_opens_nothing() -> None:
    sessions = Sessions()
    with pytest.raises(Refusal) as caught:
        sessions.open(Session(1, ALICE, b"d" * 16), device(), 0.0, wall_ms=1_000 + DAY_MS)
    assert caught.value.code == "auth.expired"
    assert len(sessions) == 0


def test_after_a_restart_the_idle_time_begins_anew() -> None:
    sessions = Sessions()
    on = device()
    sessions.watch(ALICE, on, 0.0, wall_ms=1_000)
    assert sessions.next_due() == 30 * MINUTE
    assert sessions.expire(30 * MINUTE) == [Ended(ALICE, on.id, (), Reason.IDLE)]
    assert sessions.next_due() is None


def test_a_touch_that_comes_too_late_saves_nothing() -> None:
    sessions = Sessions()
    opened(sessions, 1, device())
    sessions.touch(1, 30 * MINUTE)
    sessions.touch(99, 1.0)
    assert [each.sessions for each in sessions.expire(30 * MINUTE)] == [(1,)]


def test_revoking_ends_the_sessions_of_one_device_or_of_a_person() -> None:
    sessions = Sessions()
    phone, desk, other = device(b"p"), device(b"q"), device(b"o")
    opened(sessions, 1, phone)
    opened(sessions, 2, phone)
    opened(sessions, 3, desk)
    opened(sessions, 4, other, person=BOB)
    assert sessions.revoke(phone.id) == (1, 2)
    assert sessions.revoke(phone.id) == ()
    assert [each.id for each in sessions.of_person(ALICE)] == [3]
    opened(sessions, 5, phone)
    assert sessions.keep_only(ALICE, [phone.id]) == (3,)
    assert sessions.keep_only(ALICE) == (5,)
    assert [each.id for each in sessions.everybody()] == [4]


def test_a_device_that_comes_and_goes_leaves_one_entry_to_expire() -> None:
    sessions = Sessions()
    on = device()
    for minute in range(100):
        opened(sessions, minute, on, minute * MINUTE)
        sessions.revoke(on.id)
        opened(sessions, minute, on, minute * MINUTE)
        sessions.expire(minute * MINUTE)
    sessions.expire(99 * MINUTE + 29 * MINUTE)
    assert len(sessions._due) == 1


def test_a_person_has_a_bounded_number_of_sessions() -> None:
    sessions = Sessions()
    on = device()
    for number in range(SESSIONS_PER_PERSON):
        opened(sessions, number, on)
    with pytest.raises(Refusal) as caught:
        opened(sessions, 1_000, on)
    assert caught.value.code == "rate.limited"
    sessions.close(0)
    opened(sessions, 1_000, on)
    opened(sessions, 2_000, device(b"o"), person=BOB)


def test_the_whole_site_has_a_bounded_number_of_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("appliance.directory.sessions.SESSIONS", 1)
    sessions = Sessions()
    opened(sessions, 1, device())
    with pytest.raises(Refusal) as caught:
        opened(sessions, 2, device(b"o"), person=BOB)
    assert caught.value.code == "server.overloaded"


def test_what_clients_send_by_themselves_is_no_activity() -> None:
    assert isinstance(schema.Ping(), PASSIVE)
    assert isinstance(schema.Got(pos="1"), PASSIVE)
    assert isinstance(schema.Wiped(7), PASSIVE)
    assert not isinstance(schema.List(id=1, what="people"), PASSIVE)


def test_a_session_does_not_show_where_somebody_is() -> None:
    assert "192.0.2.1" not in repr(Session(1, ALICE, b"d" * 16, address="192.0.2.1"))


class Life(RuleBasedStateMachine):
    """Random lives of sessions, against a table that is searched from end to end."""

    DEVICES = (
        device(b"1"),
        device(b"2", shared=True),
        device(b"3", "invite"),
        device(b"4", "invite", shared=True),
    )
    OWNERS = (ALICE, ALICE, BOB, BOB)

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions()
        self.now = 0.0
        self.next = 0
        self.live: dict[int, int] = {}
        self.last: dict[int, float] = {}
        self.dead: set[int] = set()

    def due(self, which: int) -> float:
        on = self.DEVICES[which]
        idle_ms = Lifetimes().of(on.method, shared=on.shared).idle_ms
        absolute = (on.expires_ms - 1_000) / 1000
        return absolute if idle_ms is None else min(absolute, self.last[which] + idle_ms / 1000)

    def drop(self, which: int) -> list[int]:
        ended = sorted(number for number, on in self.live.items() if on == which)
        for number in ended:
            del self.live[number]
        self.last.pop(which, None)
        return ended

    @rule(which=st.integers(0, 3))
    def open(self, which: int) -> None:
        absolute = (self.DEVICES[which].expires_ms - 1_000) / 1000
        expected = self.now < absolute and (which not in self.last or self.now < self.due(which))
        self.next += 1
        if len(self.sessions.of_person(self.OWNERS[which])) == SESSIONS_PER_PERSON:
            with pytest.raises(Refusal, match=r"rate\.limited"):
                opened(self.sessions, self.next, self.DEVICES[which], self.now, self.OWNERS[which])
            return
        try:
            opened(self.sessions, self.next, self.DEVICES[which], self.now, self.OWNERS[which])
        except Refusal:
            assert not expected
            self.last.setdefault(which, self.now)
        else:
            assert expected
            self.live[self.next] = which
            self.last[which] = self.now

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        self.sessions.touch(number, self.now)
        if self.now < self.due(self.live[number]):
            self.last[self.live[number]] = self.now

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        self.sessions.close(number)
        self.sessions.close(number)
        del self.live[number]

    @rule(which=st.integers(0, 3))
    def revoke(self, which: int) -> None:
        assert list(self.sessions.revoke(self.DEVICES[which].id)) == self.drop(which)

    @rule(minutes=st.sampled_from([1, 5, 14, 15, 16, 29, 30, 31, 720]))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @rule()
    def expire(self) -> None:
        over = [which for which in sorted(self.last) if self.due(which) <= self.now]
        expected = {self.DEVICES[which].id: tuple(self.drop(which)) for which in over}
        ended = self.sessions.expire(self.now)
        assert {each.device: each.sessions for each in ended} == expected
        due = self.sessions.next_due()
        assert due is None or due > self.now

    @invariant()
    def the_list_is_right(self) -> None:
        assert [each.id for each in self.sessions.everybody()] == sorted(self.live)
        for person in (ALICE, BOB):
            own = sorted(n for n, which in self.live.items() if self.OWNERS[which] == person)
            assert [each.id for each in self.sessions.of_person(person)] == own

    @invariant()
    def nothing_is_due_before_it_is_announced(self) -> None:
        due = self.sessions.next_due()
        if self.last:
            assert due is not None
            assert due <= min(map(self.due, self.last))


TestLife = Life.TestCase
