"""What nobody at a branch is in any more leaves it: no body outside the scope, none of it lost."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.context import SITE
from appliance.operations import Kind, ScopeLeft, decode
from appliance.sites.leaving import LeaveConversation, is_inside
from store.records import PartState
from sync.pieces import Lane
from tests.appliance.sites.compliance import Authority, Ward
from tests.appliance.sites.test_orders_across import room, said
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id


@pytest.fixture
def sites() -> Iterator[Authority]:
    made = Authority()
    yield made
    close(made)


def close(made: Authority) -> None:
    for place in made.places:
        assert place.problems() == []
        place.reopen()
        assert place.problems() == []
    made.close()


def bodies_outside(branch: Ward) -> int:
    """Return how many bodies a branch holds of conversations that nobody there is in."""
    known = branch.core.conversations
    outside = (each for each in known.ids() if not is_inside(branch.core, known.get(each)))
    return sum(map(branch.bodies, outside))


def remove(sites: Authority, conv: Id, login: str) -> None:
    sites.hub.change("ann", conv, "remove", person=Id(sites.hub.person(login)))


def add(sites: Authority, conv: Id, login: str) -> None:
    sites.hub.change("ann", conv, "add", person=Id(sites.hub.person(login)))


def left(branch: Ward) -> list[ScopeLeft]:
    found = [op for op in branch.ops if op.kind == Kind.SCOPE_LEFT]
    bodies = [decode(op.kind, op.body or b"") for op in found]
    return [body for body in bodies if isinstance(body, ScopeLeft)]


def test_a_conversation_that_left_a_branch_leaves_no_body_there_and_comes_back_whole(
    sites: Authority,
) -> None:
    conv = sites.hub.group("ann", "bea", history=True)
    north = sites.branches[0]
    sites.settle()
    theirs = said(sites, "ann", sites.hub, conv, "said at headquarters")
    mine = said(sites, "bea", north, conv, "said at the branch")
    north.edit("bea", mine, "put better at the branch")
    sites.settle()
    remove(sites, conv, "bea")
    sites.settle()
    assert bodies_outside(north) == 3
    sites.leave(north)
    assert bodies_outside(north) == 0
    assert [(each.dropped, each.held_back) for each in left(north)] == [(3, 0)]
    assert [north.state(each) for each in (theirs, mine)] == [PartState.DROPPED] * 2
    for text in ("said at headquarters", "said at the branch", "put better"):
        assert not north.can_open(text)
    sites.leave(north)
    assert len(left(north)) == 1
    sites.settle()
    add(sites, conv, "bea")
    sites.settle()
    assert north.texts("bea", conv) == ["said at headquarters", "put better at the branch"]
    sites.compare()


def test_a_recall_that_leaves_before_its_message_is_in_no_view_any_more(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "bea", north, conv, "taken back")
    north.by("bea", schema.Recall(1, north.number("bea"), message))
    recall = north.core.log.head
    sites.settle()
    remove(sites, conv, "bea")
    sites.settle()
    north.do(SITE, LeaveConversation(conv, ((recall.origin, recall.seq),), recall.seq))
    assert north.state(message) is PartState.PRESENT
    assert north.problems() == []


def test_what_headquarters_may_not_have_yet_stays_until_it_has(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    remove(sites, conv, "bea")
    waiting = north.send("bea", conv, "still here")
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    sites.leave(north)
    assert north.state(waiting) is PartState.PRESENT
    sites.settle()
    sites.leave(north)
    assert north.state(waiting) is PartState.DROPPED
    assert sites.hub.can_open("still here")


def test_what_is_held_is_hidden_when_its_scope_ends_and_goes_with_the_hold(
    sites: Authority,
) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "evidence at the branch")
    number = sites.hold(sites.hub, "dave", "ann")
    remove(sites, conv, "bea")
    sites.settle()
    sites.leave(north)
    assert north.state(message) is PartState.ESCROWED
    assert north.can_open("evidence at the branch")
    assert bodies_outside(north) == 0
    assert [(each.dropped, each.held_back) for each in left(north)] == [(0, 1)]
    sites.release(number)
    sites.settle()
    sites.leave(north)
    assert north.state(message) is PartState.DROPPED
    assert not north.can_open("evidence at the branch")
    assert sites.hub.state(message) is PartState.PRESENT


def test_an_order_finds_also_what_has_left_with_its_scope(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "gone twice")
    remove(sites, conv, "bea")
    sites.settle()
    sites.leave(north)
    sites.destroy("ann")
    sites.follow_all()
    assert north.state(message) is PartState.DESTROYED
    assert sites.run().state == "COMPLETE"


def test_nothing_is_let_go_of_while_somebody_at_home_is_in_it(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "still ours")
    sites.leave(north)
    assert north.state(message) is PartState.PRESENT
    with pytest.raises(Refusal) as caught:
        north.do(SITE, LeaveConversation(bytes(conv), (), 0))
    assert caught.value.code == "site.state"


steps = st.lists(
    st.tuples(
        st.sampled_from(("say", "edit", "join", "part", "hold", "leave", "settle")),
        st.sampled_from(("bea", "olaf", "cat")),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=15, deadline=None)
@given(steps=steps, seed=st.integers(0, 1_000))
def test_no_body_is_outside_the_scope_after_any_coming_and_going(
    steps: list[tuple[str, str]], seed: int
) -> None:
    sites = Authority()
    homes = {"bea": 0, "olaf": 0, "cat": 1}
    conv = sites.hub.group("ann", "bea", "cat", history=True)
    sites.settle()
    for act, login in steps:
        branch = sites.branches[homes[login]]
        try:
            if act == "say":
                branch.send(login, conv, f"by {login}")
            elif act == "edit":
                branch.edit(login, branch.send(login, conv, "first"), "then")
            elif act == "join":
                add(sites, conv, login)
            elif act == "part":
                remove(sites, conv, login)
            elif act == "hold":
                sites.hold(sites.hub, "dave", login)
            elif act == "leave":
                sites.leave(branch)
            else:
                sites.settle(Random(seed))
        except Refusal:
            continue
    sites.settle(Random(seed))
    for branch in sites.branches:
        sites.leave(branch)
        assert bodies_outside(branch) == 0
    sites.compare()
    close(sites)
