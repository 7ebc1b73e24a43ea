"""Two sites over lines that fail in every way come to hold the same, once and in order."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from math import inf
from random import Random

import pytest
import trio
from trio.testing import MockClock

from store.ids import Stream, StreamKind
from sync.limits import SILENCE_SECONDS
from sync.memory import FAIR, MemoryLink, Weather
from sync.pieces import NUMBERED, Lane
from sync.reception import Reception
from sync.session import Acknowledged, Answered, Up
from tests.sync.model_site import Ends, ModelReplica

BRANCH, HEADQUARTERS = b"B" * 16, b"H" * 16
BAD = Weather(0.3, 8_000, cut_bytes=6_000, cut_in_frame=0.5, half_open=0.4, refused=0.2)
GIVE_UP_SECONDS = 100_000


class Pair:
    """A branch and headquarters with a line between them."""

    def __init__(self, seed: int = 0, weather: Weather = FAIR, take_seconds: float = 0.0) -> None:
        self.random = Random(seed)
        self.up = ModelReplica(BRANCH, take_seconds)
        self.down = ModelReplica(HEADQUARTERS, take_seconds)
        self.branch = Ends(BRANCH, lambda node: self.up, seed)
        self.headquarters = Ends(HEADQUARTERS, lambda node: self.down, seed + 1)
        self.reception = Reception(self.headquarters.site)
        self.link = MemoryLink(self.branch.site, self.reception, HEADQUARTERS, self.random, weather)

    def fill(self, count: int) -> None:
        for number in range(count):
            for end in (self.up, self.down):
                lane = self.random.choice(NUMBERED)
                end.add(lane, b"%d " % number + self.random.randbytes(self.random.randrange(200)))

    def is_settled(self) -> bool:
        pairs = ((self.up, self.down), (self.down, self.up))
        return all(
            there.cursors[lane] == len(here.sent) for here, there in pairs for lane in NUMBERED
        )

    def assert_whole(self) -> None:
        for here, there in ((self.up, self.down), (self.down, self.up)):
            for lane in NUMBERED:
                assert there.got[lane] == here.bodies(lane)


@asynccontextmanager
async def running(pair: Pair) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.link.run)
        with trio.fail_after(GIVE_UP_SECONDS):
            yield
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is the state of two sites
        await trio.sleep(0.5)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_fair_line_carries_everything_both_ways() -> None:
    async def main() -> None:
        pair = Pair()
        pair.fill(300)
        async with running(pair):
            await until(pair.is_settled)
            pair.fill(20)
            pair.link.changed()
            await until(pair.is_settled)
        pair.assert_whole()
        assert pair.branch.count(Up) == pair.headquarters.count(Up) == 1

    run(main)


@pytest.mark.parametrize("seed", range(12))
def test_lines_that_break_at_any_byte_lose_nothing_and_repeat_nothing(seed: int) -> None:
    async def main() -> None:
        pair = Pair(seed, BAD, take_seconds=0.01)
        pair.fill(150)
        async with running(pair):
            for _ in range(5):
                await trio.sleep(pair.random.uniform(0, 40))
                pair.fill(5)
                pair.link.changed()
                pair.random.choice([pair.link.connect, pair.link.cut])()
                await trio.sleep(pair.random.uniform(0, 10))
                pair.link.heal()
            pair.link.weather = FAIR
            await until(pair.is_settled)
        pair.assert_whole()
        assert pair.branch.count(Up) > 1, "the line did break"

    run(main)


def weather_of(random: Random) -> Weather:
    """Draw what lines are like: near and far, wide and thin, calm and torn."""
    return Weather(
        random.choice([0.0, 0.05, 0.3, 1.5]),
        random.choice([2_000, 8_000, 100_000, inf]),
        cut_bytes=random.choice([300, 2_000, 6_000, 50_000]),
        cut_in_frame=random.random(),
        half_open=random.random(),
        refused=random.choice([0, 0.3]),
    )


async def stormy(seed: int) -> None:
    """Let two sites write while the line tears, is cut, heals, and is dialled anew."""
    random = Random(seed)
    pair = Pair(seed, weather_of(random), take_seconds=random.choice([0, 0.01, 0.5]))
    pair.fill(random.choice([0, 50, 300]))
    async with running(pair):
        for _ in range(6):
            await trio.sleep(random.uniform(0, 40))
            pair.fill(random.choice([1, 5, 30]))
            pair.link.changed()
            random.choice([pair.link.connect, pair.link.cut, pair.link.heal])()
            await trio.sleep(random.uniform(0, 10))
            pair.link.heal()
        pair.link.weather = random.choice([FAIR, Weather(0.3, 8_000)])
        await until(pair.is_settled)
    pair.assert_whole()


@pytest.mark.soak
def test_storms_of_every_kind_lose_nothing_and_repeat_nothing() -> None:
    ends_at = time.monotonic() + float(os.environ.get("STRONGROOM_SOAK_SECONDS", "60"))
    for seed in count():
        if time.monotonic() >= ends_at:
            break
        trio._core._run._r.seed(seed)
        try:
            trio.run(stormy, seed, clock=MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("seed", range(40))
def test_a_storm_loses_nothing_and_repeats_nothing(seed: int) -> None:
    trio._core._run._r.seed(seed)
    trio.run(stormy, seed, clock=MockClock(autojump_threshold=0))


def test_fifty_branches_that_come_back_at_once_are_all_served() -> None:
    async def main() -> None:
        first = Pair()
        pairs = [first]
        for number in range(1, 50):
            pair = Pair(number, Weather(0.1, 50_000))
            node = number.to_bytes(16)
            pair.up, pair.down = ModelReplica(node), ModelReplica(HEADQUARTERS)
            pairs.append(pair)
        by_node = {pair.up.origin.node: pair.down for pair in pairs}
        headquarters = Ends(HEADQUARTERS, by_node.__getitem__)
        reception = Reception(headquarters.site)
        async with trio.open_nursery() as nursery:
            for pair in pairs:
                pair.fill(40)
                branch = Ends(pair.up.origin.node, lambda node, pair=pair: pair.up)  # type: ignore[misc]
                pair.link = MemoryLink(
                    branch.site, reception, HEADQUARTERS, pair.random, pair.link.weather
                )
                nursery.start_soon(pair.link.run)
            with trio.fail_after(GIVE_UP_SECONDS):
                await until(lambda: len(reception.links) == 50)
                for pair in pairs:
                    pair.link.cut()
                    pair.fill(10)
                    pair.link.heal()
                await until(lambda: all(pair.is_settled() for pair in pairs))
            nursery.cancel_scope.cancel()
        for pair in pairs:
            pair.assert_whole()

    run(main)


def test_an_operation_arrives_after_all_that_were_before_it_in_more_urgent_lanes() -> None:
    async def main() -> None:
        pair = Pair(3, Weather(0.3, 8_000))
        pair.fill(400)
        async with running(pair):
            await until(pair.is_settled)
        done = dict.fromkeys(NUMBERED, 0)
        last = {
            lane: [n for n, (each, _) in enumerate(pair.up.sent, 1) if each is lane]
            for lane in NUMBERED
        }
        for lane, number in pair.down.order:
            done[lane] = number
            for other in range(lane):
                before = [n for n in last[Lane(other)] if n < number]
                assert not before or done[Lane(other)] >= before[-1]

    run(main)


def test_the_newest_connection_of_a_branch_wins_over_a_half_open_one() -> None:
    async def main() -> None:
        pair = Pair()
        async with running(pair):
            await until(lambda: pair.headquarters.count(Up) == 1)
            pair.link.connect()
            pair.fill(10)
            await until(pair.is_settled)
            assert len(pair.reception.links) == 1
        assert "link.replaced" in pair.headquarters.errors()
        pair.assert_whole()

    run(main)


def test_a_line_that_swallows_everything_is_noticed_by_its_silence() -> None:
    async def main() -> None:
        pair = Pair(weather=Weather(cut_bytes=1_500, half_open=1.0))
        pair.fill(100)
        async with running(pair):
            await until(lambda: "link.lost" in pair.branch.errors())
            assert trio.current_time() < 4 * SILENCE_SECONDS + 60
            pair.link.weather = FAIR
            await until(pair.is_settled)
        pair.assert_whole()

    run(main)


def test_what_is_durable_is_acknowledged() -> None:
    async def main() -> None:
        pair = Pair()
        pair.up.add(Lane.MESSAGES, b"one")
        async with running(pair):
            await until(lambda: pair.branch.count(Acknowledged) > 0)
            assert Acknowledged(Lane.MESSAGES, 1) in pair.branch.effects
            assert pair.down.got[Lane.MESSAGES] == [b"one"]

    run(main)


def test_lanes_that_hold_nothing_advance_after_a_while_without_a_frame_each() -> None:
    async def main() -> None:
        pair = Pair()
        pair.up.add(Lane.CONTROL, b"one")
        async with running(pair):
            await until(lambda: pair.down.cursors[Lane.CONTROL] == 1)
            assert pair.down.cursors[Lane.RECEIPTS] == 0
            await until(pair.is_settled)

    run(main)


def test_history_comes_over_a_connection_of_its_own_and_survives_a_break() -> None:
    async def main() -> None:
        stream = Stream(StreamKind.CONVERSATION, b"c" * 16)
        pair = Pair(weather=Weather(0.05, 20_000, cut_bytes=60_000, half_open=0))
        pair.down.past[stream] = [b"%d" % n * 20 for n in range(1, 4_001)]
        async with running(pair):
            await until(lambda: pair.branch.count(Up) > 0)
            while pair.branch.count(Answered) == 0:
                driver = pair.branch.driver
                if driver is not None and driver.session.is_up and not driver.session.wants_bulk:
                    with driver.order() as session:
                        if not session.open_questions:
                            session.want(stream, 4_001, 700)
                await trio.sleep(1)
        assert set(pair.up.got[Lane.HISTORY][-700:]) == set(pair.down.past[stream][-700:])

    run(main)


def test_an_urgent_message_does_not_wait_for_a_backlog() -> None:
    async def main() -> None:
        pair = Pair(5, Weather(0.3, 8_000))
        for _ in range(2_000):
            pair.up.add(Lane.MESSAGES, pair.random.randbytes(300))
        async with running(pair):
            await until(lambda: len(pair.down.got[Lane.MESSAGES]) > 50)
            pair.up.add(Lane.URGENT, b"now")
            pair.link.changed()
            began = trio.current_time()
            await until(lambda: pair.down.got[Lane.URGENT] == [b"now"])
            assert trio.current_time() - began < 5
            assert len(pair.down.got[Lane.MESSAGES]) < 1_000

    run(main)


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> tuple[list[str], float]:
        found: list[tuple[list[str], float]] = []

        async def main() -> None:
            pair = Pair(7, BAD)
            pair.fill(60)
            async with running(pair):
                await until(pair.is_settled)
            found.append((pair.branch.errors(), trio.current_time()))

        trio._core._run._r.seed(7)
        run(main)
        return found[0]

    assert once() == once()
