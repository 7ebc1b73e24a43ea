"""The crash matrix: wherever a root switch or a recovery is cut off, one right root is left.

Every step of engine and key directory is cut, with every way in which a slot may be torn, with
and without the loss of the newest meta page, and the recovery is cut as well. Orders other than
the right one lose the root or leave a destroyed part to be read: the matrix finds each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

import pytest

from store.disk import SECTOR_BYTES, MemoryDisk
from store.engine.contract import Engine
from store.engine.memory import Medium
from store.errors import EngineError, EngineFullError, PartGoneError, VaultLockedError
from store.faults import CutAt, PowerCut
from store.vault import EffaceError, Evidence, Locator, Switch, Vault
from store.vault.roots import Roots
from store.vault.slots import SLOT_BYTES, RootSlots, encode_slot
from store.vault.suites import AES_GCM
from store.vault.wrap import NoWrap
from tests.store.vault.attacker import Attacker
from tests.store.vault.harness import DESTROYED, Store

T = TypeVar("T")

SECTORS: Final = SLOT_BYTES // SECTOR_BYTES
ALL: Final = (1 << SECTORS) - 1
PREFIXES: Final = [(1 << count) - 1 for count in range(SECTORS + 1)]
TORN: Final = sorted(
    {*PREFIXES, *(ALL ^ mask for mask in PREFIXES), *(1 << n for n in range(SECTORS)), 0x55, 0xAA}
)
"""Which of a slot's eight sectors have reached the device when the power fails."""


class Fate(Random):
    """What a crash makes of what was on its way: a batch in flight, and each sector by a mask."""

    def __init__(self, mask: int, *, applies: bool) -> None:
        super().__init__(0)
        self._mask = mask << 1  # the first choice is the file's length, which never changes
        self._applies = applies

    def random(self) -> float:
        return 0.0 if self._applies else 0.9

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        is_new, self._mask = self._mask & 1, self._mask >> 1
        return seq[-1 if is_new else 0]


@dataclass(frozen=True)
class Crash:
    """Where the power fails, and what is left."""

    step: int
    mask: int = ALL
    applies: bool = True
    lose_newest_meta: bool = False
    is_kill: bool = False
    """Only the process ends: nothing that was written is lost."""

    def fate(self) -> Fate:
        return Fate(self.mask, applies=self.applies)


def crashes(steps: Sequence[str], torn: Sequence[int] = TORN) -> Iterator[Crash]:
    """Yield every crash in a run whose steps are ``steps``."""
    for step, name in enumerate(steps):
        masks = torn if name in ("wrote", "sync") else [ALL]
        applies = (False, True) if name == "batch" else (True,)
        for lose in (False, True):
            for mask in masks:
                for each in applies:
                    yield Crash(step, mask, each, lose)


class World:
    """A store about to destroy a part, whose power can be cut."""

    def __init__(self) -> None:
        self.store = Store(medium=Medium(retain=True), disk=MemoryDisk())
        self.doomed = self.store.kept(2, stream=1)
        self.survivors = [*self.store.kept(2, stream=2), *self.store.kept(1, stream=1)]
        self.store.engine.settle()

    def switch(self) -> None:
        self.store.destroy_now(*self.doomed)

    def cut(self, act: Callable[[], None], crash: Crash) -> None:
        self.store.probe(CutAt(crash.step))
        with pytest.raises(PowerCut):
            act()
        self.store.probe(None)
        if not crash.is_kill:
            self.store.crash(crash.fate(), lose_newest_meta=crash.lose_newest_meta)

    def check(self) -> str:
        """Start again and tell what is left: ``kept``, ``destroyed``, or what went wrong."""
        store = self.store
        try:
            store.reopen()
        except VaultLockedError:
            return "root lost"
        assert store.valid_generations() == [store.vault.generation]  # K5
        rows = store.rows()
        gone = {part for part in self.doomed if rows[part] == DESTROYED}
        assert len(gone) == (0 if store.vault.generation == 1 else 2)
        with store.engine.snapshot() as snapshot:
            for part in {*self.survivors, *self.doomed} - gone:
                assert store.open_kept(snapshot, part).startswith(b"%d/" % part.stream)
            for part in gone:
                with pytest.raises(PartGoneError):
                    store.vault.unseal(snapshot, part, b"\x01" + bytes(60), b"")
        return self.told(gone)

    def told(self, gone: set[Locator]) -> str:
        if not gone:
            return "kept"
        attacker = Attacker.at(self.store)
        return "readable" if any(attacker.texts(part) for part in gone) else "destroyed"


