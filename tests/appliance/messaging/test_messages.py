"""Messages: sending once, editing, recalling and reacting, by whom and to what."""

from typing import Any

import pytest

from appliance import limits
from appliance.messaging import messages
from appliance.messaging.answers import DESTROYED
from appliance.operations import Kind
from store.engine.txn import Txn
from store.ids import Stream, StreamKind
from store.tables import IDEMPOTENCY
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import Body, Id

TEXT = Body("text", "hello")


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol")


@pytest.fixture
def ward(house: House) -> Id:
    return house.group("alice", "bob", "carol", title="Ward")


def send(conv: Id | None, n: int = 50, body: Body = TEXT, **fields: Any) -> schema.Send:
    return schema.Send(1, n, body, conv=conv, **fields)


# --- sending ------------------------------------------------------------------------------------


def test_a_message_gets_its_place_and_everybody_hears_it(house: House, ward: Id) -> None:
    ok = house.by("alice", send(ward, mentions=house.ids("bob", "bob")))
    assert (ok.re, ok.conv) == (1, ward)
    for login in ("alice", "bob", "carol"):
        (told,) = house.heard_ops(login, schema.MessageOp)
        assert (told.msg, told.key, told.at) == (ok.msg, ok.key, ok.at)
        assert (told.body, told.n, told.by) == (TEXT, 50, house.person("alice"))
        assert told.mentions == house.ids("bob")
        assert house.heard[house.person(login)][-1].pos == ok.pos


def test_messages_are_in_the_order_of_their_keys(house: House, ward: Id) -> None:
    replies = [house.say(login, ward, login) for login in ("alice", "bob", "carol")]
    assert house.texts("bob", ward) == ["alice", "bob", "carol"]
    assert [ok.key for ok in replies] == sorted(ok.key for ok in replies)


def test_a_retry_gets_the_first_answer(house: House, ward: Id) -> None:
    frame = send(ward, mentions=house.ids("bob"), priority="urgent")
    first = house.by("alice", frame)
    logged = len(house.ops)
    house.reopen()
    assert house.by("alice", frame) == first
    assert len(house.ops) == logged


def test_a_retry_by_who_was_removed_meanwhile_gets_the_first_answer(house: House, ward: Id) -> None:
    first = house.by("bob", send(ward))
    house.change("alice", ward, "remove", person=house.ids("bob")[0])
    assert house.by("bob", send(ward)) == first
    assert house.refused("bob", send(ward, 51)) == "conversation.unknown"


def test_two_devices_number_on_their_own(house: House, ward: Id) -> None:
    first = house.by("alice", send(ward), device=1)
    second = house.by("alice", send(ward, body=Body("text", "other")), device=2)
    assert first.msg != second.msg


@pytest.mark.parametrize(
    "other",
    [
        {"body": Body("text", "else")},
        {"body": Body("note", "hello")},
        {"body": Body("text", "hello", "data")},
        {"priority": "urgent"},
        {"mentions": True},
        {"conv": True},
    ],
)
def test_the_same_number_with_other_content_is_a_conflict(
    house: House, ward: Id, other: dict[str, Any]
) -> None:
    house.by("alice", send(ward))
    if "mentions" in other:
        other = {"mentions": house.ids("bob")}
    if "conv" in other:
        other = {"conv": house.direct("alice", "bob")}
    assert house.refused("alice", send(**{"conv": ward, **other})) == "send.conflict"


def test_one_number_is_for_one_command_of_any_kind(house: House, ward: Id) -> None:
    msg = house.by("alice", send(ward)).msg
    for frame in (
        schema.Edit(1, 50, msg, TEXT),
        schema.Recall(1, 50, msg),
        schema.React(1, 50, msg, "👍"),
        schema.Open(1, "group", (), n=50),
    ):
        assert house.refused("alice", frame) == "send.conflict"


