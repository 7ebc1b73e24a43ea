"""Whatever fails around a session ends its link with a reason, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from store.errors import EngineFullError
from sync import frames
from sync.backoff import pause_seconds
from sync.driver import Driver
from sync.errors import (
    FarewellError,
    GapError,
    LinkError,
    LostError,
    StrangerError,
    VersionError,
)
from sync.frames import Bye, FrameReader, Hello, Stand
from sync.limits import (
    BACKOFF_SECONDS_MAX,
    BACKOFF_SECONDS_MIN,
    HANDSHAKE_SECONDS,
    NEWS_SECONDS,
)
from sync.memory import Weather
from sync.pieces import Lane
from sync.session import BULK, Effect, Ended, Up
from tests.sync.model_site import ModelReplica
from tests.sync.test_memory import BRANCH, GIVE_UP_SECONDS, Pair, running, until


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


class Script:
    """A line on which the peer says what a test wants, and then nothing."""

    def __init__(self, *data: bytes, is_endless: bool = True) -> None:
        self.said: list[bytes] = []
        self.is_closed = False
        self._data = list(data)
        self._is_endless = is_endless

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._data:
            return self._data.pop(0)
        if self._is_endless and not self.is_closed:
            await trio.sleep_forever()
        return b""

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.said.append(data)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True

    def frames(self) -> list[frames.Frame]:
        return list(FrameReader().feed(b"".join(self.said)))


def hello(node: bytes = BRANCH, channel: int = 0, session: bytes = b"S" * 16) -> bytes:
    stand = Stand.of(ModelReplica(node).standing())
    return frames.encode(Hello(1, 1, session, channel, stand, 0, 1 << 20, ""))


# --- what fails here --------------------------------------------------------------------------


def _read_fails(pair: Pair) -> None:
    def read(lane: Lane, after: int, budget_bytes: int) -> None:
        raise RuntimeError

    pair.up.read = read  # type: ignore[method-assign]


def _take_fails(pair: Pair) -> None:
    pair.up.error = EngineFullError()


def _standing_fails(pair: Pair) -> None:
    def standing() -> None:
        raise EngineFullError

    pair.up.standing = standing  # type: ignore[method-assign, assignment]


def _handler_fails(pair: Pair) -> None:
    told = pair.link._told

    def handle(driver: Driver, effect: Effect) -> None:
        told(driver, effect)
        if isinstance(effect, Up):
            raise RuntimeError

    pair.link._told = handle


@pytest.mark.parametrize("fail", [_read_fails, _take_fails, _standing_fails, _handler_fails])
def test_a_failure_at_one_end_ends_the_link_and_it_is_tried_again(
    fail: Callable[[Pair], None],
) -> None:
    async def main() -> None:
        pair = Pair()
        pair.fill(20)
        fail(pair)
        async with running(pair):
            await until(lambda: pair.branch.errors().count("link.failed") > 2)
        assert set(pair.branch.errors()) == {"link.failed"}

    run(main)


def test_a_gap_is_closed_by_the_next_link() -> None:
    async def main() -> None:
        pair = Pair()
        pair.fill(20)
        pair.down.error = GapError()
        async with running(pair):
            await until(lambda: "link.gap" in pair.headquarters.errors())
            pair.down.error = None
            await until(pair.is_settled)
        pair.assert_whole()

    run(main)


def test_a_link_whose_last_words_cannot_leave_ends_all_the_same() -> None:
    class Stuck(Script):
        async def send(self, data: bytes) -> None:
            await super().send(data)
            await trio.sleep_forever()

    async def main() -> None:
        pair = Pair()
        line = Stuck(hello())
        with trio.fail_after(GIVE_UP_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.reception.serve, BRANCH, line)
                await until(lambda: BRANCH in pair.reception.links)
                pair.reception.stop(StrangerError(), BRANCH)
        assert line.is_closed
        assert pair.reception.links == {}

    run(main)


def test_news_of_one_moment_share_a_piece() -> None:
    async def main() -> None:
        pair = Pair()
        async with running(pair):
            await until(lambda: pair.branch.count(Up) == 1)
            await trio.sleep(1)
            reads = pair.up.reads
            for _ in range(200):
                pair.up.add(Lane.MESSAGES, b"x")
                pair.link.changed()
                await trio.sleep(NEWS_SECONDS / 100)
            assert pair.up.reads - reads < 60
            await until(lambda: len(pair.down.got[Lane.MESSAGES]) == 200)

    run(main)


def test_news_reach_the_branches_they_concern() -> None:
    async def main() -> None:
        pair = Pair()
        async with running(pair):
            await until(lambda: pair.headquarters.count(Up) == 1)
            await trio.sleep(1)
            reads = pair.down.reads
            pair.down.add(Lane.MESSAGES, b"x")
            pair.reception.changed([b"X" * 16])
            await trio.sleep(3)
            assert pair.down.reads == reads
            pair.reception.changed([BRANCH])
            await until(lambda: pair.up.got[Lane.MESSAGES] == [b"x"])

    run(main)


# --- at the door ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (hello(b"X" * 16), "link.stranger"),
        (hello(channel=7), "link.stranger"),
        (hello(channel=BULK), "link.unexpected"),
        (b"\x0b\x00\x00\x02\x91\x01", "link.malformed"),
    ],
)
def test_a_connection_that_is_of_no_link_is_told_so(data: bytes, code: str) -> None:
    async def main() -> None:
        pair, line = Pair(), Script(data)
        with trio.fail_after(GIVE_UP_SECONDS):
            await pair.reception.serve(BRANCH, line)
        assert line.frames() == [Bye(code)]
        assert line.is_closed

    run(main)


@pytest.mark.parametrize("is_endless", [True, False])
def test_a_connection_on_which_nothing_comes_is_closed(is_endless: bool) -> None:
    async def main() -> None:
        line = Script(hello()[:10], is_endless=is_endless)
        with trio.fail_after(HANDSHAKE_SECONDS + 1):
            await Pair().reception.serve(BRANCH, line)
        assert line.is_closed

    run(main)


def test_a_hello_may_come_a_byte_at_a_time() -> None:
    async def main() -> None:
        pair = Pair()
        line = Script(*(bytes((byte,)) for byte in hello()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.reception.serve, BRANCH, line)
            await until(lambda: pair.headquarters.count(Up) == 1)
            nursery.cancel_scope.cancel()

    run(main)


def test_a_second_connection_for_history_replaces_the_first() -> None:
    async def main() -> None:
        pair = Pair()
        main_line, first, second = (
            Script(hello()),
            Script(hello(channel=BULK)),
            Script(hello(channel=BULK)),
        )
        with trio.fail_after(GIVE_UP_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.reception.serve, BRANCH, main_line)
                await until(lambda: pair.headquarters.count(Up) == 1)
                nursery.start_soon(pair.reception.serve, BRANCH, first)
                await until(lambda: len(first.said) > 0)
                nursery.start_soon(pair.reception.serve, BRANCH, second)
                await until(lambda: first.is_closed and len(second.said) > 0)
                assert not main_line.is_closed
                nursery.cancel_scope.cancel()

    run(main)


# --- again ------------------------------------------------------------------------------------


def test_pauses_double_up_to_a_limit_and_are_spread() -> None:
    pauses = [pause_seconds(LostError(), failures, 0.999) for failures in range(50)]
    assert pauses[0] <= BACKOFF_SECONDS_MIN
    assert pauses == sorted(pauses)
    assert pauses[-1] <= BACKOFF_SECONDS_MAX
    assert pause_seconds(LostError(), 3, 0.0) * 2 == pytest.approx(2**3 * BACKOFF_SECONDS_MIN)


@pytest.mark.parametrize(
    ("error", "failures", "is_long"),
    [
        (StrangerError(), 1, True),
        (VersionError(), 1, True),
        (FarewellError("link.failed"), 1, True),
        (FarewellError("link.stopped"), 0, False),
        (LostError(), 1, False),
    ],
)
def test_where_somebody_has_to_act_first_the_pause_is_long(
    error: LinkError, failures: int, is_long: bool
) -> None:
    assert (pause_seconds(error, failures, 0.0) == BACKOFF_SECONDS_MAX / 2) is is_long


def test_a_branch_that_nobody_answers_tries_ever_more_rarely() -> None:
    async def main() -> None:
        pair = Pair(weather=Weather(refused=1.0))
        attempts: list[float] = []
        dial = pair.link._dial

        async def counted(channel: int) -> object:
            attempts.append(trio.current_time())
            return await dial(channel)

        pair.link._dial = counted  # type: ignore[method-assign, assignment]
        with trio.move_on_after(3_600):
            await pair.link.run()
        assert 30 <= len(attempts) <= 3_600 / (BACKOFF_SECONDS_MAX / 2) + 10
        assert pair.branch.effects == []
        assert {error.code for error in pair.branch.missed} == {"link.lost"}
        assert len(pair.branch.missed) == len(attempts)

    run(main)


def test_a_dial_that_fails_in_an_unknown_way_is_tried_again() -> None:
    async def main() -> None:
        pair = Pair()
        dial = pair.link._dial

        async def failing(channel: int) -> object:
            if not pair.branch.missed:
                raise KeyError
            return await dial(channel)

        pair.link._dial = failing  # type: ignore[method-assign, assignment]
        async with running(pair):
            await until(lambda: pair.branch.count(Up) == 1)
        assert [error.code for error in pair.branch.missed] == ["link.failed"]

    run(main)


def test_the_reason_of_an_end_is_told_once_at_each_end() -> None:
    async def main() -> None:
        pair = Pair()
        async with running(pair):
            await until(lambda: pair.branch.count(Up) == 1)
            assert pair.branch.driver is not None
            pair.branch.driver.stop(VersionError("for the test"))
            await until(lambda: pair.headquarters.count(Ended) == 1)
        assert pair.branch.errors()[0] == "link.version"
        assert pair.headquarters.errors()[0] == "link.ended_by_peer"

    run(main)