def steps_of(act: Callable[[World], None]) -> list[str]:
    """Return the names of the steps of a run that nothing cuts."""
    world, probe = World(), CutAt()
    world.store.probe(probe)
    act(world)
    return probe.seen


def matrix(torn: Sequence[int] = TORN) -> Counter[str]:
    """Cut the switch everywhere and count what is left."""
    found: Counter[str] = Counter()
    for crash in crashes(steps_of(World.switch), torn):
        world = World()
        world.cut(world.switch, crash)
        found[world.check()] += 1
    return found


class TestTheMatrix:
    """The right order: no crash loses the root, and what was destroyed stays so."""

    def test_a_switch_cut_anywhere_is_wholly_done_or_never_was(self) -> None:
        found = matrix()
        assert set(found) == {"kept", "destroyed"}
        assert found.total() > 300
        assert min(found.values()) > 100

    def test_a_recovery_cut_anywhere_is_finished_by_the_next(self) -> None:
        """Cut or kill the switch, cut the recovery, lose a meta page at any, start once more."""
        states = 0
        steps = steps_of(World.switch)
        first = [
            *(Crash(step, is_kill=True) for step in range(len(steps))),
            *(
                crash
                for crash in crashes(steps, [0b111, ALL])
                if crash.step in (1, 3, 4, 5, 6, 12, 13, 15, 17)
            ),
        ]
        for crash in first:
            for second in crashes(self.steps_after(crash), [0, 0b10110, ALL]):
                world = World()
                world.cut(world.switch, crash)
                world.cut(world.store.reopen, second)
                assert world.check() in ("kept", "destroyed")
                states += 1
        assert states > 2_500

    def steps_after(self, crash: Crash) -> list[str]:
        world, probe = World(), CutAt()
        world.cut(world.switch, crash)
        world.store.probe(probe)
        world.store.reopen()
        return probe.seen

    def test_a_killed_process_is_the_mildest_crash(self) -> None:
        for step in range(len(steps_of(World.switch))):
            world = World()
            world.cut(world.switch, Crash(step, is_kill=True))
            assert world.check() in ("kept", "destroyed")


