"""Events and history as documents and as lines: everything the server tells, people by login."""

from __future__ import annotations

import json
from typing import Any, cast, get_args

import pytest

from cli.chat import render
from cli.chat.batch import _is_known, history_line, key_of
from cli.chat.interactive import REMEMBERED, Numbers
from cli.chat.lines import LineError
from cli.chat.names import Names
from client import Conversation
from transports.wire import schema
from transports.wire.schema import Body, Id

ALICE, BOB = Id(b"\x0a" * 16), Id(b"\x0b" * 16)
CONV = Id(b"\x0c" * 16)
MSG, OTHER = Id(b"\x01" * 32), Id(b"\x02" * 32)
AT = 1_750_000_000_000


class StubSession:
    """A session that knows two people and one group."""

    person = BOB

    async def people(self) -> list[schema.PersonItem]:
        return [schema.PersonItem(ALICE, "alice", "A"), schema.PersonItem(BOB, "bob", "B")]

    async def conversations(self) -> list[Conversation]:
        members = (schema.Member(ALICE, "owner"), schema.Member(BOB, "member"))
        item = schema.ConversationItem(CONV, "group", "Ward 3", members, 2, "5")
        return [Conversation(cast("Any", self), CONV, item)]


@pytest.fixture
def names() -> Names:
    import trio

    made = Names(cast("Any", StubSession()))
    trio.run(made.refresh)
    return made


OCCURRENCES: list[schema.Occurrence] = [
    schema.MessageOp(MSG, ALICE, AT, "00ff", Body("text", "hi"), mentions=(BOB,), reply=OTHER),
    schema.EditedOp(MSG, ALICE, AT, OTHER, Body("text", "new")),
    schema.RecalledOp(MSG, ALICE, AT, OTHER),
    schema.ReactionOp(MSG, ALICE, AT, OTHER, "👍"),
    schema.DeliveredOp(MSG, ALICE, AT, "00ff"),
    schema.ReadOp(MSG, ALICE, AT, "00ff"),
    schema.ConfirmedOp(MSG, ALICE, AT, OTHER),
    schema.EscalatedOp(MSG, Id(b""), AT, OTHER, BOB, 1),
    schema.MemberOp(MSG, ALICE, AT, BOB, "owner"),
    schema.OpenedOp(MSG, ALICE, AT, "group", "Ward 3", (ALICE, BOB)),
    schema.RenamedOp(MSG, ALICE, AT, "New"),
    schema.SettingsOp(MSG, ALICE, AT, archived=True),
    schema.DutyOp(MSG, ALICE, AT, "on-call", BOB),
    schema.DestroyedOp(MSG, ALICE, AT, OTHER),
    schema.WipeOp(MSG, ALICE, AT, 7, (("01977420dc000000", "01977420dc00000f"),)),
]


def key(at: int) -> str:
    """Return a timeline key of a time."""
    return f"{at << 16:016x}"


def test_every_kind_of_occurrence_is_covered_here() -> None:
    assert {type(op) for op in OCCURRENCES} == set(get_args(schema.Occurrence))


@pytest.mark.parametrize("op", OCCURRENCES, ids=lambda op: type(op).__name__)
def test_every_occurrence_has_a_document_and_a_line(op: schema.Occurrence, names: Names) -> None:
    document = render.event_document(schema.Event("7", CONV, op), names)
    told = json.loads(json.dumps(document))
    assert (told["pos"], told["conversation"], told["msg"]) == ("7", "Ward 3", MSG.hex())
    assert told["op"] == op.__struct_config__.tag
    assert ALICE.hex() not in json.dumps(told)
    assert BOB.hex() not in json.dumps(told)
    line = render.event_line(op, names, 0)
    assert "\n" not in line
    assert BOB.hex() not in line


def test_a_message_document_has_text_and_people_by_login(names: Names) -> None:
    document = render.event_document(schema.Event("7", CONV, OCCURRENCES[0], late=True), names)
    assert document["text"] == "hi"
    assert document["from"] == "alice"
    assert document["mentions"] == ["bob"]
    assert document["reply"] == OTHER.hex()
    assert document["late"] is True


