"""Who has every byte ever written and the present root opens every survivor and nothing else.

The attacker has all rows that any batch ever brought to the engine, failed and lost ones too, the
key directory as its device has it now, and the present root. What must not open: each part whose
destruction was confirmed, and what a batch sealed that was lost. The machine mixes sealing,
destroying, failing disks and power cuts; the mutants show that the attack is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from store.disk import MemoryDisk
from store.engine.memory import Medium
from store.engine.txn import Txn
from store.errors import EngineFullError, PartGoneError
from store.faults import CutAt, PowerCut
from store.ports import Entropy
from store.tables import EPOCH
from store.vault import Locator, epochs, forest, ggm
from store.vault.epochs import EpochHeader, EpochKeys
from store.vault.forest import FAN_OUT, TOP, Edge, NodeId, SlotId
from store.vault.limits import CONTROL, STANDARD
from store.vault.roots import Roots
from store.vault.suites import Suite
from tests.store.vault.attacker import Attacker
from tests.store.vault.harness import DESTROYED, PRESENT, Store

DAY_MS = 86_400_000

Command = Callable[[Txn], object]

Batch = tuple[list[tuple[int, int]], list[int], bool]
"""Streams and classes to seal in, numbers of parts to destroy, and whether their epochs go too."""

batches = st.tuples(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([CONTROL, STANDARD])), max_size=4),
    st.lists(st.integers(0, 1_000), max_size=4),
    st.booleans(),
)


def retaining() -> Store:
    return Store(medium=Medium(retain=True), disk=MemoryDisk(retain=True))


class VaultMachine(RuleBasedStateMachine):
    """Seal and destroy through the writer, with failures, and attack after every step."""

    @initialize(suite=st.sampled_from([1, 2]))
    def begin(self, suite: int) -> None:
        self.store = Store(suite=suite, medium=Medium(retain=True), disk=MemoryDisk(retain=True))
        self.store.engine.settle()  # a store that loses its very first commit is made again
        self.confirmed: set[Locator] = set()
        self.texts: dict[Locator, set[bytes]] = {}
        self.now_ms = 0
        self.count = 0

    def seal(self, stream: int, retention_class: int) -> Command:
        """Return a command that seals a part and stores it."""
        self.count += 1
        text = b"text %d" % self.count

        def command(txn: Txn) -> None:
            found = self.store.keep(txn, text, stream, retention_class, self.now_ms)
            self.texts.setdefault(found, set()).add(text)

        return command

    def present(self) -> list[Locator]:
        return [part for part, row in self.store.rows().items() if row[:1] == PRESENT]

    def plan(self, batch: Batch) -> tuple[list[Command], set[Locator]]:
        """Make a batch that seals first and then destroys some of what was there before."""
        seals, chosen, whole = batch
        commands = [self.seal(stream, retention_class) for stream, retention_class in seals]
        present = self.present()
        doomed = {present[number % len(present)] for number in chosen} if present else set()
        if whole and doomed:
            names = {(part.stream, part.epoch) for part in doomed}
            doomed = {part for part in present if (part.stream, part.epoch) in names}
        if doomed:
            commands.append(partial(self.store.destroy, locators=doomed))
        return commands, doomed

    @rule(batch=batches)
    def run(self, batch: Batch) -> None:
        commands, doomed = self.plan(batch)
        self.store.run(*commands)
        self.confirmed |= doomed

    @rule(batch=batches)
    def fail_alone(self, batch: Batch) -> None:
        commands, _ = self.plan(batch)

        def fails(txn: Txn) -> None:
            for command in commands:
                command(txn)
            raise KeyError

        self.store.try_run(fails, self.seal(1, STANDARD))
        assert self.store.failures == []

    @rule(step=st.integers(0, 4), batch=batches)
    def run_on_a_full_disk(self, step: int, batch: Batch) -> None:
        commands, doomed = self.plan(batch)
        seen: list[str] = []

        def fill(name: str) -> None:
            seen.append(name)
            if len(seen) == step + 1 and name in ("write", "sync", "batch"):
                raise EngineFullError("full")

        self.store.probe(fill)
        found = self.store.try_run(*commands)
        self.store.probe(None)
        assert self.store.failures == []
        if all(each.error is None for each in found):
            self.confirmed |= doomed
        while self.store.run(self.store.vault.cut_lost)[0]:
            pass

    @rule(step=st.integers(0, 23), seed=st.integers(0, 50), lose=st.booleans(), batch=batches)
    def cut_the_power(
        self,
        step: int,
        seed: int,
        lose: bool,
        batch: Batch,
    ) -> None:
        commands, doomed = self.plan(batch)
        self.store.probe(CutAt(step))
        try:
            self.store.try_run(*commands)
            self.confirmed |= doomed
        except PowerCut:
            pass
        self.store.crash(Random(seed), lose_newest_meta=lose)
        self.start()

    @rule(step=st.integers(0, 60), seed=st.integers(0, 50), lose=st.booleans())
    def cut_the_power_while_starting(self, step: int, seed: int, lose: bool) -> None:
        self.store.probe(CutAt(step))
        try:
            self.start()
        except PowerCut:
            self.store.crash(Random(seed), lose_newest_meta=lose)
            self.start()
        self.store.probe(None)

    @rule()
    def start(self) -> None:
        self.store.reopen()
        self.store.abandon_lost()
        assert self.store.valid_generations() == [self.store.vault.generation]

    @rule()
    def close_epochs(self) -> None:
        self.store.close_epochs()

    @rule()
    def purge(self) -> None:
        self.store.vault.purge()

    @rule(days=st.integers(1, 40))
    def let_time_pass(self, days: int) -> None:
        self.now_ms += days * DAY_MS

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def survivors_open_and_nothing_else(self) -> None:
        rows = self.store.rows()
        gone = {part for part, row in rows.items() if row == DESTROYED}
        assert self.confirmed <= gone
        kept = set()
        with self.store.engine.snapshot() as snapshot:
            for part, row in rows.items():
                if part in gone:
                    with pytest.raises(PartGoneError):
                        self.store.vault.unseal(snapshot, part, self.some_sealing(part), b"")
                else:
                    text = self.store.open_kept(snapshot, part)
                    assert text in self.texts[part]
                    assert row[:1] == PRESENT
                    kept.add(text)
        assert Attacker.at(self.store).everything() == kept

    def some_sealing(self, part: Locator) -> bytes:
        return bytes((self.store.suite,)) + bytes(60)


VaultMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestVaultMachine = VaultMachine.TestCase


# --- mutants ------------------------------------------------------------------------------------


def rekey_keeping(kept_level: int | None) -> Callable[..., tuple[bytes, dict[SlotId, bytes]]]:
    """Return a re-keying of its own that leaves the keys of one level as they are.

    Level 0 is the root, 6 the slot keys. None: it leaves none, and is right.
    """

    def rekey(
        txn: Txn,
        root: bytes,
        places: Iterable[SlotId],
        suite: Suite,
        entropy: Entropy,
        edge: Edge | None,
    ) -> tuple[bytes, dict[SlotId, bytes]]:
        assert edge is None, "this one re-keys what is in use"

        def renewed(level: int, old: bytes) -> bytes:
            return old if level == kept_level else entropy.bytes(32)

        old: dict[NodeId, bytes] = {TOP: root}
        new: dict[NodeId, bytes] = {TOP: renewed(0, root)}
        keys: dict[NodeId, bytearray] = {}
        fresh: dict[SlotId, bytes] = {}
        for place in sorted(places):
            way = forest.way_to(place)
            for step, following in zip(way, [*way[1:], None], strict=True):
                if step.node not in keys:
                    keys[step.node] = bytearray(forest.open_node(txn, old[step.node], step.node))
                held = keys[step.node]
                start = 32 * step.child
                if following is None:
                    fresh[place] = renewed(6, bytes(held[start : start + 32]))
                    held[start : start + 32] = fresh[place]
                elif following.node not in old:
                    old[following.node] = bytes(held[start : start + 32])
                    new[following.node] = renewed(following.node.level, old[following.node])
                    held[start : start + 32] = new[following.node]
        for node, held in keys.items():
            value = forest.seal_node(suite, new[node], node, bytes(held), entropy)
            txn.put(node.key(), value)
        return new[TOP], fresh

    return rekey


def attack(*, streams: int = 3) -> tuple[list[set[bytes]], list[set[bytes]]]:
    """Destroy every other part of a store in two switches; return what opens of each half."""
    store = retaining()
    parts = [part for stream in range(1, streams + 1) for part in store.kept(6, stream)]
    doomed, kept = parts[::2], parts[1::2]
    store.destroy_now(*doomed[:4])
    store.destroy_now(*doomed[4:])
    attacker = Attacker.at(store)
    return [attacker.texts(part) for part in doomed], [attacker.texts(part) for part in kept]


def succeeds() -> bool:
    """Attack, and tell whether a destroyed part opened; survivors always do."""
    destroyed, kept = attack()
    assert all(kept)
    return any(destroyed)


def test_the_attack_fails() -> None:
    assert not succeeds()


def test_a_second_writing_of_the_rekeying_withstands_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("store.vault.forest.rekey", rekey_keeping(None))
    assert not succeeds()


@pytest.mark.parametrize("level", range(6))
def test_keeping_any_key_on_the_way_is_caught(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.vault.forest.rekey", rekey_keeping(level))
    assert succeeds()


def test_using_a_slot_key_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.vault.forest.rekey", rekey_keeping(6))
    assert succeeds()


def test_no_rekeying_at_all_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(
        txn: Txn, root: bytes, places: Iterable[SlotId], suite: Suite, entropy: Entropy, edge: None
    ) -> tuple[bytes, dict[SlotId, bytes]]:
        return root, {place: forest.slot_key(txn, root, place) for place in places}

    monkeypatch.setattr("store.vault.forest.rekey", keep)
    assert succeeds()


def test_a_cover_that_keeps_too_much_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.vault.ggm.puncture", lambda prf, cover, removed, end: dict(cover))
    assert succeeds()


def test_a_root_that_is_not_effaced_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roots, "efface_other", Roots._see_alone)
    assert succeeds()


def index_seeds_that_outlive() -> set[bytes]:
    """Return what an attacker still has of an epoch's index seed from before its puncture."""
    store = retaining()
    parts = store.kept(2)
    before = Attacker.at(store).index_seeds(7, 0)
    assert len(before) == 1
    store.destroy_now(parts[0])
    after = Attacker.at(store).index_seeds(7, 0)
    assert len(after) == 1
    return before & after


def test_index_seeds_end_with_the_puncture() -> None:
    assert index_seeds_that_outlive() == set()


def test_keeping_the_index_seed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    seal_row = epochs.seal_row

    def keep(
        row_key: bytes, header: EpochHeader, keys: EpochKeys, slot_key: bytes, entropy: Entropy
    ) -> bytes:
        return seal_row(row_key, header, EpochKeys(b"i" * 32, keys.cover), slot_key, entropy)

    monkeypatch.setattr("store.vault.epochs.seal_row", keep)
    assert index_seeds_that_outlive() == {b"i" * 32}


def test_the_forensic_test_knows_the_whole_forest() -> None:
    """Nothing that the vault writes is unknown to the attacker: rows of any other kind."""
    store = retaining()
    store.destroy_now(*store.kept(2))
    known = {EPOCH.prefix(), NodeId(0, 0, 0).key()[:3]}
    with store.engine.snapshot() as snapshot:
        rows = dict(snapshot.range(b"\x20", b"\x30"))
    no_keys = {b"\x21\x00\x01", b"\x25\x00\x01"}  # TREE and FILL: numbers
    assert {key[:3] for key in rows} - known == no_keys
    assert FAN_OUT == 126
    assert ggm.DEPTH == 6
