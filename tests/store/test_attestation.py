"""A site that sent its log cannot have sent another one than it signed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import merkle, segments, shipping
from store.attestation import Prefix
from store.errors import EquivocationError, ForgedError, FormatError, IntegrityError
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.logcheck import Finding, Problem
from store.records import Record
from store.segments import Statement
from store.skeleton import CHAIN_START, OpClass
from store.tables import FEED, LOG, SEGMENT, Table
from tests.store.logbox import Box
from tests.store.sitepair import (
    BRANCH_KEY,
    LANES,
    branch,
    headquarters,
    held,
    join,
    lane_of,
    note,
    receive,
    shipped,
)


def made(*sizes: int) -> Box:
    """A branch whose closed segments have these sizes, with two operations behind them."""
    box = branch()
    for size in sizes:
        box.append(*[note(1 + n % 3, n % 4) for n in range(size)])
        box.clock.advance(SEGMENT_MS)
        box.commit(lambda txn: None)
    box.append(note(1, 2), note(1, 0))
    assert len(statements(box)) == len(sizes)
    return box


def statements(box: Box) -> list[bytes]:
    return [row for _key, row in sorted(box.rows(Table.SEGMENT).items())]


def attest(box: Box, number: int, row: bytes) -> bool:
    return box.commit(lambda txn: box.log.attest(txn, number, row))


def prefix(box: Box, number: int) -> Prefix:
    return box.read(lambda reader: box.log.prefix(reader, number))


def chains(box: Box) -> list[bytes]:
    """Return the chain after each of a site's own operations, and before the first."""
    rows = box.read(lambda reader: list(box.log.records(reader, 1)))
    return [CHAIN_START, *(record.chain for _seq, record in rows)]


def signed(statement: Statement) -> bytes:
    data = statement.pack()
    return data + bytes(BRANCH_KEY.sign(segments.signed_bytes(data)).signature)


def test_a_segment_is_stored_once_all_of_it_is_here() -> None:
    sender, receiver = made(3, 2), headquarters()
    number = join(receiver, sender)
    first, second = statements(sender)
    whole = shipped(sender)
    assert attest(receiver, number, first) is False
    receive(receiver, number, whole[2], whole[0])
    assert attest(receiver, number, first) is False
    receive(receiver, number, whole[1], whole[4], whole[3])
    assert attest(receiver, number, second) is False
    assert receiver.rows(Table.SEGMENT) == {}
    assert attest(receiver, number, first) is True
    assert attest(receiver, number, second) is True
    assert attest(receiver, number, first) is True
    assert statements(receiver) == [first, second]
    assert receiver.findings() == []
    assert receiver.open().findings() == []


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.randoms(use_true_random=False),
)
def test_the_prefix_is_what_is_there_without_a_hole(sizes: list[int], rng: Random) -> None:
    sender, receiver = made(*sizes), headquarters()
    number = join(receiver, sender)
    assert prefix(receiver, number) == (0, CHAIN_START)
    expected, come = chains(sender), set[int]()
    lanes = [shipped(sender, lane) for lane in LANES]
    while lanes := [lane for lane in lanes if lane]:
        shipment = rng.choice(lanes).pop(0)
        receive(receiver, number, shipment)
        come.add(shipment.seq)
        if rng.random() < 0.3:
            for row in statements(sender):
                attest(receiver, number, row)
        end = next(seq for seq in range(len(come) + 1) if seq + 1 not in come)
        assert prefix(receiver, number) == (end, expected[end])
    assert [attest(receiver, number, row) for row in statements(sender)] == [True] * len(sizes)
    head = sender.log.head
    assert prefix(receiver, number) == prefix(sender, 1) == (head.seq, head.chain)
    assert receiver.findings() == []


