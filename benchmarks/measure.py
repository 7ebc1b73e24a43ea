"""Take the figures of a run: processor time of both sides, latencies, memory, revision."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[1]

MICRO: Final = 1e6


class Result(msgspec.Struct, frozen=True):
    """One line of output; ``details`` are further figures of a workload, by name with unit.

    ``p50_ms`` and ``p99_ms`` are from the request to its durable answer, as the client sees it.
    """

    workload: str
    carrier: str
    ops: int
    server_cpu_us_per_op: float
    client_cpu_us_per_op: float
    p50_ms: float
    p99_ms: float
    rss_mib: float
    revision: str
    details: dict[str, float | str]
    server: str = "strongroom"

    def line(self) -> str:
        """Return it as one line of JSON, the details beside the other figures.

        ``load`` is how many processes wanted the processor in the last minute, these included.
        """
        flat = msgspec.to_builtins(self)
        flat |= flat.pop("details")
        flat |= {"machine": machine(), "load": round(os.getloadavg()[0], 1)}
        return msgspec.json.encode(flat).decode()


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used so far, user and system, all its threads.

    Reads the process's own CPU clock (``clock_getcpuclockid``): the sum that /proc/PID/stat
    shows in ticks of 10 ms, in nanoseconds.
    """
    return time.clock_gettime((~pid << 3) | 2)


def rss_mib(pid: int, name: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB; ``RssAnon``: without mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def machine() -> str:
    """Return what the figures were taken on: interpreter and number of cores."""
    return f"CPython {platform.python_version()}, {os.cpu_count()} cores"


def revision() -> str:
    """Return the short hash of the commit, with ``+`` when files were changed since."""
    command = ["git", "-c", f"safe.directory={ROOT}", "describe", "--always", "--dirty=+"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    return found.stdout.strip() or "unknown"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie; 0 without any."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Stopwatch:
    """Figures between ``start`` and ``stop``, for a server process and for the load generator.

    The generator is this process and those of ``helpers``. The collector of this process is off
    meanwhile: its pauses would be the server's latency.
    """

    def __init__(self, pid: int, helpers: Sequence[int] = ()) -> None:
        self._pid = pid
        self._helpers = helpers
        self._at = self._server = self._client = 0.0
        self.latencies: list[float] = []
        """Seconds, one for each answer; the workload fills it."""

    def start(self) -> None:
        """Begin."""
        self.latencies.clear()
        gc.collect()
        gc.disable()
        self._server, self._client = cpu_seconds(self._pid), self._generator_seconds()
        self._at = time.perf_counter()

    def _generator_seconds(self) -> float:
        return time.process_time() + sum(cpu_seconds(pid) for pid in self._helpers)

    def stop(self, workload: str, carrier: str, ops: int, **details: float | str) -> Result:
        """End, and return the figures for each of ``ops``."""
        seconds = time.perf_counter() - self._at
        server = cpu_seconds(self._pid) - self._server
        client = self._generator_seconds() - self._client
        gc.enable()
        return Result(
            workload,
            carrier,
            ops,
            round(server / ops * MICRO, 2),
            round(client / ops * MICRO, 2),
            round(percentile(self.latencies, 0.50) * 1e3, 3),
            round(percentile(self.latencies, 0.99) * 1e3, 3),
            round(rss_mib(self._pid), 1),
            revision(),
            {
                "ops_per_second": round(ops / seconds, 1),
                "server_cpu_share": round(server / seconds, 3),
                "client_cpu_share": round(client / seconds, 3),
                **details,
            },
        )
