"""Run an organisation from one seed: the same seed tells the same story, and a failure names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from random import Random
from unittest.mock import patch

import trio
import trio._core._run as scheduler
import trio.testing

from sync.memory import Weather
from tests.appliance.sites.federation import Federation

PEOPLE = {"ann": 0, "abe": 0, "bea": 1, "bob": 1, "cat": 2, "cid": 2}

Story = Callable[[Federation], Awaitable[None]]


def run(seed: int, story: Story, make: type[Federation] = Federation) -> Federation:
    """Tell a story from a seed; a failure says which."""
    federation = make(seed, 2, PEOPLE)

    async def tell() -> None:
        async with federation.running():
            await federation.settle()
            await story(federation)

    with _same_order(seed):
        try:
            trio.run(tell, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"STRONGROOM_SEED={seed} runs this again")
            raise
    return federation


@contextmanager
def _same_order(seed: int) -> Iterator[None]:
    """Let trio choose among ready tasks from its own dice only."""
    scheduler._r.seed(seed)
    with patch.object(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
        yield


def some_weather(dice: Random) -> Weather:
    """Return a line that is anything from good to hardly one."""
    return Weather(
        delay_seconds=dice.choice((0.01, 0.3, 2.0)),
        bytes_per_second=dice.choice((8_000.0, 20_000.0, inf)),
        cut_bytes=dice.choice((5_000.0, 30_000.0, 300_000.0)),
        cut_in_frame=dice.random(),
        half_open=dice.choice((0.0, 0.3, 1.0)),
        refused=dice.choice((0.0, 0.1, 0.5)),
    )
