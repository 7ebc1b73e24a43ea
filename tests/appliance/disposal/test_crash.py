"""Cut the power at each step of a destruction: it happens whole or not at all, and is finished."""

from __future__ import annotations

from random import Random

import pytest
import trio

from appliance.context import SITE
from appliance.disposal.commands import ReadClock
from store.faults import CutAt, PowerCut
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import CHAT, is_gone
from transports.wire.schema import Id

STEPS = 40
"""Steps of the simulated devices, from the beginning of a run on; a run has fewer."""


def begun() -> tuple[Hospital, list[Id], Id]:
    """Return a house with three messages whose time has come and one whose has not."""
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    due = [house.send("alice", room, f"due {number}") for number in range(3)]
    house.pass_days(31)
    young = house.send("alice", room, "young")
    house.anchor()
    return house, due, young


@pytest.mark.parametrize("lose_newest_meta", [False, True])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_that_is_cut_off_is_whole_or_not_there(step: int, lose_newest_meta: bool) -> None:
    house, due, young = begun()
    cut = CutAt(step)
    for device in house.devices:
        device.probe = cut
    try:
        trio.run(house.service.expire)
        was_cut = False
    except PowerCut:
        was_cut = True
    dice = Random(step)
    for device in house.devices:
        device.probe = None
    if was_cut:
        house.crash(dice, lose_newest_meta=lose_newest_meta)
    trio.run(house.service.begin)
    gone = [is_gone(house, message) for message in due]
    assert len(set(gone)) == 1
    assert house.core.disposal.unfinished_runs() == []
    assert house.problems() == []
    house.do(SITE, ReadClock())
    trio.run(house.service.expire)
    assert all(is_gone(house, message) for message in due)
    assert not is_gone(house, young)
    assert house.problems() == []
    confirmed = [run.confirmed for run in house.core.disposal.runs.values()]
    assert sum(run.parts for run in confirmed if run is not None) >= len(due)
    house.close()


def test_the_steps_reach_beyond_the_end_of_a_run() -> None:
    house, due, _ = begun()
    count = CutAt(None)
    for device in house.devices:
        device.probe = count
    trio.run(house.service.expire)
    assert all(is_gone(house, message) for message in due)
    assert len(due) < count.count <= STEPS
