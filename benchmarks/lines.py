"""What a connection of the load generator is, on any carrier, and how one waits for its answer.

A line never waits by itself: opening one is a generator that yields whenever it has to, so one
process can open thousands at once, or one after the other.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

CONNECT_SECONDS: Final = 10.0
TURN_MS: Final = 25
"""How long a turn waits at the most, so that QUIC's timers are served, in milliseconds."""

Events = int
"""A mask of what ``epoll`` can wait for."""


class LineLostError(RuntimeError):
    """The server closed a connection."""


class Wire(NamedTuple):
    """What one connection has put on the wire, each way; bytes with the headers of IP and above."""

    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int

    def since(self, before: Wire) -> Wire:
        """Return the difference."""
        return Wire(*(now - then for now, then in zip(self, before, strict=True)))


class Line(Protocol):
    """One connection; payloads are queued, then flushed together."""

    has_timers: bool
    """Whether ``receive`` has something to do even when nothing has arrived."""

    def open(self) -> Iterator[Events]:
        """Connect; yields what to wait for each time, ends when payloads may be sent."""
        ...

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        ...

    def frame(self, payload: bytes) -> bytes:
        """Return a payload as it stands on this carrier, to be queued."""
        ...

    def queue(self, framed: bytes) -> None:
        """Collect what the next flush sends."""
        ...

    def flush(self) -> None:
        """Send what was collected, if anything."""
        ...

    def receive(self) -> list[bytes]:
        """Return the payloads that have arrived; does not wait."""
        ...

    def wire(self) -> Wire:
        """Return what has travelled so far."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Waited(Protocol):
    """Whatever has a socket to wait for."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        ...


def carry_on(line: Waited, steps: Iterator[Events]) -> None:
    """Take all steps, waiting for the socket in between; raises ``TimeoutError``."""
    deadline = time.monotonic() + CONNECT_SECONDS
    for events in steps:
        poll = select.poll()
        poll.register(line.fileno(), events)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1e3):
            raise TimeoutError("the server does not answer")


def open_now(line: Line) -> None:
    """Open a line, waiting for it; closed again when that fails.

    Raises ``TimeoutError``, ``OSError`` and ``LineLostError``.
    """
    try:
        carry_on(line, line.open())
    except BaseException:
        line.close()
        raise


def wait_for(line: Line) -> list[bytes]:
    """Return the next payloads of one connection; raises ``TimeoutError``."""
    deadline = time.monotonic() + CONNECT_SECONDS
    poll = select.poll()
    poll.register(line.fileno(), select.POLLIN)
    while time.monotonic() < deadline:
        payloads = line.receive()
        line.flush()
        if payloads:
            return payloads
        poll.poll(TURN_MS)
    raise TimeoutError("the server does not answer")
