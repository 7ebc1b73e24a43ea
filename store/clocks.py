"""Implement the clock and entropy ports: the system's own, and seeded ones for simulation."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

NS_PER_MS = 1_000_000

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The operating system's clocks."""

    def __init__(self) -> None:
        try:
            self._boot = _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            self._boot = ""

    def wall_ms(self) -> int:
        """Return the wall clock in Unix milliseconds (may jump)."""
        return time.time_ns() // NS_PER_MS

    def monotonic_ns(self) -> int:
        """Return a clock that never goes back, in nanoseconds from an arbitrary start."""
        return time.monotonic_ns()

    def boot(self) -> str:
        """Return the kernel's random id of this boot; empty where it tells none."""
        return self._boot

    def uptime_ms(self) -> int:
        """Return the time since the machine's boot in milliseconds, time asleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // NS_PER_MS


class SystemEntropy:
    """The operating system's random number generator."""

    def bytes(self, count: int) -> bytes:
        """Return ``count`` unpredictable bytes."""
        return os.urandom(count)


class ManualClock:
    """A clock that moves only when told; the wall clock may also be set wrong.

    ``reboot`` lets the machine restart: uptime begins at zero under another name.
    """

    def __init__(self, wall_ms: int = 1_750_000_000_000, monotonic_ns: int = 0) -> None:
        self._wall_ms = wall_ms
        self._monotonic_ns = monotonic_ns
        self._boots = 1
        self._booted_ns = monotonic_ns

    def wall_ms(self) -> int:
        """Return the wall clock in Unix milliseconds."""
        return self._wall_ms

    def boot(self) -> str:
        """Return the number of the boot."""
        return f"boot-{self._boots}"

    def uptime_ms(self) -> int:
        """Return the time since the last ``reboot`` in milliseconds."""
        return (self._monotonic_ns - self._booted_ns) // NS_PER_MS

    def reboot(self, off_ms: int = 0) -> None:
        """Restart the machine after ``off_ms`` without power, which no clock but the wall's saw."""
        self._wall_ms += off_ms
        self._boots += 1
        self._booted_ns = self._monotonic_ns

    def monotonic_ns(self) -> int:
        """Return the monotonic clock in nanoseconds."""
        return self._monotonic_ns

    def advance(self, milliseconds: int) -> None:
        """Let time pass on both clocks; raises ``ValueError`` for a negative span."""
        if milliseconds < 0:
            raise ValueError("time does not pass backwards")
        self._wall_ms += milliseconds
        self._monotonic_ns += milliseconds * NS_PER_MS

    def set_wall_ms(self, wall_ms: int) -> None:
        """Let the wall clock jump, forwards or back; the monotonic clock stays."""
        self._wall_ms = wall_ms


class SeededEntropy:
    """Repeatable bytes for simulation, by no means secret.

    The same seed and the same sequence of calls give the same bytes: call ``n`` returns
    SHAKE-256(seed || n u64).
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = repr(seed).encode()
        self._calls = 0

    def bytes(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        block = self._seed + self._calls.to_bytes(8, "big")
        self._calls += 1
        return hashlib.shake_256(block).digest(count)
