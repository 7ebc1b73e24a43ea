"""A key replica follows the keys, through every crash, and never keeps a root that has ended."""

from __future__ import annotations

from contextlib import closing
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import destruction
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import (
    EngineError,
    EngineFullError,
    FormatError,
    PartGoneError,
    StoreError,
    VaultLockedError,
)
from store.faults import CutAt, PowerCut
from store.heads import read_head
from store.oplog import Op
from store.records import Record
from store.replica import (
    ForeignReplicaError,
    KeyReplica,
    ReplicaError,
    State,
    key_rows,
)
from store.skeleton import op_hash
from store.tables import COPY, LOG, meta_key
from store.vault import Argon2Cost, NoWrap, PassphraseWrap, RootSlots, StaleSnapshotError, Vault
from tests.store.logbox import Box, message

NOW_MS = 1_750_000_000_000
WRAP = PassphraseWrap(b"second device", Argon2Cost(8, 1, 1))


class Second:
    """A second device with a replica on it, which survives crashes."""

    def __init__(self, node: bytes) -> None:
        self.medium = Medium()
        self.disk = MemoryDisk()
        self.replica = KeyReplica.create(
            MemoryEngine(self.medium), self.disk, WRAP, SeededEntropy("replica"), node=node
        )

    def open(self, wrap: PassphraseWrap | NoWrap = WRAP) -> KeyReplica:
        self.replica = KeyReplica.open(
            MemoryEngine(self.medium), self.disk, wrap, SeededEntropy("again")
        )
        return self.replica

    def crash(self, seed: int, *, lose_newest_meta: bool) -> None:
        self.medium.probe = self.disk.probe = None
        rng = Random(seed)
        self.medium.crash(rng, lose_newest_meta=lose_newest_meta)
        self.disk.crash(rng)

    def generations(self) -> list[int]:
        return [slot.generation for slot in RootSlots(self.disk).load() if slot is not None]

    def vault(self) -> Vault:
        """Open the keys with nothing but this device, as a restore does."""
        with self.open().rows() as rows:
            return Vault.open(rows, self.disk, SeededEntropy("restore"), WRAP)

    def opened(self, backup: Backup) -> set[int]:
        """Return which operations of a backup open with these keys, by their number."""
        vault, found = self.vault(), set()
        with self.open().rows() as rows:
            for seq, record in backup.items():
                try:
                    vault.unseal(rows, record.locator, record.sealed, op_hash(record.skeleton))
                except PartGoneError:
                    continue
                found.add(seq)
        return found

    def opens(self, backup: Backup, op: Op) -> bool:
        return op.id.seq in self.opened(backup)


class Backup(dict[int, Record]):
    """The rows of the log as they were when they were written, by sequence number."""

    def keep(self, box: Box) -> None:
        with closing(box.engine.snapshot()) as reader:
            for key, value in reader.range(*LOG.span()):
                self.setdefault(LOG.columns(key)[1], Record.unpack(value))


def started() -> tuple[Box, Second, list[Op]]:
    """A site with a few messages and a replica in step with it."""
    box = Box().create()
    second = Second(box.log.node)
    ops = box.append(*(message(1 + number % 3) for number in range(6)))
    sync(box, second)
    return box, second, ops


def backup_of(box: Box) -> Backup:
    backup = Backup()
    backup.keep(box)
    return backup


def sync(box: Box, second: Second) -> int:
    with closing(box.engine.snapshot()) as reader:
        return second.replica.sync(reader, box.vault, NOW_MS)


def destroy(box: Box, *ops: Op) -> None:
    """Destroy operations as the writer does: one root switch."""
    with closing(box.engine.snapshot()) as reader:
        txn = Txn(reader)
        box.vault.doom(txn, [destruction.destroy(txn, op) for op in ops])
        switch = box.vault.begin_switch(txn)
        assert switch is not None
        switch.write()
        box.engine.batch(txn.writes, box.token)
        switch.finish(box.engine)


def rows_of(box: Box) -> dict[bytes, bytes]:
    with closing(box.engine.snapshot()) as reader:
        return dict(key_rows(reader))


def test_a_replica_has_every_key_row_and_opens_the_log() -> None:
    box, second, ops = started()
    backup = backup_of(box)
    with second.replica.rows() as rows:
        assert dict(key_rows(rows)) == rows_of(box)
    assert second.generations() == [1]
    assert all(second.opens(backup, op) for op in ops)


