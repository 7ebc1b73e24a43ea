"""Two operations that did not know each other: both ends of the line agree on which one counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.operations import (
    BodyStruct,
    ConversationCreated,
    ConversationMember,
    ConversationTitle,
    Kind,
    PersonProfile,
    PersonRoles,
    PersonState,
)
from appliance.sites.merge import Side, beats
from appliance.sites.reach import REACH, Reach, lane, reach
from store.ids import StreamKind
from sync.pieces import NUMBERED, Lane

PERSON = bytes(15) + b"p"


def member(role: str, since: int = 0, *, opening: bool = False) -> ConversationMember:
    return ConversationMember(PERSON, role, since, opening=opening)


CREATED = ConversationCreated("direct", 0, (), b"")

BODIES: dict[Kind, list[BodyStruct]] = {
    Kind.CONVERSATION_CREATED: [CREATED],
    Kind.CONVERSATION_TITLE: [ConversationTitle("a"), ConversationTitle("b")],
    Kind.CONVERSATION_MEMBER: [
        member(role, since, opening=opening)
        for role in ("", "member", "owner")
        for since in (5, 9)
        for opening in (False, True)
    ],
    Kind.PERSON_STATE: [PersonState(state) for state in ("active", "disabled", "removed")],
    Kind.PERSON_ROLES: [PersonRoles(("member",)), PersonRoles(("auditor",))],
    Kind.PERSON_PROFILE: [PersonProfile("a", "A", ""), PersonProfile("b", "B", "")],
}


@st.composite
def pairs(draw: Any) -> tuple[Side, Side]:
    kind = draw(st.sampled_from(sorted(BODIES)))
    bodies = st.sampled_from(BODIES[kind])
    sides = [Side(kind, draw(bodies), draw(st.booleans())) for _ in range(2)]
    return sides[0], sides[1]


@given(pairs())
def test_headquarters_and_the_branch_let_the_same_one_count(pair: tuple[Side, Side]) -> None:
    # Headquarters has `first` when `second` arrives. The branch has its own `second` when it
    # hears of `first`. In a line of numbers both follow the order of arrival.
    first, second = pair
    at_headquarters = first if beats(first, second) else second
    is_first_void_at_branch = not beats(first, second)
    at_branch = second if is_first_void_at_branch else first
    assert at_headquarters == at_branch


@pytest.mark.parametrize(
    ("earlier", "later", "wins"),
    [
        (member(""), member("member"), True),
        (member("member"), member(""), False),
        (member("member"), member("owner"), False),
        (member(""), member(""), False),
        (member("member", 5, opening=True), member("member", 9, opening=True), True),
        (member("member", 9, opening=True), member("member", 5, opening=True), False),
    ],
)
def test_who_was_removed_stays_removed(
    earlier: ConversationMember, later: ConversationMember, wins: bool
) -> None:
    kind = Kind.CONVERSATION_MEMBER
    assert beats(Side(kind, earlier, False), Side(kind, later, False)) is wins


@pytest.mark.parametrize("kind", [Kind.PERSON_ROLES, Kind.PERSON_PROFILE, Kind.PERSON_STATE])
def test_headquarters_outranks_a_branch(kind: Kind) -> None:
    body = BODIES[kind][0]
    assert beats(Side(kind, body, True), Side(kind, body, False))
    assert not beats(Side(kind, body, False), Side(kind, body, True))


@pytest.mark.parametrize("is_headquarters", [True, False])
def test_an_account_that_was_ended_is_not_revived_by_a_branch_that_did_not_know(
    is_headquarters: bool,
) -> None:
    ended, alive = PersonState("removed"), PersonState("active")
    kind = Kind.PERSON_STATE
    assert beats(Side(kind, ended, is_headquarters), Side(kind, alive, False))


def test_the_later_title_counts_wherever_it_was_given() -> None:
    kind, (one, other) = Kind.CONVERSATION_TITLE, BODIES[Kind.CONVERSATION_TITLE]
    for first in (True, False):
        assert not beats(Side(kind, one, first), Side(kind, other, not first))


def test_every_kind_has_a_reach() -> None:
    assert set(REACH) == set(Kind)


def test_secrets_never_leave_their_site() -> None:
    assert REACH[Kind.SITE_SECRET] is Reach.SITE
    credentials = (Kind.PERSON_PASSWORD, Kind.DEVICE_ADDED, Kind.INVITE_CREATED)
    assert {REACH[kind] for kind in credentials} == {Reach.HOME}


def test_a_kind_of_a_newer_build_goes_no_further_than_its_stream_allows() -> None:
    assert reach(60_000, StreamKind.CONVERSATION) is Reach.CONVERSATION
    assert reach(60_000, StreamKind.PERSON) is Reach.KEPT


def test_what_must_come_first_has_the_first_lane() -> None:
    first = (Kind.HOLD_PLACED, Kind.POLICY_SET, Kind.PERSON_STATE, Kind.CONVERSATION_MEMBER)
    assert {lane(kind) for kind in first} == {Lane.CONTROL}
    assert lane(Kind.MESSAGE) is Lane.MESSAGES
    assert lane(Kind.MESSAGE, is_urgent=True) is Lane.URGENT
    assert lane(Kind.READ) is Lane.RECEIPTS
    assert all(lane(kind) in NUMBERED for kind in Kind)
