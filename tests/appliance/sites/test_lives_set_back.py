"""Lives of three sites whose machines are set back in time or copied: all of it converges.

A run that fails names its seed, and ``STRONGROOM_SEED=n pytest <this file>`` runs it alone.
"""

from __future__ import annotations

import os

import pytest
import trio
import trio._core._run as scheduler
import trio.testing

from appliance.context import SITE
from appliance.site import Site
from appliance.sites.link_commands import TakeIncarnation
from tests.appliance.sites.federation import Federation
from tests.appliance.sites.test_federation import PEOPLE, some_weather

STEPS = 25
"""What happens between one thing and the next that is done to a machine."""

SEEDS = [int(os.environ["STRONGROOM_SEED"])] if "STRONGROOM_SEED" in os.environ else (2, 3)

SOAK_SEEDS = range(100, 140)


@pytest.fixture(autouse=True)
def _same_order_for_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trio choose among ready tasks from its own dice only, which ``tell`` seeds."""
    monkeypatch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)


def tell(seed: int) -> Federation:
    """Let one life happen; a failure says its seed."""
    federation = Federation(seed, 2, PEOPLE)
    scheduler._r.seed(seed)
    try:
        trio.run(_life, federation, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        error.add_note(f"STRONGROOM_SEED={seed} runs this again")
        raise
    return federation


async def _life(federation: Federation) -> None:
    async with federation.running():
        await federation.settle()
        for _ in range(2):
            await _set_one_back(federation)
            federation.sent.clear()  # what only the machine's other state had is lost with it
            await federation.settle()
            federation.verify()


async def _set_one_back(federation: Federation) -> None:
    """Put a machine back, told of it or not; at times the state that it left goes on as well."""
    dice = federation.dice
    house = dice.choice(federation.houses)
    await federation.live(STEPS, some_weather(dice))
    earlier = federation.kept(house)
    await federation.live(STEPS, some_weather(dice))
    later = federation.kept(house)
    await federation.set_back(house, earlier)
    if dice.random() < 0.3:
        own = house.site.core.log.own.incarnation
        await house.do(SITE, TakeIncarnation(own, "restored"))
    await federation.live(STEPS, some_weather(dice))
    if dice.random() < 0.5:
        await federation.set_back(house, later)
        await federation.live(STEPS, some_weather(dice))


def _incarnations(site: Site) -> int:
    return sum(row.is_own for row in site.core.log.origins.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_sites_that_are_set_back_or_copied_converge(seed: int) -> None:
    federation = tell(seed)
    assert any(_incarnations(house.site) > 1 for house in federation.houses)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SOAK_SEEDS)
def test_sites_that_are_set_back_or_copied_converge_for_many_seeds(seed: int) -> None:
    tell(seed)