def test_what_is_filled_in_later_changes_nothing_that_was_proved() -> None:
    sender, receiver = made(2), headquarters()
    number = join(receiver, sender)
    whole = shipped(sender)
    for each in whole:
        receive(receiver, number, shipping.bare(each), lane=lane_of(each))
    assert attest(receiver, number, statements(sender)[0])
    before = prefix(receiver, number)
    receive(receiver, number, *reversed(whole))
    assert prefix(receiver, number) == before == prefix(sender, 1)
    assert receiver.findings() == []
    assert held(receiver, number) == held(sender, 1)


def test_a_segment_of_full_size_is_proved() -> None:
    sender, receiver = made(SEGMENT_OPS), headquarters()
    number = join(receiver, sender)
    receive(receiver, number, *shipped(sender))
    assert receiver.findings() == []
    assert attest(receiver, number, statements(sender)[0])
    assert receiver.findings() == []


@given(st.integers(0, segments.STATEMENT_BYTES * 8 + segments.SIGNATURE_BYTES * 8 - 1))
def test_a_flipped_bit_in_a_statement_or_signature_is_refused(bit: int) -> None:
    receiver, row = READY
    changed = bytearray(row)
    changed[bit // 8] ^= 1 << bit % 8
    before = receiver.rows()
    with pytest.raises((ForgedError, FormatError)):
        attest(receiver, 2, bytes(changed))
    assert receiver.rows() == before


def ready() -> tuple[Box, bytes]:
    sender, receiver = made(3), headquarters()
    receive(receiver, join(receiver, sender), *shipped(sender))
    return receiver, statements(sender)[0]


READY = ready()


@pytest.mark.parametrize(
    "change", [{"body": b"\x91\x05"}, {"salt": bytes(16)}, {"op_class": OpClass.CONTROL}]
)
def test_what_came_otherwise_than_it_was_signed_is_noticed(change: dict[str, object]) -> None:
    sender, receiver = made(3), headquarters()
    number = join(receiver, sender)
    first, second, *rest = shipped(sender)
    receive(receiver, number, first, second._replace(**change), *rest)  # type: ignore[arg-type]
    with pytest.raises(EquivocationError):
        attest(receiver, number, statements(sender)[0])
    assert prefix(receiver, number) != prefix(sender, 1)


def test_a_site_that_signs_two_histories_is_noticed() -> None:
    sender, receiver = made(3, 2), headquarters()
    number = join(receiver, sender)
    receive(receiver, number, *shipped(sender))
    first, second = statements(sender)
    statement = Statement.unpack(segments.split_row(second)[0])
    assert attest(receiver, number, first)
    for other in (
        Statement.unpack(segments.split_row(first)[0])._replace(root=bytes(32)),
        statement._replace(first=3),
        statement._replace(previous=bytes(32)),
        statement._replace(size=1),
        statement._replace(root=merkle.EMPTY_ROOT),
    ):
        with pytest.raises(EquivocationError):
            attest(receiver, number, signed(other))
    hashes = [
        entry.op_hash for entry in receiver.read(lambda r: list(receiver.log.scan(r, number)))
    ]
    over = statement._replace(first=3, size=2, root=merkle.root(hashes[2:4]))
    with pytest.raises(EquivocationError):
        attest(receiver, number, signed(over))
    assert attest(receiver, number, signed(statement._replace(first=7))) is False
    assert attest(receiver, number, second)


def test_a_segment_of_another_origin_is_forged() -> None:
    sender, receiver = made(3), headquarters()
    number = join(receiver, sender)
    receive(receiver, number, *shipped(sender))
    other = branch("other")
    other.append(note(1, 2))
    other.clock.advance(SEGMENT_MS)
    other.commit(lambda txn: None)
    with pytest.raises(ForgedError):
        attest(receiver, number, statements(other)[0])


def test_nothing_proves_a_partial_origin_or_ones_own() -> None:
    sender, receiver = made(3), headquarters()
    number = join(receiver, sender, is_whole=False)
    receive(receiver, number, *shipped(sender))
    for each in (number, 1):
        with pytest.raises(IntegrityError):
            attest(receiver, each, statements(sender)[0])


# --- what the check finds -------------------------------------------------------------------------


def attested() -> Box:
    sender, receiver = made(3, 2), headquarters()
    number = join(receiver, sender)
    for lane in reversed(LANES):
        receive(receiver, number, *shipped(sender, lane))
    for row in statements(sender):
        assert attest(receiver, number, row)
    return receiver


SHARED = attested()


def problems_with(key: bytes, value: bytes | None) -> set[Problem]:
    """What is found in the shared store while one row is different, or gone."""
    rows = SHARED.medium.rows
    before = rows[key]
    try:
        if value is None:
            del rows[key]
        else:
            rows[key] = value
        return {finding.problem for finding in SHARED.findings()}
    finally:
        rows[key] = before


@pytest.mark.parametrize("key", [LOG.key(2, 2), LOG.key(2, 5), LOG.key(2, 6), SEGMENT.key(2, 1)])
def test_every_flipped_byte_of_a_received_row_is_found(key: bytes) -> None:
    value = SHARED.medium.rows[key]
    for at in range(len(value)):
        changed = value[:at] + bytes((value[at] ^ 1 << at % 8,)) + value[at + 1 :]
        assert problems_with(key, changed), at


def test_what_is_missing_of_a_segment_is_found() -> None:
    assert Problem.ROOT in problems_with(LOG.key(2, 2), None)
    assert Problem.SEGMENT in problems_with(SEGMENT.key(2, 1), None)
    assert Problem.CHAIN in problems_with(SEGMENT.key(2, 4), None)


def test_holes_behind_the_segments_are_none_of_the_logs() -> None:
    assert problems_with(LOG.key(2, 7), None) == {Problem.SURPLUS, Problem.HEAD}


def test_a_row_under_another_number_is_found() -> None:
    rows = SHARED.medium.rows
    assert Problem.IDENTITY in problems_with(LOG.key(2, 6), rows[LOG.key(2, 7)])


def test_a_chain_stands_only_where_a_segment_ends() -> None:
    rows = {seq: Record.unpack(SHARED.medium.rows[LOG.key(2, seq)]) for seq in range(1, 8)}
    assert [seq for seq, record in rows.items() if any(record.chain)] == [3, 5]


def test_what_came_bare_accounts_for_no_row_of_a_view() -> None:
    sender, receiver = made(3), headquarters()
    number = join(receiver, sender)
    (first, *_rest) = shipped(sender)
    receive(receiver, number, shipping.bare(first), lane=0)
    receiver.medium.rows[FEED.key(1, 1)] = b""
    assert [finding.problem for finding in receiver.findings()] == [Problem.SURPLUS]


def test_positions_rise_within_each_lane_of_a_whole_origin() -> None:
    sender, receiver = made(5), headquarters()
    number = join(receiver, sender)
    bare = [shipping.bare(each) for each in shipped(sender)]
    for shipment, lane in ((bare[4], 1), (bare[0], 0), (bare[1], 0)):
        receive(receiver, number, shipment, lane=lane)
    assert receiver.findings() == []
    key = LOG.key(number, 2)
    record = Record.unpack(receiver.medium.rows[key])
    receiver.medium.rows[key] = record._replace(pos=record.pos - 1).pack()
    assert receiver.findings() == [Finding(number, 2, Problem.POSITION)]


def test_a_partial_origin_may_have_any_holes() -> None:
    sender, receiver = made(3, 2), headquarters()
    number = join(receiver, sender, is_whole=False)
    whole = shipped(sender)
    receive(receiver, number, whole[6], whole[1], whole[4])
    assert receiver.findings() == []
    receiver.medium.rows[SEGMENT.key(number, 1)] = statements(sender)[0]
    assert Problem.SEGMENT in {finding.problem for finding in receiver.findings()}
