"""Operations that are wrong, unknown, forged or too late: what headquarters makes of them.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nacl.signing import SigningKey

from appliance.context import SITE
from appliance.operations import SPECS, Kind, PersonRoles, Reaction, SecretSlot, encode
from appliance.sites.link_commands import TakePiece
from appliance.sites.proofs import Proven, TakeSegments
from appliance.sites.reach import REACH
from store.errors import EquivocationError, ForgedError
from store.ids import SITE_STREAM, OpId, Stream, StreamKind
from store.oplog import Draft
from store.segments import FIRST_PREVIOUS, Statement, signed_bytes
from sync.errors import GapError, RejectedError
from sync.pieces import Lane, Piece
from tests.appliance.sites.cases import (
    begin,
    in_conversation,
    is_void_at,
    new_organisation,
    say,
    smuggle,
    texts,
    verdicts,
)
from tests.appliance.sites.harness import BUDGET_BYTES, Organisation, Place
from transports.wire import schema
from transports.wire.schema import Id

NEWER_KIND = 60_000
"""A kind of operation that a later build may bring."""


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def test_28_an_operation_of_a_newer_version_is_kept_relayed_and_ignored(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    before = say(organisation, "bea", conv, "before")
    draft = in_conversation(conv, NEWER_KIND, b"\x81\xa5later\x01", target=bytes(before))
    unknown = smuggle(organisation.branches[0], draft)
    say(organisation, "bea", conv, "after")
    organisation.settle()
    for place in organisation.places:
        with place.reading() as reader:
            found = place.core.log.find(reader, unknown.id)
            assert found is not None
            assert place.core.log.read(reader, *found).body == unknown.body
    organisation.compare()
    organisation.check()
    assert texts(organisation.hub, "ann", conv) == ["before", "after"]


def reactions(place: Place, conv: Id) -> list[tuple[str, int]]:
    """Return the reactions to all messages of a conversation, and how many people gave each."""
    known = place.core.conversations.get(conv)
    login = next(each for each, person in place.people.items() if person in known.members)
    shown = place.history(login, conv)
    return [(each.emoji, len(each.people)) for item in shown for each in item.reactions]


@pytest.mark.parametrize("is_sound", [True, False], ids=["sound", "of no body"])
def test_28_a_build_that_knows_the_kind_lets_it_count(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch, is_sound: bool
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    name = say(organisation, "bea", conv, "seen by all")
    newer, hub, older = (*organisation.branches[:1], organisation.hub, organisation.branches[1])
    with monkeypatch.context() as before:
        before.delitem(SPECS, Kind.REACTION)
        before.delitem(REACH, Kind.REACTION)
        body = encode(Reaction("👍", True)) if is_sound else BAD_BODY
        draft = in_conversation(
            conv, Kind.REACTION, body, target=bytes(name), actor=newer.people["bea"]
        )
        op = smuggle(newer, draft)
        organisation.settle()
    for place in (hub, older):
        assert reactions(place, conv) == []
        place.reopen()
        assert reactions(place, conv) == [("👍", 1)] * is_sound
        assert is_void_at(place, op.id) is not is_sound
        place.check()
        place.reopen()
        assert reactions(place, conv) == [("👍", 1)] * is_sound


BAD_BODY = b"\xc1"
"""What is no body of any kind: the byte that msgpack never uses."""


def test_29_a_poison_operation_is_quarantined_and_the_lane_moves_on(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "before")
    bad = smuggle(organisation.branches[0], in_conversation(conv, Kind.MESSAGE, BAD_BODY))
    say(organisation, "bea", conv, "after")
    organisation.settle()
    assert is_void_at(organisation.hub, bad.id)
    assert texts(organisation.hub, "ann", conv) == ["before", "after"]
    organisation.hub.check()


def test_29_a_quarantine_is_told_to_every_site(organisation: Organisation) -> None:
    conv = begin(organisation, "bea", "ann")
    bad = smuggle(organisation.branches[0], in_conversation(conv, Kind.MESSAGE, BAD_BODY))
    organisation.settle()
    assert is_void_at(organisation.hub, bad.id)
    assert [(each.op, each.outcome) for each in verdicts(organisation.branches[1])] == [
        (bad.id.pack(), "quarantined")
    ]


def test_30_a_flipped_bit_in_a_piece_is_refused_and_the_right_one_taken(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "whole")
    branch, hub = organisation.branches[0], organisation.hub
    up, _down = organisation.replicas(branch)
    piece = up.read(Lane.MESSAGES, 0, BUDGET_BYTES)
    assert piece is not None
    for index, entry in enumerate(piece.entries):
        broken = entry.shipment._replace(envelope=entry.shipment.envelope[:-1])
        entries = [*piece.entries]
        entries[index] = entry._replace(shipment=broken)
        with pytest.raises(RejectedError):
            hub.do(
                SITE,
                TakePiece(branch.node, branch.core.log.own, piece._replace(entries=tuple(entries))),
            )
    organisation.settle()
    assert texts(hub, "ann", conv) == ["whole"]


def test_31_an_actor_of_another_site_has_no_effect(organisation: Organisation) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    forged = in_conversation(
        conv,
        Kind.MESSAGE,
        b"\x97\xa4text\xa3lie\xa0\xa6normal\xc4\x00\x90\xc4\x00",
        actor=organisation.hub.people["ann"],
    )
    op = smuggle(organisation.branches[0], forged)
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)
    assert texts(organisation.hub, "ann", conv) == []


@pytest.mark.parametrize("kind", [Kind.POLICY_SET, Kind.HOLD_RELEASED, Kind.VERDICT])
def test_31_what_only_headquarters_may_say_has_no_effect_from_a_branch(
    organisation: Organisation, kind: Kind
) -> None:
    spec = SPECS[kind]
    draft = Draft(kind, spec.op_class, SITE_STREAM, spec.retention_class, body=b"\x90")
    op = smuggle(organisation.branches[0], draft)
    before = organisation.hub.core.disposal.policies.number
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)
    assert organisation.hub.core.disposal.policies.number == before


@pytest.mark.parametrize("login", ["ann", "cat"])
def test_31_a_branch_cannot_change_people_of_other_sites(
    organisation: Organisation, login: str
) -> None:
    person = Stream(StreamKind.PERSON, organisation.hub.people[login])
    spec = SPECS[Kind.PERSON_ROLES]
    body = encode(PersonRoles(("administrator",)))
    draft = Draft(Kind.PERSON_ROLES, spec.op_class, person, spec.retention_class, body=body)
    op = smuggle(organisation.branches[0], draft)
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)
    known = organisation.hub.core.directory.person(person.id)
    assert "administrator" not in known.roles


def test_31_a_branch_is_not_heard_where_nobody_of_its_own_is(organisation: Organisation) -> None:
    conv = begin(organisation, "ann", "cat")
    body = b"\x97\xa4text\xa3lie\xa0\xa6normal\xc4\x00\x90\xc4\x00"
    bea = organisation.branches[0].people["bea"]
    op = smuggle(organisation.branches[0], in_conversation(conv, Kind.MESSAGE, body, actor=bea))
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)
    assert texts(organisation.hub, "ann", conv) == []


def test_31_an_operation_in_a_stream_where_its_kind_does_not_belong_has_no_effect(
    organisation: Organisation,
) -> None:
    spec = SPECS[Kind.PERSON_ROLES]
    body = encode(PersonRoles(("administrator",)))
    draft = Draft(Kind.PERSON_ROLES, spec.op_class, SITE_STREAM, spec.retention_class, body=body)
    op = smuggle(organisation.branches[0], draft)
    organisation.settle()
    assert is_void_at(organisation.hub, op.id)


def test_31_a_gap_in_what_a_branch_sends_is_refused(organisation: Organisation) -> None:
    branch = organisation.branches[0]
    with pytest.raises(GapError):
        organisation.hub.do(
            SITE, TakePiece(branch.node, branch.core.log.own, Piece(Lane.CONTROL, 1_000, 1_001))
        )


def test_31_a_branch_cannot_tell_of_another(organisation: Organisation) -> None:
    branch, other = organisation.branches
    with pytest.raises(RejectedError):
        organisation.hub.do(
            SITE, TakePiece(branch.node, other.core.log.own, Piece(Lane.CONTROL, 0, 1))
        )


def test_18_what_a_removed_person_said_meanwhile_is_kept(organisation: Organisation) -> None:
    conv = begin(organisation, "ann", "bea", "cat")
    organisation.hub.by(
        "ann", schema.Conv(1, conv, "remove", person=organisation.hub.ids("bea")[0])
    )
    said = say(organisation, "bea", conv, "while it was not known here")
    organisation.settle()
    with organisation.hub.reading() as reader:
        assert organisation.hub.core.log.find(reader, OpId.unpack(bytes(said))) is not None
    organisation.compare()
    organisation.check()
    assert "while it was not known here" in texts(organisation.hub, "ann", conv)


def test_31_a_statement_that_contradicts_what_came_is_written_down_once(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "told to headquarters")
    organisation.settle()
    branch, hub = organisation.branches[0], organisation.hub
    seed = branch.core.secrets[SecretSlot.SIGNING_SEED]
    lie = Statement(branch.core.log.own, 1, 2, bytes(32), FIRST_PREVIOUS).pack()
    row = lie + SigningKey(seed).sign(signed_bytes(lie)).signature
    for _ in range(2):
        proven = hub.do(SITE, TakeSegments(branch.node, (row,)))
        assert proven == Proven(0, EquivocationError.code)
    assert [(each.outcome, each.code) for each in verdicts(hub)] == [
        ("refused", EquivocationError.code)
    ]


def test_31_a_statement_that_the_branch_did_not_sign_proves_nothing(
    organisation: Organisation,
) -> None:
    branch, hub = organisation.branches[0], organisation.hub
    lie = Statement(branch.core.log.own, 1, 2, bytes(32), FIRST_PREVIOUS).pack()
    assert hub.do(SITE, TakeSegments(branch.node, (lie + bytes(64),))) == Proven(
        0, ForgedError.code
    )
