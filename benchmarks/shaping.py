"""Decide when a packet leaves one direction of a line, or that it is lost: rate, delay, loss.

A packet first waits for those before it, at the line's rate; what does not fit into the queue is
dropped. Then it is lost or not, by dice; then it is on its way for the line's delay. The order
stays. Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """What a line is like in each of its directions.

    Args:
        bytes_per_second: of whole IP packets; 0: as fast as the machine.
        delay_seconds: one way, half of the round trip.
        loss: share of packets that get lost, each by itself.
        queue_bytes: what waits in front of the line at the most.
    """

    bytes_per_second: float = 0.0
    delay_seconds: float = 0.0
    loss: float = 0.0
    queue_bytes: int = 64 * 1024


NEAR: Final = Shape(delay_seconds=0.005)
"""A good line within a town."""

THIN: Final = Shape(bytes_per_second=8_000.0, delay_seconds=0.3, loss=0.05)
"""64 kbit/s, 600 ms round trip, 5 % loss each way, and a queue of 8 s, as cheap modems have."""


class Direction:
    """One direction of a line; counts what it carried and what it dropped or lost."""

    def __init__(self, shape: Shape, dice: Random) -> None:
        self.shape = shape
        self.packets = self.packet_bytes = self.lost = 0
        self._dice = dice
        self._free_at = 0.0

    def leaves_at(self, size: int, now: float) -> float | None:
        """Return when a packet of ``size`` bytes arrives at the other end; None: never."""
        shape = self.shape
        begins = max(now, self._free_at)
        if shape.bytes_per_second:
            if (begins - now) * shape.bytes_per_second + size > shape.queue_bytes:
                self.lost += 1
                return None
            self._free_at = begins + size / shape.bytes_per_second
        else:
            self._free_at = begins
        self.packets += 1
        self.packet_bytes += size
        if self._dice.random() < shape.loss:
            self.lost += 1
            return None
        return self._free_at + shape.delay_seconds
