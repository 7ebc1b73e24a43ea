"""The root switch as its callers see it: what ends, what goes on, and who is told what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.disk import MemoryDisk
from store.engine.memory import Medium
from store.engine.txn import Txn
from store.errors import EngineError, EngineFullError, IntegrityError, PartGoneError
from store.tables import EPOCH, FILL, meta_key
from store.vault import (
    Argon2Cost,
    CredentialWrap,
    Evidence,
    Locator,
    PassphraseWrap,
    StaleSnapshotError,
    Vault,
    Wrap,
    epochs,
    forest,
)
from store.vault.forest import TOP
from store.vault.limits import CONTROL, EPOCH_PARTS, STANDARD
from tests.store.vault.harness import CONTEXT, PRESENT, Store, part_key


def is_gone(store: Store, locator: Locator, sealed: bytes) -> bool:
    try:
        store.unseal(locator, sealed)
    except PartGoneError:
        return True
    return False


@given(
    st.sampled_from([1, 2]),
    st.sets(st.integers(0, 39), min_size=1, max_size=15),
    st.sets(st.integers(0, 39), max_size=15),
)
@settings(max_examples=30)
def test_exactly_what_was_doomed_is_gone_before_and_after_a_restart(
    suite: int, first: set[int], second: set[int]
) -> None:
    store = Store(suite=suite)
    parts = [store.seal(b"%d" % n, n % 3 + 1, n % 2 * STANDARD) for n in range(40)]
    for order in (first, second):
        store.run(partial(store.vault.doom, locators=[parts[n][0] for n in order]))
    for _ in range(3):
        found = {n for n, part in enumerate(parts) if is_gone(store, *part)}
        assert found == first | second
        survivors = {n: store.unseal(*part) for n, part in enumerate(parts) if n not in found}
        assert survivors == {n: b"%d" % n for n in survivors}
        store.vault.purge()
        store.reopen()


def test_a_batch_without_dooms_switches_nothing() -> None:
    store = Store()
    store.run(lambda txn: store.keep(txn, b"text"))
    assert store.vault.generation == 1
    assert store.vault.evidence is None


def test_each_switch_counts_a_generation_and_leaves_one_root() -> None:
    store = Store()
    assert isinstance(store.disk, MemoryDisk)
    parts = store.kept(3)
    for generation, number in ((2, 1), (3, 0), (4, 1)):
        store.destroy_now(parts.pop())
        assert store.vault.generation == generation
        assert store.valid_generations() == [generation]
        assert store.disk.read_back(f"root.{1 - number}") == bytes(4_096)
        other = f"root.{1 - number}"
        assert store.vault.evidence == Evidence(
            generation - 1, generation, "file", (other,), is_verified=True
        )


def test_recovery_sees_the_evidence_again() -> None:
    store = Store()
    store.destroy_now(*store.kept(1))
    before = store.vault.evidence
    store.reopen()
    assert store.vault.evidence == before is not None


def test_several_commands_of_a_batch_share_one_switch() -> None:
    store = Store()
    parts = store.kept(4)
    store.run(*[partial(store.destroy, locators=[part]) for part in parts[:3]])
    assert store.vault.generation == 2
    assert [row[:1] for row in store.rows().values()] == [b"\0", b"\0", b"\0", b"\1"]


def test_what_is_gone_may_be_doomed_again() -> None:
    store = Store()
    parts = store.kept(2)
    store.destroy_now(parts[0])
    store.destroy_now(parts[0], parts[1])
    store.destroy_now(Locator(99, 0, 0))
    for locator in parts:
        with pytest.raises(PartGoneError):
            store.unseal(locator, b"\x01" + bytes(40))


def test_an_open_epoch_goes_on_after_its_puncture() -> None:
    store = Store()

    def seal_and_doom(txn: Txn) -> Locator:
        doomed = store.keep(txn, b"doomed")
        store.keep(txn, b"kept")
        store.destroy(txn, [doomed])
        return store.keep(txn, b"later")

    (later,) = store.run(seal_and_doom)
    (next_one,) = store.kept(1)
    assert [later, next_one] == [Locator(7, 0, 2), Locator(7, 0, 3)]
    texts = {}
    with store.engine.snapshot() as snapshot:
        for locator in (Locator(7, 0, 1), later, next_one):
            texts[locator.index] = store.open_kept(snapshot, locator)
    assert texts == {1: b"kept", 2: b"later", 3: b"7/0"}


def test_an_epoch_can_be_used_up_across_switches() -> None:
    store = Store()
    parts = store.kept(100)
    with store.transaction() as txn:
        found = [store.vault.seal(txn, 7, STANDARD, b"", CONTEXT, 0)[0] for _ in range(1_900)]
    store.destroy_now(*parts[::2], *found[5:600])
    later = store.kept(EPOCH_PARTS - 2_000 + 1)
    assert {part.epoch for part in later[:-1]} == {0}
    assert later[-1] == Locator(7, 1, 0)


def test_an_epoch_that_loses_everything_keeps_its_row_and_its_serial() -> None:
    store = Store()
    with store.transaction() as txn:
        parts = [store.vault.seal(txn, 7, STANDARD, b"", CONTEXT, 0)[0] for _ in range(EPOCH_PARTS)]
    store.destroy_now(*parts)
    store.reopen()
    with store.engine.snapshot() as snapshot:
        row = snapshot.get(EPOCH.key(7, 0))
    assert row is not None
    assert epochs.is_emptied(row)
    assert store.kept(1) == [Locator(7, 1, 0)]


def row_bytes(store: Store, stream: int) -> int:
    with store.engine.snapshot() as snapshot:
        return len(snapshot.get(EPOCH.key(stream, 0)) or b"")


def test_a_closed_epoch_of_which_every_part_is_doomed_is_emptied_unopened() -> None:
    store = Store()
    parts = {stream: store.seal(b"text", stream) for stream in range(1, 200)}
    store.close_epochs()
    with store.transaction() as txn:  # it is not even looked at
        txn.put(EPOCH.key(5, 0), (txn.get(EPOCH.key(5, 0)) or b"")[:-1] + b"?")
    doomed = [part for stream, (part, _) in parts.items() if stream < 199]
    store.run(lambda txn: store.vault.doom(txn, doomed))
    assert [stream for stream, part in parts.items() if not is_gone(store, *part)] == [199]
    assert {row_bytes(store, stream) for stream in range(1, 199)} == {epochs.HEADER_BYTES}
    assert store.vault.generation == 2
    assert store.seal(b"text", 1)[0] == Locator(1, 1, 0)
    store.run(lambda txn: store.vault.doom(txn, [*doomed, Locator(5_000, 3, 0)]))
    assert store.vault.generation == 2  # nothing was left to destroy


@pytest.mark.parametrize("closed", [False, True])
def test_the_last_part_of_a_closed_epoch_takes_its_unused_keys_along(closed: bool) -> None:
    store = Store()
    parts = store.kept(5)
    if closed:
        store.close_epochs()
    for part in (parts[1], parts[4], parts[0], parts[3]):
        store.destroy_now(part)
        assert row_bytes(store, 7) > epochs.HEADER_BYTES
    with store.engine.snapshot() as snapshot:
        assert store.open_kept(snapshot, parts[2]) == b"7/2"
        unused = [store.vault.has_key(snapshot, Locator(7, 0, n)) for n in (5, 6, EPOCH_PARTS - 1)]
    assert unused == [not closed] * 3
    store.destroy_now(parts[2])
    assert (row_bytes(store, 7) == epochs.HEADER_BYTES) == closed


def test_an_epoch_doomed_bit_by_bit_in_one_batch_is_emptied() -> None:
    store = Store()
    parts = store.kept(3)
    store.close_epochs()
    store.run(*[partial(store.destroy, locators=[part]) for part in parts])
    assert row_bytes(store, 7) == epochs.HEADER_BYTES


def test_a_damaged_count_of_parts_kills_none_that_is_below_it() -> None:
    """A count that is too large only keeps keys that no part has."""
    store = Store()
    parts = store.kept(3)
    store.close_epochs()
    with store.transaction() as txn:
        txn.put(FILL.key(1, 7, 0), b"\x00\x09")
    store.destroy_now(*parts[:2])
    with store.engine.snapshot() as snapshot:
        assert store.open_kept(snapshot, parts[2]) == b"7/2"


def test_index_keys_end_with_the_puncture() -> None:
    store = Store()
    parts = store.kept(2)
    before = index_seed(store)
    store.destroy_now(parts[0])
    assert index_seed(store) != before


def index_seed(store: Store) -> bytes:
    with store.engine.snapshot() as snapshot:
        row = snapshot.get(EPOCH.key(7, 0)) or b""
        place = epochs.read_header(row).place
        slot_key = forest.slot_key(snapshot, store.vault._root(), place)
        return epochs.open_row(EPOCH.key(7, 0), row, slot_key).index_seed


class TestRollback:
    """A command that fails, or a batch that cannot be applied, destroys nothing."""

    def test_a_command_that_fails_dooms_nothing(self) -> None:
        store = Store()
        parts = store.kept(2)

        def fails(txn: Txn) -> None:
            store.destroy(txn, parts)
            raise KeyError

        found = store.try_run(fails, lambda txn: store.destroy(txn, parts[:1]))
        assert [type(each.error) for each in found] == [KeyError, type(None)]
        assert [row[:1] for row in store.rows().values()] == [b"\0", b"\1"]
        with store.engine.snapshot() as snapshot:
            assert store.open_kept(snapshot, parts[1]) == b"7/1"

    def test_marks_of_a_transaction_that_was_given_up_are_forgotten(self) -> None:
        store = Store()
        parts = store.kept(2)
        with store.engine.snapshot() as snapshot:
            store.vault.doom(Txn(snapshot), parts)
        store.run(lambda txn: store.keep(txn, b"text"))
        assert store.vault.generation == 1
        with store.engine.snapshot() as snapshot:
            store.vault.doom(Txn(snapshot), parts)
        store.destroy_now(parts[0])
        assert store.vault.generation == 2
        with store.engine.snapshot() as snapshot:
            assert store.open_kept(snapshot, parts[1]) == b"7/1"

    def test_a_switch_rolled_back_before_it_was_written_leaves_no_trace(self) -> None:
        store = Store()
        parts = store.kept(1)
        with store.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            store.destroy(txn, parts)
            assert store.vault.begin_switch(txn) is not None
            new_root = store.vault._roots.read(2)
            txn.rollback(0)
            assert dict(txn.writes) == {}
            assert txn.bytes_written == 0
            assert store.vault.begin_switch(txn) is None
        with pytest.raises(StaleSnapshotError):
            store.vault._roots.read(2)
        assert new_root not in store.vault._roots._arena._map[:]
        store.destroy_now(*parts)
        assert store.vault.generation == 2

    def test_a_withdrawn_switch_leaves_everything_as_it_was(self) -> None:
        store = Store()
        parts = store.kept(2)
        store.medium.capacity_bytes = store.medium.used_bytes
        store.medium.probe = fail_at("batch", EngineFullError("full"))
        found = store.try_run(lambda txn: store.destroy(txn, parts[:1]))
        assert isinstance(found[0].error, EngineFullError)
        assert store.failures == []
        assert store.vault.generation == 1
        assert store.valid_generations() == [1]
        store.medium.probe = None
        store.vault.purge()
        with store.engine.snapshot() as snapshot:
            assert [store.open_kept(snapshot, part) for part in parts] == [b"7/0", b"7/1"]

    def test_a_commit_in_doubt_leaves_both_generations_readable(self) -> None:
        store = Store()
        parts = store.kept(2)
        store.medium.probe = fail_at("committed", EngineError("no answer"))
        store.try_run(lambda txn: store.destroy(txn, parts[:1]))
        assert len(store.failures) == 1
        store.medium.probe = None
        store.vault.purge()
        with store.engine.snapshot() as snapshot:
            assert store.open_kept(snapshot, parts[1]) == b"7/1"


def fail_at(step: str, error: Exception) -> Callable[[str], None]:
    def probe(name: str) -> None:
        if name == step:
            raise error

    return probe


def test_a_damaged_epoch_fails_its_command_alone() -> None:
    store = Store()
    whole, damaged = store.kept(1, stream=1), store.kept(1, stream=2)
    with store.transaction() as txn:
        row = bytearray(txn.get(EPOCH.key(2, 0)) or b"")
        row[-1] ^= 1
        txn.put(EPOCH.key(2, 0), bytes(row))
    found = store.try_run(
        lambda txn: store.keep(txn, b"text", stream=3),
        lambda txn: store.destroy(txn, damaged),
        lambda txn: store.destroy(txn, whole),
    )
    assert [type(each.error) for each in found] == [type(None), IntegrityError, type(None)]
    assert store.vault.generation == 2


@pytest.mark.parametrize("whole", [False, True])
def test_a_damaged_forest_fails_its_command_alone(whole: bool) -> None:
    store = Store()
    parts = store.kept(1 if whole else 2)[:1]
    store.close_epochs()
    with store.transaction() as txn:
        txn.put(TOP.key(), (txn.get(TOP.key()) or b"")[:-1] + b"?")

    def doom(txn: Txn) -> None:
        store.vault.doom(txn, parts)

    found = store.try_run(doom, lambda txn: txn.put(b"\x11", b"1"))
    assert [type(each.error) for each in found] == [IntegrityError, type(None)]
    assert store.failures == []


@pytest.mark.parametrize("index", [-1, EPOCH_PARTS])
def test_a_malformed_locator_is_refused(index: int) -> None:
    store = Store()
    store.kept(1)
    with pytest.raises(IntegrityError):
        store.run(lambda txn: store.vault.doom(txn, [Locator(7, 0, index)]))


class TestReaders:
    """Snapshots of both generations open during a switch; afterwards the old are told so."""

    def test_during_a_switch_both_generations_open(self) -> None:
        store = Store()
        parts = store.kept(2)
        old = store.engine.snapshot()
        with store.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            store.destroy(txn, parts[:1])
            switch = store.vault.begin_switch(txn)
        assert switch is not None
        for act in (switch.write, lambda: store.engine.batch(txn.writes, store.token)):
            act()
            store.vault.purge()
            assert store.open_kept(old, parts[0]) == b"7/0"
            assert store.open_kept(old, parts[1]) == b"7/1"
        with store.engine.snapshot() as new:
            assert store.open_kept(new, parts[1]) == b"7/1"
            store.vault.purge()
            assert store.open_kept(new, parts[1]) == b"7/1"
            switch.finish(store.engine)
            assert store.open_kept(new, parts[1]) == b"7/1"
        store.vault.purge()
        for part in parts:
            with pytest.raises(StaleSnapshotError):
                store.open_kept(old, part)

    def test_on_an_old_snapshot_a_gone_part_is_stale_also_when_its_epoch_is_cached(self) -> None:
        store = Store()
        parts = store.kept(2)
        old = store.engine.snapshot()
        store.destroy_now(parts[0])
        with store.engine.snapshot() as new:
            assert store.open_kept(new, parts[1]) == b"7/1"  # the new cover is cached
        with pytest.raises(StaleSnapshotError):
            store.open_kept(old, parts[0])
        assert store.open_kept(old, parts[1]) == b"7/1"

    def test_untouched_epochs_stay_cached(self) -> None:
        store = Store()
        touched, other = store.kept(1, stream=1), store.kept(1, stream=2)
        old = store.engine.snapshot()
        store.destroy_now(*touched)
        assert store.open_kept(old, other[0]) == b"2/0"

    def test_a_cover_read_before_the_switch_is_not_cached_after_it(self) -> None:
        store = Store()
        parts = store.kept(1)
        name = (7, 0, 1)
        ring = store.vault._keyring
        era = ring.era
        with store.engine.snapshot() as old:
            cover = store.vault._load_cover(old, store.vault._suite, name)
            store.destroy_now(*parts)
            ring.insert(name, cover, era)
        assert ring.part_key(store.vault._suite, name, 0) is None

    def test_a_reader_between_wiping_and_dropping_caches_nothing_old(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store()
        parts = store.kept(1)
        old = store.engine.snapshot()
        told = []
        drop_many = store.vault._keyring.drop_many

        def read_then_drop(names: object) -> None:
            store.vault._keyring.drop((7, 0, 1))
            with pytest.raises(StaleSnapshotError):
                store.open_kept(old, parts[0])
            told.append("stale")
            drop_many(names)  # type: ignore[arg-type]

        monkeypatch.setattr(store.vault._keyring, "drop_many", read_then_drop)
        store.destroy_now(*parts)
        assert told == ["stale"]

    def test_threads_read_on_while_parts_are_destroyed(self) -> None:
        store = Store()
        streams = {stream: store.kept(12, stream) for stream in range(1, 7)}
        parts = [part for found in streams.values() for part in found]
        failures: list[BaseException] = []
        seen: set[str] = set()
        stop = threading.Event()

        def read(turn: int) -> None:
            try:
                while not stop.is_set():
                    turn = (turn * 1_103_515_245 + 12_345) % 2**31
                    seen.add(self.read_once(store, parts[turn % len(parts)]))
                    if turn % 10 == 0:
                        store.vault.purge()
            except BaseException as error:  # noqa: BLE001  # handed to the main thread
                failures.append(error)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for number in range(40):
            store.destroy_now(parts[number * 37 % len(parts)])
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert seen >= {"open", "gone"}

    def read_once(self, store: Store, part: Locator) -> str:
        with store.engine.snapshot() as snapshot:
            row = snapshot.get(part_key(part)) or b""
            if row[:1] != PRESENT:
                return "gone"
            try:
                text = store.vault.unseal(snapshot, part, row[1:], CONTEXT)
            except StaleSnapshotError:
                return "stale"
            assert text == b"%d/%d" % (part.stream, part.index)
            return "open"


class TestMemory:
    """Roots are in the arena only while they count."""

    def test_the_old_root_is_wiped(self) -> None:
        store = Store()
        old = store.vault._root()
        store.destroy_now(*store.kept(1))
        held = store.vault._roots._arena._map[:]
        assert old not in held
        assert store.vault._root() in held

    def test_neither_root_is_ever_written_in_clear(self) -> None:
        medium, disk = Medium(retain=True), MemoryDisk(retain=True)
        store = Store(
            medium=medium, disk=disk, wrap=CredentialWrap(b"canary-credential-of-32-bytes-xx")
        )
        roots = [store.vault._root()]
        for part in store.kept(3):
            store.destroy_now(part)
            roots.append(store.vault._root())
        written = medium.every_byte() + disk.every_byte()
        assert len(set(roots)) == 4
        assert not [root for root in roots if root in written]

    def test_no_secret_shows_in_a_repr(self) -> None:
        store = Store()
        (part,) = store.kept(1)
        with store.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            store.vault.doom(txn, [part])
            assert store.vault._doomed is not None
            (mark,) = store.vault._doomed[1].punctured.values()
        assert "slot_key" not in repr(mark)
        assert str(mark.slot_key) not in repr(mark)


@pytest.mark.parametrize(
    "wrap",
    [PassphraseWrap(b"right", Argon2Cost(64, 1, 1)), CredentialWrap(b"r" * 32)],
    ids=["passphrase", "credential"],
)
def test_the_next_slot_is_under_the_same_wrap(wrap: Wrap) -> None:
    store = Store(wrap=wrap)
    parts = store.kept(2)
    store.destroy_now(parts[0])
    store.reopen()
    with store.engine.snapshot() as snapshot:
        assert store.open_kept(snapshot, parts[1]) == b"7/1"


def test_a_switch_before_recovery_is_a_mistake() -> None:
    store = Store()
    parts = store.kept(1)
    with store.engine.snapshot() as snapshot:
        vault = Vault.open(snapshot, store.disk, store.entropy, store.wrap)
        txn = Txn(snapshot)
        vault.doom(txn, parts)
        with pytest.raises(AssertionError, match="leftover"):
            vault.begin_switch(txn)


def test_the_generation_of_the_store_is_that_of_its_root() -> None:
    store = Store()
    store.destroy_now(*store.kept(1, retention_class=CONTROL))
    with store.engine.snapshot() as snapshot:
        assert snapshot.get(meta_key("vault")) == b"\x01\x01" + (2).to_bytes(8, "big")
