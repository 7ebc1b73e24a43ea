"""What the policy says happens: classes, stricter and looser rules, recalls, the trail."""

from __future__ import annotations

import pytest
import trio

from appliance.disposal import decide_clock
from appliance.disposal.commands import (
    FileConversation,
    ListHolds,
    PlaceHold,
    ReadTrail,
    Selection,
    SetPolicy,
)
from appliance.disposal.planner import plan
from appliance.operations import Kind
from store.engine.contract import Reader
from store.feeds import FEED_ROW
from store.ids import AUDIT_STREAM
from store.oplog import Op
from store.tables import FEED
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import is_gone
from transports.wire import schema
from transports.wire.errors import Refusal

BASE = """
cooling_off = "0"
[[class]]
name = "record"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
[[rule]]
name = "record"
class = "record"
min = "100d"
max = "200d"
"""
AUDIT = '[[rule]]\nname = "trail"\nclass = "audit"\nmin = "50d"\nmax = "60d"\n'
KEEPING = BASE.replace('recall = "destroy"', 'metadata = "keep"')


def test_a_filed_conversation_follows_its_class() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    room = house.group("alice", "bob")
    before = house.send("alice", room, "before")
    house.officer("dave", FileConversation(room.hex(), "record", ("case 7",)))
    after = house.send("alice", room, "after")
    house.pass_days(40)
    assert house.expire() == 0
    house.pass_days(161)
    assert house.expire() == 2
    assert is_gone(house, before)
    assert is_gone(house, after)
    house.check()


def test_moving_to_a_looser_class_lowers_no_minimum_that_runs() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    room = house.group("alice", "bob")
    house.officer("dave", FileConversation(room.hex(), "record"))
    record = house.send("alice", room, "record")
    house.officer("dave", FileConversation(room.hex(), "standard"))
    chat = house.send("alice", room, "chat")
    house.pass_days(31)
    assert house.expire() == 1
    assert is_gone(house, chat)
    assert not is_gone(house, record)
    house.pass_days(70)
    assert house.expire() == 1
    house.check()
    house.reopen()
    house.check()


def test_loosening_takes_two_and_tightening_one() -> None:
    house = Hospital("alice", policy=BASE)
    tighter = house.officer("dave", SetPolicy(BASE.replace("100d", "120d"), 1, "stricter"))
    assert (tighter.version, tighter.request) == (2, 0)
    looser = SetPolicy(BASE.replace("30d", "20d").replace("100d", "120d"), 2, "shorter")
    first = house.officer("dave", looser)
    assert first.version == 0
    assert first.loosens
    assert house.core.disposal.policies.number == 2
    second = house.officer("erin", looser)
    assert second.version == 3
    with pytest.raises(Refusal, match=r"policy\.outdated"):
        house.officer("dave", SetPolicy(BASE, 2, "late"))
    with pytest.raises(Refusal, match=r"policy\.invalid"):
        house.officer("dave", SetPolicy("[[rule]]\nnam = 1", 3, "wrong"))
    house.check()


def test_a_shorter_maximum_counts_at_once() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    room = house.group("alice", "bob")
    house.send("alice", room, "text")
    house.pass_days(25)
    assert house.expire() == 0
    for login in ("dave", "erin"):
        house.officer(login, SetPolicy(BASE.replace("30d", "20d"), 1, "shorter"))
    assert house.expire() == 1


def test_a_recall_hides_at_once_and_destroys_where_the_rule_says_so() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    room = house.group("alice", "bob")
    message = house.send("alice", room, "oops")
    kept = house.send("alice", room, "kept")
    house.recall("alice", message)
    assert not is_gone(house, message)
    trio.run(house.service.recalls)
    assert is_gone(house, message)
    assert not is_gone(house, kept)
    (run,) = house.core.disposal.runs.values()
    assert run.intent.cause == "recall"
    house.check()


def test_a_recalled_record_under_its_minimum_is_destroyed_when_that_has_passed() -> None:
    lenient = BASE.replace('max = "200d"', 'max = "200d"\nrecall = "destroy"')
    house = Hospital("alice", "bob", policy=lenient)
    room = house.group("alice", "bob")
    house.officer("dave", FileConversation(room.hex(), "record"))
    message = house.send("alice", room, "oops")
    house.recall("alice", message)
    assert trio.run(house.service.recalls) is None
    house.pass_days(99)
    assert house.expire() == 0
    house.pass_days(2)
    assert house.expire() == 1
    assert is_gone(house, message)


