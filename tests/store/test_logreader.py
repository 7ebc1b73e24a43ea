"""The log is read as far as it survives, by any reader that has the keys."""

from __future__ import annotations

from random import Random
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import feeds, records
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import IntegrityError, PartGoneError
from store.logcheck import Problem
from store.logreader import UnknownOpError
from store.oplog import Entry, Op, Remnant
from store.records import HEADER_BYTES, PartState, Record
from store.skeleton import op_hash
from store.tables import LOG, STREAM, Table
from store.vault import CONTROL
from tests.store.logbox import Box, founding, message, privileged
from tests.store.sitepair import branch, headquarters, join, note, positions, receive, shipped


def destroy_envelope(box: Box, seq: int, state: PartState) -> None:
    """Leave the row that an operation has once both parts are gone."""
    key = LOG.key(1, seq)
    row = box.medium.rows[key]
    box.medium.rows[key] = row[:3] + bytes((0, state << 4 | state)) + row[5:HEADER_BYTES]


def destroy_body(box: Box, seq: int) -> None:
    """Seal the envelope alone, as happens before the body's key is punctured."""
    key = LOG.key(1, seq)

    def work(txn: Txn) -> None:
        record = Record.unpack(txn.get(key) or b"")
        digest = op_hash(record.skeleton)
        parts = box.log.parts(txn, record, digest)
        plaintext = records.envelope_only(parts.envelope_salt, parts.envelope)
        locator, sealed = box.vault.seal(
            txn, record.locator.stream, CONTROL, plaintext, digest, box.clock.wall_ms()
        )
        row = records.pack(record.flags, record.skeleton, record.chain, record.pos, locator, sealed)
        states = PartState.PRESENT << 4 | PartState.DESTROYED
        txn.put(key, row[:4] + bytes((states,)) + row[5:])

    box.commit(work)


def test_an_operation_without_its_body_says_so() -> None:
    box = Box().create()
    (whole,) = box.append(message())
    destroy_body(box, 1)
    op = box.read(lambda reader: box.log.read(reader, 1, 1))
    assert op.body is None
    assert (op.key, op.actor, op.op_hash) == (whole.key, whole.actor, whole.op_hash)
    assert box.findings() == []


@pytest.mark.parametrize("state", [PartState.DROPPED, PartState.ESCROWED, PartState.DESTROYED])
def test_an_operation_without_its_envelope_leaves_a_remnant(state: PartState) -> None:
    box = Box().create()
    first, second, third = box.append(message(1), message(2), privileged())
    destroy_envelope(box, 2, state)
    with pytest.raises(PartGoneError):
        box.read(lambda reader: box.log.read(reader, 1, 2))
    gone = Remnant(second.id, 1, second.op_class, second.op_hash, 2, second.pseudonym, state)
    assert box.read(lambda reader: list(box.log.scan(reader, 1))) == [first, gone, third]
    assert box.read(lambda reader: list(box.log.replay(reader))) == [first, gone, third]
    # What is only called destroyed, while key and feed rows are still there, is a contradiction.
    assert (box.findings() == []) is (state is not PartState.DESTROYED)
    assert box.open().log.head.seq == 3


def test_a_feed_may_end_with_a_remnant() -> None:
    box = Box().create()
    box.append(message(1), message(1))
    destroy_envelope(box, 2, PartState.DROPPED)
    assert box.findings() == []


def test_a_remnant_keeps_its_position() -> None:
    box = Box().create()
    box.append(message(1), message(1))
    destroy_envelope(box, 2, PartState.DROPPED)
    key = LOG.key(1, 2)
    row = box.medium.rows[key]
    box.medium.rows[key] = row[:136] + (1).to_bytes(8, "big") + row[144:]
    assert [finding.problem for finding in box.findings()] == [Problem.POSITION]


def test_a_range_is_both_ends_included() -> None:
    box = Box().create()
    ops = box.append(*[message(n) for n in range(1, 7)])

    def seqs(first: int, last: int | None) -> list[int]:
        found = box.read(lambda reader: list(box.log.scan(reader, 1, first, last)))
        assert found == ops[first - 1 : last]
        return [entry.id.seq for entry in found]

    assert seqs(1, None) == [1, 2, 3, 4, 5, 6]
    assert seqs(2, 4) == [2, 3, 4]
    assert seqs(6, 6) == [6]
    assert seqs(7, 9) == []


def test_an_unknown_operation_is_an_error() -> None:
    box = Box().create()
    box.append(message())
    for origin, seq in ((1, 2), (2, 1)):
        with pytest.raises(UnknownOpError):
            box.read(lambda reader, at=(origin, seq): box.log.read(reader, *at))  # type: ignore[misc]


