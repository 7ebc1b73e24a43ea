"""Declare the store's injected ports: clock, entropy and small-file disk."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Nothing below the composition root reads a clock itself."""

    def wall_ms(self) -> int:
        """Return the wall clock in Unix milliseconds (may jump)."""
        ...

    def monotonic_ns(self) -> int:
        """Return a clock that never goes back, in nanoseconds from an arbitrary start."""
        ...

    def boot(self) -> str:
        """Return what names the machine's present boot: another one after each restart of it."""
        ...

    def uptime_ms(self) -> int:
        """Return the time since that boot in milliseconds, time asleep included.

        Unlike the wall clock nobody sets it, and it goes on when this process restarts.
        """
        ...


class Entropy(Protocol):
    """Where randomness comes from."""

    def bytes(self, count: int) -> bytes:
        """Return ``count`` unpredictable bytes."""
        ...


class Disk(Protocol):
    """One directory of small files (root slots, fences) with explicit durability.

    Names are plain file names. A write is durable only after ``sync`` of that name returns;
    a crash before may leave the old bytes, the new ones, or a torn mix of 512-byte sectors.
    """

    def read(self, name: str) -> bytes | None:
        """Return the whole file, or None when it does not exist."""
        ...

    def write(self, name: str, data: bytes, offset: int = 0) -> None:
        """Write in place (creating the file, mode 0600); never truncates, never renames."""
        ...

    def sync(self, name: str) -> None:
        """Return once the file's bytes and its directory entry are durable."""
        ...

    def read_back(self, name: str) -> bytes:
        """Return the file as the device has it, bypassing caches where the system allows."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file durably; no error when it is absent."""
        ...

    def names(self) -> list[str]:
        """Return the names present, sorted."""
        ...

    def close(self) -> None:
        """Give the directory free; idempotent."""
        ...
