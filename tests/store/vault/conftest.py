"""Make vaults cheap: a small arena for their seeds."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _small_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.vault.vault.SEED_CELLS", 4_096)
