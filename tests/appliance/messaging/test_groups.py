"""Groups: who may change what, and what members and former members see of it."""

from typing import Any

import pytest

from appliance.messaging import groups
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import Id, MemberOp, RenamedOp, SettingsOp


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol", "dave")


@pytest.fixture
def ward(house: House) -> Id:
    return house.group("alice", "bob", title="Ward")


def fields_of(house: House, op: str) -> dict[str, Any]:
    (dave, bob) = house.ids("dave", "bob")
    fields: dict[str, dict[str, Any]] = {
        "rename": {"title": "New"},
        "add": {"person": dave},
        "remove": {"person": bob},
        "role": {"person": bob, "role": "owner"},
        "archive": {},
        "history": {},
        "leave": {},
    }
    return fields[op]


MANAGED = ("rename", "add", "remove", "role", "archive", "history")


@pytest.mark.parametrize("op", [*MANAGED, "leave"])
@pytest.mark.parametrize("who", ["owner", "member", "former", "stranger"])
def test_rights(house: House, op: str, who: str) -> None:
    """Every operation by everybody: the whole table."""
    conv = house.group("alice", "bob", "carol")
    house.change("alice", conv, "role", person=house.ids("carol")[0], role="owner")
    if who == "former":
        house.change("bob", conv, "leave")
    login = {"owner": "alice", "member": "bob", "former": "bob", "stranger": "dave"}[who]
    frame = schema.Conv(1, conv, op, **fields_of(house, op))
    allowed = {"owner": {*MANAGED, "leave"}, "member": {"leave"}, "former": {"leave"}}
    if op in allowed.get(who, set()):
        reply = house.by(login, frame)
        assert (reply.re, reply.conv) == (1, conv)
        assert (reply.msg is None) == (who == "former")
    else:
        code = "conversation.not_owner" if who == "member" else "conversation.unknown"
        assert house.refused(login, frame) == code


@pytest.mark.parametrize("op", [*MANAGED, "leave"])
def test_a_direct_conversation_cannot_be_changed(house: House, op: str) -> None:
    conv = house.direct("alice", "bob")
    frame = schema.Conv(1, conv, op, **fields_of(house, op))
    assert house.refused("alice", frame) == "conversation.direct"


@pytest.mark.parametrize("op", MANAGED)
def test_what_is_as_wanted_already_changes_nothing(house: House, ward: Id, op: str) -> None:
    fields = fields_of(house, op)
    house.change("alice", ward, op, **fields)
    logged = len(house.ops)
    reply = house.change("alice", ward, op, **fields)
    assert (reply.msg, reply.conv, len(house.ops)) == (None, ward, logged)


@pytest.mark.parametrize(
    ("op", "fields", "code"),
    [
        ("rename", {"title": " "}, "conversation.title"),
        ("role", {"role": "king"}, "frame.invalid"),
        ("role", {"person": Id(b"x" * 16), "role": "owner"}, "conversation.member"),
        ("remove", {"person": Id(b"x" * 16)}, "conversation.member"),
        ("remove", {}, "conversation.member"),
        ("add", {"person": Id(b"x" * 16)}, "person.unknown"),
        ("add", {}, "person.unknown"),
        ("explode", {}, "frame.invalid"),
    ],
)
def test_what_is_malformed_is_refused(
    house: House, ward: Id, op: str, fields: dict[str, Any], code: str
) -> None:
    if op == "role" and "person" not in fields:
        fields = {**fields, "person": house.ids("bob")[0]}
    assert house.refused("alice", schema.Conv(1, ward, op, **fields)) == code


def test_the_last_owner_stays_while_others_do(house: House, ward: Id) -> None:
    bob, alice = house.ids("bob", "alice")
    leave = schema.Conv(1, ward, "leave")
    assert house.refused("alice", leave) == "conversation.last_owner"
    step_down = schema.Conv(1, ward, "role", person=alice, role="member")
    assert house.refused("alice", step_down) == "conversation.last_owner"
    house.change("alice", ward, "role", person=bob, role="owner")
    house.change("alice", ward, "leave")
    assert [each.person for each in house.conversation(ward).owners()] == [bob]


def test_an_owner_who_cannot_act_does_not_count(house: House, ward: Id) -> None:
    house.change("alice", ward, "role", person=house.ids("bob")[0], role="owner")
    house.disable("bob")
    assert house.refused("alice", schema.Conv(1, ward, "leave")) == "conversation.last_owner"


def test_the_last_member_may_leave(house: House, ward: Id) -> None:
    house.change("alice", ward, "remove", person=house.ids("bob")[0])
    house.change("alice", ward, "leave")
    assert not house.conversation(ward).members