def test_a_stream_without_a_name_is_an_error() -> None:
    box = Box().create()
    (op,) = box.append(message())
    reader = box.fresh_reader()
    del box.medium.rows[STREAM.key(op.pseudonym)]
    nameless = box.fresh_reader()
    assert box.read(lambda txn: reader.read(txn, 1, 1)) == op
    with pytest.raises(IntegrityError):
        box.read(lambda txn: nameless.read(txn, 1, 1))


def test_origins_replay_together_in_the_order_applied() -> None:
    box = Box().create()
    ops: list[Op] = []
    for _ in range(3):
        ops += box.append(message(1), founding())
        box.commit(box.log.renew)
    ops += box.append(message(1))
    replayed = box.read(lambda reader: list(box.fresh_reader().replay(reader)))
    assert replayed == ops
    assert [entry.origin for entry in replayed] == [1, 1, 2, 2, 3, 3, 4]


def test_replay_goes_on_through_incarnations_with_and_without_an_index_of_the_order() -> None:
    box = Box().create()
    box.append(message(), message())
    box.commit(box.log.renew)
    box.append(message())
    box.commit(box.log.keep_order)
    box.append(message())
    box.commit(box.log.renew)
    box.append(message())
    replayed = box.read(lambda reader: list(box.log.replay(reader)))
    origins = [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5)]
    assert [(entry.origin, entry.pos) for entry in replayed] == origins


def test_reading_works_from_another_thread_while_the_log_grows() -> None:
    box = Box().create()
    ops = box.append(*[message(n % 5 + 1) for n in range(40)])
    wrong: list[object] = []

    def read_all() -> None:
        for op in ops:
            found = box.read(lambda reader, seq=op.id.seq: box.log.read(reader, 1, seq))  # type: ignore[misc]
            if found != op:
                wrong.append(found)

    thread = Thread(target=read_all)
    thread.start()
    for number in range(40):
        box.append(message(number % 9 + 1))
    thread.join()
    assert wrong == []


@settings(max_examples=30)
@given(st.randoms(use_true_random=False))
def test_what_came_in_any_order_replays_by_position(rng: Random) -> None:
    receiver, senders = headquarters(), [branch(seed) for seed in ("first", "second")]
    numbers = [join(receiver, sender, is_whole=False) for sender in senders]
    waiting = []
    for number, sender in zip(numbers, senders, strict=True):
        sender.append(*[note(1 + n % 3, n % 4) for n in range(rng.randrange(9))])
        waiting += [(number, shipment) for shipment in shipped(sender)]
    rng.shuffle(waiting)
    for number, shipment in waiting:
        receive(receiver, number, shipment)
        if rng.random() < 0.3:
            receiver.append(message(1))
    replayed = receiver.read(lambda reader: list(receiver.log.replay(reader)))
    assert [entry.pos for entry in replayed] == positions(receiver)
    assert all(
        entry
        == receiver.read(lambda reader, at=entry: receiver.log.read(reader, at.origin, at.id.seq))  # type: ignore[misc]
        for entry in replayed
    )
    assert rebuilt(replayed) == receiver.rows(Table.FEED, Table.TIMELINE, Table.HEAD)


def rebuilt(entries: list[Entry]) -> dict[bytes, bytes | None]:
    """Return the general views as the log alone gives them."""
    txn = Txn(MemoryEngine().snapshot())
    for entry in entries:
        assert isinstance(entry, Op)
        feeds.show(txn, entry, feeds.head(txn, entry.feed))
    return dict(txn.writes)


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.integers(0, 3),
    st.integers(0, 22),
    st.integers(0, 22),
)
def test_a_lane_is_what_belongs_to_it_and_no_more_rows_are_looked_at_than_told(
    lanes: list[int], lane: int, after: int, most: int
) -> None:
    box = branch()
    box.append(*[note(1, each) for each in lanes])
    found = box.read(lambda reader: list(box.log.lane(reader, 1, lane, after, most)))
    rows = dict(box.read(lambda reader: list(box.log.records(reader, 1))))
    seqs = [
        seq for seq, each in enumerate(lanes, 1) if each == lane and after < seq <= after + most
    ]
    assert found == [(seq, rows[seq]) for seq in seqs]


def test_an_operation_under_another_origins_number_is_not_shipped() -> None:
    sender, receiver = branch(), headquarters()
    sender.append(note(1, 2))
    receive(receiver, join(receiver, sender), *shipped(sender))
    with pytest.raises(IntegrityError):
        receiver.read(
            lambda reader: receiver.log.ship(reader, 1, next(receiver.log.records(reader, 2))[1])
        )
