"""Duties: who may make, give and hand over, and what everybody hears."""

from typing import Any

import pytest
from nacl.signing import SigningKey

from appliance import limits
from appliance.context import SITE, Actor
from appliance.directory import codes
from appliance.directory.commands import AcceptInvite, Command, CreateInvite
from appliance.directory.requests import canonical_json, canonical_request
from appliance.messaging import commands, lists
from appliance.messaging.commands import AssignDuty, CreateDuty, HandOver, SetChain
from appliance.operations import Signed
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import DutyItem, DutyOp, Id


@pytest.fixture
def house() -> House:
    house = House("alice", "bob", "carol", "grace")
    house.set_roles("grace", "member", "administrator")
    return house


@pytest.fixture
def duty(house: House) -> str:
    house.do(SITE, CreateDuty("on-call", "On call"))
    house.do(SITE, AssignDuty("on-call", "bob"))
    return "on-call"


def give_key(house: House, login: str) -> None:
    """Let somebody enrol by invitation, with a signing key."""
    code = codes.code_hash(codes.make_code(login.encode().ljust(codes.CODE_ENTROPY_BYTES)))
    key = bytes(SigningKey(house.person(login) * 2).verify_key)
    house.do(SITE, CreateInvite(login, code))
    house.do(SITE, AcceptInvite(code, house.person(login) * 2, public_key=key))


def signed(house: House, login: str, command: Command, name: str = "") -> Actor:
    """Return the actor of a request that somebody signed."""
    name = name or commands.NAMES[type(command)]
    person = house.person(login)
    data = canonical_request(
        house.site.core.log.node, b"c" * 16, person, name, canonical_json(command)
    )
    key = SigningKey(person * 2)
    return Actor(person, b"", Signed(data, key.sign(data).signature))


CREATE = CreateDuty("porter", "Porter")


def refused(house: House, actor: Actor, command: Any) -> str:
    with pytest.raises(Refusal) as caught:
        house.do(actor, command)
    return caught.value.code


def test_an_administrator_signs(house: House) -> None:
    give_key(house, "grace")
    item = house.do(signed(house, "grace", CREATE), CREATE)
    assert item == DutyItem("porter", "Porter")
    assign = AssignDuty("porter", "bob")
    assert house.do(signed(house, "grace", assign), assign).holder == house.person("bob")
    chain = SetChain("porter", ("carol", "alice"), 60)
    assert house.do(signed(house, "grace", chain), chain).chain == house.ids("carol", "alice")
    house.check()


def test_nobody_else_does(house: House) -> None:
    give_key(house, "alice")
    give_key(house, "grace")
    assert refused(house, signed(house, "alice", CREATE), CREATE) == "permission.denied"
    assert refused(house, house.actor("grace"), CREATE) == "request.signature"
    other = signed(house, "grace", CreateDuty("porter", "Other"))
    assert refused(house, other, CREATE) == "request.signature"
    misnamed = signed(house, "grace", CREATE, "duty.assign")
    assert refused(house, misnamed, CREATE) == "request.signature"
    borrowed = Actor(house.person("grace"), b"", signed(house, "alice", CREATE).signed)
    assert refused(house, borrowed, CREATE) == "request.signature"


@pytest.mark.parametrize(
    ("name", "title", "code"),
    [
        ("", "x", "duty.name"),
        ("On-Call", "x", "duty.name"),
        ("-a", "x", "duty.name"),
        ("a-", "x", "duty.name"),
        ("a b", "x", "duty.name"),
        ("ä", "x", "duty.name"),
        ("a\n", "x", "duty.name"),
        ("a" * (limits.DUTY_NAME_CHARACTERS + 1), "x", "duty.name"),
        ("a", " ", "duty.title"),
        ("a", "x\ny", "duty.title"),
        ("a", "x" * (limits.TITLE_CHARACTERS + 1), "duty.title"),
        ("on-call", "x", "duty.exists"),
    ],
)
def test_names_and_titles(house: House, duty: str, name: str, title: str, code: str) -> None:
    assert refused(house, SITE, CreateDuty(name, title)) == code


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (AssignDuty("none", "bob"), "duty.unknown"),
        (AssignDuty("on-call", "nobody"), "person.unknown"),
        (SetChain("on-call", ("bob", "bob"), 60), "duty.chain"),
        (SetChain("on-call", ("bob",), limits.STEP_SECONDS_MIN - 1), "duty.chain"),
        (SetChain("on-call", ("bob",), limits.STEP_SECONDS_MAX + 1), "duty.chain"),
        (SetChain("on-call", ("bob",) * (limits.CHAIN_PERSONS + 1), 60), "duty.chain"),
        (SetChain("on-call", ("nobody",), 60), "person.unknown"),
    ],
)
def test_what_is_wrong_is_refused(house: House, duty: str, command: Command, code: str) -> None:
    assert refused(house, SITE, command) == code


