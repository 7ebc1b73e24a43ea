"""No byte of the log, its segments or its feeds can change without being noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import canonical, records
from store.destruction import mark_destroyed
from store.engine.txn import Txn
from store.errors import VaultLockedError
from store.ledger import unpack_leaf
from store.limits import SEGMENT_MS, SEGMENT_OPS
from store.logcheck import Finding, Problem, verify
from store.records import Parts, Record
from store.skeleton import Skeleton, op_hash
from store.tables import CHECKPOINT, FEED, HEAD, LEDGER, LOG, SEGMENT, TIMELINE, Table
from store.vault import STANDARD
from tests.appliance.disposal.proofbox import ProofBox
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


@pytest.mark.parametrize("table", [Table.LOG, Table.SEGMENT, Table.LEDGER, Table.FEED, Table.HEAD])
def test_every_flipped_byte_of_a_row_is_found(table: Table) -> None:
    for number, (key, value) in enumerate(list(SHARED.rows(table).items())[:3]):
        for at in range(len(value)):
            assert problems_with(key, flipped(value, at * 8 + (at + number) % 8)), at


@settings(max_examples=60)
@given(
    st.sampled_from(
        (Table.LOG, Table.SEGMENT, Table.LEDGER, Table.FEED, Table.TIMELINE, Table.HEAD)
    ),
    st.data(),
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


@pytest.mark.parametrize("flag", [records.LATE, records.QUARANTINED, records.AHEAD])
def test_nothing_of_ones_own_is_late_or_ahead_or_quarantined(flag: int) -> None:
    key = LOG.key(1, 4)
    record = Record.unpack(SHARED.medium.rows[key])
    changed = record._replace(flags=record.flags | flag)
    assert Problem.STATE in problems_with(key, changed.pack())


def test_an_operation_in_another_lane_than_its_kinds_is_found() -> None:
    key = LOG.key(1, 4)
    record = Record.unpack(SHARED.medium.rows[key])
    changed = record._replace(flags=record.flags | records.lane_flags(2))
    assert problems_with(key, changed.pack()) == {Problem.LANE}


def ledger_findings(changes: dict[bytes, bytes | None]) -> list[Finding]:
    """What is found in a store of 13 leaves with some rows different or gone."""
    rows = DEEP.medium.rows
    before = dict(rows)
    try:
        for key, value in changes.items():
            if value is None:
                del rows[key]
            else:
                rows[key] = value
        return DEEP.findings()
    finally:
        rows.clear()
        rows.update(before)


def deep() -> Box:
    """Leaves of operations 1 to 6, of the segment 1-6, of 7 to 12: 0-5, 6, 7-12."""
    box = Box().create()
    box.append(*[privileged()] * 5)
    box.clock.advance(SEGMENT_MS)
    box.append(*[privileged()])
    box.append(*[privileged()] * 6)
    assert len(box.rows(Table.LEDGER)) == 13 + 10
    assert box.findings() == []
    return box


DEEP = deep()


@pytest.mark.parametrize(
    ("level", "index", "seq"),
    [(0, 0, 1), (0, 6, 1), (0, 12, 12), (1, 0, 2), (1, 5, 11), (2, 1, 7), (3, 0, 7)],
)
def test_a_changed_hash_is_found_where_it_is(level: int, index: int, seq: int) -> None:
    key = LEDGER.key(1, level, index)
    problem = Problem.NODE if level else Problem.LEAF
    for bit in (0, 77, 255):
        value = flipped(DEEP.medium.rows[key], bit)
        assert ledger_findings({key: value}) == [Finding(1, seq, problem)]


def test_a_leaf_that_points_elsewhere_is_found() -> None:
    key = LEDGER.key(1, 0, 3)
    assert ledger_findings({key: flipped(DEEP.medium.rows[key], 44 * 8 + 1)}) == [
        Finding(1, 6, Problem.LEAF),
        Finding(1, 4, Problem.UNLISTED),
    ]


def test_a_missing_node_of_the_ledger_is_found() -> None:
    assert ledger_findings({LEDGER.key(1, 2, 0): None}) == [Finding(1, 4, Problem.NODE)]


def test_a_missing_leaf_is_found() -> None:
    end = ledger_findings({LEDGER.key(1, 0, 12): None})
    assert end == [Finding(1, 12, Problem.UNLISTED)]
    middle = ledger_findings({LEDGER.key(1, 0, 2): None})
    assert middle == [Finding(1, 3, Problem.UNLISTED), Finding(1, 4, Problem.LEAF)]


def test_a_whole_missing_ledger_is_found() -> None:
    findings = ledger_findings(dict.fromkeys(DEEP.rows(Table.LEDGER)))
    seqs = sorted(finding.seq for finding in findings)
    assert seqs == [1, *range(1, 13)]
    assert {finding.problem for finding in findings} == {Problem.UNLISTED}


@pytest.mark.parametrize("key", [LEDGER.key(1, 1, 6), LEDGER.key(1, 9, 0), LEDGER.key(2, 0, 0)])
def test_surplus_rows_of_the_ledger_are_found(key: bytes) -> None:
    assert ledger_findings({key: bytes(32)}) == [Finding(0, 0, Problem.LEDGER)]


def test_a_leaf_twice_or_out_of_order_is_found() -> None:
    rows = DEEP.medium.rows
    first, second, segment = (LEDGER.key(1, 0, index) for index in (0, 1, 6))
    assert Finding(1, 1, Problem.LEAF) in ledger_findings({second: rows[first]})
    assert Finding(1, 6, Problem.LEAF) in ledger_findings(
        {LEDGER.key(1, 0, 5): rows[segment], segment: rows[LEDGER.key(1, 0, 5)]}
    )
    extra = LEDGER.key(1, 0, 13)
    assert Finding(1, 12, Problem.LEAF) in ledger_findings({extra: rows[LEDGER.key(1, 0, 12)]})


def test_checkpoints_are_compared_with_the_tree_and_their_keys() -> None:
    site = ProofBox()
    for _ in range(2):
        site.checkpoint()
        site.box.append(privileged())
    rows = site.box.medium.rows
    first, second = sorted(site.box.rows(Table.CHECKPOINT))
    assert site.box.findings() == []
    value = rows[second]
    last = _subject_of(site, second)
    for at in range(0, len(value), 3):
        rows[second] = flipped(value, at * 8 + at % 8)
        assert site.box.findings() == [Finding(1, last, Problem.CHECKPOINT)], at
    rows[second] = rows[first]
    assert site.box.findings() == [Finding(1, last, Problem.CHECKPOINT)]
    rows[second] = b""
    assert site.box.findings() == [Finding(1, last, Problem.CHECKPOINT)]


def test_a_history_that_was_cut_off_contradicts_its_checkpoint() -> None:
    """Whoever takes the newest acts out of every table cannot take back what was signed."""
    site = ProofBox()
    before = site.box.rows()
    site.box.append(privileged(), message())
    site.checkpoint()
    signed = site.box.rows(Table.CHECKPOINT)
    site.box.medium.rows.clear()
    site.box.medium.rows.update(before)
    assert site.box.findings() == []
    site.box.medium.rows.update(signed)
    assert site.box.findings() == [Finding(1, 0, Problem.CHECKPOINT)]


def _subject_of(site: ProofBox, key: bytes) -> int:
    size = CHECKPOINT.columns(key)[1]
    row = site.box.medium.rows[LEDGER.key(1, 0, size - 1)]
    return unpack_leaf(row)[1].seq


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
    assert box.findings() == [
        Finding(1, SEGMENT_OPS, Problem.SEGMENT),
        Finding(1, 1, Problem.LEAF),
    ]


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


def test_a_part_that_is_only_called_destroyed_is_found() -> None:
    """Show that the mark alone is not believed: the key has to be gone."""
    key, value = next(iter(SHARED.rows(Table.LOG).items()))
    marked = mark_destroyed(Record.unpack(value))
    assert Problem.KEY in problems_with(key, marked)
