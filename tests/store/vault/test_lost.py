"""What a crash or a full disk took back opens to nobody, though its bytes are still on the disk.

A batch that was lost has left parts under the next keys of open epochs, and epochs and nodes
under keys that the next batches use. The attacker has all of that and the present root.
"""

from __future__ import annotations

from random import Random

import pytest

from store.engine.txn import Txn
from store.errors import EngineFullError
from store.faults import CutAt, PowerCut
from store.tables import EPOCH, FILL
from store.vault import Locator, Vault, forest
from store.vault.forest import FAN_OUT, SLOTS, TREES, Edge, NodeId, SlotId
from store.vault.limits import CONTROL, CUT_EPOCHS, EPOCH_PARTS, STANDARD
from tests.store.vault.attacker import Attacker
from tests.store.vault.harness import DESTROYED, Store
from tests.store.vault.test_forensics import retaining

LOST = b"sent again after the crash"


def lose(store: Store, *streams: int, retention_class: int = STANDARD) -> None:
    """Cut the power while parts are committed, so that the commit never comes back."""

    def seal(txn: Txn) -> None:
        for stream in streams:
            store.keep(txn, LOST, stream, retention_class)

    store.medium.probe = CutAt(0)
    with pytest.raises(PowerCut):
        store.try_run(seal)
    store.crash(Random(0))
    store.reopen()


def lose_to_a_full_disk(store: Store, *streams: int) -> None:
    """Let parts be committed to a disk that is full; the writer goes on."""

    def full(name: str) -> None:
        if name == "batch":
            raise EngineFullError("full")

    store.medium.probe = full
    found = store.try_run(*[lambda txn, n=n: store.keep(txn, LOST, n) for n in streams])
    assert {type(each.error) for each in found} == {EngineFullError}
    assert store.failures == []
    store.medium.probe = None


def opens(store: Store) -> bool:
    """Tell whether what was lost opens; what was kept always does."""
    found = Attacker.at(store).everything()
    with store.engine.snapshot() as snapshot:
        parts = [part for part, row in store.rows().items() if row != DESTROYED]
        kept = {store.open_kept(snapshot, part) for part in parts}
    assert kept <= found
    assert found - kept <= {LOST}
    return LOST in found


class TestParts:
    """Lost parts of an epoch that was open."""

    def test_they_end_with_the_keys_that_no_part_has(self) -> None:
        store = retaining()
        store.kept(3)
        lose(store, 7, 7)
        assert opens(store)
        store.abandon_lost()
        assert not opens(store)
        with store.engine.snapshot() as snapshot:
            keys = [store.vault.has_key(snapshot, Locator(7, 0, n)) for n in range(EPOCH_PARTS)]
        assert keys == [True] * 3 + [False] * (EPOCH_PARTS - 3)
        assert not store.vault.is_behind

    def test_they_are_there_until_the_epoch_is_cut(self) -> None:
        store = retaining()
        store.kept(3)
        lose(store, 7)
        store.vault.abandon_lost(store.engine, store.token)
        assert store.vault.is_behind
        assert opens(store)
        assert store.run(store.vault.cut_lost) == [1]
        assert not opens(store)
        assert store.vault.is_behind  # until somebody has looked once more
        assert store.run(store.vault.cut_lost) == [0]
        assert not store.vault.is_behind

    def test_they_end_also_behind_parts_that_were_destroyed(self) -> None:
        store = retaining()
        parts = store.kept(5)
        store.destroy_now(parts[0], parts[4])
        lose(store, 7)
        store.abandon_lost()
        assert not opens(store)
        assert Attacker.at(store).texts(parts[3]) == {b"7/3"}

    def test_after_a_full_disk_the_next_batch_goes_on_elsewhere(self) -> None:
        store = retaining()
        store.kept(3)
        lose_to_a_full_disk(store, 7)
        assert store.kept(1) == [Locator(7, 1, 0)]
        assert store.vault.is_behind
        while store.run(store.vault.cut_lost)[0]:
            pass
        assert not opens(store)

    def test_an_epoch_of_this_process_is_not_cut(self) -> None:
        store = retaining()
        store.kept(3)
        lose(store, 7)
        store.vault.abandon_lost(store.engine, store.token)
        (part,) = store.kept(1)
        while store.run(store.vault.cut_lost)[0]:
            pass
        assert store.kept(1) == [Locator(7, part.epoch, 1)]
        assert not opens(store)

    def test_many_epochs_are_cut_a_few_at_a_time(self) -> None:
        store = retaining()
        for stream in range(1, 2 * CUT_EPOCHS + 2):
            store.kept(1, stream)
        lose(store, *range(1, 2 * CUT_EPOCHS + 2))
        store.vault.abandon_lost(store.engine, store.token)
        cuts = [store.run(store.vault.cut_lost)[0] for _ in range(4)]
        assert cuts == [CUT_EPOCHS, CUT_EPOCHS, 1, 0]
        assert not opens(store)

    def test_a_full_epoch_has_nothing_to_cut(self) -> None:
        store = Store()
        with store.transaction() as txn:
            for _ in range(EPOCH_PARTS):
                store.vault.seal(txn, 7, STANDARD, b"", b"", 0)
        store.reopen()
        store.abandon_lost()
        with store.engine.snapshot() as snapshot:
            assert store.vault.has_key(snapshot, Locator(7, 0, EPOCH_PARTS - 1))

    def test_a_damaged_epoch_does_not_keep_the_others(self) -> None:
        store = retaining()
        store.kept(1, stream=1)
        store.kept(1, stream=2)
        lose(store, 2)
        with store.transaction() as txn:
            row = txn.get(EPOCH.key(1, 0)) or b""
            txn.put(EPOCH.key(1, 0), row[:-1] + b"?")
        store.abandon_lost()
        assert LOST not in Attacker.at(store).everything()
        with store.transaction() as txn:
            txn.put(EPOCH.key(1, 0), row)
        assert not opens(store)

    def test_a_cut_that_is_rolled_back_comes_again(self) -> None:
        store = retaining()
        store.kept(3)
        lose(store, 7)
        store.vault.abandon_lost(store.engine, store.token)

        def fails(txn: Txn) -> None:
            assert store.vault.cut_lost(txn) == 1
            raise KeyError

        store.try_run(fails)
        assert opens(store)
        assert store.run(store.vault.cut_lost) == [1]
        assert not opens(store)