def test_who_and_when_can_outlive_what() -> None:
    house = Hospital("alice", "bob", policy=KEEPING)
    room = house.group("alice", "bob")
    message = house.send("alice", room, "text")
    house.pass_days(31)
    assert house.expire() == 1
    assert not is_gone(house, message)
    (item,) = house.history("bob", room)
    assert isinstance(item.op, schema.DestroyedOp)
    house.check()
    house.reopen()
    house.check()
    assert house.expire() == 0


def test_the_trail_ends_by_its_own_rule_and_requests_in_force_do_not() -> None:
    house = Hospital("alice", policy=BASE + AUDIT)
    house.officer("frank", ListHolds())
    house.pass_days(40)
    assert house.expire() == 0
    house.pass_days(25)
    assert house.expire() > 0
    audit = house.core.streams.pseudonym(AUDIT_STREAM)
    with house.reading() as reader:
        reads = [
            op
            for key, _ in reader.range(*FEED.span(audit))
            if (op := _at(house, reader, FEED.columns(key)[1])).kind == Kind.PRIVILEGED_READ
        ]
    assert reads == []
    house.check()
    house.reopen()
    house.check()
    assert house.core.disposal.policies.number == 1


def _at(house: Hospital, reader: Reader, pos: int) -> Op:
    audit = house.core.streams.pseudonym(AUDIT_STREAM)
    origin, seq, _ = FEED_ROW.unpack(reader.get(FEED.key(audit, pos)) or b"")
    op: Op = house.core.log.read(reader, origin, seq)
    return op


def test_a_plan_tells_what_would_happen_and_why() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    free, held = house.group("alice", "bob"), house.group("alice", "bob")
    house.send("alice", free, "a")
    house.send("alice", free, "b")
    house.send("alice", held, "c")
    house.officer("dave", PlaceHold("H", Selection(conversations=(held.hex(),)), "x"))
    house.pass_days(31)
    house.send("alice", free, "young")
    with house.reading() as reader:
        found = plan(house.core, reader, decide_clock.proven_ms(house.core))
    assert {(row.outcome, row.because): row.records for row in found.rows} == {
        ("destroy", "maximum"): 2,
        ("keep", "hold"): 1,
    }
    oldest = {each.retention_class: each for each in found.oldest}
    assert oldest["standard"].records == 4
    assert not found.suspended
    before = oldest["standard"].day
    house.expire()
    with house.reading() as reader:
        after = plan(house.core, reader, decide_clock.proven_ms(house.core))
    assert [row.day for row in after.oldest if row.retention_class == "standard"] == [before]


def test_privileged_reads_are_in_the_trail() -> None:
    house = Hospital("alice", policy=BASE)
    size = house.core.log.ledger.size
    house.officer("frank", ListHolds())
    trail = house.officer("frank", ReadTrail(after=size - 1))
    assert [(entry.act, entry.by) for entry in trail.entries] == [("privileged.read", "frank")]
    with pytest.raises(Refusal, match=r"permission\.denied"):
        house.officer("alice", ListHolds())


def test_nobody_reads_a_record_beyond_its_maximum_before_it_is_destroyed_unless_held() -> None:
    house = Hospital("alice", "bob", policy=BASE)
    free, held = house.group("alice", "bob"), house.group("alice", "bob")
    for room in (free, held):
        house.send("alice", room, "due")
    house.officer("dave", PlaceHold("H", Selection(conversations=(held.hex(),)), "x"))
    house.pass_days(29)
    house.send("alice", free, "young")
    assert house.texts("bob", free, is_over=house.core.is_over()) == ["due", "young"]
    house.pass_days(2)
    assert house.texts("bob", free, is_over=house.core.is_over()) == ["young"]
    assert house.texts("bob", held, is_over=house.core.is_over()) == ["due"]
    house.clock.set_wall_ms(house.clock.wall_ms() + 400 * 86_400_000)
    assert house.texts("bob", free, is_over=house.core.is_over()) == ["young"]
