"""A branch destroys only under a lease with every hold of it, and a hold says where it counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.disposal.commands import AttestLost, Slice
from appliance.disposal.decide_slices import EXPIRY
from appliance.disposal.orders import DONE, HELD, MISSING, receipt_number, state_of
from appliance.doctor import examine_disposal
from appliance.operations import (
    SPECS,
    DestructionReceipt,
    HoldPlaced,
    Kind,
    SiteRevoked,
)
from appliance.policy.predicate import Predicate
from appliance.sites.authority import why_no_destruction
from appliance.sites.limits import EXPIRED_MS, LEASE_DRIFT_MS
from store.records import PartState
from sync.pieces import Lane
from tests.appliance.sites.compliance import Authority, Ward
from tests.appliance.sites.test_orders_across import carry_orders, room, said, states
from transports.wire.errors import Refusal

DAY_MS = 86_400_000


@pytest.fixture
def sites() -> Iterator[Authority]:
    made = Authority()
    yield made
    for place in made.places:
        assert place.problems() == []
    made.close()


def why(branch: Ward) -> str:
    return why_no_destruction(branch.core.sites, branch.core.reading())


def test_a_cut_off_branch_destroys_by_age_until_its_lease_is_over(sites: Authority) -> None:
    conv = room(sites)
    north, south = sites.branches
    message = said(sites, "ann", sites.hub, conv, "of age")
    for _ in range(30):
        sites.pass_days(1)
        sites.grant(north)
    sites.pass_days(1)
    assert (why(north), why(south)) == ("", "expired")
    assert (north.expire(), south.expire()) == (1, 0)
    assert states(sites, message)[1:] == [PartState.DESTROYED, PartState.PRESENT]
    found = {each.id for each in examine_disposal(south.site)}
    assert "lease.no_destruction" in found
    assert "lease.no_destruction" not in {each.id for each in examine_disposal(north.site)}
    with pytest.raises(Refusal) as caught:
        south.do(SITE, Slice(0, EXPIRY, 0, ((1, 1),)))
    assert caught.value.code == "site.lease"
    sites.grant(south)
    assert south.expire() == 1


def test_a_branch_that_lacks_a_hold_of_its_lease_destroys_nothing(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "held in time")
    sites.pass_days(31)
    sites.hold(sites.hub, "dave", "ann")
    sites.grant(north)
    assert why(north) == "holds"
    assert north.expire() == 0
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    assert why(north) == ""
    assert north.expire() == 0
    assert north.state(message) is PartState.PRESENT
    assert north.texts("bea", conv) == ["held in time"]


def test_a_hold_tells_from_when_on_it_is_in_force_everywhere(sites: Authority) -> None:
    north, south = sites.branches
    granted_ms = sites.hub.clock.wall_ms()
    sites.pass_days(2)
    number = sites.hold(sites.hub, "dave", "ann")
    shown = sites.holds(sites.hub, "dave")[number]
    assert shown.waits_for == ("branch-1", "branch-2")
    assert shown.everywhere_ms == granted_ms + EXPIRED_MS + LEASE_DRIFT_MS
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    sites.grant(north)
    assert sites.holds(sites.hub, "dave")[number].waits_for == ("branch-2",)
    sites.hub.reopen()
    sites.hub.clock.advance(EXPIRED_MS + LEASE_DRIFT_MS - 2 * DAY_MS)
    shown = sites.holds(sites.hub, "dave")[number]
    assert (shown.everywhere_ms, shown.waits_for) == (0, ())
    south.pass_days(5.1)
    assert why(south) == "expired"


def test_a_branch_changes_no_hold_of_another_site_and_answers_for_itself_alone(
    sites: Authority,
) -> None:
    number = sites.hold(sites.hub, "dave", "ann")
    sites.settle()
    north = sites.branches[0]
    north.append(Kind.HOLD_PLACED, HoldPlaced(number, "narrower", Predicate(labels=("x",)), "no"))
    receipt = DestructionReceipt(receipt_number(2, 7), 7, 1, 1, 1, 0, 0, 0)
    north.append(Kind.DESTRUCTION_RECEIPT, receipt)
    while sites.carry(north, Lane.CONTROL, is_up=True):
        pass
    assert sites.holds(sites.hub, "dave")[number].name == "case"
    assert sites.hub.core.disposal.across.receipts == {}


def test_a_lost_branch_is_waited_for_until_an_officer_attests_it(sites: Authority) -> None:
    conv = room(sites)
    said(sites, "ann", sites.hub, conv, "on a stolen machine")
    sites.destroy("ann")
    carry_orders(sites, sites.branches[0])
    sites.branches = sites.branches[:1]
    sites.follow_all()
    assert sites.run().state == "REPLICAS"
    with pytest.raises(Refusal) as caught:
        sites.hub.officer("dave", AttestLost("branch-2", "burnt"))
    assert caught.value.code == "site.state"
    sites.hub.append(Kind.SITE_REVOKED, SiteRevoked(2, "stolen"))
    assert sites.run().state == "REPLICAS"
    sites.hub.officer("dave", AttestLost("branch-2", "seen burnt by the fire brigade"))
    sites.follow(sites.hub)
    run = sites.run()
    assert run.state == "COMPLETE"
    assert [each.state for each in run.sites] == ["done", "lost"]


# --- decisions ----------------------------------------------------------------------------------

receipts = st.builds(
    DestructionReceipt,
    receipt=st.just(1),
    order=st.just(1),
    run=st.integers(0, 3),
    generation=st.integers(0, 3),
    destroyed=st.integers(0, 3),
    held_back=st.integers(0, 3),
    absent=st.integers(0, 3),
    left=st.integers(0, 3),
)


@given(st.lists(st.none() | receipts))
def test_a_branch_is_done_only_when_nothing_is_left_held_or_unanswered(
    found: list[DestructionReceipt | None],
) -> None:
    state = state_of(found)
    whole = [each for each in found if each is not None and not each.left]
    assert (state == MISSING) == (len(whole) < len(found))
    assert (state == DONE) == (state != MISSING and not any(each.held_back for each in whole))
    assert state in (DONE, HELD, MISSING)


@given(st.integers(0, 10_000), st.integers(1, (1 << 40) - 1))
def test_no_two_branches_and_orders_share_a_receipt(site: int, order: int) -> None:
    number = receipt_number(site, order)
    assert (number >> 40, number & (1 << 40) - 1) == (site, order)
    assert number < 1 << 64
    assert SPECS[Kind.DESTRUCTION_RECEIPT].item == "receipt"
