"""Real processes in networks of their own: lines are cut, servers are killed, all sites agree.

Nothing of the product is reached into: people's programs (the SDK, at their own sites) write down
what they sent, what was acknowledged and what they were told of, and ``checker`` judges that. A
failing run names its seed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
import trio

from benchmarks.federation import PROGRAM, Federation, found
from benchmarks.histories import Acknowledged
from benchmarks.network import Network, NoNamespaceError, network
from benchmarks.people import CLOSE, Crowd, Part, plan_of
from tests.conftest import lacking
from tests.system.checker import Evidence, Members, findings, is_settled

SEED = 20_261_124
PAUSE_SECONDS = 0.25
"""Mean pause of a person between two messages in a group."""
STEP_SECONDS = (0.3, 1.5)
"""Between two things that happen to lines and servers."""
SETTLE_SECONDS = 90.0
POLL_SECONDS = 0.25
URGENT_EVERY = 3
"""One group in so many is urgent."""


@dataclass
class Trial:
    """A federation that runs, and what is done to it."""

    federation: Federation
    net: Network
    dice: Random
    crowds: list[Crowd] = field(default_factory=list)
    kills: int = 0
    cuts: int = 0
    said_while_cut: int = 0

    async def start(self, *houses: int) -> None:
        for number in houses:
            self.federation.houses[number].start(self.net.stations[number])
        for number in houses:
            await self.federation.houses[number].ready()

    async def kill(self, *houses: int) -> None:
        """End servers as a crash does, all at one moment, and start them again after a while."""
        for number in houses:
            self.federation.houses[number].kill()
        self.kills += len(houses)
        await self.pause()
        await self.start(*houses)

    async def pause(self) -> None:
        await trio.sleep(self.dice.uniform(*STEP_SECONDS))

    def branch(self) -> int:
        return self.dice.randrange(1, len(self.federation.houses))

    def acknowledged(self, crowd: Crowd) -> int:
        return sum(isinstance(each, Acknowledged) for each in crowd.records())

    # --- what happens -----------------------------------------------------------------------------

    async def cut(self) -> None:
        """Cut a line for a while; people at both ends go on."""
        branch = self.branch()
        before = self.acknowledged(self.crowds[branch])
        self.net.cut(branch - 1)
        self.cuts += 1
        await self.pause()
        await self.pause()
        self.said_while_cut += self.acknowledged(self.crowds[branch]) - before
        self.net.heal(branch - 1)

    async def cut_all(self) -> None:
        """Cut every line, kill a branch meanwhile, and heal."""
        self.net.cut()
        self.cuts += 1
        await self.kill(self.branch())
        self.net.heal()

    async def kill_branch(self) -> None:
        await self.kill(self.branch())

    async def kill_headquarters(self) -> None:
        await self.kill(0)

    async def kill_both_while_they_catch_up(self) -> None:
        """Cut, heal, and once the line is back kill both its ends in the middle."""
        branch = self.branch()
        self.net.cut(branch - 1)
        self.cuts += 1
        await self.pause()
        self.net.heal(branch - 1)
        await self.until_reachable(branch)
        await self.kill(0, branch)

    async def until_reachable(self, branch: int) -> None:
        with trio.fail_after(SETTLE_SECONDS):
            await self.federation.houses[branch].until("line", "reachable")


STEPS: tuple[Callable[[Trial], Awaitable[None]], ...] = (
    Trial.cut,
    Trial.cut_all,
    Trial.kill_branch,
    Trial.kill_headquarters,
    Trial.kill_both_while_they_catch_up,
)
"""What happens in a round, each once, in an order of the dice."""


def groups_of(homes: dict[str, int]) -> dict[str, list[str]]:
    """Return groups: everybody, those of one site, and pairs across sites."""
    by_site: dict[int, list[str]] = {}
    for login, home in homes.items():
        by_site.setdefault(home, []).append(login)
    local = {f"site{home}": people for home, people in by_site.items() if len(people) > 1}
    pairs = {
        f"pair{one}{other}": [by_site[one][0], by_site[other][-1]]
        for one, other in combinations(by_site, 2)
    }
    return {"all": list(homes), **local, **pairs}


def parts_of(federation: Federation, groups: Members) -> dict[str, list[Part]]:
    parts: dict[str, list[Part]] = {}
    for number, (group, people) in enumerate(groups.items()):
        priority = "urgent" if number % URGENT_EVERY == URGENT_EVERY - 1 else "normal"
        for login in people:
            pause = PAUSE_SECONDS * len(federation.houses)
            part = Part(group, bytes(federation.groups[group]), pause, priority)
            parts.setdefault(login, []).append(part)
    return parts


async def settle(trial: Trial, groups: Members) -> Evidence:
    """Let all fall silent, hear everything, and write down the histories; return the evidence."""
    for crowd in trial.crowds:
        crowd.say(CLOSE)
    with trio.move_on_after(SETTLE_SECONDS):
        while not is_settled(evidence_of(trial), groups):  # noqa: ASYNC110 - processes tell
            await trio.sleep(POLL_SECONDS)
    for crowd in trial.crowds:
        await crowd.finish()
    return evidence_of(trial)


def evidence_of(trial: Trial) -> Evidence:
    return Evidence.of(record for crowd in trial.crowds for record in crowd.records())


async def check(federation: Federation) -> None:
    """Have every store checked by the program itself."""
    for house in federation.houses:
        command = [sys.executable, "-c", PROGRAM, "check", "--data", str(house.data), "--json"]
        done = await trio.run_process(command, capture_stdout=True, check=False)
        told = json.loads(done.stdout)["findings"]
        assert {each["severity"] for each in told} <= {"notice"}, told


async def scenario(directory: Path, branches: int, people: int, rounds: int, seed: int) -> None:
    """Found a federation with so many people at each site, harm it, and judge."""
    homes = {f"p{site}{each}": site for site in range(branches + 1) for each in range(people)}
    groups, dice = groups_of(homes), Random(seed)
    federation = found(directory, branches, homes, groups)
    parts = parts_of(federation, groups)
    async with network(branches, seed=seed) as net:
        trial = Trial(federation, net, dice)
        try:
            await trial.start(*range(branches + 1))
            for number, station in enumerate(net.stations):
                plan = plan_of(federation, number, parts, seed)
                crowd = Crowd.gather(station, plan, directory / f"people{number}")
                trial.crowds.append(crowd)
            await trial.pause()
            for _ in range(rounds):
                for step in dice.sample(STEPS, len(STEPS)):
                    await step(trial)
                    await trial.pause()
            evidence = await settle(trial, groups)
            statuses = [await house.stop() for house in federation.houses]
        finally:
            for crowd in trial.crowds:
                crowd.end()
            federation.kill()
    assert findings(evidence, groups) == [], f"seed {seed}"
    assert trial.kills >= rounds * len(STEPS), "each round kills both ends, and each of them"
    assert statuses == [0] * (branches + 1)
    assert trial.said_while_cut > 0, "people at a branch that is cut off go on"
    await check(federation)


def attempt(directory: Path, branches: int, people: int, rounds: int, seed: int) -> None:
    try:
        trio.run(partial(scenario, directory, branches, people, rounds, seed))
    except NoNamespaceError as error:
        lacking(f"no network namespaces here: {error}")


def test_two_sites_agree_after_cuts_and_kills(tmp_path: Path) -> None:
    attempt(tmp_path, branches=1, people=2, rounds=1, seed=SEED)


@pytest.mark.usefixtures("test_all")
def test_five_sites_agree_after_cuts_and_kills(tmp_path: Path) -> None:
    attempt(tmp_path, branches=4, people=2, rounds=1, seed=SEED)


@pytest.mark.soak
@pytest.mark.parametrize("branches", [1, 4])
def test_sites_agree_after_cuts_and_kills_for_long(tmp_path: Path, branches: int) -> None:
    seconds = float(os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    rounds = max(1, int(seconds / 60))
    attempt(tmp_path, branches, people=2, rounds=rounds, seed=Random().randrange(1 << 30))
