"""Memory and rows go together: rollback, restart and rebuilding from the log."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.messaging import DECISIONS
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain, Tick
from store.engine.txn import Txn
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import Body, Id


def furnished() -> tuple[House, Id, Id]:
    """Return a house, a group with one urgent message, and that message."""
    house = House("alice", "bob", "carol", "dave")
    conv = house.group("alice", "bob", "carol", title="Ward")
    house.do(SITE, CreateDuty("on-call", "On call"))
    house.do(SITE, SetChain("on-call", ("carol", "dave"), 60))
    house.do(SITE, AssignDuty("on-call", "bob"))
    house.say("alice", None, "help", to="duty:on-call", priority="urgent")
    msg = house.say("alice", conv, "first", priority="urgent").msg
    assert msg is not None
    return house, conv, msg


def every_command(house: House, conv: Id, msg: Id) -> dict[str, tuple[str, Any]]:
    """Return one command of each kind that is allowed, by name, with who gives it."""
    (dave, bob) = house.ids("dave", "bob")
    pos = house.listed("bob")[conv].pos
    return {
        "direct": ("alice", schema.Open(1, "direct", (dave,), n=90)),
        "group": ("alice", schema.Open(1, "group", (dave,), n=90, title="T", history=True)),
        "rename": ("alice", schema.Conv(1, conv, "rename", title="New")),
        "add": ("alice", schema.Conv(1, conv, "add", person=dave)),
        "remove": ("alice", schema.Conv(1, conv, "remove", person=bob)),
        "leave": ("carol", schema.Conv(1, conv, "leave")),
        "role": ("alice", schema.Conv(1, conv, "role", person=bob, role="owner")),
        "archive": ("alice", schema.Conv(1, conv, "archive")),
        "history": ("alice", schema.Conv(1, conv, "history")),
        "send": ("bob", schema.Send(1, 90, Body("text", "x"), conv=conv, priority="urgent")),
        "page": ("dave", schema.Send(1, 90, Body("text", "x"), to="duty:on-call")),
        "edit": ("alice", schema.Edit(1, 90, msg, Body("text", "x"))),
        "recall": ("alice", schema.Recall(1, 90, msg)),
        "react": ("bob", schema.React(1, 90, msg, "👍")),
        "read": ("bob", schema.Read(conv, pos, 1)),
        "got": ("bob", schema.Got(pos)),
        "confirm": ("bob", schema.Confirm(1, msg)),
        "hand over": ("bob", schema.Duty(1, "on-call", dave)),
        "create": ("", CreateDuty("porter", "Porter")),
        "assign": ("", AssignDuty("on-call", "dave")),
        "chain": ("", SetChain("on-call", ("alice",), 90)),
        "tick": ("", Tick()),
    }


NAMES = tuple(every_command(*furnished()))


def test_every_decision_is_tried_here() -> None:
    kinds = {type(command) for _, command in every_command(*furnished()).values()}
    assert kinds == {kind for kind in DECISIONS if kind.__name__ != "HandOver"}


def memory(house: House) -> tuple[Any, ...]:
    state = house.site.core.conversations
    people = {person: dict(state.ever(person)) for person in house.people.values()}
    feeds = {feed: state.front(feed) for known in people.values() for feed in known.values()}
    got = {person: state.got(person) for person in people}
    return *state.in_memory(), people, feeds, got, state.duties()


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4))
@settings(max_examples=30)
def test_a_rollback_leaves_no_trace_in_memory(names: list[str]) -> None:
    house, conv, msg = furnished()
    house.clock.advance(120_000)
    commands = every_command(house, conv, msg)
    core, before = house.site.core, memory(house)
    with house.reading() as reader:
        txn = Txn(reader)
        for name in names:
            login, command = commands[name]
            mark = txn.savepoint()
            try:
                core.decide(
                    txn,
                    house.actor(login) if login else SITE,
                    command,
                    house.clock.wall_ms(),
                )
            except Exception:  # noqa: BLE001 - whatever it was, it is undone
                txn.rollback(mark)
        txn.rollback(0)
    assert memory(house) == before
    house.close()


@pytest.mark.parametrize("name", NAMES)
def test_each_command_survives_a_restart_and_a_rebuilding(name: str) -> None:
    house, conv, msg = furnished()
    house.clock.advance(120_000)
    login, command = every_command(house, conv, msg)[name]
    logged = len(house.ops)
    house.do(house.actor(login) if login else SITE, command)
    assert len(house.ops) > logged
    house.check()
    before = house.site.core.conversations.in_memory()
    heard = {login: house.feed(login) for login in house.people}
    house.reopen()
    assert house.site.core.conversations.in_memory() == before
    assert {login: house.feed(login) for login in house.people} == heard
    house.check()


def test_nothing_in_memory_shows_content_in_its_repr() -> None:
    house = House("alice", "bob")
    conv = house.group("alice", "bob", title="canary-title")
    house.do(SITE, CreateDuty("canary-duty", "canary-title"))
    house.say("alice", conv, "canary-text", priority="urgent")
    shown = repr(house.site.core.conversations.in_memory()) + repr(house.ops)
    assert "canary" not in shown


def test_no_refusal_shows_what_was_refused() -> None:
    house = House("alice", "bob")
    conv = house.direct("alice", "bob")
    frame = schema.Send(1, 1, Body("canary\n", "canary"), conv=conv)
    with pytest.raises(Exception, match=r"^frame\.invalid$"):
        house.by("alice", frame)
