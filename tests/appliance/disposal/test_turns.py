"""Nobody waits for the end of an expiry: a recall or an order comes behind its present slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance.context import Actor
from appliance.disposal.commands import (
    ApproveRequest,
    RequestDestruction,
    RunDestruction,
    Selection,
    SignRequest,
    Slice,
)
from appliance.disposal.decide_slices import EXPIRY, ORDER, RECALL
from appliance.disposal.limits import SCAN_PIECE, SLICE_RECORDS
from store.ids import OpId
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import is_gone
from transports.wire.schema import Id

CHAT = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
"""
OLD = 2 * SLICE_RECORDS + 1
"""Records that have reached their end: a run of three slices."""


class Busy(Hospital):
    """A house with many old records and a new one, where ``meanwhile`` happens in a slice."""

    def __init__(self) -> None:
        super().__init__("alice", "bob", policy=CHAT)
        room = self.group("alice", "bob")
        self.old = [self.send("alice", room, f"old {number}") for number in range(OLD)]
        self.pass_days(31)
        self.new = self.send("bob", room, "new")
        self.anchor()
        self.meanwhile: Callable[[], None] | None = None

    async def _execute(self, actor: Actor, command: Any) -> Any:
        reply = self.do(actor, command)
        if isinstance(command, Slice) and self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return reply

    def left(self) -> int:
        """Return how many of the old records are still there."""
        return sum(not is_gone(self, each) for each in self.old)

    def runs(self) -> list[tuple[str, int]]:
        """Return each run's cause and how many records it ended; all of them are confirmed."""
        runs = self.core.disposal.runs.values()
        assert all(run.confirmed is not None for run in runs)
        return [(run.intent.cause, sum(each.records for each in run.intent.counts)) for run in runs]


def order(house: Hospital, login: str) -> None:
    """Let two officers order what somebody wrote to be destroyed, and begin."""
    asked = house.officer("dave", RequestDestruction(Selection(persons=(login,)), "art. 17"))
    house.officer("dave", SignRequest(asked.request, asked.digest))
    house.officer("erin", ApproveRequest(asked.request, asked.digest))
    house.officer("dave", RunDestruction(asked.request))


def test_a_recall_during_an_expiry_is_carried_out_before_the_rest_of_it() -> None:
    house = Busy()
    house.meanwhile = lambda: house.recall("bob", house.new)
    house.serve()
    assert house.left() == OLD - SLICE_RECORDS
    house.serve()
    assert house.left() == 0
    rest = OLD - SLICE_RECORDS
    assert house.runs() == [(EXPIRY, SLICE_RECORDS), (RECALL, 1), (EXPIRY, rest)]
    house.check()


def test_an_order_during_an_expiry_is_carried_out_before_the_rest_of_it() -> None:
    house = Busy()
    house.meanwhile = lambda: order(house, "bob")
    house.serve()
    house.serve()
    assert is_gone(house, house.new)
    assert [cause for cause, _ in house.runs()] == [EXPIRY, ORDER, EXPIRY]
    assert house.left() == 0
    house.check()


def test_an_expiry_that_nobody_waits_for_is_one_run() -> None:
    house = Busy()
    house.serve()
    assert house.runs() == [(EXPIRY, OLD)]


def test_an_expiry_gets_on_however_often_somebody_comes_between() -> None:
    house = Busy()
    sent: list[Id] = [house.send("bob", house.group("bob", "alice"), str(n)) for n in range(3)]
    for number, message in enumerate(sent, start=1):
        house.meanwhile = lambda: house.core.disposal.recalled.append(OpId.unpack(house.new))
        house.recall("bob", message)
        house.serve()
        assert house.left() <= max(0, OLD - number * SLICE_RECORDS)
        assert is_gone(house, message)


def test_a_look_for_old_records_ends_with_a_slice_of_them_when_somebody_waits() -> None:
    house = Busy()
    proven_ms = house.core.disposal.clock.proven_now_ms(house.core.reading())
    with house.reading() as reader:
        assert len(house.service._due(proven_ms, reader)) == OLD
        house.core.disposal.orders.append(1)
        found = house.service._due(proven_ms, reader)
    assert SLICE_RECORDS <= len(found) < SLICE_RECORDS + SCAN_PIECE
