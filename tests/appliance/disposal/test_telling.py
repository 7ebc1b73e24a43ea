"""What is told of a run is right: counts, how far replicas are, which devices were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.context import SITE, Actor
from appliance.directory.commands import RenewToken
from appliance.disposal import decide_runs, decide_slices
from appliance.disposal.commands import RequestDestruction, Selection
from appliance.disposal.decide_runs import COMPLETE, LOCAL, REPLICAS, state_of
from appliance.disposal.decide_slices import added, bucketed
from appliance.disposal.limits import BUCKET_RECORDS, COUNTED_DAYS, SPAN_DAYS
from appliance.operations import DayCount, SiteAnswer
from tests.appliance.disposal.harness import Hospital
from transports.wire import schema
from transports.wire.errors import Refusal

CHAT = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
"""
days = st.integers(0, 2 * COUNTED_DAYS)
counted = st.lists(st.builds(DayCount, st.sampled_from(("a", "b")), days, st.integers(1, 9)))


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", "carol", policy=CHAT)


def names(counts: Iterable[DayCount]) -> list[tuple[str, int]]:
    return [(each.retention_class, each.day) for each in counts]


@given(counted)
def test_few_records_of_a_day_are_told_as_none(counts: list[DayCount]) -> None:
    told = bucketed(counts, BUCKET_RECORDS)
    assert names(told) == names(counts)
    for given_count, each in zip(counts, told, strict=True):
        is_many = given_count.records >= BUCKET_RECORDS
        assert each.records == (given_count.records if is_many else 0)


@given(counted, st.integers(0, COUNTED_DAYS + 1))
def test_no_record_is_lost_or_counted_twice_in_a_runs_counts(
    before: list[DayCount], more_days: int
) -> None:
    more = Counter({("a", day): 1 for day in range(more_days)})
    told = added(tuple(before), more)
    assert sum(each.records for each in told) == sum(each.records for each in before) + more_days
    assert len(set(names(told))) == len(told)
    pairs = set(names(before)) | more.keys()
    is_by_span = len(pairs) > COUNTED_DAYS
    assert all(each.day % SPAN_DAYS == 0 for each in told) or not is_by_span
    assert is_by_span or set(names(told)) == pairs


@pytest.mark.parametrize(
    ("acknowledged", "state"),
    [((), COMPLETE), ((7, 7), LOCAL), ((8, 7), REPLICAS), ((8, 8), COMPLETE)],
)
def test_a_replica_has_followed_once_it_is_beyond_the_last_root_that_died(
    acknowledged: tuple[int, ...], state: str
) -> None:
    replicas = tuple((f"replica {n}", generation) for n, generation in enumerate(acknowledged))
    assert state_of(7, replicas) == state
    waiting = (SiteAnswer(1, "branch", "missing", 0, 0, 0),)
    assert state_of(7, replicas, waiting) == (REPLICAS if state == COMPLETE else state)


@pytest.mark.parametrize("records", [BUCKET_RECORDS - 1, BUCKET_RECORDS])
def test_a_certificate_tells_no_count_that_could_name_somebody(
    house: Hospital, records: int
) -> None:
    room = house.group("alice", "bob")
    for number in range(records):
        house.send("alice", room, str(number))
    house.pass_days(31)
    assert house.expire() == records
    (run,) = house.core.disposal.runs.values()
    assert [each.records for each in run.intent.counts] == [records]
    told = records if records == BUCKET_RECORDS else 0
    assert [each.records for each in run.confirmed.counts] == [told]


def device(house: Hospital, login: str) -> bytes:
    added_device = house.do(SITE, RenewToken(login, login.encode().ljust(32), name="telephone"))
    return bytes(added_device.device)


def test_the_devices_of_who_may_have_read_it_are_asked_and_their_answers_counted(
    house: Hospital,
) -> None:
    room = house.group("alice", "bob")
    house.send("alice", room, "old")
    house.group("alice", "carol")
    house.pass_days(31)
    mine, theirs, _ = (device(house, login) for login in ("alice", "bob", "carol"))
    assert house.expire() == 1
    runner = house.service.runner
    assert runner.asked == {1: {mine, theirs}}
    assert runner.answered(1) == 0
    house.do(Actor(house.people["bob"], theirs), schema.Wiped(certificate=1))
    assert runner.answered(1) == 1
    house.clock.advance(6 * 3_600_000)
    house.serve()
    confirmed = house.core.disposal.runs[1].confirmed
    assert (confirmed.devices_asked, confirmed.devices_answered) == (2, 1)


def test_a_slice_takes_no_more_than_fits(house: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_slices, "SLICE_OPERATIONS", 3)
    room = house.group("alice", "bob")
    for number in range(4):
        house.react("bob", house.send("alice", room, str(number)), "+")
    house.pass_days(31)
    assert house.expire() == 4
    (run,) = house.core.disposal.runs.values()
    assert run.intent.piece == 2


def test_an_order_that_would_reach_too_far_is_refused(
    house: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide_runs, "ORDER_RECORDS", 1)
    room = house.group("alice", "bob")
    command = RequestDestruction(Selection(persons=("alice",)), "art. 17")
    house.send("alice", room, "one")
    assert house.officer("dave", command).request
    house.send("alice", room, "two")
    with pytest.raises(Refusal, match=r"order\.limit"):
        house.officer("dave", command)
