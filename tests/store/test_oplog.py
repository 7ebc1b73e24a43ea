"""What is appended is numbered, chained, sealed and shown once, whatever happens in between."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import feeds, hlc, segments
from store.engine.memory import Medium
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError, LimitError
from store.faults import CutAt, PowerCut
from store.fence import FILE_NAME, UNREADABLE, Breach
from store.ids import ID_BYTES, SITE_STREAM, OpId, StreamKind
from store.limits import BODY_BYTES, FENCE_BLOCK, SEGMENT_MS, SEGMENT_OPS
from store.oplog import Draft, Head, Op, OpClass, OpLog
from store.segments import Statement
from store.skeleton import CHAIN_START, chain, node_id
from store.tables import FEED, SEGMENT, TENANT, TIMELINE, Table, meta_key
from store.vault import CONTROL
from tests.store.logbox import (
    SITE_KEY,
    Box,
    conversation,
    founding,
    message,
    person,
    privileged,
)

DRAFTS = st.one_of(
    st.builds(message, st.integers(1, 3), st.binary(max_size=30)),
    st.builds(lambda target: message(2, target=target), st.binary(min_size=32, max_size=32)),
    st.builds(privileged, st.binary(max_size=9)),
    st.builds(founding, st.binary(max_size=9)),
)


def statements(box: Box) -> list[Statement]:
    rows = box.rows(Table.SEGMENT)
    return [Statement.unpack(segments.split_row(row)[0]) for row in rows.values()]


def scanned(box: Box, origin: int = 1) -> list[object]:
    return box.read(lambda reader: list(box.log.scan(reader, origin)))


def memory(log: OpLog) -> tuple[object, ...]:
    """All that the log keeps in memory beside its rows."""
    segment = log._open
    return (
        log.head,
        log._tip,
        (segment.origin, segment.first, segment.previous, tuple(segment.hashes)),
        log.origins,
        (log.ledger.origin, log.ledger.size, log.ledger.root()),
        log._batch_seq,
        log._saved,
    )


def test_a_new_log_is_empty_and_named_by_its_key() -> None:
    box = Box().create()
    head = box.log.head
    assert (head.origin, head.seq, head.pos, head.chain) == (1, 0, 0, CHAIN_START)
    assert head.incarnation != 0
    assert box.log.node == node_id(TENANT, bytes(SITE_KEY.verify_key))
    assert box.open().log.head == head
    assert box.log.breach is None


def test_an_operation_carries_what_its_draft_says() -> None:
    box = Box().create()
    draft = message(3, counter=9, seen=11)
    (op,) = box.append(draft)
    assert op.id == OpId(box.log.node, box.log.head.incarnation, 1)
    for name in ("kind", "op_class", "actor", "device", "counter", "target", "seen", "body"):
        assert getattr(op, name) == getattr(draft, name)
    assert (op.stream, op.conversation) == (conversation(3), conversation(3).id)
    assert op.feed == op.pseudonym == box.streams.pseudonym(conversation(3))
    assert op.t == box.clock.wall_ms() << 16
    assert op.received_ms == box.clock.wall_ms()
    assert (op.pos, op.late, op.in_timeline) == (1, False, True)
    assert box.read(lambda reader: box.log.read(reader, 1, 1)) == op


def test_a_group_is_named_by_the_hash_of_its_founding() -> None:
    box = Box().create()
    (op,) = box.append(founding())
    assert op.stream.kind is StreamKind.CONVERSATION
    assert op.stream.id == op.op_hash[:ID_BYTES]
    assert op.conversation == b""
    assert op.in_timeline
    (later,) = box.append(message(stream=op.stream, conversation=op.stream.id))
    assert later.feed == op.feed
    assert later.floor == op.key
    assert box.open().read(lambda reader: box.log.read(reader, 1, 1)) == op


def test_an_answer_sorts_after_its_question_when_the_clock_goes_back() -> None:
    box = Box().create()
    (question,) = box.append(message(1))
    box.clock.set_wall_ms(1)
    (answer,) = box.append(message(1))
    assert answer.key > question.key
    assert answer.floor == question.key
    assert box.open().append(message(2))[0].t > answer.t


def test_time_goes_on_after_a_restart_with_a_clock_set_back() -> None:
    box = Box().create()
    box.clock.advance(5_000_000)
    (last,) = box.append(message(1))
    box.clock.set_wall_ms(1_000)
    box.open()
    (after,) = box.append(message(2))
    assert after.t > last.t


@pytest.mark.parametrize(
    ("draft", "is_shown"),
    [
        (message(1), True),
        (message(1, target=bytes(32)), False),
        (message(1, target=bytes(32), in_timeline=True), True),
        (message(1, op_class=OpClass.CONTROL), False),
        (message(1, op_class=OpClass.CONTROL, in_timeline=True), True),
        (message(1, stream=person(4)), True),
        (message(1, stream=person(4), conversation=b""), False),
        (message(1, stream=person(4), conversation=b"", in_timeline=True), False),
        (privileged(), False),
        (founding(), True),
    ],
)
def test_the_timeline_shows_root_messages_and_what_asks_for_it(
    draft: Draft, is_shown: bool
) -> None:
    box = Box().create()
    (op,) = box.append(draft)
    assert op.in_timeline is is_shown
    assert len(box.rows(Table.TIMELINE)) == is_shown
    assert box.read(lambda reader: box.log.read(reader, 1, 1)) == op


def test_an_operation_about_a_conversation_is_in_its_feed_under_another_streams_keys() -> None:
    box = Box().create()
    (op,) = box.append(message(1, stream=person(4)))
    assert op.pseudonym == box.streams.pseudonym(person(4))
    assert op.feed == box.streams.pseudonym(conversation(1))
    assert box.read(lambda reader: feeds.head(reader, op.feed)) == (1, op.key)
    assert box.read(lambda reader: feeds.head(reader, op.pseudonym)) == feeds.EMPTY


def test_views_point_to_the_operation() -> None:
    box = Box().create()
    box.append(message(1))
    (op,) = box.append(message(2))
    rows = box.rows()
    assert rows[FEED.key(op.feed, 2)] == feeds.FEED_ROW.pack(1, 2, op.key)
    assert rows[TIMELINE.key(op.feed, op.key, *op.id)] == feeds.TIMELINE_ROW.pack(1, 2)
    assert box.read(lambda reader: feeds.head(reader, op.feed)) == (2, op.key)
    assert box.read(lambda reader: box.log.find(reader, op.id)) == (1, 2)
    unknown = op.id._replace(seq=3)
    assert box.read(lambda reader: box.log.find(reader, unknown)) is None


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(DRAFTS, max_size=5),
            st.sampled_from(("commit", "drop", "half", "open", "stop", "crash")),
            st.integers(-200_000, 200_000),
        ),
        max_size=12,
    )
)
def test_the_log_is_what_was_committed(steps: list[tuple[list[Draft], str, int]]) -> None:
    box = Box().create()
    expected: list[Op] = []
    for drafts, what, shift in steps:
        box.clock.set_wall_ms(max(0, box.clock.wall_ms() + shift))
        expected += step(box, drafts, what)
        assert box.log.breach is None
    box.open()
    assert scanned(box) == expected
    assert box.read(lambda reader: list(box.log.replay(reader))) == expected
    assert [op.id.seq for op in expected] == list(range(1, len(expected) + 1))
    assert [op.pos for op in expected] == list(range(1, len(expected) + 1))
    assert [op.t for op in expected] == sorted({op.t for op in expected})
    link = CHAIN_START
    for op in expected:
        link = chain(link, op.op_hash)
    assert box.log.head.chain == link
    assert box.findings() == []


def step(box: Box, drafts: list[Draft], what: str) -> list[Op]:
    """Append the drafts and let something happen; return what must be in the log."""
    now = box.clock.wall_ms()
    before = memory(box.log)
    if what == "drop":

        def lose(txn: Txn) -> None:
            for draft in drafts:
                box.log.append(txn, draft, now)
            box.log.before_commit(txn, now)
            txn.rollback(0)

        box.read(lose)
        assert memory(box.log) == before
        return []
    if what == "half":

        def keep_every_second(txn: Txn) -> list[Op]:
            kept = []
            for number, draft in enumerate(drafts):
                mark, at = txn.savepoint(), memory(box.log)
                op = box.log.append(txn, draft, now)
                if number % 2:
                    txn.rollback(mark)
                    assert memory(box.log) == at
                else:
                    kept.append(op)
            return kept

        return box.commit(keep_every_second)
    kept = box.append(*drafts)
    if what == "stop":
        box.log.close()
    if what == "crash":
        box.crash()
    if what in ("open", "stop", "crash"):
        box.open()
    return kept


def test_segments_close_by_number_and_by_time_and_cover_everything() -> None:
    box = Box().create()
    box.append(*[message(n % 3) for n in range(SEGMENT_OPS + 10)])
    assert [(s.first, s.size) for s in statements(box)] == [(1, SEGMENT_OPS)]
    box.clock.advance(SEGMENT_MS - 1)
    box.append(message())
    assert len(statements(box)) == 1
    box.clock.advance(1)
    box.commit(lambda txn: None)
    assert [(s.first, s.size) for s in statements(box)][1:] == [(SEGMENT_OPS + 1, 11)]
    box.append(message())
    box.open().commit(lambda txn: None)
    assert [s.first for s in statements(box)] == [1, SEGMENT_OPS + 1, SEGMENT_OPS + 12]
    assert box.findings() == []


def test_a_rollback_over_a_segments_end_reopens_it() -> None:
    box = Box().create()
    box.append(*[message()] * (SEGMENT_OPS - 5))
    now = box.clock.wall_ms()

    def work(txn: Txn) -> None:
        mark, before = txn.savepoint(), memory(box.log)
        for _ in range(9):
            box.log.append(txn, message(), now)
        assert txn.get(SEGMENT.key(1, 1)) is not None
        txn.rollback(mark)
        assert txn.get(SEGMENT.key(1, 1)) is None
        assert memory(box.log) == before
        for _ in range(6):
            box.log.append(txn, message(2), now)

    box.commit(work)
    assert [(s.first, s.size) for s in statements(box)] == [(1, SEGMENT_OPS)]
    assert box.findings() == []


def test_a_rollback_over_a_timely_close_reopens_the_segment() -> None:
    box = Box().create()
    box.append(message())
    before = memory(box.log)

    def work(txn: Txn) -> None:
        assert not box.log.is_segment_due(box.clock.wall_ms() + SEGMENT_MS - 1)
        assert box.log.is_segment_due(box.clock.wall_ms() + SEGMENT_MS)
        assert box.log.close_due_segment(txn, box.clock.wall_ms() + SEGMENT_MS)
        assert not box.log.close_due_segment(txn, box.clock.wall_ms() + SEGMENT_MS)
        txn.rollback(0)

    box.read(work)
    assert memory(box.log) == before


@pytest.mark.parametrize(
    "draft",
    [
        message(actor=b"short"),
        message(device=bytes(17)),
        message(conversation=bytes(3)),
        message(target=bytes(31)),
        message(counter=-1),
        message(counter=1 << 64),
        message(kind=1 << 16),
        message(stream=None),
        message(lane=4),
        message(lane=-1),
    ],
)
def test_malformed_drafts_are_refused_and_leave_nothing(draft: Draft) -> None:
    box = Box().create()
    before = memory(box.log)

    def work(txn: Txn) -> None:
        with pytest.raises(ValueError, match="malformed"):
            box.log.append(txn, draft, 0)
        txn.rollback(0)

    box.read(work)
    assert memory(box.log) == before


def test_bodies_are_bounded() -> None:
    box = Box().create()
    (op,) = box.append(message(body=bytes(BODY_BYTES)))
    assert box.read(lambda reader: box.log.read(reader, 1, 1)) == op
    with pytest.raises(LimitError):
        box.append(message(body=bytes(BODY_BYTES + 1)))


def test_nothing_readable_is_stored() -> None:
    box = Box().create()
    canary = b"canary-canary-ca"
    room = conversation(1)._replace(id=canary)
    box.append(message(body=b"\xc4\x10" + canary, stream=room, conversation=canary, actor=canary))
    box.append(message(device=canary))
    for key, value in box.rows().items():
        assert canary not in key + value
    for name in box.data.names():
        assert canary not in (box.data.read(name) or b"")


def test_nothing_readable_is_shown() -> None:
    box = Box().create()
    draft = message(body=b"canary", actor=b"canary-canary-ca")
    (op,) = box.append(draft)
    assert "canary" not in repr(draft) + repr(op) + repr(box.log)


def test_two_runs_from_one_seed_write_the_same_rows() -> None:
    def run() -> tuple[dict[bytes, bytes], bytes | None]:
        box = Box("same").create()
        rng = Random(4)
        for _ in range(30):
            drafts = [rng.choice((message(1), message(2), privileged(), founding()))] * 3
            box.append(*drafts)
            box.clock.advance(rng.randrange(9_000))
        return box.open().rows(), box.data.read(FILE_NAME)

    assert run() == run()


def test_no_crash_point_costs_an_operation_or_an_incarnation() -> None:
    def batches(box: Box, acknowledged: list[Op]) -> None:
        for _ in range(3):
            acknowledged += box.append(message(1), message(2), privileged())
        box.log.close()
        box.open()
        acknowledged += box.append(message(3))

    def prepared() -> Box:
        box = Box().create()
        for _ in range(2):
            box.append(*[message(9)] * (FENCE_BLOCK // 2 - 2))
        return box

    counting = CutAt()
    box = prepared()
    box.medium.probe = box.data.probe = counting
    batches(box, [])
    assert {"sync", "batch", "committed"} <= set(counting.seen)
    for cut in range(counting.count):
        box = prepared()
        acknowledged: list[Op] = []
        box.medium.probe = box.data.probe = CutAt(cut)
        with pytest.raises(PowerCut):
            batches(box, acknowledged)
        box.crash(cut).open()
        assert box.log.breach is None
        held = scanned(box)[FENCE_BLOCK - 4 :]
        assert held[: len(acknowledged)] == acknowledged
        box.append(message(1))
        assert box.findings() == []


def copied(medium: Medium) -> Medium:
    copy = Medium()
    copy.commit(dict(medium.rows))
    return copy


def test_a_store_that_went_back_takes_a_new_incarnation_before_it_writes() -> None:
    box = Box().create()
    kept = box.append(*[message(1)] * 5)
    backup = copied(box.medium)
    for _ in range(3):
        box.append(*[message(1)] * (FENCE_BLOCK // 2))
    old = box.log.head
    box.medium = backup
    box.open()
    assert box.log.breach is Breach.BEHIND
    head = box.log.head
    assert head == Head(2, head.incarnation, 0, CHAIN_START, 5)
    assert head.incarnation != old.incarnation
    (op,) = box.append(message(1))
    assert op.id == OpId(box.log.node, head.incarnation, 1)
    assert op.pos == 6
    assert op.key > kept[-1].key
    assert op.feed == kept[0].feed
    assert box.read(lambda reader: list(box.log.replay(reader))) == [*kept, op]
    assert box.findings() == []
    assert box.open().log.breach is None
    assert box.log.head.pos == 6


def test_a_store_changed_after_a_clean_stop_takes_a_new_incarnation() -> None:
    box = Box().create()
    box.append(message())
    backup = copied(box.medium)
    box.append(message())
    box.log.close()
    box.medium = backup
    assert box.open().log.breach is Breach.CHANGED


def test_a_lost_fence_or_a_cloned_machine_takes_a_new_incarnation() -> None:
    box = Box().create()
    box.append(message())
    box.data.remove(FILE_NAME)
    assert box.open().log.breach is Breach.MISSING
    box.machine = b"m" * 16
    assert box.open().log.breach is None
    box.log.close()
    box.append(message())
    assert box.open().log.breach is None
    box.machine = b"x" * 16
    assert box.open().log.breach is Breach.MACHINE
    box.machine = UNREADABLE
    assert box.open().log.breach is None
    assert [row.is_own for row in box.log.origins.values()] == [True] * 3


def test_a_crash_while_taking_a_new_incarnation_takes_another() -> None:
    counting = CutAt()
    for cut in range(20):
        box = Box(cut).create()
        box.append(message())
        old = box.log.head.incarnation
        box.data.remove(FILE_NAME)
        probe = CutAt(cut)
        box.medium.probe = box.data.probe = probe
        try:
            box.open()
        except PowerCut:
            box.crash(cut).open()
        else:
            counting = probe
            break
        assert box.log.head.incarnation != old
        box.append(message())
        assert box.findings() == []
    assert counting.count > 4


def test_a_site_can_be_told_to_take_a_new_incarnation() -> None:
    box = Box().create()
    (before,) = box.append(message())
    old = box.log.head
    box.clock.set_wall_ms(1_000)
    box.commit(box.log.renew)
    assert box.log.head.incarnation != old.incarnation
    (op,) = box.append(message(2))
    assert op.t > before.t
    assert (op.origin, op.id.seq, op.pos) == (2, 1, 2)
    assert box.read(lambda reader: box.log.find(reader, op.id)) == (2, 1)
    assert box.open().findings() == []
    assert box.log.breach is None


def test_a_new_incarnation_has_its_own_fence() -> None:
    box = Box().create()
    for _ in range(3):
        box.append(*[message()] * (FENCE_BLOCK // 2))
    box.commit(box.log.renew)
    for _ in range(3):
        box.append(*[message()] * (FENCE_BLOCK // 2))
    assert box.open().log.breach is None
    assert box.log.head.origin == 2


def test_a_log_goes_on_after_it_was_marked_as_stopped() -> None:
    box = Box().create()
    box.append(message())
    box.log.close()
    box.append(message())
    assert box.open().log.breach is None
    assert box.log.head.seq == 2


def test_nothing_is_appended_under_an_incarnation_that_was_given_up() -> None:
    box = Box().create()
    box.append(message())
    before = memory(box.log)

    def renew_in_vain(txn: Txn) -> None:
        box.log.renew(txn)
        txn.rollback(0)

    box.read(renew_in_vain)
    assert memory(box.log) == before
    with pytest.raises(IntegrityError):
        box.append(message())
    box.commit(box.log.renew)
    (op,) = box.append(message())
    assert (op.origin, op.pos) == (2, 2)


def test_a_store_without_a_log_or_with_another_builds_is_refused() -> None:
    box = Box().create()
    name = meta_key("log")
    row = box.medium.rows[name]
    for wrong, error in (
        (b"\x03" + row[1:], FormatError),
        (row[:-1], FormatError),
        (row[:4] + b"\x09" + row[5:], IntegrityError),
    ):
        box.medium.rows[name] = wrong
        with pytest.raises(error):
            box.open()
    del box.medium.rows[name]
    with pytest.raises(IntegrityError):
        box.open()


def test_a_stuck_time_is_refused_not_repeated() -> None:
    box = Box().create()
    box.clock.set_wall_ms((hlc.LIMIT >> 16) - 1)
    box.append(message())
    box.clock.set_wall_ms(hlc.LIMIT >> 16)
    with pytest.raises(ValueError, match="malformed"):
        box.append(message())


def test_control_operations_of_the_site_need_no_conversation() -> None:
    box = Box().create()
    draft = Draft(kind=3, op_class=OpClass.CONTROL, stream=SITE_STREAM, retention_class=CONTROL)
    (op,) = box.append(draft)
    assert op.feed == op.pseudonym
    assert op.body == b""
