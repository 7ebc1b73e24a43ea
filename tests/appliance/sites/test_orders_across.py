"""Destruction and holds reach every site: what must go is nowhere, what is held stays.

Pieces are carried by hand, so that each crossing happens exactly as its test says.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.context import SITE
from appliance.directory.commands import SetState
from appliance.disposal.commands import ReleaseHold, RequestDestruction, Selection
from appliance.sites.limits import EXPIRED_MS
from store.records import PartState
from sync.pieces import Lane
from tests.appliance.sites.compliance import Authority, Ward
from transports.wire.errors import Refusal
from transports.wire.schema import Id


@pytest.fixture
def sites() -> Iterator[Authority]:
    made = Authority()
    yield made
    for place in made.places:
        assert place.problems() == []
        place.reopen()
        assert place.problems() == []
    made.close()


def room(sites: Authority) -> Id:
    """Open a group of people of every site, which all of them know."""
    conv = sites.hub.group("ann", "bea", "cat")
    sites.settle()
    return conv


def said(sites: Authority, login: str, home: Ward, conv: Id, text: str) -> Id:
    message = home.send(login, conv, text)
    sites.settle()
    sites.pass_days(1)
    return message


def states(sites: Authority, message: Id) -> list[PartState | None]:
    return [place.state(message) for place in sites.places]


def is_awaited(branch: Ward) -> bool:
    return branch.service._is_awaited


def carry_orders(sites: Authority, branch: Ward) -> None:
    """Let a branch hear what headquarters decided, tell nothing, and do what it was told to."""
    sites.reconcile(branch)
    while sites.carry(branch, Lane.CONTROL, is_up=False):
        pass
    sites.grant(branch)
    sites.follow(branch)


GONE = [PartState.DESTROYED] * 3


def test_an_order_of_headquarters_destroys_at_every_site_and_is_complete_then(
    sites: Authority,
) -> None:
    conv = room(sites)
    message = said(sites, "ann", sites.hub, conv, "strictly between us")
    other = said(sites, "bea", sites.branches[0], conv, "something else")
    run = sites.destroy("ann")
    assert run.state == "REPLICAS"
    assert [(each.name, each.state) for each in run.sites] == [
        ("branch-1", "missing"),
        ("branch-2", "missing"),
    ]
    assert states(sites, message)[1:] == [PartState.PRESENT] * 2
    sites.follow_all()
    assert states(sites, message) == GONE
    assert not any(place.can_open("strictly between us") for place in sites.places)
    assert states(sites, other) == [PartState.PRESENT] * 3
    run = sites.run()
    assert run.state == "COMPLETE"
    assert [(each.state, each.destroyed, each.held_back) for each in run.sites] == [
        ("done", 1, 0)
    ] * 2
    sites.compare()


def test_an_erased_person_is_known_at_no_site_any_more(sites: Authority) -> None:
    conv = room(sites)
    said(sites, "cat", sites.branches[1], conv, "mine alone")
    person = sites.hub.person("cat")
    sites.hub.do(SITE, SetState("cat", "removed"))
    sites.settle()
    sites.destroy(f"id:{person.hex()}", erase=True)
    sites.follow_all()
    assert sites.run().state == "COMPLETE"
    for place in sites.places:
        assert not place.can_open("mine alone")
        known = place.core.directory.person(person)
        assert known is None or not known.login


def test_an_order_of_headquarters_does_not_wait_for_the_end_of_an_expiry(
    sites: Authority,
) -> None:
    conv = room(sites)
    north = sites.branches[0]
    said(sites, "ann", sites.hub, conv, "strictly between us")
    sites.destroy("ann")
    assert not is_awaited(north)
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    north.clock.advance(EXPIRED_MS)
    assert not is_awaited(north)  # it cannot be carried out: then nothing ends early
    sites.grant(north)
    assert is_awaited(north)
    sites.follow(north)
    assert not is_awaited(north)


# --- 22: a hold and a destruction cross ---------------------------------------------------------


def test_a_hold_that_crosses_a_destruction_keeps_what_its_own_site_has(sites: Authority) -> None:
    conv = room(sites)
    message = said(sites, "ann", sites.hub, conv, "evidence")
    north, south = sites.branches
    number = sites.hold(north, "olaf", "ann")
    sites.destroy("ann")
    carry_orders(sites, south)
    sites.follow_all()
    assert states(sites, message) == [
        PartState.DESTROYED,
        PartState.ESCROWED,
        PartState.DESTROYED,
    ]
    run = sites.run()
    assert run.state == "REPLICAS"
    assert [(each.name, each.state, each.held_back) for each in run.sites] == [
        ("branch-1", "held", 1),
        ("branch-2", "done", 0),
    ]
    assert "evidence" not in north.texts("bea", conv)
    assert north.can_open("evidence")
    sites.release(number)
    sites.follow_all()
    assert states(sites, message) == GONE
    assert not north.can_open("evidence")
    assert sites.run().state == "COMPLETE"


def test_a_hold_of_headquarters_reaches_a_branch_before_the_order_that_came_after_it(
    sites: Authority,
) -> None:
    conv = room(sites)
    held = said(sites, "ann", sites.hub, conv, "held")
    others = sites.branches[0].group("bea", "cat", "dave")
    free = said(sites, "bea", sites.branches[0], others, "free")
    sites.hold(sites.hub, "dave", "ann")
    run = sites.destroy("ann", "bea")
    assert [each.state for each in run.sites] == ["missing"] * 2
    sites.follow_all()
    assert states(sites, held) == [PartState.PRESENT] * 3
    assert states(sites, free) == GONE
    assert sites.run().state == "COMPLETE"


# --- 23: a hold is placed at a cut-off branch, and destruction is carried out elsewhere ---------


def test_a_hold_placed_offline_reaches_everybody_and_keeps_the_last_copy(sites: Authority) -> None:
    conv = room(sites)
    message = said(sites, "bea", sites.branches[0], conv, "the last copy")
    north, south = sites.branches
    number = sites.hold(south, "otto", "bea")
    assert number == 2_000_001
    assert sites.holds(south, "otto")[number].waits_for == ("headquarters",)
    sites.destroy("bea")
    carry_orders(sites, north)
    assert states(sites, message) == [
        PartState.DESTROYED,
        PartState.DESTROYED,
        PartState.PRESENT,
    ]
    sites.follow_all()
    assert states(sites, message)[2] is PartState.ESCROWED
    assert south.can_open("the last copy")
    for place, officer in zip(sites.places, ("dave", "olaf", "otto"), strict=True):
        assert number in sites.holds(place, officer)
    assert sites.holds(south, "otto")[number].waits_for == ()


def test_a_branch_never_releases_a_hold_nor_orders_destruction(sites: Authority) -> None:
    number = sites.hold(sites.hub, "dave", "ann")
    sites.settle()
    north = sites.branches[0]
    for command in (
        ReleaseHold(number, "no"),
        RequestDestruction(Selection(persons=("ann",)), "no"),
    ):
        with pytest.raises(Refusal) as caught:
            north.officer("olaf", command)
        assert caught.value.code == "site.not_headquarters"


# --- 11: a stale site comes back after orders ---------------------------------------------------


def test_a_stale_site_hears_of_destruction_first_and_brings_nothing_back(sites: Authority) -> None:
    conv = room(sites)
    north, south = sites.branches
    message = said(sites, "ann", sites.hub, conv, "long ago")
    south.edit("cat", south.send("cat", conv, "answer"), "better answer")
    south.react("cat", message, "👍")
    sites.destroy("ann")
    sites.branches = [north]
    sites.follow_all()
    assert sites.run().state == "REPLICAS"
    sites.pass_days(20)
    south.pass_days(21)
    sites.branches = [north, south]
    carry_orders(sites, south)
    assert south.state(message) is PartState.DESTROYED
    sites.follow_all()
    assert states(sites, message) == GONE
    assert not any(place.can_open("long ago") for place in sites.places)
    assert sites.hub.texts("ann", conv) == ["better answer"]
    assert sites.run().state == "COMPLETE"
    sites.compare()


# --- 24: a backup is restored that contains destroyed data --------------------------------------


def test_a_restored_branch_that_holds_destroyed_data_hears_of_its_destruction_again(
    sites: Authority,
) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "in the backup")
    kept = north.copy()
    sites.destroy("ann")
    sites.follow_all()
    assert sites.run().state == "COMPLETE"
    north.restore(kept)
    assert north.state(message) is PartState.PRESENT
    assert north.can_open("in the backup")
    carry_orders(sites, north)
    assert north.state(message) is PartState.DESTROYED
    assert not north.can_open("in the backup")
    said(sites, "bea", north, conv, "life goes on")
    sites.follow_all()
    assert states(sites, message) == GONE
    assert sites.run().state == "COMPLETE"
    sites.compare()


def test_what_targets_a_destroyed_message_and_comes_late_is_gone_as_well(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "bea", north, conv, "first words")
    north.edit("bea", message, "second words")
    sites.destroy("bea")
    sites.follow_all()
    for place in sites.places:
        assert not place.can_open("first words")
        assert not place.can_open("second words")
    assert sites.run().state == "COMPLETE"


def test_what_expired_at_one_end_never_comes_back_there(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "thirty days")
    for _ in range(31):
        north.pass_days(1)
        sites.settle()
        sites.grant(north)
    assert north.expire() == 1
    assert states(sites, message)[:2] == [PartState.PRESENT, PartState.DESTROYED]
    sites.hub.edit("ann", message, "thirty days more")
    sites.settle()
    assert north.state(message) is PartState.DESTROYED
    assert not north.can_open("thirty days")
    assert sites.hub.texts("ann", conv) == ["thirty days more"]
