"""What headquarters keeps in mind of whom arrivals concern tells a branch what all would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from appliance.sites import audience as audiences
from appliance.sites.audience import Audience
from appliance.sites.replica import HeadquartersReplica
from sync.pieces import NUMBERED, Entry, Lane, Own
from tests.appliance.sites.cases import HOMES, begin, home, new_organisation, say
from tests.appliance.sites.harness import BUDGET_BYTES, Organisation
from transports.wire import schema
from transports.wire.errors import Refusal


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def look(organisation: Organisation, audience: Audience) -> None:
    with organisation.hub.reading() as reader:
        audience.look(reader)


def told(
    organisation: Organisation, number: int, audience: Audience | None, after: int
) -> dict[Lane, list[Entry | Own]]:
    """Return everything that a branch is sent behind a position, lane by lane."""
    hub, branch = organisation.hub, organisation.branches[number]
    up, down = organisation.replicas(branch)
    replica = HeadquartersReplica(
        hub.core, hub.site.ports.engine, down._execute, branch.node, audience
    )
    replica.begin(up.standing())
    replica._read = dict.fromkeys(NUMBERED, after)
    found: dict[Lane, list[Entry | Own]] = {}
    for lane in NUMBERED:
        found[lane], at = [], after
        while (piece := replica.read(lane, at, BUDGET_BYTES)) is not None:
            found[lane] += [*piece.entries, *piece.own]
            at = piece.upto
        assert at == hub.core.log.head.pos
    return found


def act(organisation: Organisation, dice: Random) -> None:
    """Let somebody do something that some branches have to hear of."""
    login = dice.choice(sorted(HOMES))
    place = home(organisation, login)
    known = sorted(place.core.conversations.current(place.people[login]))
    if not known or dice.random() < 0.2:
        begin(organisation, login, dice.choice([each for each in HOMES if each != login]))
    elif dice.random() < 0.3:
        person = place.ids(dice.choice(sorted(HOMES)))[0]
        change = dice.choice(("add", "remove"))
        frame = schema.Conv(1, schema.Id(dice.choice(known)), change, person=person, role="member")
        with suppress(Refusal):
            place.by(login, frame)
    else:
        say(organisation, login, schema.Id(dice.choice(known)), "hello")


@pytest.mark.parametrize("seed", range(4))
def test_a_branch_is_told_the_same_with_it_and_without(
    organisation: Organisation, seed: int
) -> None:
    dice, audience = Random(seed), Audience(organisation.hub.core)
    look(organisation, audience)
    start = organisation.hub.core.log.head.pos
    for _ in range(25):
        act(organisation, dice)
        look(organisation, audience)
    for number in range(2):
        known = told(organisation, number, audience, start)
        assert known == told(organisation, number, None, start)
        assert any(known.values())


def test_only_who_is_concerned_has_news(organisation: Organisation) -> None:
    conv = begin(organisation, "ann", "bea")
    audience, hub = Audience(organisation.hub.core), organisation.hub
    look(organisation, audience)
    audience.news()
    say(organisation, "ann", conv, "for bea")
    look(organisation, audience)
    assert audience.news() == {organisation.branches[0].node}
    assert audience.news() == set()
    hub.enrol("dan")
    look(organisation, audience)
    assert audience.news() is None, "a new person concerns everybody"


def test_what_is_older_than_it_remembers_is_found_by_reading_all(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences, "AUDIENCE_POSITIONS", 8)
    conv = begin(organisation, "ann", "bea")
    audience, start = Audience(organisation.hub.core), organisation.hub.core.log.head.pos
    for number in range(20):
        say(organisation, "ann", conv, f"{number}")
        look(organisation, audience)
    node, head = organisation.branches[0].node, organisation.hub.core.log.head.pos
    assert audience.positions(node, Lane.MESSAGES, start, head) is None
    assert list(audience.positions(node, Lane.MESSAGES, head - 2, head) or ()) == [head - 1, head]
    assert len(told(organisation, 0, audience, start)[Lane.MESSAGES]) == 20
