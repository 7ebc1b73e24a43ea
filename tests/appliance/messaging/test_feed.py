"""The feed: whoever resumes hears what live fan-out told, in order and without gaps."""

import pytest

from appliance.messaging import feed, render, targets
from appliance.operations import Kind
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.codec import JSON, MSGPACK
from transports.wire.schema import Event, Id


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol")


def busy(house: House) -> Id:
    """Let something of every kind happen; return the group it happened in."""
    conv = house.group("alice", "bob", title="Ward")
    direct = house.direct("bob", "carol")
    msg = house.say("alice", conv, "one", priority="urgent").msg
    assert msg is not None
    house.by("alice", schema.Edit(1, 60, msg, schema.Body("text", "two")))
    house.by("bob", schema.React(1, 61, msg, "👍"))
    house.by("bob", schema.Got(house.listed("bob")[conv].pos))
    house.read_all("bob", conv)
    house.tick(130)
    house.by("bob", schema.Confirm(1, msg))
    house.say("carol", direct, "aside")
    house.change("alice", conv, "history")
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    house.say("carol", conv, "three")
    house.change("alice", conv, "remove", person=house.ids("bob")[0])
    house.say("carol", conv, "four")
    house.change("alice", conv, "archive")
    return conv


def test_resuming_tells_what_was_told_live(house: House) -> None:
    busy(house)
    for login in ("alice", "bob", "carol"):
        heard = house.heard[house.person(login)]
        assert house.feed(login) == heard
        for at, event in enumerate(heard):
            assert house.feed(login, int(event.pos, 16)) == heard[at + 1 :]
    house.reopen()
    assert house.feed("bob") == house.heard[house.person("bob")]


def test_positions_grow(house: House) -> None:
    busy(house)
    for login in ("alice", "bob", "carol"):
        positions = [int(event.pos, 16) for event in house.heard[house.person(login)]]
        assert positions == sorted(set(positions))


def test_pages_put_together_are_the_whole(house: House) -> None:
    busy(house)
    whole = house.feed("carol")
    for size in (1, 2, 5):
        found: list[Event] = []
        while page := house.feed("carol", int(found[-1].pos, 16) if found else 0, size):
            found += page
        assert found == whole


def test_only_a_short_page_is_the_last(house: House) -> None:
    """What nobody hears of does not count, so a short page means the end."""
    core = house.site.core
    busy(house)
    with house.reading() as reader:
        person = house.person("alice")
        missed = feed.events_after(reader, core.log, core.conversations, person, 0, 3)
        whole = feed.events_after(reader, core.log, core.conversations, person, 0, 1_000)
    assert len(missed.events) == 3
    assert [pos for pos, _ in missed.events] == [op.pos for _, op in missed.events]
    assert missed.upto == missed.events[-1][0]
    assert whole.upto is None


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_however_few_rows_one_call_looks_at_nothing_is_missed(
    house: House, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    busy(house)
    whole = {login: house.feed(login) for login in ("alice", "bob", "carol")}
    monkeypatch.setattr(feed, "ROWS", rows)
    for login, events in whole.items():
        assert house.feed(login) == events == house.heard[house.person(login)]


def test_what_has_reached_its_end_is_left_out_with_its_edits(house: House) -> None:
    core = house.site.core
    conv = house.group("alice", "bob")
    over, kept = house.say("alice", conv, "over"), house.say("alice", conv, "kept")
    for number, msg in ((60, over.msg), (61, kept.msg)):
        assert msg is not None
        house.by("alice", schema.Edit(1, number, msg, schema.Body("text", "edited")))
    with house.reading() as reader:
        missed = feed.events_after(
            reader,
            core.log,
            core.conversations,
            house.person("bob"),
            0,
            100,
            lambda op: Id(op.id.pack()) == over.msg,
        )
    events = [render.event(op, targets.body_of(op), core.conversations) for _, op in missed.events]
    told = [event.op for event in events if event is not None]
    messages = [op.msg for op in told if isinstance(op, schema.MessageOp)]
    edits = [op.of for op in told if isinstance(op, schema.EditedOp)]
    assert messages == edits == [kept.msg]


def test_who_resumes_after_a_recall_does_not_read_what_was_recalled(house: House) -> None:
    conv = house.group("alice", "bob")
    msg = house.say("alice", conv, "secret").msg
    assert msg is not None
    house.by("alice", schema.Edit(1, 60, msg, schema.Body("text", "secret too")))
    house.by("alice", schema.Recall(1, 61, msg))
    resumed = house.feed("bob")
    assert [type(event.op) for event in resumed[-3:]] == [
        schema.MessageOp,
        schema.EditedOp,
        schema.RecalledOp,
    ]
    assert b"secret" not in JSON.payload(*resumed)
    assert [event.pos for event in resumed] == [
        event.pos for event in house.heard[house.person("bob")]
    ]


def test_every_event_passes_both_codecs(house: House) -> None:
    busy(house)
    house.do(house.actor("alice"), schema.Open(1, "direct", house.ids("carol")))
    for codec in (JSON, MSGPACK):
        for heard in house.heard.values():
            assert codec.server.decode(codec.payload(*heard)) == heard


def test_what_concerns_no_conversation_is_no_event(house: House) -> None:
    conversations = house.site.core.conversations
    own = [op for op in house.ops if op.kind < Kind.CONVERSATION_CREATED]
    assert own
    for op in own:
        body = targets.body_of(op)
        assert render.event(op, body, conversations) is None
        assert len(render.audience(op, body, conversations)) == 0


def test_urgent_events_are_known_as_such(house: House) -> None:
    busy(house)
    heard = house.heard[house.person("bob")]
    urgent = {type(event.op) for event in heard if render.is_urgent(event)}
    assert urgent == {schema.MessageOp, schema.EscalatedOp}
    calm = [event for event in heard if isinstance(event.op, schema.MessageOp) and event.op.n == 1]
    assert [render.is_urgent(event) for event in calm] == [True, False]


def test_everybody_is_everyone() -> None:
    assert b"anybody" in render.EVERYONE
    assert len(render.EVERYONE) > 1_000_000_000
    with pytest.raises(TypeError):
        iter(render.EVERYONE)
