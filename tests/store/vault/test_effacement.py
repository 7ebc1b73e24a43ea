"""Tiers: the file tier is whole, the others refuse plainly."""

from __future__ import annotations

import pytest

from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.vault import EffacementTier, NoWrap, UnsupportedTierError, Vault
from store.vault.effacement import TIERS, tier
from store.vault.slots import RootSlots


def test_the_file_tier_keeps_its_slots_in_the_key_directory() -> None:
    slots: EffacementTier = tier("file")(MemoryDisk())
    assert isinstance(slots, RootSlots)
    assert slots.tier == "file"


@pytest.mark.parametrize("name", [*TIERS[1:], "paper"])
def test_other_tiers_are_refused_before_anything_is_written(name: str) -> None:
    disk = MemoryDisk()
    with MemoryEngine().snapshot() as snapshot:
        txn = Txn(snapshot)
        with pytest.raises(UnsupportedTierError, match=name) as caught:
            Vault.create(txn, disk, SeededEntropy(1), NoWrap(), tier=name)
        assert caught.value.code == "vault.tier_unsupported"
        assert "file" in caught.value.hint
        assert not caught.value.retryable
        assert dict(txn.writes) == {}
    assert disk.names() == []