def test_a_replica_holds_nothing_before_its_first_copy() -> None:
    box = Box().create()
    second = Second(box.log.node)
    assert second.replica.state() is None
    with pytest.raises(ReplicaError), second.replica.rows():
        pass


def test_the_state_tells_where_the_log_was() -> None:
    box, second, _ = started()
    with closing(box.engine.snapshot()) as reader:
        head = read_head(reader)
    state = second.replica.state()
    assert state == State(0, 1, NOW_MS, head.incarnation, head.seq, head.pos)
    assert (head.seq, head.pos, head.chain) == (6, 6, box.log.head.chain)


def test_what_was_destroyed_is_gone_from_the_replica_once_it_has_acknowledged() -> None:
    box, second, ops = started()
    backup = backup_of(box)
    destroy(box, ops[0], ops[3])
    assert second.opens(backup, ops[0])
    assert sync(box, second) == 2
    assert second.generations() == [2]
    assert [second.opens(backup, op) for op in ops] == [False, True, True, False, True, True]
    assert second.disk.read_back("root.0") == bytes(4_096)


def test_several_switches_and_new_epochs_are_taken_in_one_go() -> None:
    box, second, ops = started()
    backup = backup_of(box)
    destroy(box, ops[1])
    destroy(box, ops[2])
    late = box.append(*(message(number) for number in range(50, 60)))
    backup.keep(box)
    assert sync(box, second) == 3
    assert second.generations() == [3]
    assert [second.opens(backup, op) for op in (*ops[:4], *late)] == [
        True,
        False,
        False,
        *[True] * 11,
    ]


def test_new_epochs_alone_write_no_root_slot() -> None:
    box, second, _ = started()
    second.disk.probe = probe = CutAt()
    box.append(message(77))
    sync(box, second)
    assert probe.seen == []
    with second.replica.rows() as rows:
        assert dict(key_rows(rows)) == rows_of(box)


def test_nothing_new_costs_one_small_batch() -> None:
    box, second, _ = started()
    before = second.medium.used_bytes
    second.medium.probe = probe = CutAt()
    with closing(box.engine.snapshot()) as reader:
        second.replica.sync(reader, box.vault, NOW_MS + 30_000)
    assert probe.seen == ["batch", "committed"]
    assert second.medium.used_bytes == before
    state = second.replica.state()
    assert state is not None
    assert state.synced_ms == NOW_MS + 30_000


def test_a_replica_goes_on_after_a_restart() -> None:
    box, second, ops = started()
    destroy(box, ops[0])
    second.open()
    assert sync(box, second) == 2
    second.open()
    destroy(box, ops[1])
    assert sync(box, second) == 3
    assert second.generations() == [3]


def test_rows_are_copied_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    box, second, ops = started()
    monkeypatch.setattr("store.replica.COPY_BATCH_BYTES", 10_000)
    destroy(box, *ops[:3])
    second.medium.probe = probe = CutAt()
    sync(box, second)
    assert probe.seen.count("batch") > 4
    with second.replica.rows() as rows:
        assert dict(key_rows(rows)) == rows_of(box)


def test_keys_destroyed_while_they_are_copied_make_the_copying_begin_anew() -> None:
    box, second, ops = started()
    backup = backup_of(box)
    destroy(box, ops[0])
    with closing(box.engine.snapshot()) as reader:
        destroy(box, ops[1])
        with pytest.raises(StaleSnapshotError):
            second.replica.sync(reader, box.vault, NOW_MS)
    assert second.opened(backup) == {op.id.seq for op in ops}
    assert sync(box, second) == 3
    assert second.generations() == [3]
    assert second.opened(backup) == {op.id.seq for op in ops[2:]}


def test_a_replica_of_another_site_is_never_written() -> None:
    box, second, _ = started()
    other = Box("other").create()
    second.replica.node = b"n" * 16
    before = dict(second.medium.rows)
    for site in (box, other):
        with pytest.raises(ForeignReplicaError):
            sync(site, second)
    assert dict(second.medium.rows) == before


def test_a_store_that_went_back_never_brings_old_keys_to_the_replica() -> None:
    box, second, ops = started()
    older, old_keys = box.medium.copied(), dict(box.keys._files)
    old_files = {name: box.keys.read(name) for name in old_keys}
    destroy(box, ops[0])
    sync(box, second)
    back = Box()
    back.medium = older
    for name, data in old_files.items():
        back.keys.write(name, data or b"")
        back.keys.sync(name)
    back.open()
    with pytest.raises(ForeignReplicaError):
        sync(back, second)
    assert second.generations() == [2]


