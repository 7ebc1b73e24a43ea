"""Homes: at which site a person signs in, who decides it, and who still knows what."""

import pytest

from appliance.context import SITE
from appliance.directory.commands import (
    Command,
    CreatePerson,
    Done,
    ResetAccess,
    SetHome,
    SetRoles,
    SetState,
)
from appliance.operations import Kind, PersonHome, SiteInvited
from tests.appliance.directory.harness import (
    Town,
    body_of,
    denied,
    kinds,
    signature_of,
    snapshot,
)


@pytest.fixture
def town() -> Town:
    """Headquarters with the branches north and south, and a third that has not joined yet."""
    town = Town()
    town.branch(1, "north")
    town.branch(2, "south")
    town.record((Kind.SITE_INVITED, SiteInvited(3, "east", b"t" * 32, town.now)))
    town.add("grace", "administrator")
    town.add("dave", "security_officer")
    town.add("bob")
    return town


def test_people_are_at_home_at_headquarters_unless_told_otherwise(town: Town) -> None:
    assert town.person("bob").home == b""
    assert town.sites.node_of_person(town.person("bob").id) == town.log.node


def test_a_person_is_added_at_a_branch_and_the_signature_covers_it(town: Town) -> None:
    command = CreatePerson("carol", "Carol", site="north")
    actor = town.signed("grace", command)
    outcome = town.outcome(actor, command)
    assert kinds(outcome)[-1] == Kind.PERSON_HOME
    assert signature_of(outcome.ops[-1]) == actor.signed
    node = town.sites.branches[1].node
    assert town.person("carol").home == town.sites.node_of_person(town.person("carol").id) == node


def test_who_is_added_at_a_branch_is_at_home_there(town: Town) -> None:
    town.become_branch()
    town.run(SITE, CreatePerson("carol", "Carol"))
    assert town.person("carol").home == town.log.node
    assert town.sites.is_home(town.person("carol").id)


def test_a_branch_that_people_leave_is_remembered_until_their_access_is_reset(town: Town) -> None:
    north, south = (town.sites.branches[number].node for number in (1, 2))
    for site, home, past in (
        ("north", north, ()),
        ("south", south, (north,)),
        ("north", north, (south,)),
        ("", b"", (south, north)),
        ("south", south, (north,)),
    ):
        assert town.ask("grace", SetHome("bob", site)) == Done()
        assert (town.person("bob").home, town.person("bob").past_homes) == (home, past)
    assert [person.login for person in town.sites.revealed(north)] == ["bob"]
    town.ask("dave", ResetAccess("bob"))
    assert town.sites.revealed(north) == []
    assert [person.login for person in town.sites.revealed(south)] == ["bob"]
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_moving_where_one_is_writes_nothing(town: Town) -> None:
    town.ask("grace", SetHome("bob", "north"))
    command = SetHome("bob", "north")
    assert kinds(town.outcome(town.signed("grace", command), command)) == []


def test_the_log_says_where_a_person_is_at_home_and_who_decided_it(town: Town) -> None:
    command = SetHome("bob", "north")
    actor = town.signed("grace", command)
    (op,) = town.outcome(actor, command).ops
    assert body_of(op) == PersonHome(town.sites.branches[1].node, actor.signed)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (SetHome("bob", "west"), "site.unknown"),
        (SetHome("bob", "east"), "site.unknown"),
        (SetHome("nobody", "north"), "person.unknown"),
        (SetHome("grace", "north"), "person.last_administrator"),
        (SetHome("dave", "north"), "person.last_officer"),
        (CreatePerson("carol", "Carol", site="west"), "site.unknown"),
    ],
)
def test_what_is_refused(town: Town, command: Command, code: str) -> None:
    assert denied(town, "grace", command) == code


def test_only_an_administrator_moves_people(town: Town) -> None:
    for login in ("bob", "dave"):
        assert denied(town, login, SetHome("bob", "north")) == "permission.denied"


def test_only_headquarters_moves_people(town: Town) -> None:
    town.become_branch()
    town.add("gwen", "administrator")
    for command in (SetHome("bob"), CreatePerson("carol", "Carol", site="south")):
        assert denied(town, "grace", command) == "permission.denied", "not at home here"
        assert denied(town, "gwen", command) == "site.not_headquarters"


def test_an_administrator_at_a_branch_does_not_count_as_the_one_who_must_stay(town: Town) -> None:
    town.add("henry", "administrator")
    town.ask("grace", SetHome("henry", "north"))
    for command in (SetState("grace", "disabled"), SetRoles("grace", ("member",))):
        assert denied(town, "grace", command) == "person.last_administrator"
    town.ask("grace", SetState("henry", "disabled"))
