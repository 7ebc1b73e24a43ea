"""Cut the power of a whole simulated appliance at any step: what was acknowledged is there."""

from __future__ import annotations

from random import Random

import pytest
import trio
import trio.testing

from appliance.check import check
from appliance.site import Site
from store.faults import CutAt, PowerCut
from store.vault import NoWrap
from tests.appliance.simulation import Person, World, found, running
from transports.memory import MemoryNetwork
from transports.wire import schema
from transports.wire.schema import Id

LOGINS = ("alice", "bob")
MESSAGES = 12
STEPS = 40
"""Steps of the simulated devices at which the power is cut, one after the other."""


class Story:
    """What two people know of what they said, over all lives of the machine."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.conv: Id | None = None
        self.acknowledged: list[str] = []
        self.sent = 0

    async def live(self, world: World, *, to_the_end: bool) -> list[str]:
        """Say what is left to say; return what bob is told from the beginning."""
        async with running(world) as appliance:
            assert isinstance(appliance.network, MemoryNetwork)
            alice, bob = (Person(appliance.network, self.tokens[login]) for login in LOGINS)
            await alice.sign_in()
            welcome = await bob.sign_in("0")
            opened = await alice.ask(schema.Open, kind="direct", members=(welcome.person,))
            assert isinstance(opened, schema.Ok)
            self.conv = opened.conv
            await self._say(alice)
            if to_the_end:
                await bob.until_text(self.acknowledged[-1])
        return [e.op.body.text for e in bob.events if isinstance(e.op, schema.MessageOp)]

    async def _say(self, alice: Person) -> None:
        assert self.conv is not None
        while self.sent < MESSAGES:
            self.sent += 1
            await alice.say(self.conv, f"message {self.sent}")
            self.acknowledged.append(f"message {self.sent}")


def run(story: Story, world: World, *, to_the_end: bool) -> list[str]:
    """Live once, in virtual time; the power may be cut."""

    async def main() -> list[str]:
        return await story.live(world, to_the_end=to_the_end)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def is_cut(error: BaseException) -> bool:
    """Tell whether this is the power cut and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_cut(each) for each in error.exceptions)
    return isinstance(error, PowerCut)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", range(STEPS))
def test_no_acknowledged_message_is_lost_wherever_the_power_is_cut(step: int) -> None:
    world, dice = World(step), Random(step)
    story = Story(found(world, *LOGINS))
    world.medium.probe = world.data.probe = world.keys.probe = CutAt(step)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - looked at in the next line
        run(story, world, to_the_end=False)
    assert is_cut(caught.value)
    world.medium.probe = world.data.probe = world.keys.probe = None
    for device in (world.medium, world.data, world.keys):
        device.crash(dice)
    before = list(story.acknowledged)
    told = run(story, world, to_the_end=True)
    assert [text for text in told if text in before] == before
    assert len(told) == len(set(told))
    assert [text for text in told if text in story.acknowledged] == story.acknowledged
    site = Site.open(world.ports(), NoWrap())
    with site.ports.engine.snapshot() as reader:
        assert check(site.core, reader) == []
    site.close()
