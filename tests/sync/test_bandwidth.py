"""A link with a limit sends and takes no more than that, over all its connections together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from sync.bandwidth import Bandwidth, SlowLine
from sync.limits import BANDWIDTH_BURST_SECONDS

RATE = 10_000


class Endless:
    """A line that gives and takes at any speed."""

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(1_000)

    async def send(self, data: bytes) -> None:
        del data
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def seconds(main: Callable[[SlowLine, SlowLine], Awaitable[None]]) -> float:
    """Return how long something takes with two lines that share a limit."""

    async def run() -> float:
        up, down = Bandwidth(RATE), Bandwidth(RATE)
        lines = [SlowLine(Endless(), up, down) for _ in range(2)]
        began = trio.current_time()
        await main(*lines)
        return trio.current_time() - began

    return trio.run(run, clock=MockClock(autojump_threshold=0))


async def send(line: SlowLine, count: int) -> None:
    for _ in range(count):
        await line.send(bytes(1_000))


async def receive(line: SlowLine, count: int) -> None:
    for _ in range(count):
        await line.receive()


@pytest.mark.parametrize("move", [send, receive])
def test_bytes_take_their_time_in_each_direction(
    move: Callable[[SlowLine, int], Awaitable[None]],
) -> None:
    async def main(line: SlowLine, other: SlowLine) -> None:
        del other
        await move(line, 60)

    assert seconds(main) == pytest.approx(60_000 / RATE - BANDWIDTH_BURST_SECONDS)


def test_two_connections_share_the_limit_and_the_directions_do_not() -> None:
    async def main(one: SlowLine, other: SlowLine) -> None:
        async with trio.open_nursery() as nursery:
            for line in (one, other):
                nursery.start_soon(send, line, 30)
                nursery.start_soon(receive, line, 30)

    assert seconds(main) == pytest.approx(60_000 / RATE - BANDWIDTH_BURST_SECONDS)


def test_silence_saves_nothing_for_later() -> None:
    async def main(line: SlowLine, other: SlowLine) -> None:
        del other
        await trio.sleep(100)
        await send(line, 60)

    assert seconds(main) == pytest.approx(100 + 60_000 / RATE - BANDWIDTH_BURST_SECONDS)
