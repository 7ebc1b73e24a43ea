"""Many branches at once, and one that has much to tell: everybody is served.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from appliance.messaging import timeline
from store import cursors, hlc
from sync.memory import Weather
from sync.pieces import Lane
from tests.appliance.sites.federation import Federation, House
from tests.appliance.sites.harness import compare
from transports.wire import schema
from transports.wire.schema import Id

PATIENCE_SECONDS = 3_600.0
RECONNECT_SECONDS = 60.0

Story = Callable[[Federation], Awaitable[None]]


def play(branches: int, story: Story) -> None:
    """Run headquarters and branches, with ann there and one person at each of these."""
    people = {"ann": 0} | {f"p{number}": number for number in range(1, branches + 1)}

    async def main() -> None:
        federation = Federation(34, branches, people)
        async with federation.running():
            with trio.fail_after(PATIENCE_SECONDS):
                await federation.settle()
                await story(federation)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def direct(federation: Federation, login: str, other: str) -> Id:
    reply = await federation.ask(login, schema.Open(1, "direct", federation.ids(other)))
    assert reply is not None
    assert reply.conv is not None
    return Id(reply.conv)


def shown(house: House, conv: Id) -> int:
    """Return how many messages a site shows in a conversation."""
    known = house.site.core.conversations.get(conv)
    if known is None:
        return 0
    with house.site.ports.engine.snapshot() as reader:
        rows = timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT)
        return sum(1 for _ in rows)


@pytest.mark.parametrize(
    "branches", [12, pytest.param(1_000, marks=pytest.mark.soak)], ids=["a dozen", "a thousand"]
)
def test_34_all_branches_come_back_within_a_minute_and_each_is_served(branches: int) -> None:
    async def story(federation: Federation) -> None:
        logins = [f"p{number}" for number in range(1, branches + 1)]
        convs = {login: await direct(federation, "ann", login) for login in logins}
        await federation.settle()
        for line in federation.lines.values():
            line.link.cut()
        for login, conv in convs.items():
            await federation.send("ann", conv, "to the branch")
            await federation.send(login, conv, "from the branch")
        for line in federation.lines.values():
            await trio.sleep(RECONNECT_SECONDS / branches)
            line.link.heal()
        await federation.settle()
        hub, *houses = federation.houses
        for login, house in zip(logins, houses, strict=True):
            assert shown(hub, convs[login]) == shown(house, convs[login]) == 2
            compare(hub.site, house.site)

    play(branches, story)


@pytest.mark.parametrize(
    "backlog", [3_000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["small", "huge"]
)
def test_35_who_has_much_to_tell_keeps_nobody_waiting(backlog: int) -> None:
    async def story(federation: Federation) -> None:
        hub, talker, _ = federation.houses
        much, little = await direct(federation, "ann", "p1"), await direct(federation, "ann", "p2")
        await federation.settle()
        federation.lines[0].link.cut()
        federation.lines[0].link.weather = Weather(0.05, 4_000.0)
        for _ in range(backlog):
            await federation.send("p1", much, "one of many")
        federation.lines[0].link.heal()
        number = hub.site.core.log.number_of(talker.site.core.log.own)
        assert number is not None

        def taken() -> int:
            with hub.site.ports.engine.snapshot() as reader:
                return cursors.get(reader, number, Lane.MESSAGES)

        begun, head = taken(), talker.site.core.log.head.seq
        while taken() == begun:  # noqa: ASYNC110 - virtual time, and many owners of it
            await trio.sleep(0.1)
        for count in range(1, 4):
            await federation.send("p2", little, "to headquarters")
            await federation.send("ann", little, "to the other branch")
            await trio.sleep(2.0)
            assert shown(hub, little) == shown(federation.houses[2], little) == 2 * count
            assert taken() < head, "the backlog was over too soon to tell"
        await federation.settle()
        assert shown(hub, much) == backlog

    play(2, story)
