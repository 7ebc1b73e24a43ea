"""Marks and unread: what has been received and read, computed and never drifting."""

import pytest

from appliance.messaging import marks, receipts, unread
from appliance.messaging.model import NO_ROOT, Root
from appliance.messaging.receipts import NOTHING, Receipt
from appliance.operations import Kind, Message, encode
from store.engine.txn import Txn
from store.feeds import timeline_row
from store.oplog import Draft, Op, OpClass
from store.tables import TIMELINE
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import DeliveredOp, Id, ReadOp


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol")


@pytest.fixture
def ward(house: House) -> Id:
    return house.group("alice", "bob", "carol")


def test_reading_marks_and_tells_the_others(house: House, ward: Id) -> None:
    one, two = house.say("alice", ward, "one"), house.say("alice", ward, "two")
    assert house.unread("bob", ward) == 2
    house.by("bob", schema.Read(ward, one.pos, 1))
    assert house.unread("bob", ward) == 1
    house.by("bob", schema.Read(ward, two.pos))
    assert (house.unread("bob", ward), house.unread("carol", ward)) == (0, 2)
    told = [(op.by, op.key) for op in house.heard_ops("alice", ReadOp)]
    bob = house.person("bob")
    assert told == [(bob, one.key), (bob, two.key)]
    members = {member.person: member for member in house.listed("alice")[ward].members}
    assert (members[Id(bob)].read, members[Id(bob)].delivered) == (two.key, two.key)
    assert members[Id(house.person("carol"))].read == ""


def test_marks_never_answer_marks(house: House, ward: Id) -> None:
    """Two clients that read and acknowledge every event come to rest."""
    house.say("alice", ward, "one")
    for _ in range(2):
        for login in ("alice", "bob", "carol"):
            house.read_all(login, ward)
            house.by(login, schema.Got(house.listed(login)[ward].pos))
    logged = len(house.ops)
    for login in ("alice", "bob", "carol"):
        assert house.read_all(login, ward).msg is None
        house.by(login, schema.Got(house.listed(login)[ward].pos))
    assert len(house.ops) == logged
    assert house.heard_ops("bob", ReadOp) == house.heard_ops("alice", ReadOp)
    assert {op.by for op in house.heard_ops("bob", ReadOp)} == set(house.ids("bob", "carol"))


def test_marks_do_not_go_back(house: House, ward: Id) -> None:
    one, two = house.say("alice", ward, "one"), house.say("alice", ward, "two")
    house.by("bob", schema.Read(ward, two.pos, 1))
    assert house.by("bob", schema.Read(ward, one.pos, 2)) == schema.Ok(re=2, conv=ward)
    assert house.unread("bob", ward) == 0


def test_a_position_from_the_future_reads_what_is_there(house: House, ward: Id) -> None:
    house.say("alice", ward, "one")
    house.by("bob", schema.Read(ward, "7" + "f" * 15, 1))
    assert house.unread("bob", ward) == 0
    house.say("alice", ward, "two")
    assert house.unread("bob", ward) == 1


@pytest.mark.parametrize("upto", ["", "xyz", "8" + "0" * 15, "-1", "F"])
def test_a_position_that_is_none_is_refused(house: House, ward: Id, upto: str) -> None:
    assert house.refused("bob", schema.Read(ward, upto, 1)) == "send.position"
    assert house.refused("bob", schema.Got(upto)) == "send.position"


def test_only_members_mark(house: House) -> None:
    conv = house.group("alice", "bob")
    assert house.refused("carol", schema.Read(conv, "ff", 1)) == "conversation.unknown"


def test_own_messages_are_never_unread(house: House, ward: Id) -> None:
    house.say("bob", ward, "mine", device=2)
    assert house.unread("bob", ward) == 0
    house.say("alice", ward, "theirs")
    house.say("bob", ward, "mine again")
    assert house.unread("bob", ward) == 1
    assert house.unread("alice", ward) == 2


def test_recalled_messages_are_not_unread(house: House, ward: Id) -> None:
    one = house.say("alice", ward, "one")
    house.say("alice", ward, "two")
    assert one.msg is not None
    house.by("alice", schema.Recall(1, 90, one.msg))
    assert house.unread("bob", ward) == 1


def test_edits_reactions_and_members_are_not_unread(house: House, ward: Id) -> None:
    one = house.say("alice", ward, "one")
    assert one.msg is not None
    house.read_all("bob", ward)
    house.by("alice", schema.Edit(1, 90, one.msg, schema.Body("text", "two")))
    house.by("alice", schema.React(1, 91, one.msg, "👍"))
    house.change("alice", ward, "rename", title="New")
    assert house.unread("bob", ward) == 0


def test_got_marks_each_conversation_that_has_something_new(house: House, ward: Id) -> None:
    direct = house.direct("alice", "bob")
    first = house.say("alice", ward, "one")
    second = house.say("alice", direct, "two")
    house.say("bob", direct, "own")
    house.by("bob", schema.Got(second.pos))
    told = [(op.by, op.key) for op in house.heard_ops("alice", DeliveredOp)]
    bob = house.person("bob")
    assert sorted(told) == sorted([(bob, first.key), (bob, second.key)])
    logged = len(house.ops)
    house.by("bob", schema.Got(house.listed("bob")[direct].pos), device=2)
    assert len(house.ops) == logged
    house.reopen()
    house.by("bob", schema.Got(house.listed("bob")[direct].pos))
    assert len(house.ops) == logged


