"""History: pages of a timeline, as one person may see it."""

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.messaging import timeline
from store.errors import PartGoneError
from store.logreader import LogReader
from store.oplog import Op
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import DestroyedOp, Id, MessageOp


@pytest.fixture(scope="module")
def told() -> tuple[House, Id, list[str]]:
    """Return a conversation of 12 messages, and their keys."""
    house = House("alice", "bob")
    conv = house.direct("alice", "bob")
    keys = [house.say("alice", conv, str(number)).key for number in range(12)]
    return house, conv, keys


@given(
    limit=st.integers(-1, 14),
    before=st.none() | st.integers(0, 13),
    after=st.none() | st.integers(-1, 12),
)
@settings(max_examples=80)
def test_a_page_is_the_slice_asked_for(
    told: tuple[House, Id, list[str]], limit: int, before: int | None, after: int | None
) -> None:
    house, conv, keys = told
    edges = [f"{int(keys[0], 16) - 1:016x}", *keys, f"{int(keys[-1], 16) + 1:016x}"]
    fields: dict[str, Any] = {}
    if before is not None:
        fields["before"] = edges[before]
    if after is not None:
        fields["after"] = edges[after + 1]
    first = 0 if after is None else after + 1 if after >= 0 else 0
    last = 12 if before is None else max(0, before - 1)
    expected = [str(number) for number in range(first, last)]
    size = max(1, limit)
    forwards = after is not None and before is None
    expected = expected[:size] if forwards else expected[-size:]
    assert house.texts("bob", conv, limit=limit, **fields) == expected


def test_pages_put_together_are_the_whole(told: tuple[House, Id, list[str]]) -> None:
    house, conv, keys = told
    core = house.site.core
    for size in (1, 5, 12, 50):
        found: list[str] = []
        before: int | None = None
        more = True
        while more:
            with house.reading() as reader:
                page = timeline.history(
                    reader,
                    core.log,
                    core.conversations,
                    house.person("bob"),
                    conv,
                    before=before,
                    limit=size,
                )
            found += [cast("MessageOp", item.op).key for item in page.items]
            before, more = int(found[-1], 16), page.more
        assert found == keys[::-1]


def test_a_page_that_takes_too_much_ends_early_but_never_empty(
    told: tuple[House, Id, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, conv, _ = told
    monkeypatch.setattr(timeline, "HISTORY_OPENED", 3)
    assert house.texts("bob", conv) == ["9", "10", "11"]
    monkeypatch.setattr(timeline, "HISTORY_OPENED", 1)
    with house.reading() as reader:
        core = house.site.core
        page = timeline.history(
            reader, core.log, core.conversations, house.person("bob"), conv, limit=5
        )
    assert len(page.items) == 1
    assert page.more


def test_strangers_read_nothing(told: tuple[House, Id, list[str]]) -> None:
    house, conv, _ = told
    house.enrol("mallory")
    for name in (conv, Id(b"x" * 16)):
        with pytest.raises(Refusal) as caught:
            house.texts("mallory", name)
        assert caught.value.code == "conversation.unknown"


class Gone:
    """A log from which some operations are gone."""

    def __init__(self, log: LogReader, seqs: set[int]) -> None:
        self._log = log
        self._seqs = seqs

    def read(self, reader: Any, origin: int, seq: int) -> Op:
        if seq in self._seqs:
            raise PartGoneError("gone")
        return self._log.read(reader, origin, seq)


def test_what_was_destroyed_leaves_its_place(told: tuple[House, Id, list[str]]) -> None:
    house, conv, keys = told
    core = house.site.core
    with house.reading() as reader:
        whole = timeline.history(
            reader, core.log, core.conversations, house.person("bob"), conv, limit=2
        )
        newest = whole.items[0].op.msg
        gone = Gone(core.log, {int.from_bytes(newest[24:], "big")})
        page = timeline.history(
            reader,
            cast("LogReader", gone),
            core.conversations,
            house.person("bob"),
            conv,
            limit=2,
        )
    assert page.items[1] == whole.items[1]
    destroyed = page.items[0].op
    assert isinstance(destroyed, DestroyedOp)
    assert (destroyed.msg, destroyed.of, destroyed.at) == (newest, newest, int(keys[-1], 16) >> 16)


def test_a_list_names_what_each_conversation_is() -> None:
    house = House("alice", "bob", "carol")
    group = house.group("alice", "bob", title="Ward", history=True)
    direct = house.direct("bob", "alice")
    said = house.say("alice", group, "news")
    items = house.listed("bob")
    assert list(items) == [group, direct]
    ward = items[group]
    assert (ward.kind, ward.title, ward.history, ward.archived) == ("group", "Ward", True, False)
    assert (ward.pos, ward.key, ward.unread) == (said.pos, said.key, 1)
    assert (items[direct].kind, items[direct].key, items[direct].unread) == ("direct", "", 0)
    assert [member.person for member in ward.members] == sorted(house.ids("alice", "bob"))
    assert house.listed("carol") == {}


def test_history_shows_messages_only() -> None:
    house = House("alice", "bob")
    conv = house.group("alice", "bob", title="Ward")
    house.say("alice", conv, "one")
    house.change("alice", conv, "rename", title="Other")
    house.read_all("bob", conv)
    assert [type(item.op) for item in house.history("bob", conv)] == [MessageOp]
    assert isinstance(house.listed("bob")[conv], schema.ConversationItem)
