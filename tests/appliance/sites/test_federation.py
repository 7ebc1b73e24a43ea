"""Whole appliances at three sites, cut and healed and crashed from a seed: all of it converges.

A run that fails names its seed, and ``STRONGROOM_SEED=n pytest <this file>`` runs it alone.
"""

from __future__ import annotations

import os
import time
from itertools import count

import pytest
import trio
import trio.testing

from appliance.disposal import escrow, judge
from store.vault.roots import Roots
from tests.appliance.sites import lives
from tests.appliance.sites.federation import Federation
from tests.appliance.sites.governed import Governed
from tests.appliance.sites.lives import Story, some_weather
from transports.wire import schema

STEPS = 200
"""What happens in one run before it settles, twice."""

SEEDS = [int(os.environ["STRONGROOM_SEED"])] if "STRONGROOM_SEED" in os.environ else range(10)

SETTLED_SECONDS = 600.0
"""Virtual time in which all must be everywhere, once the lines are whole; no weekly tick helps."""


def run(seed: int, story: Story) -> Federation:
    """Tell a story of sites with officers from a seed."""

    async def governed(federation: Federation) -> None:
        assert isinstance(federation, Governed)
        await federation.appoint()
        await story(federation)

    return lives.run(seed, governed, Governed)


async def any_life(federation: Federation) -> None:
    """People and machines do what they do, twice, and all sites agree after each time."""
    for _ in range(2):
        await federation.live(STEPS // 2, some_weather(federation.dice))
        begun = trio.current_time()
        await federation.settle()
        assert trio.current_time() - begun < SETTLED_SECONDS
        federation.verify()


async def first_meeting(federation: Federation) -> None:
    """Somebody of each site says something in one conversation."""
    others = federation.ids("bea", "cat")
    reply = await federation.ask("ann", schema.Open(1, "group", others, title="ward"))
    assert reply is not None
    assert reply.conv is not None
    await federation.settle()
    for login in ("ann", "bea", "cat"):
        await federation.send(login, reply.conv, f"from {login}")
    await federation.settle()
    federation.verify()
    assert sum(map(len, federation.sent.values())) == 3


def test_what_is_said_at_one_site_is_there_at_all_of_them() -> None:
    run(1, first_meeting)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_life_of_an_organisation_converges_and_loses_nothing(seed: int) -> None:
    federation = run(seed, any_life)
    assert sum(map(len, federation.sent.values())) > STEPS // 10


def found_wrong(error: BaseException) -> str:
    """Return what the first of the errors in a group says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AssertionError)
    return str(error)


def wrong_in_some_life() -> str:
    """Return what is found wrong in the first life in which anything is."""
    for seed in SEEDS:
        try:
            run(seed, any_life)
        except BaseExceptionGroup as error:
            return found_wrong(error)
    return "nothing"


def test_a_hold_that_no_site_heeds_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (judge, escrow):
        monkeypatch.setattr(room, "holding", lambda core, found: ())
    assert wrong_in_some_life() == "what was held is destroyed"


def test_a_root_that_no_site_effaces_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roots, "efface_other", Roots._see_alone)
    assert "a destroyed body opens" in wrong_in_some_life()


def test_a_seed_gives_the_same_logs_every_time() -> None:
    runs = [run(3, any_life) for _ in range(2)]
    first, second = ([house.world.log_hash() for house in each.houses] for each in runs)
    assert first == second


@pytest.mark.soak
def test_any_life_converges_for_as_long_as_there_is_time() -> None:
    end = time.monotonic() + float(os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    for seed in count(1_000):
        run(seed, any_life)
        if time.monotonic() > end:
            return