class TestEpochs:
    """Lost epochs and nodes: their places come again, perhaps for other streams."""

    def test_a_lost_epoch_does_not_open_once_its_slot_is_used_by_another(self) -> None:
        store = retaining()
        store.kept(1, stream=1)
        lose(store, 2)
        assert opens(store)
        store.abandon_lost()
        assert not opens(store)
        store.kept(1, stream=3)
        store.kept(1, stream=2)
        assert not opens(store)

    @pytest.mark.parametrize("used", [0, 1, FAN_OUT - 1, FAN_OUT])
    def test_lost_nodes_do_not_open(self, used: int) -> None:
        store = retaining()
        for stream in range(1, used + 1):
            store.kept(1, stream)
        lose(store, *range(1_000, 1_000 + FAN_OUT + 1))
        lose(store, 2_000, retention_class=CONTROL)
        assert opens(store)
        store.abandon_lost()
        store.kept(1, 2_000, CONTROL)
        store.kept(1, 2_000, 9)
        for stream in range(3_000, 3_000 + FAN_OUT + 1):
            store.kept(1, stream)
        assert not opens(store)

    def test_after_a_full_disk_too(self) -> None:
        store = retaining()
        store.kept(1, stream=1)
        lose_to_a_full_disk(store, 2, 3, 4)
        assert opens(store)
        store.kept(1, stream=3)
        assert not opens(store)

    def test_using_the_same_keys_again_is_caught(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Vault, "_edge", lambda self, reader: Edge(TREES, ()))
        store = retaining()
        store.kept(1, stream=1)
        lose(store, 2)
        store.abandon_lost()
        store.kept(1, stream=3)
        assert opens(store)

    def test_what_is_in_use_stays_what_it_was(self) -> None:
        store = Store()
        parts = [store.kept(1, stream, retention_class=stream % 3)[0] for stream in range(1, 140)]
        before = slot_keys(store, 40)
        store.vault.abandon_lost(store.engine, store.token)
        assert slot_keys(store, 40) == before
        with store.engine.snapshot() as snapshot:
            for part in parts:
                assert store.open_kept(snapshot, part) == b"%d/0" % part.stream


def slot_keys(store: Store, count: int) -> list[bytes]:
    """Return the keys of the first slots of the first tree."""
    with store.engine.snapshot() as snapshot:
        keys = forest.leaf_keys(snapshot, store.vault._root(), SlotId(0, 0))
    return [forest.child_key(keys, number) for number in range(count)]


class TestTheEdge:
    """Which keys lead nowhere yet, by arithmetic."""

    def test_of_a_tree_with_one_slot_used(self) -> None:
        found = self.unused(Edge(1, (SlotId(0, 1),)))
        assert found == {
            NodeId(0, 0, 0): range(1, FAN_OUT),
            NodeId(0, 1, 0): range(1, FAN_OUT),
            NodeId(0, 2, 0): range(1, FAN_OUT),
            NodeId(0, 3, 0): range(1, FAN_OUT),
            NodeId(0, 4, 0): range(1, FAN_OUT),
            NodeId(0, 5, 0): range(1, FAN_OUT),
        }

    def test_where_the_next_slot_is_the_first_of_nodes_that_are_not_made(self) -> None:
        found = self.unused(Edge(FAN_OUT, (SlotId(3, FAN_OUT**2),)))
        assert found == {
            NodeId(0, 0, 0): range(1, FAN_OUT),
            NodeId(3, 2, 0): range(1, FAN_OUT),
            NodeId(3, 3, 0): range(1, FAN_OUT),
        }

    def test_of_a_new_forest_and_of_one_that_is_full(self) -> None:
        assert self.unused(Edge(0, ())) == {NodeId(0, 0, 0): range(FAN_OUT)}
        assert self.unused(Edge(TREES, (SlotId(TREES - 1, SLOTS),))) == {}

    def unused(self, edge: Edge) -> dict[NodeId, range]:
        return {way[-1].node: children for way, children in forest._unused(edge)}


