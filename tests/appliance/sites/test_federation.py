"""Whole appliances at three sites: cut, heal, and all of them show the same."""

from __future__ import annotations

import trio
import trio.testing

from tests.appliance.sites.federation import Federation
from transports.wire import schema

PEOPLE = {"ann": 0, "abe": 0, "bea": 1, "bob": 1, "cat": 2, "cid": 2}


async def _first_meeting(federation: Federation) -> None:
    async with federation.running():
        await federation.settle()
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
    federation = Federation(1, 2, PEOPLE)
    trio.run(_first_meeting, federation, clock=trio.testing.MockClock(autojump_threshold=0))
