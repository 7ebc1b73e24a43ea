"""Memory does not grow while people connect, chat and leave, for as long as a soak lasts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from benchmarks import churning

BYTES_PER_CONNECTION: Final = 200.0
"""A connection that left something behind would leave some KiB: its session, socket or codec."""


@pytest.mark.soak
def test_people_who_come_and_go_leave_no_memory_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(churning.SECONDS, os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    figures = churning.run("websocket", tmp_path).details
    assert float(figures["growth_bytes_per_connection"]) < BYTES_PER_CONNECTION, figures