def test_a_site_left_behind_by_a_restore_loses_its_replica() -> None:
    box, second, _ = started()
    left_behind = Box()
    left_behind.medium = box.medium.copied()
    left_behind.keys = box.keys
    left_behind.data = MemoryDisk()
    box.commit(box.log.renew)
    sync(box, second)
    left_behind.open()
    with pytest.raises(ForeignReplicaError):
        sync(left_behind, second)
    assert sync(box, second) == 1


def test_a_wrong_wrap_changes_nothing() -> None:
    box, second, ops = started()
    destroy(box, ops[0])
    slots = [second.disk.read(name) for name in ("root.0", "root.1")]
    second.open(PassphraseWrap(b"another", Argon2Cost(8, 1, 1)))
    with pytest.raises(VaultLockedError):
        sync(box, second)
    assert [second.disk.read(name) for name in ("root.0", "root.1")] == slots
    second.open()
    assert sync(box, second) == 2


def test_a_replica_whose_slots_are_lost_is_made_whole_again() -> None:
    box, second, ops = started()
    backup = backup_of(box)
    for name in ("root.0", "root.1"):
        second.disk.write(name, b"\xff" * 4_096)
        second.disk.sync(name)
    second.open()
    assert sync(box, second) == 1
    assert all(second.opens(backup, op) for op in ops)
    assert second.generations() == [1]


def test_a_directory_with_keys_is_never_made_into_a_replica() -> None:
    box, second, _ = started()
    with pytest.raises(ReplicaError):
        KeyReplica.create(MemoryEngine(), box.keys, WRAP, SeededEntropy(1), node=box.log.node)
    with pytest.raises(ReplicaError):
        KeyReplica.create(
            MemoryEngine(second.medium), MemoryDisk(), WRAP, SeededEntropy(1), node=box.log.node
        )
    with pytest.raises(ReplicaError):
        KeyReplica.open(MemoryEngine(), MemoryDisk(), WRAP, SeededEntropy(1))


def test_rows_of_another_build_are_refused() -> None:
    _, second, _ = started()
    token = second.replica._engine.acquire()
    second.replica._engine.batch({meta_key("replica.state"): b"\x02" + bytes(41)}, token)
    with pytest.raises(FormatError):
        second.replica.state()
    second.replica._engine.batch({meta_key("replica"): b"\x02" + bytes(32)}, token)
    with pytest.raises(FormatError):
        second.open()


def test_a_destroyed_replica_opens_nothing() -> None:
    _, second, _ = started()
    second.replica.destroy()
    assert second.generations() == []
    assert all(second.disk.read_back(name) == bytes(4_096) for name in ("root.0", "root.1"))
    with pytest.raises(VaultLockedError):
        second.vault()


def test_a_full_device_withdraws_the_new_root() -> None:
    box, second, ops = started()
    destroy(box, ops[0])
    batches = 0

    def full(step: str) -> None:
        nonlocal batches
        batches += step == "batch"
        if step == "batch" and second.generations() == [1, 2]:
            raise EngineFullError("full")

    second.medium.probe = full
    with pytest.raises(EngineFullError):
        sync(box, second)
    assert batches > 1
    assert second.generations() == [1]
    second.medium.probe = None
    assert sync(box, second) == 2


def test_a_failing_device_leaves_both_roots_for_the_next_attempt() -> None:
    box, second, ops = started()
    destroy(box, ops[0])

    def fail(step: str) -> None:
        if step == "committed" and second.generations() == [1, 2]:
            raise EngineError("the device fails")

    second.medium.probe = fail
    with pytest.raises(EngineError):
        sync(box, second)
    second.medium.probe = None
    assert second.generations() == [1, 2]
    second.open()
    assert sync(box, second) == 2
    assert second.generations() == [2]


# --- every crash ----------------------------------------------------------------------------------


def cut_sync(box: Box, second: Second, step: int | None) -> CutAt:
    probe = CutAt(step)
    second.medium.probe = second.disk.probe = probe
    second.open()
    sync(box, second)
    return probe


def steps() -> int:
    box, second, ops = started()
    destroy(box, ops[0])
    return cut_sync(box, second, None).count


