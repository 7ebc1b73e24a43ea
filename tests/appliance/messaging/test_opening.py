"""Opening: one direct conversation for two people, a new group each time."""

import pytest

from appliance import limits
from appliance.messaging import opening
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.schema import Id, OpenedOp


@pytest.fixture
def house() -> House:
    return House("alice", "bob", "carol")


def test_a_direct_conversation_is_the_same_whoever_opens_it(house: House) -> None:
    first = house.by("alice", schema.Open(1, "direct", house.ids("bob"), n=1))
    second = house.by("bob", schema.Open(9, "direct", house.ids("alice")))
    assert (first.re, second.re) == (1, 9)
    assert (first.conv, first.msg, first.pos, first.key, first.at) == (
        second.conv,
        second.msg,
        second.pos,
        second.key,
        second.at,
    )
    assert set(house.conversation(first.conv).members) == set(house.ids("alice", "bob"))


def test_the_id_depends_on_the_two_people_and_the_secret_only() -> None:
    a, b, secret = b"a" * 16, b"b" * 16, b"s" * 32
    assert opening.direct_id(secret, a, b) == opening.direct_id(secret, b, a)
    assert opening.direct_id(secret, a, b) != opening.direct_id(secret, a, a)
    assert opening.direct_id(secret, a, b) != opening.direct_id(b"t" * 32, a, b)
    assert len(opening.direct_id(secret, a, b)) == 16


@pytest.mark.parametrize("others", [(), ("alice",), ("bob", "carol")])
def test_a_direct_conversation_has_exactly_one_other(house: House, others: tuple[str, ...]) -> None:
    frame = schema.Open(1, "direct", house.ids(*others))
    assert house.refused("alice", frame) == "conversation.members"


@pytest.mark.parametrize("kind", ["direct", "group"])
def test_nobody_unknown_or_disabled_is_brought_in(house: House, kind: str) -> None:
    assert house.refused("alice", schema.Open(1, kind, (Id(b"x" * 16),))) == "person.unknown"
    house.disable("bob")
    assert house.refused("alice", schema.Open(1, kind, house.ids("bob"))) == "person.unknown"


def test_whoever_may_not_write_opens_nothing(house: House) -> None:
    house.set_roles("alice", "auditor")
    frame = schema.Open(1, "direct", house.ids("bob"))
    assert house.refused("alice", frame) == "permission.denied"
    assert house.refused("bob", schema.Open(1, "direct", house.ids("alice"))) == "person.unknown"


def test_an_existing_direct_conversation_opens_for_a_disabled_partner(house: House) -> None:
    conv = house.direct("alice", "bob")
    house.disable("bob")
    assert house.direct("alice", "bob") == conv


def test_a_group_is_owned_by_its_opener_and_announced_once(house: House) -> None:
    conv = house.group("alice", "bob", "alice", "bob", title=" Ward 5 ", history=True)
    known = house.conversation(conv)
    assert (known.title, known.history, known.archived) == ("Ward 5", True, False)
    roles = {person: member.role for person, member in known.members.items()}
    alice, bob = house.ids("alice", "bob")
    assert roles == {alice: "owner", bob: "member"}
    for login in ("alice", "bob"):
        (opened,) = house.heard_ops(login, OpenedOp)
        assert (opened.title, set(opened.members)) == ("Ward 5", {alice, bob})
        assert house.heard_ops(login, schema.MemberOp) == []
        assert house.heard_ops(login, schema.RenamedOp) == []
    assert house.heard[house.person("carol")] == []


def test_two_groups_of_the_same_people_are_two(house: House) -> None:
    assert house.group("alice", "bob") != house.group("alice", "bob")


def test_a_group_may_begin_with_its_opener_alone(house: House) -> None:
    assert set(house.conversation(house.group("alice")).members) == set(house.ids("alice"))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": "x" * (limits.TITLE_CHARACTERS + 1)}, "conversation.title"),
        ({"title": "two\nlines"}, "conversation.title"),
        ({"title": "desrever\u202e"}, "conversation.title"),
        ({"kind": "channel"}, "frame.invalid"),
        ({"n": 1 << 64}, "frame.invalid"),
        ({"n": -1}, "frame.invalid"),
    ],
)
def test_what_is_malformed_is_refused(house: House, fields: dict[str, str], code: str) -> None:
    frame = schema.Open(**{"id": 1, "kind": "group", "members": house.ids("bob"), **fields})  # type: ignore[arg-type]
    assert house.refused("alice", frame) == code


def test_a_title_may_be_in_any_script(house: House) -> None:
    conv = house.group("alice", title="骨科 👩\u200d⚕️ Å")
    assert house.conversation(conv).title == "骨科 👩\u200d⚕️ Å"


def test_a_retry_opens_no_second_group(house: House) -> None:
    frame = schema.Open(1, "group", house.ids("bob"), n=5, title="Ward", history=True)
    first = house.by("alice", frame)
    logged = len(house.ops)
    assert house.by("alice", frame) == first
    house.change("alice", first.conv, "rename", title="Other")
    house.change("alice", first.conv, "remove", person=house.ids("bob")[0])
    logged += 2
    assert house.by("alice", frame) == first
    assert len(house.ops) == logged


@pytest.mark.parametrize(
    "other",
    [
        {"title": "Else"},
        {"title": ""},
        {"history": False},
        {"members": ("bob", "carol")},
        {"members": ()},
        {"kind": "direct"},
    ],
)
def test_the_same_number_for_another_opening_is_a_conflict(
    house: House, other: dict[str, object]
) -> None:
    fields: dict[str, object] = {
        "kind": "group",
        "members": ("bob",),
        "title": "Ward",
        "history": True,
    }

    def frame(fields: dict[str, object]) -> schema.Open:
        members = house.ids(*fields["members"])  # type: ignore[misc]
        return schema.Open(id=1, n=5, **{**fields, "members": members})  # type: ignore[arg-type]

    house.by("alice", frame(fields))
    assert house.refused("alice", frame({**fields, **other})) == "send.conflict"


def test_a_direct_opening_uses_its_number_once(house: House) -> None:
    frame = schema.Open(1, "direct", house.ids("bob"), n=5)
    first = house.by("alice", frame)
    assert house.by("alice", frame) == first
    other = schema.Open(1, "direct", house.ids("carol"), n=5)
    assert house.refused("alice", other) == "send.conflict"


def test_a_group_has_so_many_first_members(house: House) -> None:
    many = tuple(Id(bytes((at // 256, at % 256)) * 8) for at in range(limits.OPEN_MEMBERS + 1))
    assert house.refused("alice", schema.Open(1, "group", many)) == "conversation.members"


def test_a_person_is_in_so_many_conversations(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CONVERSATIONS_PER_PERSON", 2)
    house.group("alice")
    conv = house.group("alice", "bob")
    assert house.refused("alice", schema.Open(1, "group", ())) == "conversation.limit"
    frame = schema.Open(1, "direct", house.ids("alice"))
    assert house.refused("carol", frame) == "conversation.limit"
    house.change("bob", conv, "leave")
    house.change("alice", conv, "leave")
    assert house.group("alice")
