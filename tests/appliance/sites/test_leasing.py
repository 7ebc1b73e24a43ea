"""Leases over the line: asked for when it comes up, aged when it is cut, fresh when it is back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio
import trio.testing

from appliance.operations import HoldPlaced, Kind, SiteRevoked
from appliance.policy.predicate import Predicate
from appliance.sites import lease
from appliance.sites.lease import State
from appliance.sites.leasing import ASK, GRANT
from appliance.sites.limits import AGED_MS, EXPIRED_MS, LEASE_ASK_SECONDS, LEASE_RETRY_SECONDS
from store import cursors
from sync.pieces import Lane
from tests.appliance.sites.federation import Federation, House
from tests.appliance.sites.harness import append

PEOPLE = {"ann": 0, "bea": 1}
PATIENCE_SECONDS = 40_000.0

Act = Callable[[Federation], Awaitable[None]]


def state(house: House) -> State:
    core = house.site.core
    return lease.state_of(core.sites.mark, core.reading())


def may_destroy(house: House) -> bool:
    core = house.site.core
    with house.site.ports.engine.snapshot() as reader:
        applied = cursors.get(reader, cursors.PEER, Lane.CONTROL)
    return lease.may_destroy(core.sites.mark, applied, core.reading())


def play(act: Act, *, branches: int = 1) -> None:
    async def main() -> None:
        federation = Federation(7, branches, PEOPLE)
        with trio.fail_after(PATIENCE_SECONDS):
            async with federation.running():
                await federation.settle()
                await act(federation)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_branch_has_a_lease_soon_after_its_line_is_up() -> None:
    async def act(federation: Federation) -> None:
        _, branch = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        assert state(branch) is State.FRESH
        known = branch.site.core.sites.lease
        assert known is not None
        assert known.headquarters_ms > 0

    play(act)


def test_a_cut_branch_ages_and_is_fresh_again_once_the_line_is_back() -> None:
    async def act(federation: Federation) -> None:
        _, branch = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        federation.lines[0].link.cut()
        seen = []
        for slept_ms in (AGED_MS, EXPIRED_MS - AGED_MS):
            seen.append(state(branch))
            branch.world.clock.asleep_ms += slept_ms
        assert [*seen, state(branch)] == [State.FRESH, State.AGED, State.EXPIRED]
        federation.lines[0].link.heal()
        await federation.settle()
        await trio.sleep(LEASE_RETRY_SECONDS)
        assert state(branch) is State.FRESH

    play(act)


def test_the_age_is_from_the_last_asking_that_was_answered() -> None:
    async def act(federation: Federation) -> None:
        _, branch = federation.houses
        await trio.sleep(1.5 * LEASE_ASK_SECONDS)
        mark = branch.site.core.sites.mark
        assert mark is not None
        age_ms = mark.at(branch.site.core.reading()).age_ms
        assert age_ms <= (LEASE_ASK_SECONDS + LEASE_RETRY_SECONDS) * 1000

    play(act)


def test_a_branch_destroys_only_knowing_every_hold_that_headquarters_knew() -> None:
    async def act(federation: Federation) -> None:
        hub, branch = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        assert may_destroy(branch)
        append(hub.site, Kind.HOLD_PLACED, HoldPlaced(1, "Case", Predicate(), "a letter"))
        asked = lease.ask(branch.site.core.reading(), 0)
        grant = lease.Grant(asked, 1, hub.site.core.disposal.ruled_pos)
        mark = lease.accept(None, grant, branch.site.core.reading())
        with branch.site.ports.engine.snapshot() as reader:
            applied = cursors.get(reader, cursors.PEER, Lane.CONTROL)
        assert not lease.may_destroy(mark, applied, branch.site.core.reading())
        hub_appliance = hub.appliance
        assert hub_appliance is not None
        hub_appliance.links.changed()
        await federation.settle()
        await trio.sleep(LEASE_ASK_SECONDS + LEASE_RETRY_SECONDS)
        assert branch.site.core.disposal.active_holds()
        assert may_destroy(branch)

    play(act)


def test_a_revoked_branch_gets_no_lease_any_more() -> None:
    async def act(federation: Federation) -> None:
        hub, branch = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        append(hub.site, Kind.SITE_REVOKED, SiteRevoked(1, "stolen"))
        branch.world.clock.asleep_ms += AGED_MS
        await trio.sleep(3 * LEASE_RETRY_SECONDS)
        assert state(branch) is not State.FRESH

    play(act)


def test_notes_that_no_honest_site_sends_change_nothing() -> None:
    async def act(federation: Federation) -> None:
        hub, branch = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        assert hub.appliance is not None
        assert branch.appliance is not None
        before = branch.site.core.sites.lease
        ask = lease.write_ask(lease.ask(branch.site.core.reading(), 0))
        for appliance, node in ((hub.appliance, branch.node), (branch.appliance, hub.node)):
            take = appliance.links.notes
            for kind, body in ((ASK, b"\x90"), (GRANT, b"\x90"), (GRANT, ask), (ASK, b"")):
                take[kind](node, body)
            take[ASK](b"x" * 16, ask)
        grant = lease.write_grant(lease.Grant(lease.read_ask(ask), 1, 0))
        branch.appliance.links.notes[GRANT](b"x" * 16, grant)
        hub.appliance.links.notes[GRANT](branch.node, grant)
        await trio.sleep(1)
        assert branch.site.core.sites.lease == before
        assert hub.site.core.sites.lease is None

    play(act)


def test_a_branch_says_soon_that_it_knows_every_hold() -> None:
    async def act(federation: Federation) -> None:
        hub, _branch = federation.houses
        append(hub.site, Kind.HOLD_PLACED, HoldPlaced(1, "Case", Predicate(), "a letter"))
        federation.lines[0].link.cut()
        federation.lines[0].link.heal()
        await federation.settle()
        await trio.sleep(3 * LEASE_RETRY_SECONDS)
        (granted,) = hub.site.core.sites.granted.values()
        assert granted.applied >= hub.site.core.disposal.ruled_pos > 0

    play(act)


def test_headquarters_knows_what_it_granted_whom() -> None:
    async def act(federation: Federation) -> None:
        hub, *branches = federation.houses
        await trio.sleep(LEASE_RETRY_SECONDS)
        granted = hub.site.core.sites.granted
        assert sorted(granted) == [branch.site.core.sites.number for branch in branches]
        assert all(each.at_ms > 0 for each in granted.values())

    play(partial(act), branches=2)
