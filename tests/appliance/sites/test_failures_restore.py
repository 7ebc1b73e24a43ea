"""Sites that went back in time, were copied, or were away for long.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
import trio.testing

from appliance.context import SITE
from appliance.sites.link_commands import TakeIncarnation
from tests.appliance.sites import invariants
from tests.appliance.sites.cases import begin, new_organisation, say, texts
from tests.appliance.sites.federation import Federation
from tests.appliance.sites.harness import Organisation
from transports.wire import schema
from transports.wire.schema import Body, Id


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def succeed(organisation: Organisation) -> None:
    """Let the first branch take a new incarnation, as a told restore does."""
    branch = organisation.branches[0]
    branch.do(SITE, TakeIncarnation(branch.core.log.own.incarnation, "restored"))


def prove(organisation: Organisation) -> None:
    """Prove that nothing is lost, and that all sites agree with each other and themselves."""
    organisation.compare()
    organisation.check()
    for branch in organisation.branches:
        invariants.nothing_is_lost(organisation.hub.site, branch.site)


def test_06_what_an_earlier_incarnation_had_not_sent_reaches_headquarters_first(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    said = ["first", "second", "third"]
    for number, text in enumerate(said):
        say(organisation, "bea", conv, text)
        if number < 2:
            succeed(organisation)
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == said
    prove(organisation)


def test_06_a_new_incarnation_with_nothing_left_behind_goes_on_at_once(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    succeed(organisation)
    say(organisation, "bea", conv, "after")
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == ["after"]
    prove(organisation)


def test_06_a_change_of_an_earlier_incarnation_yields_to_headquarters_once_it_is_ordered(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    branch.by("bea", schema.Conv(1, conv, "rename", title="from the branch"))
    succeed(organisation)
    organisation.settle()
    hub.do(SITE, TakeIncarnation(0, "not its own: nothing happens"))
    assert hub.core.conversations.get(conv).title == "from the branch"
    branch.by("bea", schema.Conv(1, conv, "role", person=hub.ids("ann")[0], role="owner"))
    organisation.settle()
    hub.by("ann", schema.Conv(1, conv, "rename", title="from headquarters"))
    organisation.settle()
    assert branch.core.conversations.get(conv).title == "from headquarters"
    prove(organisation)


PEOPLE = {"ann": 0, "bea": 1, "cat": 2}


async def _open(federation: Federation) -> Id:
    others = federation.ids("ann", "cat")
    reply = await federation.ask("bea", schema.Open(1, "group", others, title="ward"))
    assert reply is not None
    assert reply.conv is not None
    await federation.settle()
    return Id(reply.conv)


async def _roll_back(federation: Federation) -> None:
    async with federation.running():
        await federation.settle()
        conv = await _open(federation)
        branch = federation.houses[1]
        await federation.send("bea", conv, "kept by both")
        await federation.settle()
        kept = federation.kept(branch)
        await federation.send("bea", conv, "known to headquarters only")
        await federation.settle()
        before = branch.site.core.log.own
        await federation.set_back(branch, kept)
        assert branch.site.core.log.own == before, "nothing here tells of the rollback"
        with trio.fail_after(600):
            while branch.site.core.log.own == before:  # noqa: ASYNC110 - virtual time
                await trio.sleep(1.0)
        federation.forget_numbers("bea")
        await federation.send("bea", conv, "under the new incarnation")
        with trio.fail_after(600):
            while not federation.is_settled():  # noqa: ASYNC110 - virtual time
                await trio.sleep(1.0)
        hub = federation.houses[0].site
        names = federation.sent["bea", bytes(conv)]
        assert len(names) == 3
        for site in (hub, branch.site):
            invariants.acknowledged_stands_in_order(site, conv, names)


def test_07_a_silent_rollback_is_fenced_and_the_branch_goes_on_under_a_new_incarnation() -> None:
    federation = Federation(7, 2, PEOPLE)
    trio.run(_roll_back, federation, clock=trio.testing.MockClock(autojump_threshold=0))


def test_06_headquarters_restored_from_an_old_backup_is_sent_again_what_it_lost(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub = organisation.hub
    say(organisation, "bea", conv, "in the backup")
    organisation.settle()
    kept = hub.kept()
    say(organisation, "bea", conv, "after the backup")
    organisation.settle()
    hub.set_back(kept)
    hub.do(SITE, TakeIncarnation(hub.core.log.own.incarnation, "restored"))
    assert texts(hub, "ann", conv) == ["in the backup"]
    organisation.settle()
    assert texts(hub, "ann", conv) == ["in the backup", "after the backup"]
    prove(organisation)


def test_10_a_branch_that_was_away_for_ninety_days_tells_all_and_hears_all(
    organisation: Organisation,
) -> None:
    conv, branch = begin(organisation, "bea", "ann", "cat"), organisation.branches[0]
    name = say(organisation, "ann", conv, "recalled meanwhile")
    organisation.settle()
    line = organisation.branches.pop(0)  # it is cut off, and its people go on working
    for day in range(0, 95, 5):
        for place in (*organisation.places, line):
            place.clock.advance(5 * 24 * 3_600_000)
        frame = schema.Send(1, line.number("bea"), Body("text", f"bea, day {day}"), conv=conv)
        line.by("bea", frame)
        say(organisation, "ann", conv, f"ann, day {day}")
        organisation.settle()
    organisation.hub.by("ann", schema.Recall(1, organisation.hub.number("ann"), name))
    organisation.hub.by("ann", schema.Open(1, "group", organisation.hub.ids("bea"), title="new"))
    organisation.branches.insert(0, line)
    organisation.settle()
    expected = [f"{login}, day {day}" for day in range(0, 95, 5) for login in ("bea", "ann")]
    for place, login in zip(organisation.places, ("ann", "bea", "cat"), strict=True):
        assert sorted(texts(place, login, conv)[1:]) == sorted(expected)
        assert next(each.recalled for each in place.history(login, conv))
    assert [known.title for known in branch.listed("bea").values() if known.title == "new"]
    prove(organisation)
