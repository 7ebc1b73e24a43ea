"""Wipes: whoever could read what was destroyed hears of it, live or later, and nobody else."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance import core
from appliance.context import SITE, Context
from appliance.messaging import feed, render
from appliance.operations import ConversationWiped, Kind
from appliance.positions import format_key, parse_key
from store.oplog import Op
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import Event, Id

LOGINS = ("alice", "bob", "carol")


class Wipe(NamedTuple):
    """Append what a destruction leaves in a conversation; it destroys nothing itself."""

    conv: Id
    body: ConversationWiped


def decide(ctx: Context, command: Wipe) -> Op:
    known = ctx.conversations.get(command.conv)
    assert known is not None
    return ctx.append(
        Kind.CONVERSATION_WIPED, command.body, stream=known.stream, conversation=known.id
    )


@pytest.fixture(autouse=True)
def wiping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(core.DECISIONS, Wipe, decide)


@pytest.fixture
def house() -> House:
    return House(*LOGINS)


def wipe(house: House, conv: Id, *ranges: tuple[int, int], run: int = 7) -> Op:
    op = house.do(SITE, Wipe(conv, ConversationWiped(run, ranges)))
    assert isinstance(op, Op)
    return op


def key(reply: schema.Ok) -> int:
    return parse_key(reply.key)


def heard(house: House, login: str) -> list[schema.WipeOp]:
    """Return the wipes somebody heard live; who resumes hears just the same."""
    live = house.heard[house.person(login)]
    assert house.feed(login) == live
    return [event.op for event in live if isinstance(event.op, schema.WipeOp)]


def all_heard(house: House) -> dict[str, int]:
    return {login: len(heard(house, login)) for login in LOGINS}


def test_a_wipe_says_what_and_by_which_certificate(house: House) -> None:
    conv = house.group("alice", "bob")
    first, second = house.say("alice", conv, "one"), house.say("bob", conv, "two")
    op = wipe(house, conv, (key(first), key(first)), (key(second), key(second) + 5), run=9)
    (told,) = heard(house, "bob")
    assert told == schema.WipeOp(
        msg=Id(op.id.pack()),
        by=Id(b""),
        at=op.received_ms,
        certificate=9,
        ranges=((first.key, first.key), (second.key, format_key(key(second) + 5))),
    )
    assert told.covers(first.key)
    (event,) = [each for each in house.feed("alice") if each.op == told]
    assert (event.conv, event.late, render.is_urgent(event)) == (conv, False, False)


def test_only_those_who_could_read_it_hear_of_it(house: House) -> None:
    conv = house.group("alice", "bob")
    early = house.say("alice", conv, "before carol")
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    late = house.say("alice", conv, "with carol")
    wipe(house, conv, (key(early), key(early)))
    assert all_heard(house) == {"alice": 1, "bob": 1, "carol": 0}
    wipe(house, conv, (key(early), key(late)))
    assert all_heard(house) == {"alice": 2, "bob": 2, "carol": 1}


def test_who_may_read_what_was_before_them_hears_of_it(house: House) -> None:
    conv = house.group("alice", "bob", history=True)
    early = house.say("alice", conv, "before carol")
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    wipe(house, conv, (key(early), key(early)))
    assert all_heard(house) == {"alice": 1, "bob": 1, "carol": 1}


def test_who_came_after_the_destruction_does_not_hear_of_it(house: House) -> None:
    conv = house.group("alice", "bob", history=True)
    early = house.say("alice", conv, "gone")
    wipe(house, conv, (key(early), key(early)))
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    assert all_heard(house) == {"alice": 1, "bob": 1, "carol": 0}


def test_who_left_hears_of_it_and_of_nothing_else(house: House) -> None:
    conv = house.group("alice", "bob", "carol")
    said = house.say("alice", conv, "one")
    house.change("bob", conv, "leave")
    left_at = house.feed("bob")[-1].pos
    unheard = house.say("alice", conv, "without bob")
    house.by("alice", schema.React(1, 60, said.msg or Id(b""), "👍"))
    house.read_all("carol", conv)
    house.change("alice", conv, "rename", title="Ward")
    wipe(house, conv, (key(unheard), key(unheard)), run=1)
    wipe(house, conv, (key(said), key(said)), run=2)
    house.say("alice", conv, "more")
    wipe(house, conv, (key(said), key(unheard)), run=3)
    house.say("alice", conv, "and more")
    assert [op.certificate for op in heard(house, "bob")] == [2, 3]
    after = house.feed("bob", int(left_at, 16))
    assert [type(event.op) for event in after] == [schema.WipeOp, schema.WipeOp]
    assert [event.pos for event in house.feed("bob", int(after[0].pos, 16))] == [after[1].pos]
    house.reopen()
    assert len(heard(house, "bob")) == 2


def test_who_came_back_hears_of_what_was_destroyed_while_they_were_away(house: House) -> None:
    conv = house.group("alice", "bob")
    said = house.say("alice", conv, "one")
    house.change("alice", conv, "remove", person=house.ids("bob")[0])
    gap = house.say("alice", conv, "without bob")
    wipe(house, conv, (key(said), key(said)))
    house.change("alice", conv, "add", person=house.ids("bob")[0])
    wipe(house, conv, (key(gap), key(gap)))
    house.say("alice", conv, "again")
    assert all_heard(house) == {"alice": 2, "bob": 1, "carol": 0}


def test_a_direct_conversation_is_wiped_for_both(house: House) -> None:
    conv = house.direct("alice", "bob")
    said = house.say("alice", conv, "one")
    wipe(house, conv, (key(said), key(said)))
    assert all_heard(house) == {"alice": 1, "bob": 1, "carol": 0}


def test_where_nothing_was_destroyed_nothing_is_searched_for_who_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = house.group("alice", "bob")
    house.change("bob", conv, "leave")
    pos = int(house.feed("bob")[-1].pos, 16)
    for _ in range(5):
        house.say("alice", conv, "without bob")
    looked: list[object] = []
    monkeypatch.setattr(feed, "_is_control", lambda *row: looked.append(row))
    assert house.feed("bob", pos) == []
    assert looked == []


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_long_absence_is_looked_through_in_pieces(
    house: House, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    conv = house.group("alice", "bob")
    said = house.say("alice", conv, "one")
    house.change("bob", conv, "leave")
    pos = int(house.feed("bob")[-1].pos, 16)
    for _ in range(10):
        house.say("alice", conv, "without bob")
    wipe(house, conv, (key(said), key(said)))
    core, calls = house.site.core, 0
    monkeypatch.setattr(feed, "ROWS", rows)
    upto: int | None = pos
    found = []
    while upto is not None:
        calls += 1
        with house.reading() as reader:
            missed = feed.events_after(
                reader, core.log, core.conversations, house.person("bob"), upto, 50
            )
        found += [op.kind for _, op in missed.events]
        assert missed.upto is None or missed.upto > upto
        upto = missed.upto
    assert found == [Kind.CONVERSATION_WIPED]
    assert calls == 11 // rows + 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "leave", "join", "wipe", "read"]),
        st.sampled_from(LOGINS[1:]),
        st.integers(0, 8),
        st.integers(0, 8),
    ),
    max_size=24,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS, st.booleans())
def test_whoever_held_a_copy_is_told_live_and_later_alike(
    steps: list[tuple[str, str, int, int]], history: bool
) -> None:
    """A model of each device: what it could fetch at any time is what it may hold."""
    house = House(*LOGINS)
    conv = house.group("alice", "bob", history=history)
    held: dict[str, set[int]] = {login: set() for login in LOGINS}
    said: list[int] = []
    expected: dict[str, list[int]] = {login: [] for login in LOGINS}
    for number, (what, who, a, b) in enumerate(steps):
        step(house, conv, said, what, who)
        members = house.conversation(conv).members
        for login in LOGINS:
            if house.person(login) in members:
                held[login].update(_readable(house, login, conv))
        if what == "wipe" and said:
            first, last = sorted((said[a % len(said)], said[b % len(said)]))
            wipe(house, conv, (first, last), run=number + 1)
            for login in LOGINS:
                if any(first <= each <= last for each in held[login]):
                    expected[login].append(number + 1)
    for login in LOGINS:
        told = [op.certificate for op in heard(house, login)]
        assert set(expected[login]) <= set(told)
        may = house.conversation(conv).membership(house.person(login))
        assert may is not None or not told
    for login in LOGINS:
        _resumes_anywhere(house, login)


def step(house: House, conv: Id, said: list[int], what: str, who: str) -> None:
    """Carry out one step that changes who is there or what was said, where it is possible."""
    is_member = house.person(who) in house.conversation(conv).members
    if what == "say":
        said.append(key(house.say("alice", conv, "text")))
    elif what == "leave" and is_member:
        house.change("alice", conv, "remove", person=house.ids(who)[0])
    elif what == "join" and not is_member:
        house.change("alice", conv, "add", person=house.ids(who)[0])
    elif what == "read" and is_member:
        house.read_all(who, conv)


def _readable(house: House, login: str, conv: Id) -> set[int]:
    items: list[Any] = [item.op for item in house.history(login, conv)]
    return {int(op.key, 16) for op in items}


def _resumes_anywhere(house: House, login: str) -> None:
    live: list[Event] = house.heard[house.person(login)]
    for at, event in enumerate(live):
        assert house.feed(login, int(event.pos, 16)) == live[at + 1 :]