def test_got_of_a_client_that_is_behind_marks_only_what_it_has(house: House, ward: Id) -> None:
    one = house.say("alice", ward, "one")
    two = house.say("alice", ward, "two")
    house.by("bob", schema.Got(one.pos))
    house.by("bob", schema.Got(two.pos))
    assert [op.key for op in house.heard_ops("alice", DeliveredOp)] == [one.key, two.key]


def test_got_after_reading_marks_nothing(house: House, ward: Id) -> None:
    one = house.say("alice", ward, "one")
    house.read_all("bob", ward)
    house.by("bob", schema.Got(one.pos))
    assert house.heard_ops("alice", DeliveredOp) == []


def test_got_advances_so_many_conversations_and_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MARKS_PER_GOT", 2)
    groups = [house.group("alice", "bob") for _ in range(5)]
    last = [house.say("alice", conv, "x") for conv in groups][-1]
    for done in (2, 4, 5, 5):
        house.by("bob", schema.Got(last.pos))
        assert len(house.heard_ops("alice", DeliveredOp)) == done
    assert [event.conv for event in house.feed("alice")[-5:]] == groups


def test_large_groups_keep_marks_to_their_reader(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MARK_MEMBERS", 2)
    monkeypatch.setattr(marks, "DELIVERED_MEMBERS", 2)
    one = house.say("alice", ward, "one")
    house.by("bob", schema.Got(one.pos))
    house.read_all("bob", ward)
    assert house.heard_ops("alice", ReadOp) == []
    assert len(house.heard_ops("bob", ReadOp)) == 1
    assert house.heard_ops("alice", DeliveredOp) == house.heard_ops("bob", DeliveredOp) == []
    for login in ("alice", "bob"):
        assert house.feed(login) == house.heard[house.person(login)]
    members = {member.person: member.read for member in house.listed("alice")[ward].members}
    assert members[Id(house.person("bob"))] == one.key


def test_unread_is_counted_up_to_a_bound(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "UNREAD", 3)
    for number in range(5):
        house.say("alice", ward, str(number))
    assert house.unread("bob", ward) == 3


def test_in_the_gap_of_a_membership_nothing_is_unread(house: House, ward: Id) -> None:
    (bob,) = house.ids("bob")
    house.say("alice", ward, "before")
    house.change("alice", ward, "remove", person=bob)
    house.say("alice", ward, "gap")
    house.change("alice", ward, "add", person=bob)
    assert house.unread("bob", ward) == 1
    house.say("alice", ward, "after")
    assert house.unread("bob", ward) == 2


def arrive_late(house: House, txn: Txn, conv: Id, key: int) -> Op:
    """Let a message by alice arrive that sorts at ``key``, as one from another site would."""
    core = house.site.core
    known = house.conversation(conv)
    body = Message("text", "late", "", "normal", b"", ())
    draft = Draft(
        Kind.MESSAGE,
        OpClass.MESSAGE,
        known.stream,
        known.retention_class,
        actor=house.person("alice"),
        conversation=bytes(conv),
        body=encode(body),
    )
    op = core.append(txn, draft, body, house.clock.wall_ms())
    row, value = timeline_row(op)
    txn.delete(row)
    txn.put(TIMELINE.key(op.feed, key, *op.id), value)
    receipts.note_late(txn, op.feed, op.pos)
    return op


def test_what_arrives_late_below_the_mark_is_unread_until_read(house: House, ward: Id) -> None:
    early = house.say("alice", ward, "one")
    house.clock.advance(1000)
    house.say("alice", ward, "two")
    house.read_all("bob", ward)
    core = house.site.core
    known = house.conversation(ward)
    bob = known.members[house.person("bob")]
    with house.reading() as reader:
        txn = Txn(reader)

        def count() -> int:
            receipt = receipts.get(txn, known.pseudonym, bob.pseudonym)
            return unread.count(txn, core.log, core.conversations, known, bob, receipt)

        assert count() == 0
        op = arrive_late(house, txn, ward, int(early.key, 16) + 1)
        assert count() == 1
        frame = schema.Read(ward, f"{op.pos:x}", 1)
        reply = core.decide(txn, house.actor("bob"), frame, house.clock.wall_ms()).reply
        assert reply.msg is not None
        assert count() == 0
        txn.rollback(0)


def test_receipts_never_go_back() -> None:
    receipt = NOTHING.delivered(5, 10, 100).read(7, 12, 200)
    assert receipt == Receipt(7, 12, 200, 7, 12, 200)
    assert receipt.delivered(6, 11, 300) == receipt
    assert receipt.read(6, 11, 300) == receipt
    late = receipt.read(3, 13, 300)
    assert (late.read_key, late.read_pos) == (7, 13)


def test_the_newest_message_of_others_is_followed() -> None:
    root = NO_ROOT.after(1, 10, b"a").after(2, 11, b"a").after(3, 12, b"b").after(4, 13, b"b")
    assert root == Root(4, 13, b"b", 2, 11)
    assert (root.of_others(b"b"), root.of_others(b"a"), root.of_others(b"c")) == (2, 4, 4)


def test_newest_messages_are_found_again_after_a_restart(house: House, ward: Id) -> None:
    core = house.site.core
    for login, text in [("alice", "1"), ("bob", "2"), ("bob", "3")]:
        house.say(login, ward, text)
    feed = house.conversation(ward).pseudonym
    followed = core.conversations.front(feed).root
    house.reopen()
    core = house.site.core
    assert core.conversations.front(feed).root is None
    with house.reading() as reader:
        found = core.conversations.root(
            reader, lambda origin, seq: core.log.read(reader, origin, seq), feed
        )
    assert found == followed
