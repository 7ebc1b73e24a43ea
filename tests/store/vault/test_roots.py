"""Roots that are copied into a key replica, and roots that end with the appliance."""

from __future__ import annotations

import pytest

from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.errors import EngineError, VaultLockedError
from store.vault import CredentialWrap, EffaceError, Evidence, NoWrap, RootSlots, Vault
from store.vault.slots import SLOT_BYTES
from tests.store.vault.attacker import Attacker, every_version
from tests.store.vault.harness import Store

WRAP = CredentialWrap(b"credential of another directory!")


class TestReplica:
    """Another key directory can hold the root in use, under its own wrap."""

    def test_the_copy_opens_the_rows_of_its_generation(self) -> None:
        store = Store()
        parts = store.kept(2)
        store.destroy_now(parts[0])
        disk = MemoryDisk()
        assert store.vault.seal_root_into(RootSlots(disk), 1, WRAP) == 2
        with MemoryEngine(store.medium).snapshot() as snapshot:
            vault = Vault.open(snapshot, disk, SeededEntropy("replica"), WRAP)
            assert vault.generation == 2
            store.vault = vault
            assert store.open_kept(snapshot, parts[1]) == b"7/1"

    def test_the_copy_is_durable_and_under_its_own_wrap(self) -> None:
        store = Store()
        disk = MemoryDisk()
        store.vault.seal_root_into(RootSlots(disk), 0, WRAP)
        slot = RootSlots(disk).load()[0]
        assert slot is not None
        assert disk.read_back("root.0") == disk.read("root.0")
        assert slot.open(WRAP.key(slot.wrap)) == store.vault._root()
        with pytest.raises(VaultLockedError):
            NoWrap().key(slot.wrap)

    def test_a_copy_of_an_older_generation_opens_nothing_newer(self) -> None:
        store = Store()
        disk = MemoryDisk()
        parts = store.kept(1)
        store.vault.seal_root_into(RootSlots(disk), 0, WRAP)
        store.destroy_now(*parts)
        with store.engine.snapshot() as snapshot, pytest.raises(VaultLockedError):
            Vault.open(snapshot, disk, SeededEntropy("replica"), WRAP)

    def test_a_closed_vault_gives_no_copy(self) -> None:
        store = Store()
        store.vault.close()
        with pytest.raises(VaultLockedError):
            store.vault.seal_root_into(RootSlots(MemoryDisk()), 0, WRAP)


def test_a_root_that_was_written_is_effaced_before_another_is_begun() -> None:
    roots = Store().vault._roots
    roots.announce(b"n" * 32)
    with pytest.raises(AssertionError, match="one switch"):
        roots.announce(b"m" * 32)
    roots.write_next()
    roots.forget_next()
    with pytest.raises(AssertionError, match="leftover"):
        roots.announce(b"m" * 32)
    roots.efface_other()
    roots.announce(b"m" * 32)
    assert roots.read(2) == b"m" * 32


class TestDecommission:
    """The last root ends: nothing opens any more, from any byte ever written."""

    def test_both_slots_are_blank_and_the_memory_is_wiped(self) -> None:
        store = Store(medium=Medium(retain=True))
        assert isinstance(store.disk, MemoryDisk)
        parts = store.kept(2)
        store.destroy_now(parts[0])
        evidence = store.vault.decommission()
        assert evidence == Evidence(2, None, "file", ("root.0", "root.1"), is_verified=True)
        assert {store.disk.read_back(name) for name in store.disk.names()} == {bytes(SLOT_BYTES)}
        assert not any(store.vault._roots._arena._map[:])
        assert not any(store.vault._arena._map[:])
        attacker = Attacker(every_version(store.medium), [])
        assert [attacker.texts(part) for part in parts] == [set(), set()]
        with pytest.raises(VaultLockedError):
            store.reopen()
        with pytest.raises(VaultLockedError):
            store.vault.decommission()

    def test_before_it_the_attack_would_have_succeeded(self) -> None:
        store = Store(medium=Medium(retain=True))
        (part,) = store.kept(1)
        assert Attacker.at(store).texts(part) == {b"7/0"}

    @pytest.mark.parametrize("failing", ["write", "sync"])
    def test_a_failing_slot_does_not_save_the_other_and_it_can_be_repeated(
        self, failing: str
    ) -> None:
        store = Store()
        assert isinstance(store.disk, MemoryDisk)
        store.disk.write("root.1", store.disk.read("root.0") or b"")
        store.disk.sync("root.1")
        failed: list[str] = []

        def fail_once(step: str) -> None:
            if step == failing and not failed:
                failed.append(step)
                raise EngineError("the device fails")

        store.disk.probe = fail_once
        with pytest.raises(EngineError):
            store.vault.decommission()
        assert store.disk.read_back("root.1") == bytes(SLOT_BYTES)
        store.vault.decommission()
        assert store.valid_generations() == []
        assert store.disk.read_back("root.0") == bytes(SLOT_BYTES)

    def test_a_device_that_keeps_a_slot_is_told(self) -> None:
        class Stubborn(MemoryDisk):
            def read_back(self, name: str) -> bytes:
                return super().read_back(name)[:-1] + b"?"

        store = Store()
        with store.engine.snapshot() as snapshot:
            stubborn = Stubborn()
            stubborn.write("root.0", store.disk.read("root.0") or b"")
            stubborn.sync("root.0")
            vault = Vault.open(snapshot, stubborn, SeededEntropy(1), NoWrap())
        with pytest.raises(EffaceError):
            vault.decommission()
