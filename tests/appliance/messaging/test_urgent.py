"""Urgent messages: confirmed, repeated, passed on; nothing is lost by a restart."""

import pytest

from appliance.context import SITE
from appliance.limits import REPEAT_SECONDS, REPEATS
from appliance.messaging import messages, urgent
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain, Tick
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import ConfirmedOp, EscalatedOp, Id, MessageOp


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol", "dave")


@pytest.fixture
def ward(house: House) -> Id:
    return house.group("alice", "bob", "carol")


def call(house: House, login: str, conv: Id, text: str = "now") -> Id:
    msg = house.say(login, conv, text, priority="urgent").msg
    assert msg is not None
    return msg


def open_messages(house: House) -> int:
    return len(house.site.core.conversations.open_urgent())


def told(house: House, login: str) -> list[tuple[bytes | None, int]]:
    return [(op.to, op.step) for op in house.heard_ops(login, EscalatedOp)]


def test_it_repeats_until_everybody_has_confirmed(house: House, ward: Id) -> None:
    msg = call(house, "alice", ward)
    assert house.tick(REPEAT_SECONDS - 1).handled == 0
    assert house.tick(1).handled == 1
    ok = house.by("bob", schema.Confirm(7, msg))
    assert (ok.re, ok.conv) == (7, ward)
    house.reopen()
    assert house.tick(REPEAT_SECONDS).handled == 1
    house.by("carol", schema.Confirm(1, msg))
    reply = house.tick(REPEAT_SECONDS)
    assert (reply.handled, reply.due_ms, open_messages(house)) == (0, 0, 0)
    assert told(house, "alice") == [(None, 0), (None, 0)]
    confirmed = [(op.by, op.of) for op in house.heard_ops("alice", ConfirmedOp)]
    assert confirmed == [(house.person("bob"), msg), (house.person("carol"), msg)]
    (item,) = house.history("alice", ward)
    assert item.confirmed == house.ids("bob", "carol")


def test_a_second_confirmation_gets_the_first_answer(house: House, ward: Id) -> None:
    msg = call(house, "alice", ward)
    first = house.by("bob", schema.Confirm(1, msg))
    assert house.by("bob", schema.Confirm(1, msg), device=2) == first
    house.by("carol", schema.Confirm(1, msg))
    house.reopen()
    assert house.by("bob", schema.Confirm(1, msg)) == first


@pytest.mark.parametrize(
    ("login", "priority", "code"),
    [
        ("alice", "urgent", "message.not_urgent"),
        ("bob", "normal", "message.not_urgent"),
        ("dave", "urgent", "message.unknown"),
    ],
)
def test_who_is_not_asked_cannot_confirm(
    house: House, ward: Id, login: str, priority: str, code: str
) -> None:
    msg = house.say("alice", ward, "x", priority=priority).msg
    assert msg is not None
    assert house.refused(login, schema.Confirm(1, msg)) == code


def test_without_a_chain_it_goes_to_a_missing_owner_in_the_end(house: House, ward: Id) -> None:
    call(house, "bob", ward)
    for _ in range(REPEATS):
        house.tick(REPEAT_SECONDS)
    assert told(house, "bob") == [(None, 0)] * REPEATS
    house.tick(REPEAT_SECONDS)
    assert told(house, "carol")[-1] == (house.person("alice"), 1)
    assert open_messages(house) == 0
    assert house.tick(REPEAT_SECONDS).handled == 0


def test_it_goes_back_to_its_sender_when_there_is_nobody_else(house: House) -> None:
    msg = call(house, "bob", house.direct("alice", "bob"))
    for _ in range(REPEATS + 1):
        house.tick(REPEAT_SECONDS)
    assert told(house, "alice")[-1] == (house.person("bob"), 1)
    late = house.by("alice", schema.Confirm(1, msg))
    assert late.msg is not None
    assert len(house.heard_ops("bob", ConfirmedOp)) == 1


def test_who_leaves_is_waited_for_no_longer(house: House, ward: Id) -> None:
    msg = call(house, "alice", ward)
    house.by("bob", schema.Confirm(1, msg))
    house.change("carol", ward, "leave")
    assert open_messages(house) == 0
    house.check()


def test_a_recall_ends_it(house: House, ward: Id) -> None:
    msg = call(house, "alice", ward)
    house.by("alice", schema.Recall(1, 60, msg))
    assert open_messages(house) == 0
    assert house.refused("bob", schema.Confirm(1, msg)) == "message.recalled"


def test_nobody_is_waited_for_in_a_group_of_one(house: House) -> None:
    call(house, "alice", house.group("alice"))
    assert open_messages(house) == 0


def test_only_the_site_ticks(house: House) -> None:
    assert house.refused("alice", Tick()) == "permission.denied"


def test_one_sender_has_so_many_open_at_once(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "OPEN_URGENT_PER_PERSON", 2)
    call(house, "alice", ward)
    msg = call(house, "alice", ward)
    frame = schema.Send(1, 60, schema.Body("text", "x"), conv=ward, priority="urgent")
    assert house.refused("alice", frame) == "rate.limited"
    call(house, "bob", ward)
    for login in ("bob", "carol"):
        house.by(login, schema.Confirm(1, msg))
    house.by("alice", frame)


def test_a_tick_handles_so_many_and_says_when_more_is_due(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urgent, "TICK_URGENT", 2)
    for _ in range(3):
        call(house, "alice", ward)
    reply = house.tick(REPEAT_SECONDS)
    assert reply.handled == 2
    assert reply.due_ms <= house.clock.wall_ms()
    assert house.tick().handled == 1
    assert house.tick().handled == 0


# --- duties -------------------------------------------------------------------------------------


