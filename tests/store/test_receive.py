"""What one site logged another one logs as well: each operation once, with the same content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import cursors, feeds, hlc, records, shipping
from store.destruction import destroy, destroy_body
from store.engine.txn import Txn
from store.errors import EquivocationError, FormatError, IntegrityError
from store.faults import CutAt, PowerCut
from store.heads import newest_pos
from store.ids import Origin, Stream, StreamKind
from store.limits import BODY_BYTES, CLOCK_AHEAD_MS
from store.oplog import Draft, Op, Remnant
from store.records import PartState
from store.shipping import Shipment
from store.tables import LOG, TREE, Table
from store.vault import STANDARD
from tests.store.logbox import Box, conversation, founding, message, privileged
from tests.store.sitepair import (
    about,
    branch,
    headquarters,
    held,
    join,
    lane_of,
    note,
    origin_of,
    positions,
    receive,
    shipped,
    timeline,
)
from tests.store.test_oplog import memory

DRAFTS = st.one_of(
    st.builds(note, st.integers(1, 3), st.integers(0, 3), st.binary(max_size=20)),
    st.builds(about, st.integers(1, 3), st.integers(0, 3)),
    st.builds(lambda target: message(2, target=target), st.binary(min_size=32, max_size=32)),
    st.builds(privileged, st.binary(max_size=9)),
    st.builds(founding, st.binary(max_size=9)),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("deliver", "again", "lose", "crash", "own")),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    max_size=30,
)


def filled(*drafts: Draft) -> Box:
    box = branch()
    for draft in drafts:
        box.append(draft)
        box.clock.advance(7)
    return box


@settings(max_examples=60)
@given(st.lists(DRAFTS, min_size=1, max_size=12), STEPS)
def test_whatever_the_order_of_lanes_the_receiver_ends_with_the_same(
    drafts: list[Draft], steps: list[tuple[str, int, int]]
) -> None:
    sender, receiver = filled(*drafts), headquarters()
    number = join(receiver, sender)
    lanes = [shipped(sender, lane) for lane in range(4)]
    done = [0] * 4
    for what, lane, count in steps:
        at = done[lane]
        piece = lanes[lane][at : at + count]
        if what == "own":
            receiver.append(note(1, lane))
        elif what == "again":
            receiver.commit(lambda txn: None)  # closes what a restart found open
            before = receiver.rows()
            assert receive(receiver, number, *lanes[lane][:at]) == [None] * at
            assert receiver.rows() == before
        elif what == "lose":
            lose(receiver, number, piece)
        else:
            receive(receiver, number, *piece)
            done[lane] += len(piece)
            if what == "crash":
                receiver.crash(count).open()
    for lane, at in enumerate(done):
        receive(receiver, number, *lanes[lane][at:])
    same_as(sender, receiver, number)
    same_as(sender, receiver.open(), number)


def lose(receiver: Box, number: int, piece: list[Shipment]) -> None:
    """Receive a piece whose transaction is rolled back."""
    before = memory(receiver.log)

    def work(txn: Txn) -> None:
        for shipment in piece:
            receiver.log.receive(
                txn, number, shipment, retention_class=2, now_ms=0, lane=lane_of(shipment)
            )
        receiver.log.before_commit(txn, receiver.clock.wall_ms())
        txn.rollback(0)
        assert not txn.writes

    receiver.read(work)
    assert memory(receiver.log) == before


def same_as(sender: Box, receiver: Box, number: int) -> None:
    assert held(receiver, number) == held(sender, 1)
    own = {op.id for op in receiver.read(lambda reader: list(receiver.log.scan(reader, 1)))}
    for each in (1, 2, 3):
        there = [row for row in timeline(receiver, each) if tuple(row[1:]) not in own]
        assert there == timeline(sender, each)
    assert positions(receiver) == list(range(1, len(receiver.rows(Table.LOG)) + 1))
    assert receiver.read(newest_pos) == receiver.log.head.pos == len(positions(receiver))
    assert receiver.findings() == []


def test_what_was_received_is_read_and_shipped_on_like_ones_own() -> None:
    sender, receiver = filled(note(1, 2, seen=4), about(1, 0)), headquarters()
    receiver.append(message(9))
    number = join(receiver, sender)
    first, second = receive(receiver, number, *shipped(sender), late=True)
    assert isinstance(first, Op)
    assert isinstance(second, Op)
    assert (first.origin, first.pos, first.lane, first.late) == (2, 2, 2, True)
    assert (second.pos, second.lane, second.in_timeline) == (3, 0, True)
    assert first.pseudonym == first.feed == receiver.streams.pseudonym(conversation(1))
    assert second.feed == first.feed != second.pseudonym
    assert receiver.read(lambda reader: receiver.log.read(reader, number, 1)) == first
    assert receiver.read(lambda reader: receiver.log.find(reader, first.id)) == (number, 1)
    assert receiver.read(lambda reader: feeds.head(reader, first.feed)) == (3, second.key)
    assert shipped(receiver, number=number) == shipped(sender)
    assert receiver.findings() == []


def test_an_answer_to_what_was_received_sorts_after_it() -> None:
    sender, receiver = branch(), headquarters()
    sender.clock.advance(CLOCK_AHEAD_MS)
    sender.append(note(1, 2))
    (question,) = receive(receiver, join(receiver, sender), *shipped(sender))
    assert isinstance(question, Op)
    (answer,) = receiver.append(message(1))
    assert answer.t > question.t
    assert answer.floor == question.key
    assert receiver.open().append(message(2))[0].t > answer.t


def test_a_time_that_is_ahead_is_logged_and_not_believed() -> None:
    sender, receiver = branch(), headquarters()
    sender.clock.advance(CLOCK_AHEAD_MS + 1)
    sender.append(note(1, 2), about(1, 2))
    number = join(receiver, sender)
    first, second = receive(receiver, number, *shipped(sender))
    for op in (first, second):
        assert isinstance(op, Op)
        assert (op.is_ahead, op.in_timeline) == (True, False)
        assert receiver.read(lambda reader, at=op.feed: feeds.head(reader, at)) == (2, 0)  # type: ignore[misc]
    assert timeline(receiver, 1) == []
    assert receiver.append(message(1))[0].t == receiver.clock.wall_ms() << hlc.COUNTER_BITS
    assert receiver.findings() == []
    # Who gets it from here keeps it out too, whatever its own clock says by then.
    onward = headquarters("onward")
    onward.clock.advance(10 * CLOCK_AHEAD_MS)
    receive(onward, join(onward, sender, is_whole=False), *shipped(receiver, number=number))
    assert timeline(onward, 1) == []
    assert [each.in_timeline for each in shipped(onward, number=2)] == [True, True]


def test_what_is_quarantined_has_no_effect() -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    views = receiver.rows(Table.FEED, Table.HEAD, Table.TIMELINE)
    (op,) = receive(receiver, join(receiver, sender), *shipped(sender), is_quarantined=True)
    assert isinstance(op, Op)
    assert (op.is_quarantined, op.in_timeline, op.body) == (True, False, b"\x91\xa2hi")
    assert receiver.rows(Table.FEED, Table.HEAD, Table.TIMELINE) == views
    assert receiver.read(lambda reader: receiver.log.read(reader, 2, 1)) == op
    assert receiver.findings() == []
    assert receive(receiver, 2, *shipped(sender)) == [None]


def test_what_is_withheld_leaves_its_place_and_may_come_later() -> None:
    sender, receiver = filled(note(1, 2), note(1, 2), note(1, 2)), headquarters()
    number = join(receiver, sender)
    whole = shipped(sender)
    bare = [shipping.bare(each) for each in whole]
    assert [shipping.bare(each) for each in bare] == bare
    assert shipping.envelope_of(bare[0]) is None
    receive(receiver, number, bare[0], whole[1], bare[2], lane=2)
    assert receiver.read(newest_pos) == 3
    remnant = receiver.read(lambda reader: list(receiver.log.scan(reader, number)))[0]
    assert isinstance(remnant, Remnant)
    assert (remnant.state, remnant.pos, remnant.pseudonym) == (PartState.DROPPED, 1, 0)
    assert receiver.findings() == []
    assert shipped(receiver, number=number) == [bare[0], whole[1], bare[2]]
    assert receive(receiver, number, bare[0]) == [None]
    (filled_in,) = receive(receiver, number, whole[0], lane=0)
    assert isinstance(filled_in, Op)
    assert (filled_in.pos, filled_in.lane) == (1, 2)
    receive(receiver, number, whole[2])
    assert receiver.findings() == []
    assert held(receiver, number)[0][0] == held(sender, 1)[0][0]
    assert timeline(receiver, 1) == timeline(sender, 1)
    assert positions(receiver) == [1, 2, 3]
    assert receiver.open().findings() == []


def test_a_body_that_was_dropped_comes_back_to_its_envelope() -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    number = join(receiver, sender)
    (whole,) = shipped(sender)
    sender.commit(lambda txn: drop_body(sender, txn))
    (envelope_only,) = shipped(sender)
    assert envelope_only.body is None
    (op,) = receive(receiver, number, envelope_only, late=True)
    assert isinstance(op, Op)
    assert (op.body, op.late) == (None, True)
    assert TREE.key(STANDARD) not in receiver.rows()  # as long as its stream, not as a message
    assert shipped(receiver, number=number) == [envelope_only]
    assert receiver.findings() == []
    assert receive(receiver, number, envelope_only) == [None]
    receiver.read(lambda txn: ends_the_old_key(receiver, txn, number, whole))
    (again,) = receive(receiver, number, whole)
    assert isinstance(again, Op)
    assert (again.body, again.pos, again.late) == (b"\x91\xa2hi", 1, True)
    assert TREE.key(STANDARD) in receiver.rows()
    assert receiver.findings() == []
    assert receiver.log.head.pos == 1
    assert shipped(receiver, number=number) == [whole]


def ends_the_old_key(box: Box, txn: Txn, number: int, whole: Shipment) -> None:
    """The key of the envelope alone would open it still when the new one is destroyed."""
    assert box.vault.begin_switch(txn) is None
    box.log.receive(txn, number, whole, retention_class=STANDARD, now_ms=0, lane=2)
    assert box.vault.begin_switch(txn) is not None
    txn.rollback(0)


def drop_body(box: Box, txn: Txn, number: int = 1) -> None:
    op = box.log.read(txn, number, 1)
    destroy_body(txn, box.log, box.vault, op, box.clock.wall_ms())


@pytest.mark.parametrize("is_all", [True, False])
def test_what_was_destroyed_never_comes_back(is_all: bool) -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    number = join(receiver, sender)
    receive(receiver, number, *shipped(sender))

    def end(txn: Txn) -> None:
        if is_all:
            destroy(txn, receiver.log.read(txn, number, 1))
        else:
            drop_body(receiver, txn, number)

    receiver.commit(end)
    before = receiver.rows()
    assert receive(receiver, number, *shipped(sender)) == [None]
    assert receiver.rows() == before


def test_a_destroyed_body_stays_so_when_its_envelope_comes_back() -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    number = join(receiver, sender)
    (whole,) = shipped(sender)
    receive(receiver, number, whole)
    receiver.commit(lambda txn: drop_body(receiver, txn, number))

    def leave_scope(txn: Txn) -> None:
        (_seq, record) = next(receiver.log.records(txn, number))
        gone = records.repack(record, PartState.DROPPED, PartState.DESTROYED, record.locator, b"")
        txn.put(LOG.key(number, 1), gone)

    receiver.commit(leave_scope)
    (op,) = receive(receiver, number, whole)
    assert isinstance(op, Op)
    assert op.body is None
    assert receiver.read(lambda reader: receiver.log.read(reader, number, 1)) == op
    assert receive(receiver, number, whole) == [None]
    assert receiver.findings() == []


def test_the_same_name_with_another_content_is_refused() -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    number = join(receiver, sender)
    (whole,) = shipped(sender)
    receive(receiver, number, whole)
    for other in (
        whole._replace(body=b"\x91\xa2ho"),
        whole._replace(salt=bytes(16)),
        shipping.bare(whole)._replace(body_commit=bytes(32)),
    ):
        with pytest.raises(EquivocationError):
            receive(receiver, number, other)


@given(st.data())
def test_a_flipped_bit_in_any_part_is_refused(data: st.DataObject) -> None:
    sender, receiver = branch(), headquarters()
    sender.append(note(1, 2))
    number = join(receiver, sender)
    (whole,) = shipped(sender)
    sent = data.draw(st.sampled_from([whole, shipping.bare(whole)]))
    receive(receiver, number, sent)
    name = data.draw(
        st.sampled_from(
            [n for n in ("salt", "envelope", "body") if getattr(sent, n)]
            or ["envelope_commit", "body_commit"]
        )
    )
    value = bytearray(getattr(sent, name))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    change: dict[str, Any] = {name: bytes(value)}
    with pytest.raises((EquivocationError, FormatError)):
        receive(receiver, number, sent._replace(**change), lane=2)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": 1 << 64},
        {"op_class": 3},
        {"op_class": 1},  # a number is no class yet
        {"stream": None},
        {"stream": Stream(StreamKind.CONVERSATION, b"short")},
        {"stream": Stream(9, bytes(16))},  # type: ignore[arg-type]
        {"stream": conversation(2)},
        {"salt": bytes(15)},
        {"salt": b""},
        {"envelope": b""},
        {"envelope": b"\x90"},
        {"body": None},
        {"body": None, "body_commit": bytes(31)},
        {"body": bytes(BODY_BYTES + 1)},
        {"body_commit": bytes(32)},
        {"envelope_commit": bytes(32)},
    ],
)
def test_what_no_site_makes_is_refused(change: dict[str, Any]) -> None:
    sender = branch()
    sender.append(note(1, 2))
    (whole,) = shipped(sender)
    with pytest.raises(FormatError):
        shipping.bones(origin_of(sender), whole._replace(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"salt": bytes(16)},
        {"stream": conversation(1)},
        {"body": b""},
        {"body_commit": b""},
        {"envelope_commit": bytes(33)},
    ],
)
def test_what_is_neither_whole_nor_bare_is_refused(change: dict[str, Any]) -> None:
    sender = branch()
    sender.append(note(1, 2))
    (whole,) = shipped(sender)
    with pytest.raises(FormatError):
        shipping.bones(origin_of(sender), shipping.bare(whole)._replace(**change))


def test_an_envelope_in_another_encoding_is_refused() -> None:
    sender = branch()
    sender.append(note(1, 2))
    (whole,) = shipped(sender)
    wider = b"\xdc\x00" + bytes((whole.envelope[0] & 15,)) + whole.envelope[1:]
    changed = whole._replace(envelope=wider)
    assert shipping.envelope_of(changed) == shipping.envelope_of(whole)
    with pytest.raises(FormatError):
        shipping.bones(origin_of(sender), changed)


def test_commitments_are_computed_anew() -> None:
    sender = filled(note(1, 2), founding(), privileged())
    sender.commit(lambda txn: drop_body(sender, txn))
    for shipment, entry in zip(
        shipped(sender), sender.read(lambda reader: list(sender.log.scan(reader, 1))), strict=True
    ):
        bones, digest = shipping.bones(origin_of(sender), shipment)
        assert digest == entry.op_hash
        assert shipping.bones(origin_of(sender), shipping.bare(shipment)) == (bones, digest)
        other = Origin(bytes(16), 1)
        assert shipping.bones(other, shipment)[1] != digest


@pytest.mark.parametrize("lane", [-1, 4])
def test_there_are_four_lanes(lane: int) -> None:
    sender, receiver = filled(note(1, 2)), headquarters()
    number = join(receiver, sender)
    for each in (shipped(sender)[0], shipping.bare(shipped(sender)[0])):
        with pytest.raises(ValueError, match="malformed"):
            receive(receiver, number, each, lane=lane)


def test_nothing_readable_of_a_shipment_is_shown() -> None:
    sender = branch()
    sender.append(message(body=b"canary"))
    (whole,) = shipped(sender)
    assert "canary" not in repr(whole)


def test_origins_get_numbers_once_and_lose_them_with_a_rollback() -> None:
    sender, receiver = branch(), headquarters()
    before = memory(receiver.log)

    def lose_it(txn: Txn) -> None:
        receiver.log.add_origin(txn, origin_of(sender), bytes(32), is_whole=False)
        txn.rollback(0)

    receiver.read(lose_it)
    assert memory(receiver.log) == before
    assert receiver.log.number_of(origin_of(sender)) is None
    number = join(receiver, sender)
    assert join(receiver, sender) == number == 2
    assert receiver.open().log.number_of(origin_of(sender)) == number
    with pytest.raises(IntegrityError):
        join(receiver, sender, is_whole=False)
    with pytest.raises(IntegrityError):
        join(receiver, receiver)


def test_ones_own_operations_do_not_come_from_others() -> None:
    box = branch()
    box.append(note(1, 2))
    with pytest.raises(IntegrityError):
        receive(box, 1, *shipped(box))


def test_a_new_incarnation_goes_on_beside_what_was_received() -> None:
    sender, receiver = filled(note(1, 2), note(1, 0)), headquarters()
    receiver.append(message(1))
    number = join(receiver, sender)
    receive(receiver, number, shipped(sender)[1])
    receiver.commit(receiver.log.renew)
    receive(receiver, number, shipped(sender)[0])
    (own,) = receiver.append(message(1))
    assert (own.origin, own.pos) == (3, 4)
    assert receiver.open().log.head.pos == 4
    assert receiver.findings() == []


def test_no_crash_point_loses_or_doubles_what_a_cursor_counts() -> None:
    sender = filled(*[note(1 + n % 2, 2) for n in range(9)])
    whole = shipped(sender)

    def prepared() -> tuple[Box, int]:
        receiver = headquarters()
        return receiver, join(receiver, sender)

    def go_on(receiver: Box, number: int) -> None:
        """Receive what the cursor does not count yet, three at a time."""
        while (at := receiver.read(lambda reader: cursors.get(reader, number, 2))) < len(whole):

            def piece(txn: Txn, at: int = at) -> None:
                now = receiver.clock.wall_ms()
                for shipment in whole[at : at + 3]:
                    entry = receiver.log.receive(
                        txn, number, shipment, retention_class=STANDARD, now_ms=now, lane=2
                    )
                    assert entry is not None
                cursors.put(txn, number, 2, at + 3)

            receiver.commit(piece)

    counting = CutAt()
    receiver, number = prepared()
    receiver.medium.probe = receiver.data.probe = counting
    go_on(receiver, number)
    assert {"batch", "committed"} <= set(counting.seen)
    for cut in range(counting.count):
        receiver, number = prepared()
        receiver.medium.probe = receiver.data.probe = CutAt(cut)
        with pytest.raises(PowerCut):
            go_on(receiver, number)
        go_on(receiver.crash(cut).open(), number)
        assert held(receiver, number) == held(sender, 1)
        assert positions(receiver) == list(range(1, 10))
        assert receiver.findings() == []
