"""The row of an epoch: round trip, forgeries, serials, and how long an epoch stays open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import SeededEntropy
from store.engine.contract import MAX_VALUE_BYTES
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError, LimitError, PartGoneError
from store.tables import EPOCH
from store.vault import epochs, ggm
from store.vault.epochs import EpochHeader, EpochKeys
from store.vault.forest import SlotId
from store.vault.limits import EPOCH_AGE_MAX_MS, EPOCH_AGE_MIN_MS, EPOCH_PARTS
from store.vault.suites import AES_GCM, SUITES, XCHACHA

ROW_KEY = EPOCH.key(7, 3)
SLOT_KEY = b"s" * 32
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

headers = st.builds(
    EpochHeader,
    st.sampled_from(sorted(SUITES.values(), key=lambda suite: suite.number)),
    st.integers(0, 2**16 - 1),
    st.builds(SlotId, st.integers(0, 2**32 - 1), st.integers(0, 2**48 - 1)),
    st.integers(0, 2**63),
)


def sealed(header: EpochHeader, keys: EpochKeys) -> bytes:
    return epochs.seal_row(ROW_KEY, header, keys, SLOT_KEY, SeededEntropy(1))


@given(headers, st.sets(st.integers(0, 2_047), max_size=30))
def test_a_row_comes_back(header: EpochHeader, removed: set[int]) -> None:
    born = epochs.birth_keys(SeededEntropy(2))
    keys = EpochKeys(born.index_seed, ggm.puncture(XCHACHA.prf, born.cover, removed))
    value = sealed(header, keys)
    assert epochs.read_header(value) == header
    assert epochs.open_row(ROW_KEY, value, SLOT_KEY) == keys


def example(suite: int = 1) -> bytes:
    header = EpochHeader(SUITES[suite], 2, SlotId(5, 9), 1_000)
    return sealed(header, epochs.birth_keys(SeededEntropy(2)))


@pytest.mark.parametrize("suite", [1, 2])
def test_any_flipped_bit_is_found(suite: int) -> None:
    value = example(suite)
    for bit in range(8 * len(value)):
        forged = bytearray(value)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((IntegrityError, FormatError)) as caught:
            epochs.open_row(ROW_KEY, bytes(forged), SLOT_KEY)
        if bit // 8 not in (0, 1, 24):  # the version and the two suite bytes
            assert caught.type is IntegrityError


def test_a_row_of_another_epoch_or_slot_does_not_open() -> None:
    for row_key, slot_key in ((EPOCH.key(7, 4), SLOT_KEY), (ROW_KEY, b"t" * 32)):
        with pytest.raises(IntegrityError):
            epochs.open_row(row_key, example(), slot_key)


def test_every_cut_row_is_found() -> None:
    value = example()
    for length in set(range(len(value))) - {epochs.HEADER_BYTES}:
        for read in (epochs.open_row, epochs.check_row):
            with pytest.raises((IntegrityError, FormatError)):
                read(ROW_KEY, value[:length], SLOT_KEY)


def test_a_row_without_parts_keeps_its_header_and_opens_no_more() -> None:
    value = example()
    row = epochs.emptied_row(value)
    assert epochs.is_emptied(row)
    assert not epochs.is_emptied(value)
    assert epochs.read_header(row) == epochs.read_header(value)
    with pytest.raises(PartGoneError):
        epochs.open_row(ROW_KEY, row, SLOT_KEY)


def test_no_row_is_longer_than_its_bound() -> None:
    nodes = [node for node in range(ggm.FIRST_LEAF, ggm.FIRST_LEAF + EPOCH_PARTS) if node % 4 != 1]
    cover = {node: bytes(32) for node in nodes}
    for suite in SUITES.values():
        header = EpochHeader(suite, 2, SlotId(0, 0), 0)
        keys = EpochKeys(bytes(32), cover)
        row = epochs.seal_row(ROW_KEY, header, keys, SLOT_KEY, SeededEntropy(1))
        assert len(row) == epochs.ROW_BYTES_MAX - 24 + suite.nonce_bytes
    assert epochs.ROW_BYTES_MAX + epochs.ROW_KEY_BYTES < MAX_VALUE_BYTES


def test_an_epoch_is_born_with_all_its_parts_and_no_key_twice() -> None:
    entropy = SeededEntropy(2)
    one, other = epochs.birth_keys(entropy), epochs.birth_keys(entropy)
    seeds = [one.index_seed, *one.cover.values(), other.index_seed, *other.cover.values()]
    assert len(set(seeds)) == 6
    for index in (0, 1_023, 1_024, 2_047):
        ggm.part_key(AES_GCM.prf, one.cover, index)


def test_no_key_shows_in_a_repr() -> None:
    keys = epochs.birth_keys(SeededEntropy(2))
    assert repr(keys) == "EpochKeys()"


def test_serials_count_up_for_each_stream() -> None:
    txn = Txn(MemoryEngine().snapshot())
    assert epochs.next_serial(txn, 7) == 0
    txn.put(EPOCH.key(7, 0), b"")
    txn.put(EPOCH.key(7, 41), b"")
    txn.put(EPOCH.key(8, 100), b"")
    assert epochs.next_serial(txn, 7) == 42
    assert epochs.next_serial(txn, 6) == 0


def test_the_last_serial_is_the_last() -> None:
    txn = Txn(MemoryEngine().snapshot())
    txn.put(EPOCH.key(7, 2**32 - 1), b"")
    with pytest.raises(LimitError):
        epochs.next_serial(txn, 7)


@pytest.mark.parametrize(
    ("maximum", "expected"),
    [
        (None, 31 * DAY_MS),
        (0, HOUR_MS),
        (64 * HOUR_MS, HOUR_MS),
        (128 * HOUR_MS, 2 * HOUR_MS),
        (640 * DAY_MS, 10 * DAY_MS),
        (10 * 365 * DAY_MS, 31 * DAY_MS),
    ],
)
def test_an_epoch_stays_open_for_a_64th_of_the_maximum(maximum: int | None, expected: int) -> None:
    assert epochs.open_for_ms(maximum) == expected


@given(st.one_of(st.none(), st.integers(0, 2**63)))
def test_an_epoch_stays_open_between_an_hour_and_31_days(maximum: int | None) -> None:
    assert EPOCH_AGE_MIN_MS <= epochs.open_for_ms(maximum) <= EPOCH_AGE_MAX_MS
