"""The vault as its callers see it: sealing, epochs, reopening, rollback, threads, wraps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import SeededEntropy, SystemEntropy
from store.disk import FileDisk, MemoryDisk
from store.engine.memory import Medium
from store.engine.txn import Txn
from store.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    PartGoneError,
    VaultLockedError,
)
from store.tables import EPOCH, TREE, meta_key
from store.vault import Argon2Cost, CredentialWrap, Locator, NoWrap, PassphraseWrap, Vault, Wrap
from store.vault.errors import StaleSnapshotError
from store.vault.limits import AUDIT, CONTROL, EPOCH_PARTS, STANDARD
from tests.store.vault.harness import CONTEXT, Store

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CHEAP = Argon2Cost(memory_kib=64, passes=1, lanes=1)

Sealed = tuple[Locator, bytes, bytes]


@given(
    st.sampled_from([1, 2]),
    st.lists(
        st.tuples(
            st.binary(max_size=100), st.integers(1, 3), st.sampled_from([CONTROL, AUDIT, STANDARD])
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_what_was_sealed_opens_before_and_after_a_restart(
    suite: int, parts: list[tuple[bytes, int, int]]
) -> None:
    store = Store(suite=suite)
    sealed = [(*store.seal(text, stream, group), text) for text, stream, group in parts]
    for _ in range(2):
        for locator, value, text in sealed:
            assert value[0] == suite
            assert store.unseal(locator, value) == text
        store.reopen()


def test_no_two_parts_share_a_locator() -> None:
    store = Store()
    found = set()
    for restart in range(3):
        for n in range(40):
            found.add(store.seal(b"text", n % 4 + 1, n % 3, now_ms=restart * 32 * DAY_MS)[0])
        store.reopen()
    assert len(found) == 120


@pytest.mark.parametrize("suite", [1, 2])
def test_a_flipped_bit_anywhere_is_found(suite: int) -> None:
    store = Store(suite=suite)
    locator, sealed = store.seal(b"text")
    for bit in range(8 * len(sealed)):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((IntegrityError, FormatError)) as caught:
            store.unseal(locator, bytes(forged))
        if bit >= 8:
            assert caught.type is IntegrityError


def test_a_part_opens_only_with_its_context_and_in_its_place() -> None:
    store = Store()
    (locator, sealed), (other, _) = store.seal(b"text"), store.seal(b"else")
    with pytest.raises(IntegrityError):
        store.unseal(locator, sealed, b"i" * 32)
    with pytest.raises(IntegrityError):
        store.unseal(other, sealed)


@pytest.mark.parametrize("index", [EPOCH_PARTS, 2**16 - 1])
def test_an_index_out_of_range_is_found(index: int) -> None:
    store = Store()
    locator, sealed = store.seal(b"text")
    with pytest.raises(IntegrityError):
        store.unseal(Locator(locator.stream, locator.epoch, index), sealed)


def test_a_part_without_an_epoch_is_gone() -> None:
    store = Store()
    locator, sealed = store.seal(b"text")
    with pytest.raises(PartGoneError):
        store.unseal(Locator(locator.stream, locator.epoch + 1, 0), sealed)


def test_nothing_is_no_sealed_part() -> None:
    store = Store()
    locator, _ = store.seal(b"text")
    with pytest.raises(IntegrityError):
        store.unseal(locator, b"")


def test_a_part_of_another_suite_than_its_epoch_is_refused() -> None:
    store = Store(suite=1)
    locator, sealed = store.seal(b"text")
    with pytest.raises(IntegrityError, match="another suite"):
        store.unseal(locator, b"\x02" + sealed[1:])


def test_the_parts_of_an_epoch_have_distinct_keys_and_random_nonces() -> None:
    store = Store()
    nonces = {store.seal(b"text")[1][1:13] for _ in range(600)}  # more than one draw of nonces
    assert len(nonces) == 600


def test_the_part_after_the_last_opens_an_epoch() -> None:
    store = Store()
    with store.transaction() as txn:
        found = [
            store.vault.seal(txn, 7, STANDARD, b"text", CONTEXT, 0) for _ in range(EPOCH_PARTS + 1)
        ]
    assert [locator.index for locator, _ in found] == [*range(EPOCH_PARTS), 0]
    assert {locator.epoch for locator, _ in found[:-1]} == {0}
    assert found[-1][0].epoch == 1
    for locator, sealed in (found[0], found[EPOCH_PARTS - 1], found[EPOCH_PARTS]):
        assert store.unseal(locator, sealed) == b"text"


@pytest.mark.parametrize(
    ("maximum", "open_for"), [(None, 31 * DAY_MS), (0, HOUR_MS), (128 * HOUR_MS, 2 * HOUR_MS)]
)
def test_an_epoch_closes_when_it_is_old(maximum: int | None, open_for: int) -> None:
    asked = []

    def lookup(retention_class: int) -> int | None:
        asked.append(retention_class)
        return maximum

    store = Store(max_retention_ms=lookup)
    times = [1_000 + age for age in (0, open_for - 1, open_for, open_for + 5)]
    epochs = [store.seal(b"text", retention_class=9, now_ms=now)[0].epoch for now in times]
    assert epochs == [0, 0, 1, 1]
    assert asked == [9, 9]


def test_a_clock_set_back_far_closes_an_epoch_and_a_little_does_not() -> None:
    store = Store()
    times = [100 * DAY_MS, 100 * DAY_MS - 1_000, 60 * DAY_MS]
    assert [store.seal(b"text", now_ms=now)[0].epoch for now in times] == [0, 0, 1]


def test_closing_epochs_opens_others() -> None:
    store = Store()
    store.seal(b"text")
    store.close_epochs()
    assert store.seal(b"text")[0] == Locator(7, 1, 0)


def test_the_oldest_open_epoch_is_closed_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("store.vault.vault.OPEN_EPOCHS", 2)
    store = Store()
    found = [store.seal(b"text", stream)[0] for stream in (1, 2, 3, 3, 2, 1)]
    assert [(place.stream, place.epoch, place.index) for place in found] == [
        (1, 0, 0),
        (2, 0, 0),
        (3, 0, 0),
        (3, 0, 1),
        (2, 0, 1),
        (1, 1, 0),
    ]


def test_a_restart_opens_fresh_epochs() -> None:
    store = Store()
    store.seal(b"text")
    store.reopen()
    assert store.seal(b"text")[0] == Locator(7, 1, 0)


def test_each_class_has_a_tree_and_each_epoch_a_slot() -> None:
    store = Store()
    for stream in (1, 2):
        for group in (STANDARD, CONTROL, 40_000):
            store.seal(b"text", stream, group)
    with store.engine.snapshot() as snapshot:
        rows = {TREE.columns(key)[0]: value for key, value in snapshot.range(*TREE.span())}
    places = {
        group: (int.from_bytes(v[:4], "big"), int.from_bytes(v[4:], "big"))
        for group, v in rows.items()
    }
    assert places == {STANDARD: (0, 2), CONTROL: (1, 2), 40_000: (2, 2)}


def test_the_row_of_an_epoch_names_its_class() -> None:
    store = Store()
    store.seal(b"text", 7, 513, now_ms=5)
    with store.engine.snapshot() as snapshot:
        row = snapshot.get(EPOCH.key(7, 0))
    assert row is not None
    assert row[2:4] == b"\x02\x01"


def test_a_full_tree_is_a_limit_error() -> None:
    store = Store()
    store.seal(b"text")
    with store.transaction() as txn:
        txn.put(TREE.key(STANDARD), (0).to_bytes(4, "big") + (126**4).to_bytes(8, "big"))
    with pytest.raises(LimitError):
        store.seal(b"text", stream=8)


def test_a_used_up_forest_is_a_limit_error() -> None:
    store = Store()
    with store.transaction() as txn:
        txn.put(meta_key("vault.trees"), (126**2).to_bytes(4, "big"))
    with pytest.raises(LimitError):
        store.seal(b"text")


class TestRollback:
    """Rows and memory go back together."""

    def test_a_rolled_back_epoch_never_was(self) -> None:
        store = Store()
        with store.transaction() as txn:
            mark = txn.savepoint()
            lost = store.vault.seal(txn, 7, STANDARD, b"lost", CONTEXT, 0)
            txn.rollback(mark)
            kept = store.vault.seal(txn, 7, STANDARD, b"kept", CONTEXT, 0)
        assert kept[0] == lost[0]
        assert store.unseal(*kept) == b"kept"
        with pytest.raises(IntegrityError):
            store.unseal(*lost)

    def test_an_epoch_opened_earlier_stays_open_and_its_index_is_not_used_again(self) -> None:
        store = Store()
        first = store.seal(b"first")
        with store.transaction() as txn:
            mark = txn.savepoint()
            lost = store.vault.seal(txn, 7, STANDARD, b"lost", CONTEXT, 0)
            txn.rollback(mark)
            kept = store.vault.seal(txn, 7, STANDARD, b"kept", CONTEXT, 0)
        assert [lost[0].index, kept[0].index] == [1, 2]
        assert store.unseal(*first) == b"first"
        assert store.unseal(*kept) == b"kept"

    def test_rolling_back_a_follower_brings_the_next_serial_again(self) -> None:
        store = Store()
        first = store.seal(b"first", now_ms=0)
        with store.transaction() as txn:
            store.vault.seal(txn, 7, STANDARD, b"lost", CONTEXT, 40 * DAY_MS)
            txn.rollback(0)
        later = store.seal(b"later", now_ms=40 * DAY_MS)
        assert later[0] == Locator(7, 1, 0)
        store.reopen()
        assert store.unseal(*first) == b"first"
        assert store.unseal(*later) == b"later"

    @given(
        st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from([CONTROL, STANDARD]), st.booleans()),
            min_size=1,
            max_size=40,
        )
    )
    def test_only_what_was_rolled_back_is_lost(self, steps: list[tuple[int, int, bool]]) -> None:
        store = Store()
        kept: dict[Locator, tuple[bytes, bytes]] = {}
        now_ms = 0
        with store.transaction() as txn:
            for number, (stream, group, is_lost) in enumerate(steps):
                mark, text = txn.savepoint(), str(number).encode()
                now_ms += 12 * DAY_MS
                locator, sealed = store.vault.seal(txn, stream, group, text, CONTEXT, now_ms)
                if is_lost:
                    txn.rollback(mark)
                else:
                    assert locator not in kept
                    kept[locator] = (sealed, text)
        for _ in range(2):
            for locator, (sealed, text) in kept.items():
                assert store.unseal(locator, sealed) == text
            store.reopen()


class TestPurging:
    """Cached keys can go at any time; the rows bring back what still exists."""

    def test_a_purged_vault_reads_and_writes_on(self) -> None:
        store = Store()
        before = store.seal(b"before")
        store.vault.purge()
        assert store.unseal(*before) == b"before"
        store.vault.purge()
        after = store.seal(b"after")
        assert after[0] == Locator(7, 0, 1)
        assert store.unseal(*after) == b"after"

    def test_an_epoch_is_read_from_its_rows_once(self) -> None:
        store = Store()
        part = store.seal(b"text")
        store.vault.purge()
        assert store.unseal(*part) == b"text"
        with store.transaction() as txn:
            txn.delete(EPOCH.key(7, 0))
        assert store.unseal(*part) == b"text"
        store.vault.purge()
        with pytest.raises(PartGoneError):
            store.unseal(*part)

    def test_a_closed_vault_gives_nothing(self) -> None:
        store = Store()
        part = store.seal(b"text")
        store.vault.close()
        assert not any(store.vault._arena._map[:])
        with pytest.raises(VaultLockedError):
            store.unseal(*part)
        with pytest.raises(VaultLockedError):
            store.seal(b"text")

    def test_a_snapshot_of_another_generation_is_told(self) -> None:
        store = Store()
        part = store.seal(b"text")
        with store.transaction() as txn:
            state = bytearray(txn.get(meta_key("vault")) or b"")
            state[-1] += 1
            txn.put(meta_key("vault"), bytes(state))
        store.vault.purge()
        with pytest.raises(StaleSnapshotError):
            store.unseal(*part)


WRAPS: list[tuple[Callable[[], Wrap], Callable[[], Wrap]]] = [
    (lambda: PassphraseWrap(b"right", CHEAP), lambda: PassphraseWrap(b"wrong", CHEAP)),
    (lambda: CredentialWrap(b"r" * 32), lambda: CredentialWrap(b"w" * 32)),
    (lambda: PassphraseWrap(b"right", CHEAP), NoWrap),
    (NoWrap, lambda: PassphraseWrap(b"wrong", CHEAP)),
]


class TestOpening:
    """Who opens a vault, and who does not."""

    @pytest.mark.parametrize(("right", "wrong"), WRAPS)
    @pytest.mark.parametrize("suite", [1, 2])
    def test_only_the_right_wrap_opens(
        self, right: Callable[[], Wrap], wrong: Callable[[], Wrap], suite: int
    ) -> None:
        store = Store(wrap=right(), suite=suite)
        part = store.seal(b"text")
        with pytest.raises(VaultLockedError):
            store.reopen(wrong())
        store.reopen()
        assert store.unseal(*part) == b"text"
        assert store.vault.generation == 1

    def test_keys_of_another_store_do_not_open(self) -> None:
        one, other = Store(), Store(entropy=SeededEntropy("other"))
        one.disk = other.disk
        with pytest.raises(VaultLockedError):
            one.reopen()

    def test_a_store_without_vault_does_not_open(self) -> None:
        store = Store()
        with store.transaction() as txn:
            txn.delete(meta_key("vault"))
        with pytest.raises(VaultLockedError):
            store.reopen()

    def test_an_empty_key_directory_does_not_open(self) -> None:
        store = Store()
        store.disk = MemoryDisk()
        with pytest.raises(VaultLockedError, match="neither"):
            store.reopen()

    def test_a_root_of_another_generation_does_not_open(self) -> None:
        store = Store()
        with store.transaction() as txn:
            txn.put(meta_key("vault"), bytes((1, 1)) + (9).to_bytes(8, "big"))
        with pytest.raises(VaultLockedError, match="generation"):
            store.reopen()

    @pytest.mark.parametrize("state", [b"", b"\x02" + bytes(9), b"\x01\x09" + bytes(8)])
    def test_an_unknown_state_is_a_format_error(self, state: bytes) -> None:
        store = Store()
        with store.transaction() as txn:
            txn.put(meta_key("vault"), state)
        with pytest.raises(FormatError):
            store.reopen()


class TestCreating:
    """A root is never overwritten, and lies on the disk before its store exists."""

    def test_a_key_directory_in_use_is_refused(self) -> None:
        store = Store()
        before = store.disk.read("root.0")
        with pytest.raises(VaultLockedError):
            Store(disk=store.disk)
        assert store.disk.read("root.0") == before

    def test_a_store_in_use_is_refused(self) -> None:
        store = Store()
        empty = MemoryDisk()
        with store.engine.snapshot() as snapshot, pytest.raises(VaultLockedError):
            Vault.create(Txn(snapshot), empty, SeededEntropy(1), NoWrap())
        assert empty.names() == []

    def test_an_unknown_suite_is_refused_before_anything_is_written(self) -> None:
        disk = MemoryDisk()
        with pytest.raises(FormatError):
            Store(suite=3, disk=disk)
        assert disk.names() == []

    def test_one_slot_is_valid_and_the_other_blank(self) -> None:
        store = Store()
        assert store.disk.read_back("root.1") == bytes(4_096)
        assert store.disk.read_back("root.0") != bytes(4_096)

    def test_a_vault_lives_on_real_files(self, tmp_path: Path) -> None:
        disk = FileDisk(tmp_path / "keys")
        store = Store(disk=disk, entropy=SystemEntropy())
        part = store.seal(b"text")
        store.reopen()
        assert store.unseal(*part) == b"text"
        assert (tmp_path / "keys" / "root.0").stat().st_mode & 0o777 == 0o600
        disk.close()


def test_threads_open_parts_while_the_writer_seals() -> None:
    store = Store()
    known: list[Sealed] = [
        (*store.seal(str(n).encode(), n % 5 + 1), str(n).encode()) for n in range(200)
    ]
    failures: list[BaseException] = []
    stop = threading.Event()

    def read(seed: int) -> None:
        try:
            turn = seed
            while not stop.is_set():
                turn = (turn * 1_103_515_245 + 12_345) % 2**31
                locator, sealed, text = known[turn % len(known)]
                assert store.unseal(locator, sealed) == text
                if turn % 50 == 0:
                    store.vault.purge()
        except BaseException as error:  # noqa: BLE001  # handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for n in range(600):
        text = f"later {n}".encode()
        known.append((*store.seal(text, n % 7 + 1), text))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_neither_text_nor_key_is_in_what_is_written() -> None:
    medium, disk = Medium(retain=True), MemoryDisk(retain=True)
    store = Store(
        medium=medium, disk=disk, wrap=CredentialWrap(b"canary-credential-of-32-bytes-xx")
    )
    store.seal(b"canary-in-a-body")
    root = store.vault._root()
    written = medium.every_byte() + disk.every_byte()
    for secret in (b"canary", root):
        assert secret not in written
