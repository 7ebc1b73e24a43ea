"""On a full disk nothing new is taken, but holding and destroying go on, and all can be read."""

from __future__ import annotations

import pytest

from appliance.disposal.commands import ListHolds, PlaceHold, Selection
from store.errors import EngineFullError
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import CHAT, is_gone


def test_a_full_disk_refuses_all_but_holding_and_destroying() -> None:
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    due = house.send("alice", room, "due")
    house.pass_days(31)
    kept = house.send("alice", room, "kept")
    for _ in range(50):
        house.say("bob", house.group("bob", "alice"), "x" * 10_000)
    house.anchor()
    house.medium.capacity_bytes = house.medium.used_bytes * 11 // 10
    with pytest.raises(EngineFullError):
        house.say("alice", room, "more")
    before = house.core.log.ledger.size
    with pytest.raises(EngineFullError):
        house.officer("frank", ListHolds())
    assert house.core.log.ledger.size == before
    assert house.texts("bob", room) == ["due", "kept"]
    hold = house.officer("dave", PlaceHold("Case", Selection(persons=("frank",)), "court"))
    assert hold.active
    assert house.expire() == 1
    assert is_gone(house, due)
    assert not is_gone(house, kept)
    house.medium.capacity_bytes = 1 << 30
    house.say("alice", room, "more")
    assert house.problems() == []
