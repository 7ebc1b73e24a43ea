"""Keep a link below a number of bytes a second, in each direction that it controls."""

from __future__ import annotations

import trio

from sync.driver import Line
from sync.limits import BANDWIDTH_BURST_SECONDS


class Bandwidth:
    """A bucket that all lines of a link fill in one direction.

    Args:
        bytes_per_second: of what the link itself sends or takes; TLS and headers come on top,
            about a tenth.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._seconds_per_byte = 1 / bytes_per_second
        self._empty_at = 0.0

    async def spend(self, count: int) -> None:
        """Return when ``count`` more bytes are in order."""
        now = trio.current_time()
        self._empty_at = max(self._empty_at, now) + count * self._seconds_per_byte
        await trio.sleep_until(self._empty_at - BANDWIDTH_BURST_SECONDS)


class SlowLine:
    """A line that takes and gives no faster than two buckets allow.

    What is not read fills the windows of HTTP/2, which then stop the peer.
    """

    def __init__(self, line: Line, up: Bandwidth, down: Bandwidth) -> None:
        self._line = line
        self._up = up
        self._down = down
        self.aclose = line.aclose

    async def receive(self) -> bytes:
        """Return what arrived next, no earlier than it may have come."""
        data = await self._line.receive()
        await self._down.spend(len(data))
        return data

    async def send(self, data: bytes) -> None:
        """Send when it is in order."""
        await self._up.spend(len(data))
        await self._line.send(data)
