"""A branch proves its log, but not while messages wait for the line."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from appliance.sites import linking, proofs
from appliance.sites.linking import Links
from sync.memory import Weather
from tests.appliance.sites.federation import Federation
from transports.wire import schema

THIN = Weather(delay_seconds=0.3, bytes_per_second=8_000.0)
SECONDS = 600.0
BACKLOG = 3
MESSAGES = 60
LONG_BYTES = 4_000
"""Sixty of them are several pieces."""


def test_a_branch_tells_of_closed_segments_once_nearly_all_messages_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linking, "PROVING_BACKLOG", BACKLOG)
    waiting: list[int] = []
    send = Links.note

    def note(links: Links, node: bytes, kind: str, body: bytes) -> bool:
        if kind == proofs.TOLD:
            waiting.append(links.waiting)
        return send(links, node, kind, body)

    monkeypatch.setattr(Links, "note", note)

    async def main() -> None:
        federation = Federation(1, 1, {"ann": 0, "bea": 1})
        async with federation.running():
            await federation.settle()
            reply = await federation.ask("bea", schema.Open(1, "direct", federation.ids("ann")))
            assert reply is not None
            assert reply.conv is not None
            federation.lines[0].link.cut()
            for _ in range(MESSAGES):
                await federation.send(
                    "bea", reply.conv, federation.dice.randbytes(LONG_BYTES // 2).hex()
                )
                await trio.sleep(30.0)
            waiting.clear()
            federation.lines[0].link.weather = THIN
            federation.lines[0].link.heal()
            await trio.sleep(SECONDS)
            await federation.settle()
            federation.verify()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert waiting, "the segments of the cut are told in the end"
    assert max(waiting) <= BACKLOG