def test_a_history_document_tells_how_the_message_stands_now(names: Names) -> None:
    item = schema.HistoryItem(
        OCCURRENCES[0],
        edited=2,
        recalled=True,
        reactions=(schema.Reaction("👍", (BOB,)),),
        confirmed=(BOB,),
    )
    document = render.message_document(item, CONV, names)
    assert (document["edited"], document["recalled"]) == (2, True)
    assert document["reactions"] == {"👍": ["bob"]}
    assert document["confirmed"] == ["bob"]


def test_a_body_of_another_kind_keeps_its_data(names: Names) -> None:
    op = schema.MessageOp(MSG, ALICE, AT, "00ff", Body("form", "", "{}"))
    document = render.event_document(schema.Event("7", CONV, op), names)
    assert (document["kind"], document["data"], document["text"]) == ("form", "{}", "")


def test_a_wipe_tells_when_and_by_which_certificate(names: Names) -> None:
    hour = 3_600_000
    ranges = tuple((key(AT + n * hour), key(AT + n * hour + 60_000)) for n in range(5))
    times = [render.key_clock(each) for pair in ranges for each in pair]
    assert times[0] == render.clock(AT)
    one = schema.WipeOp(MSG, Id(b""), AT, 7, ranges[:1])
    assert render.event_line(one, names, 0, conversation="Ward 3") == (
        f"{render.clock(AT)} * messages in Ward 3 from {times[0]} to {times[1]} "
        "are destroyed for ever (certificate 7)"
    )
    many = render.event_line(schema.WipeOp(MSG, Id(b""), AT, 8, ranges), names, 0)
    for time in (*times[:6], times[-1], "and 2 more times", "certificate 8"):
        assert time in many
    assert times[6] not in many
    for count, is_short in ((3, False), (4, True)):
        line = render.event_line(schema.WipeOp(MSG, ALICE, AT, 8, ranges[:count]), names, 0)
        assert ("and 1 more times" in line) is is_short
        assert ("more" in line) is is_short
    document = json.loads(json.dumps(render.event_document(schema.Event("7", CONV, one), names)))
    assert document["certificate"] == 7
    assert document["ranges"] == [[ranges[0][0], ranges[0][1]]]
    assert document["from"] == ""


def test_a_destroyed_message_stands_in_the_history_without_a_number(names: Names) -> None:
    item = schema.HistoryItem(schema.DestroyedOp(MSG, Id(b""), AT, OTHER, key(AT)))
    assert history_line(item, names, 0) == f"{render.clock(AT)} (destroyed)"
    assert key_of(item) == key(AT)


def test_of_a_wipe_no_names_are_asked_for(names: Names) -> None:
    wipe = schema.WipeOp(MSG, Id(b""), AT, 7, ((key(AT), key(AT)),))
    renamed = schema.RenamedOp(MSG, ALICE, AT, "New")
    left_long_ago = Id(b"\x0d" * 16)
    assert _is_known(schema.Event("7", left_long_ago, wipe), names)
    assert not _is_known(schema.Event("7", left_long_ago, renamed), names)


def test_somebody_unknown_is_the_beginning_of_an_id(names: Names) -> None:
    assert names.login(b"\xab" * 16) == "abababab"
    assert not names.knows([b"\xab" * 16])


def test_marks_are_not_shown_line_by_line() -> None:
    quiet = [op for op in OCCURRENCES if render.is_quiet(op)]
    assert {type(op) for op in quiet} == {schema.DeliveredOp, schema.ReadOp}


def test_the_list_tells_what_is_unread(names: Names) -> None:
    assert list(render.conversation_lines(names)) == ["  1. Ward 3 (group, 2 unread)"]


def test_messages_are_numbered_once_and_old_numbers_forgotten() -> None:
    numbers = Numbers()
    assert [numbers.give(MSG, CONV), numbers.give(OTHER, CONV), numbers.give(MSG, CONV)] == [
        1,
        2,
        1,
    ]
    assert numbers.message(2) == (OTHER, CONV)
    assert (numbers.of(OTHER), numbers.of(None), numbers.of(b"x")) == (2, 0, 0)
    for count in range(REMEMBERED):
        numbers.give(Id(count.to_bytes(32, "big")), CONV)
    with pytest.raises(LineError):
        numbers.message(1)
