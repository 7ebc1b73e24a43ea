"""A restored site, which has lost the holds since its backup, destroys nothing until two look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.context import SITE
from appliance.disposal.commands import PlaceHold, ReadClock, Selection, SetPolicy
from appliance.doctor import examine_disposal
from tests.appliance.disposal.harness import Hospital as Officers
from tests.appliance.disposal.test_expiry import is_gone
from tests.appliance.disposal.test_histories import resume
from tests.appliance.messaging.harness import _raise
from tests.appliance.test_revival import Hospital as Replicated
from tests.appliance.test_revival import Saved

CHAT = """
clock = "system"
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
"""
HOLD = PlaceHold("Case", Selection(persons=("alice",)), "court")


class House(Replicated, Officers):
    """A site with officers, backups and a key replica; it can go on as what was restored."""

    def become(self, saved: Saved) -> None:
        """Lose the site, and go on with what a backup and the replica give."""
        self.sync()
        restored = self.revive(saved)
        self.site.close()
        self.site = restored.open()
        self.site.attach(self._deliver, _raise)
        self.service = self._service()


@pytest.fixture
def house() -> Iterator[House]:
    made = House("alice", "bob")
    made.do(SITE, SetPolicy(CHAT, 0, "as begun"))
    made.anchor()
    yield made
    assert made.problems() == []
    made.close()


def test_a_hold_placed_after_the_backup_is_not_destroyed_against(house: House) -> None:
    message = house.send("alice", house.group("alice", "bob"), "evidence")
    house.anchor()
    saved = house.save()
    house.officer("dave", HOLD)
    house.pass_days(31)
    assert house.expire() == 0
    house.become(saved)
    assert not house.core.disposal.holds
    house.do(SITE, ReadClock(anchor=True))
    house.serve()
    assert not is_gone(house, message)
    assert "clock.suspended" in {each.id for each in examine_disposal(house.site)}
    house.officer("dave", HOLD)
    resume(house)
    house.serve()
    house.pass_days(1)
    assert house.expire() == 0
    assert not is_gone(house, message)


def test_a_restored_site_ends_records_again_once_two_officers_say_so(house: House) -> None:
    message = house.send("alice", house.group("alice", "bob"), "of age")
    house.anchor()
    saved = house.save()
    house.pass_days(31)
    house.become(saved)
    assert house.expire() == 0
    resume(house)
    assert house.expire() == 1
    assert is_gone(house, message)


def test_a_hold_in_the_backup_holds_in_the_restored_site(house: House) -> None:
    message = house.send("alice", house.group("alice", "bob"), "evidence")
    house.officer("dave", HOLD)
    house.anchor()
    saved = house.save()
    house.pass_days(31)
    house.become(saved)
    resume(house)
    assert house.expire() == 0
    assert not is_gone(house, message)
