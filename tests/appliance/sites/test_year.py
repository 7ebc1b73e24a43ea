"""A node-year: simulated sites that together live 8,760 hours with faults; no invariant breaks.

Each life is of three sites and some days. A day begins with people who talk, while machines and
lines fail; then it is quiet: timers are looked at seldom, and most lines are cut until the next
day. ``STRONGROOM_SEED=n pytest <this file>`` runs one life alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

import pytest
import trio

from tests.appliance.sites.federation import Federation
from tests.appliance.sites.lives import run, some_weather

SITES: Final = 3
DAYS: Final = 6
LIVES: Final = 21
HOURS: Final = LIVES * DAYS * 24 * SITES
"""Site-hours of all lives together: more than a year has."""

OPERATIONS_PER_SITE_DAY: Final = 200
"""What a site makes on average, at least, be it for its people or for itself."""

ACTS_BETWEEN_FAULTS: Final = 120
QUIET_SECONDS: Final = 600.0
"""How often timers are looked at while nobody does anything."""

CUT_AT_NIGHT: Final = 0.7
"""How likely a line is cut for a night: an idle line costs more than an idle site, in pings."""

FIRST_SEED: Final = 2_000
DAY_SECONDS: Final = 24 * 3_600.0

CHOSEN = os.environ.get("STRONGROOM_SEED")
SEEDS = [int(CHOSEN) - FIRST_SEED] if CHOSEN else range(LIVES)

_TALK: Final[list[Callable[[Federation], Awaitable[None]]]] = [
    *[Federation._say] * 14,
    *[Federation._read] * 3,
    *[Federation._alter] * 3,
]
"""What people do in a busy hour, where nothing fails."""


def made(federation: Federation) -> int:
    """Return how many operations all sites have made, each counted where it was made."""
    return sum(house.site.core.log.head.seq for house in federation.houses)


async def a_day(federation: Federation, wanted: int) -> None:
    """Talk until so many operations were made, fail now and then, be quiet until the next day."""
    dice, began = federation.dice, trio.current_time()
    while made(federation) < wanted:
        await federation.live(dice.randrange(10), some_weather(dice))
        for _ in range(ACTS_BETWEEN_FAULTS):
            await dice.choice(_TALK)(federation)
    for line in federation.lines.values():
        if dice.random() < CUT_AT_NIGHT:
            line.link.cut()
    with federation.quiet(QUIET_SECONDS):
        await trio.sleep_until(began + DAY_SECONDS)
    for line in federation.lines.values():
        line.link.heal()


async def some_days(federation: Federation) -> None:
    """Live so many days; all sites agree in the end."""
    for day in range(1, DAYS + 1):
        await a_day(federation, day * SITES * OPERATIONS_PER_SITE_DAY)
    await federation.settle()
    federation.verify()


def test_the_lives_together_are_a_year_of_a_node() -> None:
    assert HOURS >= 365 * 24


@pytest.mark.parametrize("seed", SEEDS)
def test_no_invariant_breaks_in_a_year_of_a_node(seed: int) -> None:
    run(FIRST_SEED + seed, some_days)


@pytest.mark.soak
def test_no_invariant_breaks_for_as_long_as_there_is_time() -> None:
    end = time.monotonic() + float(os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    for seed in count(3_000):
        run(seed, some_days)
        if time.monotonic() > end:
            return
