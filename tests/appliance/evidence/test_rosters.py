"""Rosters: who was there at each moment, and what predicates see of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.directory.commands import SetProfile
from appliance.directory.state import Directory
from appliance.evidence.rosters import Rosters
from appliance.messaging.membership import GONE, MEMBER, NEVER, Interval, Membership
from appliance.messaging.model import Conversation, Created
from appliance.policy.predicate import Predicate, matches
from store.ids import OpId, Stream, StreamKind
from tests.appliance.messaging.harness import House

CONVERSATION = Stream(StreamKind.CONVERSATION, b"c" * 16)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    person = bytes([draw(st.integers(0, 5))]) * 16
    cuts = sorted(draw(st.lists(st.integers(1, 20), min_size=1, max_size=5, unique=True)))
    ends = [*cuts[1:], NEVER] if len(cuts) % 2 else cuts[1:]
    intervals = tuple(
        Interval(start, start, end) for start, end in zip(cuts[::2], ends[::2], strict=False)
    )
    role = MEMBER if intervals[-1].until == NEVER else GONE
    return Membership(person, person[0], role, intervals, 1)


@given(st.lists(memberships(), max_size=6, unique_by=lambda each: each.person))
def test_a_roster_is_who_heard_what_was_said(people: list[Membership]) -> None:
    known = Conversation(
        CONVERSATION,
        5,
        "group",
        2,
        Created(OpId(b"n" * 16, 1, 1), 1, 1, 0),
        1,
        members={each.person: each for each in people if each.is_current},
        former={each.person: each for each in people if not each.is_current},
    )
    rosters = Rosters(known, Directory())
    for key in range(25):
        there = {each.person for each in people if each.hears(key)}
        roster = rosters.at(key)
        assert roster.people == there
        assert [each.person for each in roster.members] == sorted(there)
        assert rosters.at(key) is roster


def test_an_author_who_was_not_there_is_a_person_of_the_record_all_the_same() -> None:
    house = House("alice", "bob", "carol")
    for login, unit in (("alice", "Ward 3"), ("carol", "Ward 4")):
        house.do(SITE, SetProfile(login, unit=unit))
    known = house.conversation(house.group("alice", "bob"))
    rosters = Rosters(known, house.site.core.directory)
    roster = rosters.at(known.created.key)
    carol = house.person("carol")
    subject = rosters.subject(roster, carol, 7)
    assert subject.participants == {house.person("alice"), house.person("bob")}
    assert all(
        matches(Predicate(persons=(house.person(login),)), subject, people="participant")
        for login in ("alice", "bob", "carol")
    )
    assert (subject.author, subject.author_unit, subject.at_ms) == (carol, "Ward 4", 7)
    assert subject.units == {"Ward 3", "Ward 4"}
    assert rosters.subject(roster, b"", 7).units == {"Ward 3"}