def test_a_retry_after_destruction_says_so(house: House, ward: Id) -> None:
    house.by("alice", send(ward))
    core = house.site.core
    actor = house.actor("alice")
    device = core.streams.pseudonym(Stream(StreamKind.DEVICE, actor.device))
    assert device is not None
    with house.reading() as reader:
        txn = Txn(reader)
        key = IDEMPOTENCY.key(device, 50)
        row = txn.get(key)
        assert row is not None
        txn.put(key, row[:-1] + bytes((DESTROYED,)))
        reply = core.decide(txn, actor, send(ward, body=Body("text", "any")), 0).reply
    assert reply == schema.Ok(re=1, destroyed=True)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"body": Body("text", "")}, "send.empty"),
        ({"body": Body("text", " \n")}, "send.empty"),
        ({"body": Body("text", "", "data")}, "send.empty"),
        ({"body": Body("note")}, "send.empty"),
        ({"body": Body("text", "é" * (limits.BODY_BYTES // 2) + "x")}, "send.too_large"),
        ({"body": Body("note", "x", "y" * limits.BODY_BYTES)}, "send.too_large"),
        ({"body": Body("", "x")}, "frame.invalid"),
        ({"body": Body("k" * (limits.BODY_KIND_CHARACTERS + 1), "x")}, "frame.invalid"),
        ({"body": Body("a\nb", "x")}, "frame.invalid"),
        ({"body": Body("text", "\ud800")}, "frame.invalid"),
        ({"priority": "shout"}, "send.priority"),
        ({"n": 0}, "frame.invalid"),
        ({"n": -1}, "frame.invalid"),
        ({"n": limits.COUNTER_LIMIT}, "frame.invalid"),
        ({"to": "duty:x"}, "frame.invalid"),
        ({"conv": None}, "frame.invalid"),
        ({"conv": None, "to": "bob"}, "frame.invalid"),
        ({"conv": None, "to": "duty:none"}, "duty.unknown"),
        ({"conv": Id(b"x" * 16)}, "conversation.unknown"),
        ({"conv": Id(b"x")}, "conversation.unknown"),
        ({"mentions": (Id(b"x" * 16),)}, "conversation.member"),
        ({"reply": Id(b"x" * 32)}, "message.unknown"),
        ({"reply": Id(b"short")}, "message.unknown"),
        ({"after": "f" * 15}, "send.position"),
        ({"after": "no hex"}, "send.position"),
    ],
)
def test_what_is_malformed_is_refused(
    house: House, ward: Id, frame: dict[str, Any], code: str
) -> None:
    assert house.refused("alice", send(**{"conv": ward, **frame})) == code


def test_the_largest_body_passes(house: House, ward: Id) -> None:
    house.by("alice", send(ward, body=Body("note", "", "x" * limits.BODY_BYTES)))
    (item,) = house.history("bob", ward)
    assert isinstance(item.op, schema.MessageOp)
    assert item.op.body == Body("note", "", "x" * limits.BODY_BYTES)


def test_too_many_mentions_are_refused(house: House, ward: Id) -> None:
    many = tuple(Id(bytes((at,)) * 16) for at in range(limits.MENTIONS + 1))
    assert house.refused("alice", send(ward, mentions=many)) == "frame.invalid"


def test_after_names_a_key_that_is_known_here(house: House, ward: Id) -> None:
    ok = house.say("bob", ward, "one")
    assert house.by("alice", send(ward, after=ok.key)).key > ok.key


def test_a_reply_names_a_message_of_the_same_conversation(house: House, ward: Id) -> None:
    inside = house.say("bob", ward, "here").msg
    outside = house.say("bob", house.direct("alice", "bob"), "there").msg
    assert house.refused("alice", send(ward, reply=outside)) == "message.unknown"
    house.by("alice", send(ward, reply=inside))
    assert house.heard_ops("carol", schema.MessageOp)[-1].reply == inside
    assert inside is not None
    house.by("bob", schema.Recall(1, 60, inside))
    assert house.refused("alice", send(ward, 51, reply=inside)) == "message.recalled"


def test_nobody_replies_to_what_they_cannot_read(house: House) -> None:
    conv = house.group("alice", "bob")
    before = house.say("alice", conv, "before").msg
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    assert house.refused("carol", send(conv, reply=before)) == "message.unknown"
    edit = schema.React(1, 9, before or Id(), "👍")
    assert house.refused("carol", edit) == "message.unknown"


def test_who_may_no_longer_write_is_refused_in_the_same_transaction(house: House, ward: Id) -> None:
    house.set_roles("bob", "auditor")
    house.disable("carol")
    assert house.refused("bob", send(ward)) == "permission.denied"
    assert house.refused("carol", send(ward)) == "auth.revoked"


# --- edit, recall, react ------------------------------------------------------------------------


def test_an_edit_is_a_new_version(house: House, ward: Id) -> None:
    msg = house.say("alice", ward, "first").msg
    assert msg is not None
    ok = house.by("alice", schema.Edit(1, 60, msg, Body("text", "second")), device=2)
    assert house.by("alice", schema.Edit(1, 60, msg, Body("text", "second")), device=2) == ok
    house.by("alice", schema.Edit(1, 61, msg, Body("text", "third")))
    (item,) = house.history("bob", ward)
    assert isinstance(item.op, schema.MessageOp)
    assert (item.op.body.text, item.edited, item.op.msg) == ("third", 2, msg)
    told = [(op.of, op.body.text) for op in house.heard_ops("bob", schema.EditedOp)]
    assert told == [(msg, "second"), (msg, "third")]


def test_only_the_author_edits(house: House, ward: Id) -> None:
    msg = house.say("bob", ward, "mine").msg
    assert msg is not None
    assert house.refused("alice", schema.Edit(1, 60, msg, TEXT)) == "message.not_author"


def test_author_and_owner_recall_and_nobody_else(house: House, ward: Id) -> None:
    mine, theirs = house.say("bob", ward, "a").msg, house.say("bob", ward, "b").msg
    assert mine is not None
    assert theirs is not None
    assert house.refused("carol", schema.Recall(1, 60, mine)) == "message.not_author"
    house.by("bob", schema.Recall(1, 60, mine))
    house.by("alice", schema.Recall(1, 60, theirs))
    assert [item.recalled for item in house.history("carol", ward)] == [True, True]
    assert house.texts("carol", ward) == ["", ""]


def test_in_a_direct_conversation_only_the_author_recalls(house: House) -> None:
    msg = house.say("bob", house.direct("alice", "bob"), "mine").msg
    assert msg is not None
    assert house.refused("alice", schema.Recall(1, 60, msg)) == "message.not_author"


def test_a_recall_beats_every_edit_and_ends_everything(house: House, ward: Id) -> None:
    msg = house.say("alice", ward, "first").msg
    assert msg is not None
    house.by("alice", schema.Edit(1, 60, msg, Body("text", "second")))
    house.by("bob", schema.React(1, 61, msg, "👍"))
    frame = schema.Recall(1, 62, msg)
    assert house.by("alice", frame) == house.by("alice", frame)
    for login, late in (
        ("alice", schema.Edit(1, 63, msg, TEXT)),
        ("bob", schema.React(1, 63, msg, "👍", on=False)),
        ("alice", schema.Recall(1, 64, msg)),
    ):
        assert house.refused(login, late) == "message.recalled"
    (item,) = house.history("bob", ward)
    assert isinstance(item.op, schema.MessageOp)
    assert (item.op.body.text, item.recalled, item.reactions) == ("", True, ())


def test_reactions_are_a_register_of_person_and_emoji(house: House, ward: Id) -> None:
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    alice, bob, carol = house.ids("alice", "bob", "carol")
    house.by("bob", schema.React(1, 60, msg, "👍"))
    house.by("carol", schema.React(1, 60, msg, "👍"))
    house.by("carol", schema.React(1, 61, msg, "🎉"))
    house.by("bob", schema.React(1, 61, msg, "👍"))
    house.by("carol", schema.React(1, 62, msg, "🎉", on=False))
    (item,) = house.history("alice", ward)
    assert {each.emoji: set(each.people) for each in item.reactions} == {"👍": {bob, carol}}
    assert len(house.heard_ops("alice", schema.ReactionOp)) == 5
    assert alice not in item.reactions[0].people


@pytest.mark.parametrize("emoji", ["", " ", "a\n", "x" * 33, "é" * 17, "\u202e", "\ud800"])
def test_what_is_no_reaction_is_refused(house: House, ward: Id, emoji: str) -> None:
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    assert house.refused("bob", schema.React(1, 60, msg, emoji)) == "reaction.invalid"


def test_a_retry_of_a_reaction_after_it_was_undone_undoes_nothing(house: House, ward: Id) -> None:
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    on, off = schema.React(1, 60, msg, "👍"), schema.React(1, 61, msg, "👍", on=False)
    house.by("bob", on)
    house.by("bob", off, device=2)
    house.by("bob", on)
    (item,) = house.history("alice", ward)
    assert item.reactions == ()
    conflict = schema.React(1, 60, msg, "👎")
    assert house.refused("bob", conflict) == "send.conflict"


def test_a_message_takes_so_many_edits_and_reactions_but_any_recall(
    house: House, ward: Id, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "TARGETS_PER_MESSAGE", 2)
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    house.by("bob", schema.React(1, 60, msg, "1"))
    house.by("alice", schema.Edit(1, 61, msg, TEXT))
    assert house.refused("bob", schema.React(1, 62, msg, "2")) == "message.crowded"
    assert house.refused("alice", schema.Edit(1, 63, msg, TEXT)) == "message.crowded"
    house.by("alice", schema.Recall(1, 64, msg))


def test_only_messages_can_be_targeted(house: House, ward: Id) -> None:
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    edit = house.by("alice", schema.Edit(1, 60, msg, TEXT)).msg
    created = house.conversation(ward).created.id.pack()
    for name in (edit, Id(created), Id(msg[:-1] + b"\xff"), Id(b"y" * 16 + msg[16:])):
        assert house.refused("alice", schema.Edit(1, 61, name, TEXT)) == "message.unknown"


def test_who_joined_later_hears_of_no_edit_of_what_was_before(house: House) -> None:
    conv = house.group("alice", "bob")
    msg = house.say("alice", conv, "before").msg
    assert msg is not None
    house.change("alice", conv, "add", person=house.ids("carol")[0])
    house.by("alice", schema.Edit(1, 60, msg, Body("text", "secret")))
    house.by("bob", schema.React(1, 61, msg, "👍"))
    assert house.heard_ops("carol", schema.EditedOp) == []
    assert house.heard_ops("carol", schema.ReactionOp) == []
    assert len(house.heard_ops("bob", schema.EditedOp)) == 1
    assert house.feed("carol") == house.heard[house.person("carol")]


def test_every_target_dies_with_its_message(house: House, ward: Id) -> None:
    """TARGET rows are the set that a destruction takes along."""
    msg = house.say("alice", ward, "news").msg
    assert msg is not None
    house.by("alice", schema.Edit(1, 60, msg, TEXT))
    house.by("bob", schema.React(1, 61, msg, "👍"))
    house.by("alice", schema.Recall(1, 62, msg))
    kinds = [op.kind for op in house.ops if op.target == msg]
    assert kinds == [Kind.EDIT, Kind.REACTION, Kind.RECALL]
    house.check()
