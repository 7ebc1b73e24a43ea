"""Know whether the appliance can serve now: a real write, a real read, disk, clock, certificate.

A probe goes through the writer like any command and comes back after its fsync; it writes one
row that is no operation. ``/readyz`` and ``doctor`` report the newest probe.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.context import Context
from appliance.finding_kinds import LEDGER_FINDINGS
from appliance.findings import Finding, Severity
from store.engine.contract import Engine
from store.tables import meta_key
from transports.http.pages import Readiness

STALE_SECONDS: Final = 20.0
"""Age from which a probe's answer counts as no answer."""

STUCK_SECONDS: Final = 60.0
"""Silence of the writer, which answers also when it refuses, after which a restart may help."""

DISK_FLOOR_BYTES: Final = 256 << 20
"""Free bytes below which the appliance says that it is not ready."""

MAP_FLOOR_SHARE: Final = 0.02
"""Share of the map that must be free."""

CLOCK_FLOOR_MS: Final = 1_735_689_600_000
"""2025-01-01: a wall clock before it is wrong."""

_PROBE_KEY = meta_key("probe")
_PROBE_ROW = struct.Struct(">BQ")
_VERSION = 1


class Probe(msgspec.Struct, frozen=True):
    """Ask the writer for a sign of life."""


def decide_probe(context: Context, command: Probe) -> int:
    """Write the probe's row; the reply is its time in Unix ms."""
    del command
    context.txn.put(_PROBE_KEY, _PROBE_ROW.pack(_VERSION, context.now))
    return context.now


DECISIONS: dict[type, Any] = {Probe: decide_probe}


@dataclass(slots=True)
class Health:
    """What was found last; times in seconds of the monotonic clock."""

    engine: Engine
    data_dir: Path | None
    answered_at: float = float("-inf")
    """When a probe came back last, whatever it said."""
    probed_at: float = float("-inf")
    probe_ms: int = 0
    probe_error: str = ""
    certificate_until: datetime | None = None
    examined_ms: int = 0
    """When `doctor --deep` ran last, in Unix ms; 0: not since the start."""
    contradictions: int = 0
    """Findings of integrity that it had."""
    ledger_contradictions: int = 0
    """Those of them that concern the ledger."""

    def examined(self, findings: Iterable[Finding], now_ms: int) -> None:
        """Note what a deep examination has found."""
        found = list(findings)
        self.contradictions = sum(each.severity is Severity.INTEGRITY for each in found)
        self.ledger_contradictions = sum(each.id in LEDGER_FINDINGS for each in found)
        self.examined_ms = now_ms

    def probed(self, now: float, probe_ms: int) -> None:
        """Note a probe that came back, and read its row from a snapshot."""
        with self.engine.snapshot() as reader:
            row = reader.get(_PROBE_KEY)
        is_there = row is not None and _PROBE_ROW.unpack(row)[1] >= probe_ms
        self.probe_error = "" if is_there else "the probe's row is not there"
        self.probed_at, self.probe_ms = now, probe_ms

    def is_alive(self, now: float) -> bool:
        """Tell whether the writer answers at all.

        A full disk, a wrong clock or an old certificate make a server unready, and a restart
        makes none of them better: it would only send away who can still read.
        """
        return now - self.answered_at < STUCK_SECONDS

    def readiness(self, now: float, wall: datetime) -> Readiness:
        """Return whether to send clients here, with each check's finding."""
        checks = {
            "store": self._store(now),
            "disk": self._disk(),
            "clock": "ok" if wall.timestamp() * 1000 >= CLOCK_FLOOR_MS else "before 2025",
            "certificate": self._certificate(wall),
        }
        return Readiness(all(found == "ok" for found in checks.values()), checks)

    def _store(self, now: float) -> str:
        if self.probe_error:
            return self.probe_error
        return "ok" if now - self.probed_at < STALE_SECONDS else "no write has been durable lately"

    def _disk(self) -> str:
        stats = self.engine.stats()
        if stats.used_bytes > stats.capacity_bytes * (1 - MAP_FLOOR_SHARE):
            return "the database is nearly at store.map_bytes"
        if self.data_dir is None:
            return "ok"
        free = shutil.disk_usage(self.data_dir).free
        return "ok" if free >= DISK_FLOOR_BYTES else f"{free >> 20} MiB free"

    def _certificate(self, wall: datetime) -> str:
        until = self.certificate_until
        return "ok" if until is None or wall < until else "expired"
