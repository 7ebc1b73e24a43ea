"""Recovery at start: one valid root is left, in the right order, through every crash."""

from __future__ import annotations

from random import Random

import pytest

from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import EngineError, StoreError
from store.faults import CutAt, PowerCut
from store.tables import meta_key
from store.vault import NoWrap, Vault, forest
from store.vault.slots import RootSlots, encode_slot
from store.vault.suites import AES_GCM
from tests.store.vault.harness import CONTEXT, Store

NEW_ROOT_SEED = "root switch"


def next_generation(store: Store) -> tuple[bytes, Txn]:
    """Prepare a root switch: the new slot's bytes, and the transaction that goes with it."""
    txn = Txn(store.engine.snapshot())
    entropy = SeededEntropy(NEW_ROOT_SEED)
    place = forest.SlotId(0, 0)
    root, fresh = forest.rekey(txn, store.vault._root(), [place], AES_GCM, entropy)
    del fresh
    generation = store.vault.generation + 1
    txn.put(meta_key("vault"), bytes((1, 1)) + generation.to_bytes(8, "big"))
    parameters = NoWrap().parameters(entropy)
    key = NoWrap().key(parameters)
    return encode_slot(generation, root, AES_GCM, parameters, key, entropy), txn


def valid_generations(disk: MemoryDisk) -> list[int]:
    return [slot.generation for slot in RootSlots(disk).load() if slot is not None]


class World:
    """A store whose power can be cut, and that is then started again."""

    def __init__(self) -> None:
        self.disk, self.medium = MemoryDisk(), Medium()
        store = Store(disk=self.disk, medium=self.medium)
        store.seal(b"destroyed", stream=1)
        self.part = store.seal(b"survivor", stream=2)
        store.engine.settle()
        self.slot, self.txn = next_generation(store)
        self.store = store

    def switch(self) -> None:
        """Steps 2 and 3 of a root switch, without the effacing."""
        RootSlots(self.disk).write(1, self.slot)
        self.store.engine.batch(self.txn.writes, self.store.token)

    def start(self) -> Vault:
        """Open the vault and recover, as the composition root does."""
        engine = MemoryEngine(self.medium)
        token = engine.acquire()
        with engine.snapshot() as snapshot:
            vault = Vault.open(snapshot, self.disk, SeededEntropy("start"), NoWrap())
        vault.recover(engine, token)
        return vault

    def crash(self, rng: Random, *, lose_newest_meta: bool) -> None:
        self.medium.probe = self.disk.probe = None
        self.medium.crash(rng, lose_newest_meta=lose_newest_meta)
        self.disk.crash(rng)

    def check(self) -> int:
        """Start once more; exactly one root is valid, fits the store and opens the survivor."""
        vault = self.start()
        assert valid_generations(self.disk) == [vault.generation]
        with MemoryEngine(self.medium).snapshot() as snapshot:
            assert vault.unseal(snapshot, *self.part, CONTEXT) == b"survivor"
        return vault.generation


def steps_of(run: str) -> int:
    world, probe = World(), CutAt()
    world.medium.probe = world.disk.probe = probe
    world.switch()
    if run == "recovery":
        probe.count = 0
        world.start()
    return probe.count


def test_a_store_without_a_leftover_root_is_left_alone() -> None:
    store = Store()
    before = store.medium.used_bytes
    assert not store.vault.recover(store.engine, store.token)
    assert store.medium.used_bytes == before


def test_a_newer_root_that_was_never_committed_is_effaced() -> None:
    world = World()
    RootSlots(world.disk).write(1, world.slot)
    assert valid_generations(world.disk) == [1, 2]
    assert world.start().generation == 1
    assert valid_generations(world.disk) == [1]
    assert world.disk.read_back("root.1") == bytes(4_096)


def test_the_older_root_of_a_committed_switch_is_effaced() -> None:
    world = World()
    world.switch()
    assert world.start().generation == 2
    assert valid_generations(world.disk) == [2]
    assert world.disk.read_back("root.0") == bytes(4_096)


def test_a_torn_slot_is_effaced() -> None:
    world = World()
    world.disk.write("root.1", world.slot[:2_048])
    world.start()
    assert world.disk.read_back("root.1") == bytes(4_096)


def test_recovery_settles_before_it_effaces() -> None:
    world = World()
    world.switch()
    probe = CutAt()
    engine = MemoryEngine(world.medium)
    token = engine.acquire()
    with engine.snapshot() as snapshot:
        vault = Vault.open(snapshot, world.disk, SeededEntropy("start"), NoWrap())
    world.medium.probe = world.disk.probe = probe
    assert vault.recover(engine, token)
    relevant = [step for step in probe.seen if step in ("committed", "settled", "write", "synced")]
    assert relevant[-4:] == ["write", "synced", "write", "synced"]
    assert "write" not in relevant[: relevant.index("settled")]
    assert relevant.index("committed") < relevant.index("settled")


def test_after_recovery_there_is_nothing_left_to_do() -> None:
    world = World()
    world.switch()
    vault = world.start()
    engine = MemoryEngine(world.medium)
    assert not vault.recover(engine, engine.acquire())


@pytest.mark.parametrize("lose_newest_meta", [False, True])
@pytest.mark.parametrize("step", range(steps_of("switch")))
def test_no_crash_in_the_switch_loses_the_root(step: int, lose_newest_meta: bool) -> None:
    for seed in range(8):
        world = World()
        world.medium.probe = world.disk.probe = CutAt(step)
        with pytest.raises(PowerCut):
            world.switch()
        world.crash(Random(seed), lose_newest_meta=lose_newest_meta)
        assert world.check() in (1, 2)


@pytest.mark.parametrize("lose_newest_meta", [False, True])
@pytest.mark.parametrize("step", range(steps_of("recovery")))
def test_no_crash_in_recovery_loses_the_root(step: int, lose_newest_meta: bool) -> None:
    for seed in range(8):
        world = World()
        world.switch()
        world.medium.probe = world.disk.probe = CutAt(step)
        with pytest.raises(PowerCut):
            world.start()
        world.crash(Random(seed), lose_newest_meta=lose_newest_meta)
        world.check()


@pytest.mark.parametrize("step", range(steps_of("recovery")))
def test_a_killed_recovery_is_finished_by_the_next(step: int) -> None:
    world = World()
    world.switch()
    world.medium.probe = world.disk.probe = CutAt(step)
    with pytest.raises(PowerCut):
        world.start()
    world.medium.probe = world.disk.probe = None
    assert world.check() == 2


def test_effacing_before_settling_would_lose_the_root() -> None:
    """Show that the crash test can fail: the wrong order does lose the root."""
    world = World()
    world.switch()
    RootSlots(world.disk).efface(0, SeededEntropy("wrong order"))
    world.crash(Random(0), lose_newest_meta=True)
    with pytest.raises(StoreError):
        world.check()


def test_a_disk_that_fails_while_effacing_stops_recovery() -> None:
    world = World()
    world.switch()
    seen = []

    def fail(step: str) -> None:
        seen.append(step)
        if step == "sync" and seen.count("write") == 1:
            raise EngineError("the device fails")

    world.disk.probe = fail
    with pytest.raises(EngineError):
        world.start()
    world.disk.probe = None
    assert world.check() == 2
