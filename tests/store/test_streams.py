"""Streams keep their pseudonyms, and the rows do not tell who they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.ids import AUDIT_STREAM, Stream, StreamKind
from store.streams import Streams, feed_stream
from store.tables import EPOCH, STREAM
from store.vault import CONTROL
from tests.store.logbox import Box, conversation, person

STREAMS = st.builds(Stream, st.sampled_from(StreamKind), st.binary(min_size=16, max_size=16))


def ensure(box: Box, stream: Stream) -> int:
    return box.commit(lambda txn: box.streams.ensure(txn, stream, box.clock.wall_ms()))


@settings(max_examples=15)
@given(st.lists(STREAMS, min_size=1, max_size=12))
def test_each_stream_has_one_pseudonym_for_ever(streams: list[Stream]) -> None:
    box = Box().create()
    given_names = {stream: ensure(box, stream) for stream in streams}
    assert len(set(given_names.values())) == len(given_names)
    assert all(given_names.values())
    box.open()
    assert len(box.streams) == len(given_names)
    for stream, pseudonym in given_names.items():
        assert box.streams.pseudonym(stream) == pseudonym
        assert box.streams.stream(pseudonym) == stream
        assert ensure(box, stream) == pseudonym


def test_unknown_streams_have_no_pseudonym() -> None:
    box = Box().create()
    assert box.streams.pseudonym(AUDIT_STREAM) is None
    assert box.streams.stream(1) is None


def test_rows_do_not_contain_the_identity() -> None:
    box = Box().create()
    ensure(box, Stream(StreamKind.PERSON, b"canary-of-person"))
    assert box.medium.rows
    for key, value in box.medium.rows.items():
        assert b"canary" not in key + value


def test_a_rolled_back_stream_is_forgotten() -> None:
    box = Box().create()
    kept = ensure(box, conversation(1))

    def work(txn: Txn) -> int:
        mark = txn.savepoint()
        lost = box.streams.ensure(txn, conversation(2), 0)
        txn.rollback(mark)
        assert txn.get(STREAM.key(lost)) is None
        return lost

    lost = box.commit(work)
    assert box.streams.pseudonym(conversation(2)) is None
    assert box.streams.stream(lost) is None
    assert box.streams.pseudonym(conversation(1)) == kept
    again = ensure(box, conversation(2))
    assert box.open().streams.stream(again) == conversation(2)


def test_a_destroyed_stream_keeps_its_pseudonym_occupied() -> None:
    box = Box().create()
    pseudonym = ensure(box, person(1))
    for key in list(box.medium.rows.irange(*EPOCH.span(pseudonym))):
        del box.medium.rows[key]
    streams = box.open().streams
    assert len(streams) == 1
    assert streams.stream(pseudonym) is None
    assert streams.pseudonym(person(1)) is None
    assert ensure(box, person(1)) != pseudonym


def test_a_flipped_bit_is_noticed() -> None:
    box = Box().create()
    key = STREAM.key(ensure(box, person(1)))
    value = box.medium.rows[key]
    box.medium.rows[key] = value[:-1] + bytes((value[-1] ^ 1,))
    with pytest.raises(IntegrityError):
        box.open()
    for wrong in (b"\x02" + value[1:], value[:5]):
        box.medium.rows[key] = wrong
        with pytest.raises(FormatError):
            box.open()


def test_entropy_that_repeats_itself_is_noticed() -> None:
    class Stuck:
        def bytes(self, count: int) -> bytes:
            return bytes(count)

    box = Box().create()
    streams = Streams(box.vault, Stuck())
    with pytest.raises(IntegrityError):
        box.commit(lambda txn: streams.ensure(txn, person(1), 0))


def test_the_feed_of_an_operation_is_its_conversations() -> None:
    room, who = conversation(1), person(1)
    assert feed_stream(room, room.id) is room
    assert feed_stream(room, b"") is room
    assert feed_stream(who, b"") is who
    assert feed_stream(who, room.id) == room
    assert feed_stream(who, who.id) == Stream(StreamKind.CONVERSATION, who.id)


def test_a_stream_of_an_unknown_kind_is_of_a_newer_build() -> None:
    box = Box().create()
    pseudonym = ensure(box, person(1))

    def plant(txn: Txn) -> None:
        locator, sealed = box.vault.seal(
            txn, pseudonym, CONTROL, b"\xff" + bytes(16), b"strongroom/stream/1", 0
        )
        head = box.medium.rows[STREAM.key(pseudonym)][:1]
        place = locator.epoch.to_bytes(4, "big") + locator.index.to_bytes(2, "big")
        txn.put(STREAM.key(pseudonym), head + place + sealed)

    box.commit(plant)
    with pytest.raises(FormatError):
        box.open()
