"""Case 31, continued: a hostile branch that names officers, moves people, takes over duties.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nacl.signing import SigningKey

from appliance.context import SITE, Actor
from appliance.directory.commands import CreatePerson, SetKey, SetRoles, request_of
from appliance.directory.requests import CHALLENGE_BYTES, canonical_json, canonical_request
from appliance.messaging.commands import AssignDuty, CreateDuty
from appliance.operations import (
    SPECS,
    BodyStruct,
    DutyChain,
    DutyHolder,
    Kind,
    PersonCreated,
    PersonHome,
    PersonProfile,
    PersonRoles,
    Signed,
    encode,
)
from store.ids import OpId, Stream, StreamKind
from store.oplog import Draft
from tests.appliance.sites.cases import is_void_at, new_organisation, smuggle, verdicts
from tests.appliance.sites.harness import Organisation, Place
from transports.wire.errors import Refusal

OFFICES = ["administrator", "security_officer", "auditor"]
NEWCOMER = b"n" * 16


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def forge(place: Place, kind: Kind, body: BodyStruct, stream: Stream) -> OpId:
    """Let a branch sign what its program would refuse, in a way that it believes itself."""
    place.append(kind, body, stream)
    own = place.core.log.own
    return OpId(own.node, own.incarnation, place.core.log.head.seq)


def person(name: bytes) -> Stream:
    return Stream(StreamKind.PERSON, name)


@pytest.mark.parametrize("office", OFFICES)
def test_31_an_office_that_a_branch_names_is_taken_back_everywhere(
    organisation: Organisation, office: str
) -> None:
    branch, hub = organisation.branches[0], organisation.hub
    bea = branch.people["bea"]
    name = forge(branch, Kind.PERSON_ROLES, PersonRoles(("member", office)), person(bea))
    assert office in branch.core.directory.person(bea).roles, "provisional at the branch"
    organisation.settle()
    assert is_void_at(hub, name)
    for place in organisation.places:
        assert place.core.directory.person(bea).roles == {"member"}
        told = [(each.op, each.outcome, each.code) for each in verdicts(place)]
        assert told == [(name.pack(), "corrected", "site.not_headquarters")]
    organisation.compare()
    organisation.check()


@pytest.mark.parametrize("office", OFFICES)
def test_31_a_newcomer_of_a_branch_is_a_member_and_no_more(
    organisation: Organisation, office: str
) -> None:
    branch, stream = organisation.branches[0], person(NEWCOMER)
    forge(branch, Kind.PERSON_CREATED, PersonCreated(NEWCOMER), stream)
    forge(branch, Kind.PERSON_PROFILE, PersonProfile("new", "New", ""), stream)
    forge(branch, Kind.PERSON_HOME, PersonHome(branch.node), stream)
    forge(branch, Kind.PERSON_ROLES, PersonRoles(("member", office)), stream)
    organisation.settle()
    for place in organisation.places:
        known = place.core.directory.person(NEWCOMER)
        assert (known.login, known.roles, known.home) == ("new", {"member"}, branch.node)
    organisation.compare()


def test_an_office_that_headquarters_gave_stays_when_the_branch_changes_other_roles(
    organisation: Organisation,
) -> None:
    branch, hub = organisation.branches[0], organisation.hub
    hub.do(SITE, SetRoles("bea", ("administrator",)))
    organisation.settle()
    bea = person(hub.people["bea"])
    forge(branch, Kind.PERSON_ROLES, PersonRoles(("administrator", "member")), bea)
    organisation.settle()
    for place in organisation.places:
        assert place.core.directory.person(hub.people["bea"]).roles == {"administrator", "member"}
        assert verdicts(place) == []
    forge(branch, Kind.PERSON_ROLES, PersonRoles(("member",)), bea)
    organisation.settle()
    assert hub.core.directory.person(hub.people["bea"]).roles == {"member"}, "less is believed"


def test_31_an_officer_at_home_at_a_branch_decides_nothing_at_headquarters(
    organisation: Organisation,
) -> None:
    hub, key = organisation.hub, SigningKey(b"k" * 32)
    hub.do(SITE, SetRoles("bea", ("member", "administrator")))
    hub.do(SITE, SetRoles("ann", ("member", "administrator")))
    for login in ("ann", "bea"):
        hub.do(SITE, SetKey(bytes(key.verify_key), login))
    with pytest.raises(Refusal) as caught:
        create(hub, "bea", key)
    assert caught.value.code == "permission.denied"
    create(hub, "ann", key)


def create(place: Place, login: str, key: SigningKey) -> None:
    """Let somebody add a person by a request signed with their own key."""
    command = CreatePerson("victor", "Victor")
    text = canonical_json({"login": "victor", "name": "Victor"})
    who = place.people[login]
    data = canonical_request(place.node, bytes(CHALLENGE_BYTES), who, request_of(command)[0], text)
    place.do(Actor(who, b"", Signed(data, key.sign(data).signature)), command)


@pytest.mark.parametrize("past", [(), (b"p" * 16,)])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_31_a_branch_cannot_move_people_nor_hide_where_they_have_been(
    organisation: Organisation, where: int, past: tuple[bytes, ...]
) -> None:
    branch, bea = organisation.branches[0], organisation.hub.people["bea"]
    node = b"" if not where else organisation.places[where].node
    spec, body = SPECS[Kind.PERSON_HOME], PersonHome(node, past=past)
    draft = Draft(
        Kind.PERSON_HOME, spec.op_class, person(bea), spec.retention_class, body=encode(body)
    )
    op = smuggle(branch, draft)
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)
    known = organisation.hub.core.directory.person(bea)
    assert (known.home, known.past_homes) == (branch.node, ())


@pytest.mark.parametrize("holder", ["ann", "cat"])
def test_31_a_branch_cannot_take_over_a_duty_of_another_site(
    organisation: Organisation, holder: str
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    hub.do(SITE, CreateDuty("oncall", "On call"))
    hub.do(SITE, AssignDuty("oncall", holder))
    organisation.settle()
    stream = Stream(StreamKind.DUTY, hub.core.conversations.duty_named("oncall").id)
    for kind, body in (
        (Kind.DUTY_HOLDER, DutyHolder(branch.people["bea"])),
        (Kind.DUTY_CHAIN, DutyChain((branch.people["bea"],), 60)),
    ):
        spec = SPECS[kind]
        op = smuggle(
            branch, Draft(kind, spec.op_class, stream, spec.retention_class, body=encode(body))
        )
        organisation.settle()
        assert is_void_at(hub, op.id)
    known = hub.core.conversations.duty(stream.id)
    assert (known.holder, known.chain) == (hub.people[holder], ())


def test_a_branch_changes_a_duty_that_is_free_or_held_by_its_own(
    organisation: Organisation,
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    hub.do(SITE, CreateDuty("oncall", "On call"))
    organisation.settle()
    for login in ("bea", "bob", "ann"):
        branch.do(SITE, AssignDuty("oncall", login))
        organisation.settle()
        assert hub.core.conversations.duty_named("oncall").holder == hub.people[login]
    with pytest.raises(Refusal) as caught:
        branch.do(SITE, AssignDuty("oncall", "bea"))
    assert caught.value.code == "site.not_headquarters"
