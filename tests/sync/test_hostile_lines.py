"""Lines that others have spoiled, and a thin one behind a backlog.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md;
captive portals and TLS inspection are in test_link.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
from trio.testing import MockClock

from sync import link
from sync.limits import KEEPALIVE_SECONDS, SILENCE_SECONDS
from sync.memory import Weather
from sync.pieces import Lane
from sync.session import Up
from tests.sync.lines_made import Relay, campus, until
from tests.sync.model_site import Ends
from tests.sync.test_memory import Pair, running

MTU_BYTES = 1_000
HOARD_BYTES = 8 * 1024
HOARD_SECONDS = 0.02

THIN = Weather(delay_seconds=0.3, bytes_per_second=8_000.0)
MESSAGE_BYTES = 300
BACKLOG_BYTES = 30_000_000
URGENT_SECONDS = 5.0


class Hoarder(Relay):
    """A proxy that gives nothing on before it has much, or nothing more comes."""

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        while data := await source.receive_some():
            hoard = bytearray(data)
            while len(hoard) < HOARD_BYTES:
                with trio.move_on_after(HOARD_SECONDS) as pause:
                    more = await source.receive_some()
                    hoard += more
                if pause.cancelled_caught or not more:
                    break
            await sink.send_all(hoard)


class BlackHole(Relay):
    """A router that drops packets which are too large and says so to nobody, until it is mended.

    What follows a packet that never arrives is of no use to TCP: the connection stands still.
    """

    is_mended = False

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        is_stuck = False
        while data := await source.receive_some():
            is_stuck |= len(data) > MTU_BYTES and not self.is_mended
            if not is_stuck:
                await sink.send_all(data)


def test_32_behind_a_buffering_proxy_everything_arrives_once() -> None:
    async def main() -> None:
        relay = Hoarder()
        async with campus() as place, relay.running(place.address) as address:
            async with place.linking(place.target(address=address)):
                place.fill(400)
                await until(place.is_settled)
            assert place.branch.count(Up) == 1

    trio.run(main)


def test_32_a_line_that_drops_large_packets_is_left_and_works_once_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.2)

    async def main() -> None:
        relay = BlackHole()
        async with (
            campus() as place,
            relay.running(place.address) as address,
            place.linking(place.target(address=address)),
        ):
            await until(lambda: bool(place.branch.missed))
            assert [each.code for each in place.branch.missed] == ["link.lost"]
            assert place.branch.count(Up) == 0
            monkeypatch.setattr(link, "CONNECT_SECONDS", 20.0)
            relay.is_mended = True
            place.fill(50)
            await until(place.is_settled)

    trio.run(main)


def in_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


async def first(end: Ends) -> None:
    while end.count(Up) == 0:  # noqa: ASYNC110 - what is waited for is the state of a site
        await trio.sleep(0.05)


def test_32_a_connection_that_is_half_open_at_both_ends_is_left_in_time() -> None:
    async def main() -> None:
        pair = Pair(weather=Weather(half_open=1.0))
        async with running(pair):
            await first(pair.headquarters)
            pair.link.cut()
            pair.link.heal()
            with trio.fail_after(KEEPALIVE_SECONDS + SILENCE_SECONDS + 10):
                while pair.branch.count(Up) < 2:  # noqa: ASYNC110 - as above
                    await trio.sleep(1.0)

    in_virtual_time(main)


def test_33_an_urgent_message_overtakes_30_megabytes_within_5_seconds_of_link_up() -> None:
    async def main() -> None:
        pair, text = Pair(weather=THIN), Random(1).randbytes
        for _ in range(BACKLOG_BYTES // MESSAGE_BYTES):
            pair.up.add(Lane.MESSAGES, text(MESSAGE_BYTES))
        pair.up.add(Lane.URGENT, b"said before")

        async def is_told(count: int) -> None:
            with trio.fail_after(URGENT_SECONDS):
                while len(pair.down.got[Lane.URGENT]) < count:  # noqa: ASYNC110 - as above
                    await trio.sleep(0.05)

        async with running(pair):
            await first(pair.branch)
            await is_told(1)
            for number in range(2, 6):
                await trio.sleep(20.0)
                pair.up.add(Lane.URGENT, b"said meanwhile")
                pair.link.changed()
                await is_told(number)
            moved = len(pair.down.got[Lane.MESSAGES]) * MESSAGE_BYTES
            assert moved > 40 * THIN.bytes_per_second, "the backlog moves meanwhile"
            assert moved < BACKLOG_BYTES / 10, "and is not nearly through"

    in_virtual_time(main)