@pytest.mark.parametrize("lose_newest_meta", [False, True])
@pytest.mark.parametrize("step", range(steps()))
def test_wherever_a_crash_comes_one_generation_is_usable(step: int, lose_newest_meta: bool) -> None:
    for seed in range(4):
        box, second, ops = started()
        backup = backup_of(box)
        destroy(box, ops[0])
        with pytest.raises(PowerCut):
            cut_sync(box, second, step)
        second.crash(seed, lose_newest_meta=lose_newest_meta)
        assert second.vault().generation in (1, 2)
        assert second.opens(backup, ops[1])
        assert second.opens(backup, ops[0]) is (second.vault().generation == 1)
        second.open()
        assert sync(box, second) == 2
        assert second.generations() == [2]
        assert not second.opens(backup, ops[0])
        second.crash(seed, lose_newest_meta=lose_newest_meta)
        assert second.vault().generation == 2


def test_a_leftover_root_is_effaced_only_after_settling() -> None:
    box, second, ops = started()
    destroy(box, ops[0])
    number = cut_sync(box, second, None).seen.index("settle")
    destroy(box, ops[1])
    with pytest.raises(PowerCut):
        cut_sync(box, second, number)
    second.crash(0, lose_newest_meta=False)
    assert len(second.generations()) == 2
    seen = cut_sync(box, second, None).seen
    assert seen.index("settled") < seen.index("write")


@pytest.mark.parametrize("lose_newest_meta", [False, True])
def test_no_crash_brings_an_acknowledged_generation_back(lose_newest_meta: bool) -> None:
    for seed in range(8):
        box, second, ops = started()
        destroy(box, ops[0])
        assert sync(box, second) == 2
        second.crash(seed, lose_newest_meta=lose_newest_meta)
        assert second.generations() == [2]
        assert second.vault().generation == 2


def test_effacing_before_settling_would_lose_the_replica() -> None:
    """Show that the crash test can fail: the wrong order leaves rows without their root."""
    box, second, ops = started()
    destroy(box, ops[0])
    second.replica._engine.settle = lambda: None  # type: ignore[method-assign]
    sync(box, second)
    second.crash(0, lose_newest_meta=True)
    with pytest.raises(StoreError):
        second.vault()


# --- any story ------------------------------------------------------------------------------------

ACTS = st.lists(st.sampled_from(["say", "destroy", "sync", "reopen", "cut"]), max_size=12)


class Told(NamedTuple):
    """What a replica should know: the epochs there were when it was in step, and what was gone."""

    epochs: frozenset[tuple[int, int]]
    gone: frozenset[int]

    def opens(self, backup: Backup) -> set[int]:
        return {
            seq
            for seq, record in backup.items()
            if epoch_of(record) in self.epochs and seq not in self.gone
        }


def epoch_of(record: Record) -> tuple[int, int]:
    return record.locator.stream, record.locator.epoch


def told(backup: Backup, gone: set[int]) -> Told:
    return Told(frozenset(epoch_of(record) for record in backup.values()), frozenset(gone))


@settings(max_examples=30)
@given(acts=ACTS, seed=st.integers(0, 99))
def test_after_any_story_the_replica_opens_what_the_site_did_when_it_was_in_step(
    acts: list[str], seed: int
) -> None:
    box, second, ops = started()
    alive, gone, rng, backup = list(ops), set[int](), Random(seed), backup_of(box)
    possible = [told(backup, gone)]
    for act in acts:
        if act == "say":
            alive += box.append(message(rng.randrange(1, 9)))
            backup.keep(box)
        elif act == "destroy" and alive:
            op = alive.pop(rng.randrange(len(alive)))
            gone.add(op.id.seq)
            destroy(box, op)
        elif act == "reopen":
            second.open()
        elif act == "sync":
            assert sync(box, second) == box.vault.generation
            possible = [told(backup, gone)]
        elif act == "cut":
            possible.append(told(backup, gone))
            try:
                cut_sync(box, second, rng.randrange(30))
                possible = possible[-1:]
            except PowerCut:
                second.crash(rng.randrange(9), lose_newest_meta=False)
            second.medium.probe = second.disk.probe = None
            second.open()
        assert second.opened(backup) in [each.opens(backup) for each in possible]


def test_the_two_sides_never_meet() -> None:
    _, second, _ = started()
    assert {COPY.columns(key[:4])[0] for key in second.medium.rows if key[0] == COPY.table} == {0}
