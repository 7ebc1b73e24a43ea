"""No byte of the log, its segments or its feeds can change without being noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import canonical, records
from store.engine.txn import Txn
from store.errors import VaultLockedError
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.logcheck import Finding, Problem, verify
from store.records import Parts, Record
from store.skeleton import Skeleton, op_hash
from store.tables import FEED, HEAD, LOG, SEGMENT, TIMELINE, Table
from store.vault import STANDARD
from tests.store.logbox import Box, founding, message, privileged


def filled() -> Box:
    """A store with two closed segments and an open one; every row is checked by something."""
    box = Box().create()
    for _ in range(2):
        box.append(founding(), message(1), privileged())
        box.clock.advance(SEGMENT_MS)
        box.append(message(2))
    box.append(message(1))
    assert len(box.rows(Table.SEGMENT)) == 2
    assert box.findings() == []
    return box


SHARED = filled()


def problems_with(key: bytes, value: bytes | None) -> set[Problem]:
    """What is found in the shared store while one row is different."""
    before = SHARED.medium.rows.get(key)
    try:
        if value is None:
            del SHARED.medium.rows[key]
        else:
            SHARED.medium.rows[key] = value
        return {finding.problem for finding in SHARED.findings()}
    finally:
        if before is None:
            del SHARED.medium.rows[key]
        else:
            SHARED.medium.rows[key] = before


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("table", [Table.LOG, Table.SEGMENT, Table.FEED, Table.HEAD])
def test_every_flipped_byte_of_a_row_is_found(table: Table) -> None:
    for number, (key, value) in enumerate(list(SHARED.rows(table).items())[:3]):
        for at in range(len(value)):
            assert problems_with(key, flipped(value, at * 8 + (at + number) % 8)), at


@settings(max_examples=60)
@given(
    st.sampled_from((Table.LOG, Table.SEGMENT, Table.FEED, Table.TIMELINE, Table.HEAD)), st.data()
)
def test_any_flipped_bit_is_found(table: Table, data: st.DataObject) -> None:
    key, value = data.draw(st.sampled_from(sorted(SHARED.rows(table).items())))
    assert problems_with(key, flipped(value, data.draw(st.integers(0, len(value) * 8 - 1))))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (LOG.key(1, 3), Problem.GAP),
        (LOG.key(1, 1), Problem.GAP),
        (LOG.key(1, 8), Problem.ROOT),
        (SEGMENT.key(1, 1), Problem.SEGMENT),
    ],
)
def test_missing_rows_are_found(key: bytes, expected: Problem) -> None:
    assert expected in problems_with(key, None)


def test_a_missing_end_shows_in_the_views() -> None:
    assert Problem.SURPLUS in problems_with(LOG.key(1, 9), None)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (Table.FEED, Problem.FEED),
        (Table.TIMELINE, Problem.TIMELINE),
        (Table.HEAD, Problem.HEAD),
    ],
)
def test_missing_view_rows_are_found(table: Table, expected: Problem) -> None:
    for key in SHARED.rows(table):
        assert problems_with(key, None) == {expected}


@pytest.mark.parametrize(
    "key", [FEED.key(1, 99), TIMELINE.key(1, 2, bytes(16), 3, 4), HEAD.key(12)]
)
def test_surplus_view_rows_are_found(key: bytes) -> None:
    assert problems_with(key, b"") == {Problem.SURPLUS}


def test_an_operation_is_named_by_its_number() -> None:
    first, second = LOG.key(1, 4), LOG.key(1, 5)
    rows = SHARED.medium.rows
    assert Problem.IDENTITY in problems_with(first, rows[second])
    assert SHARED.findings() == []


def test_findings_name_the_operation() -> None:
    box = filled()
    key = FEED.key(box.read(lambda reader: box.log.read(reader, 1, 4)).feed, 4)
    del box.medium.rows[key]
    assert box.findings() == [Finding(1, 4, Problem.FEED)]


def test_a_segment_signed_by_another_is_found() -> None:
    value = SHARED.medium.rows[SEGMENT.key(1, 1)]
    assert problems_with(SEGMENT.key(1, 1), value[:-64] + bytes(64)) == {Problem.SIGNATURE}


@pytest.mark.parametrize("at", range(6))
def test_every_bit_of_a_records_head_is_checked(at: int) -> None:
    key = LOG.key(1, 4)
    value = SHARED.medium.rows[key]
    for bit in range(at * 8, at * 8 + 8):
        assert problems_with(key, flipped(value, bit)), bit


def resealed(seq: int, change: Callable[[Parts], bytes], *, commit_anew: bool = False) -> bytes:
    """Return a row whose sealed parts were changed by one who has the keys."""

    def work(reader: Txn) -> bytes:
        record = Record.unpack(reader.get(LOG.key(1, seq)) or b"")
        parts = SHARED.log.parts(reader, record, op_hash(record.skeleton))
        plaintext, bones = change(parts), record.skeleton
        if commit_anew:
            changed = Parts.unpack(plaintext)
            envelope = canonical.commit("envelope", changed.envelope_salt, changed.envelope)
            bones = Skeleton.unpack(bones)._replace(envelope_commit=envelope).pack()
        locator, sealed = SHARED.vault.seal(
            reader, record.locator.stream, STANDARD, plaintext, op_hash(bones), 0
        )
        return records.pack(record.flags, bones, record.chain, record.pos, locator, sealed)

    return SHARED.read(work)


def test_parts_that_contradict_their_commitments_are_found() -> None:
    key = LOG.key(1, 9)
    other_body = resealed(9, lambda parts: records.whole(parts.salt, parts.envelope, b"\x90"))
    assert problems_with(key, other_body) == {Problem.BODY}
    other_salt = resealed(9, lambda parts: records.whole(bytes(16), parts.envelope, b"\x91\xa2hi"))
    assert problems_with(key, other_salt) == {Problem.BODY, Problem.ENVELOPE}
    no_body = resealed(9, lambda parts: records.envelope_only(parts.envelope_salt, parts.envelope))
    assert problems_with(key, no_body) == {Problem.STATE}


def test_an_envelope_that_is_not_canonical_is_found() -> None:
    def lengthen(parts: Parts) -> bytes:
        longer = b"\x99\xcd" + b"\0" + parts.envelope[1:]
        return records.whole(parts.salt, longer, parts.body or b"")

    row = resealed(9, lengthen, commit_anew=True)
    assert Problem.SEALING in problems_with(LOG.key(1, 9), row)


def test_a_segment_beyond_the_operations_is_found() -> None:
    box = Box().create()
    box.append(message(1))
    box.clock.advance(SEGMENT_MS)
    box.append(message(1), message(1))
    (key,) = box.rows(Table.SEGMENT)
    assert key == SEGMENT.key(1, 1)
    del box.medium.rows[LOG.key(1, 3)]
    assert Finding(1, 1, Problem.ROOT) in box.findings()


def test_operations_that_were_never_segmented_are_found() -> None:
    box = Box().create()
    box.append(*[message()] * SEGMENT_OPS)
    del box.medium.rows[SEGMENT.key(1, 1)]
    assert box.findings() == [Finding(1, SEGMENT_OPS, Problem.SEGMENT)]


def test_a_programs_own_reader_finds_the_same() -> None:
    box = filled()
    reader = box.fresh_reader()
    assert box.read(lambda txn: list(verify(reader, txn))) == []
    del box.medium.rows[FEED.key(*FEED.columns(next(iter(box.rows(Table.FEED)))))]
    assert len(box.read(lambda txn: list(verify(reader, txn)))) == 1


def test_a_locked_vault_is_an_error_not_a_finding() -> None:
    box = filled()
    box.vault.close()
    with pytest.raises(VaultLockedError):
        box.findings()