class TestOtherOrders:
    """Each of them fails in the same matrix: so the matrix can fail."""

    torn: Final = [0, 0b11, ALL]

    def check(self) -> Counter[str]:
        return matrix(self.torn)

    def test_effacing_before_settling_loses_the_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def finish(self: Any, engine: Engine) -> None:
            self._roots.promote()
            self._roots.efface_other()
            engine.settle()

        monkeypatch.setattr(Switch, "finish", finish)
        assert self.check()["root lost"] > 5

    def test_never_settling_loses_the_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def finish(self: Any, engine: Engine) -> None:
            self._roots.promote()
            self._roots.efface_other()

        monkeypatch.setattr(Switch, "finish", finish)
        assert self.check()["root lost"] > 5

    def test_effacing_before_the_commit_loses_the_root(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write(self: Any) -> None:
            self._roots.write_next()
            slots = self._roots._tier
            slots.efface(self._roots._number, self._roots._entropy)

        monkeypatch.setattr(Switch, "write", write)
        assert self.check()["root lost"] > 5

    def test_committing_before_the_new_root_is_written_loses_the_root(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finish = Switch.finish

        def write_and_finish(self: Any, engine: Engine) -> Evidence:
            self._roots.write_next()
            return finish(self, engine)

        monkeypatch.setattr(Switch, "write", lambda self: None)
        monkeypatch.setattr(Switch, "finish", write_and_finish)
        assert self.check()["root lost"] > 5

    def test_writing_over_the_root_in_use_loses_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            Roots, "write_next", lambda self: self._write(self._number, self._generation + 1)
        )
        assert self.check()["root lost"] > 5

    def test_not_effacing_leaves_destroyed_parts_to_be_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Roots, "efface_other", Roots._see_alone)
        monkeypatch.setattr(Roots, "is_other_blank", lambda self: True)
        world = World()
        world.switch()
        assert world.told(set(world.doomed)) == "readable"

    def test_effacing_first_at_a_start_loses_the_root(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        committed = Crash(steps_of(World.switch).index("committed"), is_kill=True)
        opened = Vault.open

        def open_and_efface(*args: Any, **options: Any) -> Vault:
            vault = opened(*args, **options)
            vault._roots.efface_other()
            return vault

        monkeypatch.setattr(Vault, "open", open_and_efface)
        found: Counter[str] = Counter()
        for crash in crashes(["write", "wrote", "sync", "synced"] * 2, [ALL]):
            world = World()
            world.cut(world.switch, committed)
            world.cut(world.store.reopen, crash)
            found[world.check()] += 1
        assert found["root lost"] > 3
        assert found["destroyed"] > 3


class TestRecovery:
    """What a start finds, and what it leaves."""

    def test_a_store_without_a_leftover_root_is_left_alone(self) -> None:
        store = Store()
        before = store.medium.used_bytes
        assert not store.vault.recover(store.engine, store.token)
        assert store.medium.used_bytes == before

    def test_a_newer_root_that_was_never_committed_is_effaced(self) -> None:
        world = World()
        step = steps_of(World.switch).index("batch")
        world.cut(world.switch, Crash(step, applies=False))
        assert world.store.valid_generations() == [1, 2]
        assert world.check() == "kept"
        assert world.store.disk.read_back("root.1") == bytes(SLOT_BYTES)
        assert world.store.vault.evidence is None

    def test_the_older_root_of_a_committed_switch_is_effaced(self) -> None:
        world = World()
        step = steps_of(World.switch).index("committed")
        world.cut(world.switch, Crash(step))
        assert world.store.valid_generations() == [1, 2]
        assert world.check() == "destroyed"
        assert world.store.disk.read_back("root.0") == bytes(SLOT_BYTES)
        assert world.store.vault.evidence == Evidence(1, 2, "file", ("root.0",), is_verified=True)

    def test_a_torn_slot_is_effaced(self) -> None:
        world = World()
        world.store.disk.write("root.1", b"STRGROOT" + bytes(2_040))
        assert world.check() == "kept"
        assert world.store.disk.read_back("root.1") == bytes(SLOT_BYTES)

    def test_it_settles_before_it_effaces(self) -> None:
        world = World()
        world.cut(world.switch, Crash(steps_of(World.switch).index("committed")))
        probe = CutAt()
        world.store.probe(probe)
        world.store.reopen()
        kinds = ("committed", "settled", "write", "synced")
        relevant = [step for step in probe.seen if step in kinds]
        assert relevant[-4:] == ["write", "synced", "write", "synced"]
        assert "write" not in relevant[: relevant.index("settled")]
        assert relevant.index("committed") < relevant.index("settled")

    def test_after_it_there_is_nothing_left_to_do(self) -> None:
        world = World()
        world.cut(world.switch, Crash(steps_of(World.switch).index("committed")))
        world.store.reopen()
        assert not world.store.vault.recover(world.store.engine, world.store.token)

    def test_both_slots_bad_ask_for_the_key_replica(self) -> None:
        store = Store()
        for name in ("root.0", "root.1"):
            store.disk.write(name, b"?" * SLOT_BYTES)
        with pytest.raises(VaultLockedError, match="key replica") as caught:
            store.reopen()
        assert "key replica" in caught.value.hint

    @pytest.mark.parametrize("mask", [mask for mask in TORN if mask != ALL])
    def test_a_torn_slot_in_use_is_never_taken(self, mask: int) -> None:
        store = Store()
        data = store.disk.read("root.0") or b""
        for sector in range(SECTORS):
            if not mask >> sector & 1:
                store.disk.write("root.0", bytes(SECTOR_BYTES), sector * SECTOR_BYTES)
        with pytest.raises(VaultLockedError, match="neither"):
            store.reopen()
        store.disk.write("root.0", data)
        store.reopen()

    def test_a_slot_of_a_later_generation_than_the_store_is_not_taken(self) -> None:
        store = Store()
        entropy, wrap = store.entropy, NoWrap()
        parameters = wrap.parameters(entropy)
        slot = encode_slot(3, b"r" * 32, AES_GCM, parameters, wrap.key(parameters), entropy)
        RootSlots(store.disk).write(0, slot)
        with pytest.raises(VaultLockedError, match="generation"):
            store.reopen()


class TestFailingDevices:
    """No step's failure loses anything: the writer goes on, or a restart does."""

    steps: Final = steps_of(World.switch)

    @pytest.mark.parametrize(
        "step", [n for n, name in enumerate(steps) if name in ("write", "sync", "batch", "settle")]
    )
    def test_a_full_device_at_any_write(self, step: int) -> None:
        world = World()
        self.fail_at(world, step, EngineFullError("full"))
        store = world.store
        committed = self.steps.index("committed")
        found = store.try_run(lambda txn: store.destroy(txn, world.doomed))
        assert isinstance(found[0].error, EngineFullError)
        store.probe(None)
        if step > committed:  # too late to withdraw: the next start finishes it
            assert len(store.failures) == 1
            assert world.check() == "destroyed"
            return
        assert store.failures == []
        assert store.valid_generations() == [1]
        assert store.disk.read_back("root.1") == bytes(SLOT_BYTES)
        with store.engine.snapshot() as snapshot:
            for part in (*world.doomed, *world.survivors):
                store.open_kept(snapshot, part)
        world.switch()
        assert world.check() == "destroyed"

    @pytest.mark.parametrize("step", range(len(steps)))
    def test_a_broken_device_at_any_step(self, step: int) -> None:
        world = World()
        store = world.store
        self.fail_at(world, step, EngineError("the device fails"))
        found = store.try_run(lambda txn: store.destroy(txn, world.doomed))
        assert isinstance(found[0].error, EngineError)
        assert len(store.failures) == 1
        store.probe(None)
        valid = store.valid_generations()
        committed = step >= self.steps.index("committed")
        assert (2 if committed else 1) in valid  # the root that the store needs
        store.crash(Random(step))
        assert world.check() == (
            "destroyed" if committed or "batch" in self.steps[step] else "kept"
        )

    @pytest.mark.parametrize("error", [EngineFullError("full"), EngineError("broken")])
    def test_a_device_that_fails_in_recovery_stops_it_and_the_next_goes_on(
        self, error: Exception
    ) -> None:
        cut = Crash(self.steps.index("committed"))
        world = World()
        world.cut(world.switch, cut)
        probe = CutAt()
        world.store.probe(probe)
        world.store.reopen()
        for step, name in enumerate(probe.seen):
            if isinstance(error, EngineFullError) and name in ("committed", "wrote", "synced"):
                continue
            world = World()
            world.cut(world.switch, cut)
            self.fail_at(world, step, error)
            with pytest.raises(type(error)):
                world.store.reopen()
            world.store.probe(None)
            assert world.check() == "destroyed"

    def test_a_slot_that_does_not_read_back_as_zeros_is_never_called_effaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World()
        monkeypatch.setattr(MemoryDisk, "read_back", lambda self, name: b"?" * SLOT_BYTES)
        found = world.store.try_run(lambda txn: world.store.destroy(txn, world.doomed))
        assert isinstance(found[0].error, EffaceError)
        assert len(world.store.failures) == 1
        assert world.store.vault.evidence is None
        monkeypatch.undo()
        assert world.check() == "destroyed"

    def fail_at(self, world: World, step: int, error: Exception) -> None:
        seen: list[str] = []

        def probe(name: str) -> None:
            seen.append(name)
            if len(seen) == step + 1:
                raise error

        world.store.probe(probe)