@pytest.fixture
def on_call(house: House) -> House:
    """Bob is on call; carol and dave are next, two and a half minutes each."""
    house.do(SITE, CreateDuty("on-call", "On call"))
    house.do(SITE, AssignDuty("on-call", "bob"))
    house.do(SITE, SetChain("on-call", ("carol", "dave"), 150))
    return house


def page(house: House, text: str = "bed 12") -> schema.Ok:
    return house.say("alice", None, text, to="duty:on-call", priority="urgent")


def test_a_message_to_a_duty_reaches_its_holder(on_call: House) -> None:
    ok = page(on_call)
    assert ok.conv == on_call.direct("alice", "bob")
    (message,) = on_call.heard_ops("bob", MessageOp)
    assert (message.duty, message.msg) == ("on-call", ok.msg)
    assert on_call.heard_ops("carol", MessageOp) == []


def test_it_goes_on_along_the_chain_and_back_to_its_sender(on_call: House) -> None:
    ok = page(on_call)
    on_call.tick(120)
    on_call.tick(30)
    carol, dave, alice = on_call.ids("carol", "dave", "alice")
    assert told(on_call, "bob") == [(None, 0), (carol, 1)]
    (copy,) = on_call.heard_ops("carol", MessageOp)
    assert (copy.body.text, copy.by, copy.device, copy.duty) == ("bed 12", alice, b"", "on-call")
    assert copy.priority == "urgent"
    on_call.reopen()
    on_call.tick(120)
    assert told(on_call, "carol") == [(None, 1)]
    on_call.tick(30)
    on_call.tick(150)
    assert len(on_call.heard_ops("dave", MessageOp)) == 1
    assert told(on_call, "alice")[-1] == (alice, 3)
    assert [to for to, _ in told(on_call, "bob") if to] == [carol, dave, alice]
    assert open_messages(on_call) == 0
    assert ok.conv is not None
    assert on_call.unread("carol", on_call.direct("carol", "alice")) == 1
    on_call.check()


@pytest.mark.parametrize("login", ["bob", "carol"])
def test_whoever_was_asked_ends_it_by_confirming(on_call: House, login: str) -> None:
    ok = page(on_call)
    on_call.tick(150)
    name = ok.msg if login == "bob" else on_call.heard_ops("carol", MessageOp)[0].msg
    assert name is not None
    on_call.by(login, schema.Confirm(1, name))
    assert open_messages(on_call) == 0
    assert on_call.tick(1000).handled == 0
    (told_to_sender,) = on_call.heard_ops("alice", ConfirmedOp)
    assert told_to_sender.by == on_call.person(login)


def test_what_goes_on_is_the_newest_version(on_call: House) -> None:
    ok = page(on_call)
    assert ok.msg is not None
    on_call.by("alice", schema.Edit(1, 60, ok.msg, schema.Body("text", "bed 13")))
    on_call.tick(150)
    assert [op.body.text for op in on_call.heard_ops("carol", MessageOp)] == ["bed 13"]


def test_a_recall_takes_the_copies_along(on_call: House) -> None:
    ok = page(on_call)
    assert ok.msg is not None
    on_call.tick(150)
    on_call.tick(150)
    on_call.by("alice", schema.Recall(1, 60, ok.msg))
    for login in ("bob", "carol", "dave"):
        conv = on_call.direct(login, "alice")
        assert [item.recalled for item in on_call.history(login, conv)] == [True]
    assert open_messages(on_call) == 0
    on_call.check()


def test_a_copy_can_be_edited_and_recalled_on_its_own(on_call: House) -> None:
    page(on_call)
    on_call.tick(150)
    copy = on_call.heard_ops("carol", MessageOp)[0].msg
    on_call.by("alice", schema.Edit(1, 60, copy, schema.Body("text", "for you")))
    assert on_call.texts("carol", on_call.direct("carol", "alice")) == ["for you"]
    on_call.by("alice", schema.Recall(1, 61, copy))
    assert open_messages(on_call) == 1


def test_people_who_cannot_answer_are_passed_over(on_call: House) -> None:
    on_call.disable("carol")
    page(on_call)
    on_call.tick(150)
    assert on_call.heard_ops("carol", MessageOp) == []
    assert len(on_call.heard_ops("dave", MessageOp)) == 1


def test_a_handover_takes_open_messages_along(on_call: House) -> None:
    page(on_call)
    on_call.by("bob", schema.Duty(1, "on-call", on_call.ids("dave")[0]))
    assert [op.body.text for op in on_call.heard_ops("dave", MessageOp)] == ["bed 12"]
    on_call.tick(150)
    assert len(on_call.heard_ops("carol", MessageOp)) == 1
    on_call.reopen()
    on_call.tick(150)
    assert told(on_call, "alice")[-1] == (on_call.person("alice"), 3)
    assert open_messages(on_call) == 0
    on_call.check()


def test_without_a_chain_a_duty_goes_back_to_the_sender(house: House) -> None:
    house.do(SITE, CreateDuty("porter", "Porter"))
    house.do(SITE, AssignDuty("porter", "bob"))
    house.say("alice", None, "x", to="duty:porter", priority="urgent")
    for _ in range(REPEATS + 1):
        house.tick(REPEAT_SECONDS)
    assert told(house, "bob")[-1] == (house.person("alice"), 1)
    assert open_messages(house) == 0


def test_memory_after_a_restart_is_what_it_was(on_call: House, ward: Id) -> None:
    page(on_call)
    on_call.tick(150)
    group = call(on_call, "alice", ward)
    on_call.by("bob", schema.Confirm(1, group))
    on_call.tick(REPEAT_SECONDS)
    before = on_call.site.core.conversations.in_memory()
    assert len(before[2]) == 2
    on_call.reopen()
    assert on_call.site.core.conversations.in_memory() == before