def test_without_an_active_owner_the_longest_standing_member_manages(
    house: House, ward: Id
) -> None:
    house.change("alice", ward, "add", person=house.ids("carol")[0])
    rename = schema.Conv(1, ward, "rename", title="Ours")
    assert house.refused("bob", rename) == "conversation.not_owner"
    house.disable("alice")
    assert house.refused("carol", rename) == "conversation.not_owner"
    house.by("bob", rename)
    assert house.conversation(ward).title == "Ours"


def test_nobody_beyond_the_limit_is_added(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MEMBERS", 2)
    frame = schema.Conv(1, ward, "add", person=house.ids("carol")[0])
    assert house.refused("alice", frame) == "conversation.members"


def test_an_archived_group_is_read_only_until_reopened(house: House, ward: Id) -> None:
    said = house.say("alice", ward, "before")
    assert said.msg is not None
    house.change("alice", ward, "archive")
    body = schema.Body("text", "more")
    for frame in (
        schema.Send(1, 90, body, conv=ward),
        schema.Edit(1, 91, said.msg, body),
        schema.React(1, 92, said.msg, "👍"),
    ):
        assert house.refused("alice", frame) == "conversation.archived"
    house.by("alice", schema.Recall(1, 93, said.msg))
    house.change("alice", ward, "archive", on=False)
    house.say("bob", ward, "after")
    assert [op.archived for op in house.heard_ops("bob", SettingsOp)] == [True, False]


def test_a_new_member_reads_from_joining_on(house: House, ward: Id) -> None:
    house.say("alice", ward, "before")
    house.change("alice", ward, "add", person=house.ids("carol")[0])
    house.say("alice", ward, "after")
    assert house.texts("carol", ward) == ["after"]
    assert house.unread("carol", ward) == 1


def test_with_history_a_new_member_reads_what_was_before_but_is_not_told(
    house: House, ward: Id
) -> None:
    house.say("alice", ward, "before")
    house.change("alice", ward, "history")
    house.change("alice", ward, "add", person=house.ids("carol")[0])
    house.say("alice", ward, "after")
    assert house.texts("carol", ward) == ["before", "after"]
    assert house.unread("carol", ward) == 1
    assert [event.op for event in house.feed("carol")] == [
        event.op for event in house.heard[house.person("carol")]
    ]
    assert len(house.heard_ops("carol", schema.MessageOp)) == 1


def test_history_off_again_takes_nothing_from_those_who_joined_with_it(
    house: House, ward: Id
) -> None:
    house.say("alice", ward, "before")
    house.change("alice", ward, "history")
    house.change("alice", ward, "add", person=house.ids("carol")[0])
    house.change("alice", ward, "history", on=False)
    house.change("alice", ward, "add", person=house.ids("dave")[0])
    assert house.texts("carol", ward) == ["before"]
    assert house.texts("dave", ward) == []


def test_who_rejoins_does_not_read_the_gap(house: House, ward: Id) -> None:
    (bob,) = house.ids("bob")
    house.say("alice", ward, "one")
    house.change("alice", ward, "remove", person=bob)
    house.say("alice", ward, "gap")
    assert house.texts("bob", ward) == ["one"]
    house.change("alice", ward, "add", person=bob)
    house.say("alice", ward, "two")
    assert house.texts("bob", ward) == ["one", "two"]
    assert house.unread("bob", ward) == 2
    house.reopen()
    assert house.texts("bob", ward) == ["one", "two"]


def test_who_is_removed_hears_of_it_and_of_nothing_later(house: House, ward: Id) -> None:
    (bob,) = house.ids("bob")
    house.change("alice", ward, "remove", person=bob)
    house.say("alice", ward, "gone")
    house.change("alice", ward, "rename", title="Without bob")
    (told,) = house.heard_ops("bob", MemberOp)
    assert (told.person, told.role) == (bob, "")
    assert house.heard_ops("bob", RenamedOp) == []
    resumed = house.feed("bob")
    assert house.opened_titles(resumed) == [""]
    assert house.opened_titles(house.heard[bob]) == ["Ward"]
    assert [event.pos for event in resumed] == [event.pos for event in house.heard[bob]]
    assert house.refused("bob", schema.Send(1, 50, schema.Body("text", "x"), conv=ward)) == (
        "conversation.unknown"
    )
    assert ward not in house.listed("bob")


def test_members_hear_of_members_roles_and_titles(house: House, ward: Id) -> None:
    bob, carol = house.ids("bob", "carol")
    house.change("alice", ward, "add", person=carol)
    house.change("alice", ward, "role", person=bob, role="owner")
    house.change("bob", ward, "rename", title="Both")
    told = [(op.person, op.role) for op in house.heard_ops("carol", MemberOp)]
    assert told == [(carol, "member"), (bob, "owner")]
    assert [op.title for op in house.heard_ops("carol", RenamedOp)] == ["Both"]
    item = house.listed("carol")[ward]
    roles = {member.person: member.role for member in item.members}
    assert roles == {house.person("alice"): "owner", bob: "owner", carol: "member"}
    assert item.title == "Both"