class TestCounts:
    """The rows that tell how many keys of an epoch were used."""

    def rows(self, store: Store) -> dict[tuple[int, ...], bytes]:
        with store.engine.snapshot() as snapshot:
            found = snapshot.range(*FILL.span())
            return {FILL.columns(key): value for key, value in found}

    def test_they_go_with_the_parts_and_close_with_the_epoch(self) -> None:
        store = Store(max_retention_ms=lambda retention_class: 64 * 3_600_000)
        store.kept(3)
        assert self.rows(store) == {(0, 7, 0): b"\0\3"}
        with store.transaction() as txn:
            store.keep(txn, b"the next day", now_ms=86_400_000)
        assert self.rows(store) == {(1, 7, 0): b"\0\3", (0, 7, 1): b"\0\1"}
        store.close_epochs()
        assert self.rows(store) == {(1, 7, 0): b"\0\3", (1, 7, 1): b"\0\1"}
        store.destroy_now(Locator(7, 0, 0), Locator(7, 1, 0))
        assert self.rows(store) == {}

    def test_who_signs_off_closes_all_and_is_known_by_the_token(self) -> None:
        store = Store()
        store.kept(3)
        with store.engine.snapshot() as snapshot:
            assert not store.vault.has_signed_off(snapshot, store.token)
        with store.transaction() as txn:
            store.vault.sign_off(txn, store.token)
        assert self.rows(store) == {(1, 7, 0): b"\0\3"}
        signed = store.token
        store.reopen()
        with store.engine.snapshot() as snapshot:
            assert store.vault.has_signed_off(snapshot, store.token - 1)
            assert not store.vault.has_signed_off(snapshot, store.token)
        store.reopen()
        with store.engine.snapshot() as snapshot:
            assert not store.vault.has_signed_off(snapshot, store.token - 1)
            assert store.vault.has_signed_off(snapshot, signed)

    def test_an_epoch_closed_to_make_room_is_closed_in_good_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.vault.vault.OPEN_EPOCHS", 2)
        store = Store()
        for stream in (1, 2, 3):
            store.kept(1, stream)
        assert sorted(self.rows(store)) == [(0, 2, 0), (0, 3, 0), (1, 1, 0)]

    def test_what_a_command_sealed_that_failed_is_not_counted(self) -> None:
        store = Store()
        store.kept(1)

        def fails(txn: Txn) -> None:
            store.keep(txn, b"text")
            raise KeyError

        store.try_run(fails)
        assert self.rows(store) == {(0, 7, 0): b"\0\1"}

    def test_of_an_epoch_that_is_gone_nothing_is_cut(self) -> None:
        store = Store()
        store.kept(1)
        with store.transaction() as txn:
            txn.delete(EPOCH.key(7, 0))
        store.reopen()
        store.abandon_lost()


# --- the crash matrix -----------------------------------------------------------------------------


def world() -> Store:
    """Return a store that has lost parts in an open epoch and in epochs of their own."""
    store = retaining()
    store.kept(3)
    store.kept(1, stream=8)
    store.engine.settle()
    lose(store, 7, 9)
    return store


def steps() -> int:
    store, count = world(), CutAt()
    store.probe(count)
    store.abandon_lost()
    assert count.count > 30
    return count.count


@pytest.mark.parametrize("lose_newest_meta", [False, True])
@pytest.mark.parametrize("step", range(steps()))
def test_cut_anywhere_it_is_done_by_the_next_start(step: int, lose_newest_meta: bool) -> None:
    for seed in range(4):
        store = world()
        store.probe(CutAt(step))
        with pytest.raises(PowerCut):
            store.abandon_lost()
        store.crash(Random(seed), lose_newest_meta=lose_newest_meta)
        store.reopen()
        store.abandon_lost()
        assert store.valid_generations() == [store.vault.generation]
        assert not opens(store)
        assert len(store.rows()) == 4


@pytest.mark.parametrize("name", ["write", "sync", "batch", "settle"])
def test_a_full_disk_leaves_it_for_the_next_time(name: str) -> None:
    store = world()

    def full(step: str) -> None:
        if step == name:
            raise EngineFullError("full")

    store.probe(full)
    with pytest.raises(EngineFullError):
        store.vault.abandon_lost(store.engine, store.token)
    store.probe(None)
    store.reopen()
    store.abandon_lost()
    assert not opens(store)