def test_the_holder_hands_over_and_everybody_hears_of_it(house: House, duty: str) -> None:
    ok = house.by("bob", schema.Duty(3, duty, house.ids("carol")[0]))
    assert ok.re == 3
    for login in house.people:
        told = [(op.duty, op.holder) for op in house.heard_ops(login, DutyOp)]
        assert told == [(duty, house.person("bob")), (duty, house.person("carol"))]
        resumed = [event for event in house.feed(login) if isinstance(event.op, DutyOp)]
        assert resumed == [e for e in house.heard[house.person(login)] if e in resumed]
        assert len(resumed) == 2
    again = schema.Duty(3, duty, house.ids("carol")[0])
    assert house.refused("bob", again) == "duty.not_holder"
    assert house.by("carol", again) == schema.Ok(re=3)
    assert house.refused("carol", schema.Duty(1, "none", Id(b"x" * 16))) == "duty.unknown"
    assert house.refused("carol", schema.Duty(1, duty, Id(b"x" * 16))) == "person.unknown"


def test_the_holder_hands_over_by_a_signed_request(house: House, duty: str) -> None:
    command = HandOver(duty, "carol")
    give_key(house, "bob")
    give_key(house, "alice")
    assert refused(house, signed(house, "alice", command), command) == "duty.not_holder"
    assert refused(house, house.actor("bob"), command) == "request.signature"
    item = house.do(signed(house, "bob", command), command)
    assert item.holder == house.person("carol")


def test_a_vacant_duty_takes_no_messages(house: House, duty: str) -> None:
    frame = schema.Send(1, 9, schema.Body("text", "x"), to="duty:ON-CALL")
    assert house.by("alice", frame).conv == house.direct("alice", "bob")
    house.do(SITE, AssignDuty(duty))
    assert house.by("alice", frame).conv == house.direct("alice", "bob")
    other = schema.Send(1, 10, schema.Body("text", "x"), to="duty:on-call")
    assert house.refused("alice", other) == "duty.vacant"


def test_a_retry_after_a_handover_goes_nowhere_new(house: House, duty: str) -> None:
    frame = schema.Send(1, 9, schema.Body("text", "x"), to="duty:on-call", priority="urgent")
    first = house.by("alice", frame)
    house.by("bob", schema.Duty(3, duty, house.ids("carol")[0]))
    logged = len(house.ops)
    assert house.by("alice", frame) == first
    assert len(house.ops) == logged


def test_the_holder_does_not_write_to_the_own_duty(house: House, duty: str) -> None:
    frame = schema.Send(1, 9, schema.Body("text", "x"), to="duty:on-call")
    assert house.refused("bob", frame) == "conversation.members"


def test_what_refers_to_a_conversation_is_not_for_a_duty(house: House, duty: str) -> None:
    frame = schema.Send(
        1, 9, schema.Body("text", "x"), to="duty:on-call", mentions=house.ids("bob")
    )
    assert house.refused("alice", frame) == "frame.invalid"


def test_duties_are_listed_by_name(house: House, duty: str) -> None:
    house.do(SITE, CREATE)
    house.do(SITE, SetChain(duty, ("carol",), 60))
    house.reopen()
    assert lists.duties(house.site.core.conversations) == [
        DutyItem("on-call", "On call", Id(house.person("bob")), house.ids("carol")),
        DutyItem("porter", "Porter"),
    ]
    house.check()
