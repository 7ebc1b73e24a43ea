"""Branches in memory: what the log says in any order, from registers alone, and put back."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from appliance.directory.state import Directory
from appliance.operations import (
    SPECS,
    BodyStruct,
    ClockFix,
    LeaseGranted,
    PersonCreated,
    PersonHome,
    PersonProfile,
    PersonReset,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    SiteReprovisioned,
    SiteRevoked,
)
from appliance.sites.registry import Sites, State
from store.ids import SITE_STREAM, OpId, Stream, StreamKind
from store.oplog import Op, OpClass

NORTH, SOUTH, HERE = b"n" * 16, b"s" * 16, b"h" * 16
KEY = b"k" * 32
_KINDS = {spec.body: kind for kind, spec in SPECS.items()}


def op(pos: int, body: BodyStruct, stream: Stream = SITE_STREAM) -> Op:
    """Return an operation at a position; it was received at ``1,000 * pos``."""
    return Op(
        id=OpId(HERE, 1, pos),
        origin=1,
        kind=_KINDS[type(body)],
        op_class=OpClass.PRIVILEGED,
        stream=stream,
        pseudonym=1,
        feed=1,
        actor=b"",
        device=b"",
        counter=0,
        t=pos,
        floor=0,
        key=pos,
        conversation=b"",
        target=b"",
        seen=0,
        body=None,
        op_hash=b"",
        pos=pos,
        received_ms=1_000 * pos,
        in_timeline=False,
        late=False,
    )


def sites(*bodies: BodyStruct) -> Sites:
    known = Sites(Directory())
    known.node = HERE
    for number, body in enumerate(bodies, 1):
        known.fold(op(number, body), body, None)
    return known


def state(known: Sites) -> tuple[object, ...]:
    tables = (known.branches, known.headquarters, known.lease, known.clock_fixes)
    return (*tables, dict(known._by_node))


def invited(site: int, name: str = "north", token: bytes = b"t" * 32) -> SiteInvited:
    return SiteInvited(site, name, token, 9_000)


def test_a_branch_is_invited_joins_and_is_approved() -> None:
    known = sites(invited(1), SiteJoined(1, NORTH, KEY), SiteApproved(1, NORTH))
    branch = known.named("north")
    assert branch is not None
    assert branch.is_approved
    assert (branch.node, branch.public_key) == (NORTH, KEY)
    assert (branch.invited_ms, branch.joined_ms, branch.approved_ms) == (1_000, 2_000, 3_000)
    assert known.branch_of(NORTH) == branch
    assert known.name_of(NORTH) == "north"
    assert known.invited(b"t" * 32) == branch
    assert not known.is_branch


def test_an_approval_of_another_key_than_the_one_that_joined_lets_nobody_in() -> None:
    known = sites(invited(1), SiteJoined(1, NORTH, KEY), SiteApproved(1, SOUTH))
    assert known.branches[1].state is State.JOINED


def test_inviting_again_forgets_the_machine_that_was_not_approved() -> None:
    known = sites(invited(1), SiteJoined(1, NORTH, KEY), invited(1, token=b"u" * 32))
    assert known.branches[1].state is State.INVITED
    assert known.branch_of(NORTH) is None
    assert known.invited(b"t" * 32) is None


def test_a_revoked_branch_stays_revoked_and_gives_its_name_away() -> None:
    known = sites(
        invited(1),
        SiteJoined(1, NORTH, KEY),
        SiteApproved(1, NORTH),
        SiteRevoked(1, "stolen"),
        SiteJoined(1, NORTH, KEY),
        SiteApproved(1, NORTH),
        invited(1),
    )
    assert known.branches[1].is_revoked
    assert known.named("north") == known.branches[1]
    again = invited(2)
    known.fold(op(8, again), again, None)
    assert known.named("north") == known.branches[2]


def test_nobody_is_called_what_was_never_invited() -> None:
    known = sites(SiteJoined(1, NORTH, KEY), SiteApproved(1, NORTH), SiteRevoked(1, ""))
    assert known.branches == {}
    assert known.named("north") is None
    assert known.branch_of(NORTH) is None
    assert known.branch_of(b"") is None


def test_a_branch_knows_its_headquarters_and_its_own_name() -> None:
    known = sites(SiteHeadquarters(SOUTH, KEY, ("hq:443",), b"", "Hospital", 4, "north"))
    assert known.is_branch
    assert (known.headquarters_node, known.own_home) == (SOUTH, HERE)
    assert known.name_of(HERE) == "north"
    assert known.name_of(SOUTH) == ""


def test_people_are_at_home_where_the_log_says_and_else_at_headquarters() -> None:
    directory = Directory()
    known = Sites(directory)
    known.node = HERE
    ann, ben = b"a" * 16, b"b" * 16
    fold_person(directory, ann, PersonCreated(ann), PersonHome(NORTH))
    fold_person(directory, ben, PersonCreated(ben))
    assert [known.node_of_person(each) for each in (ann, ben, b"c" * 16)] == [NORTH, HERE, HERE]
    assert [known.is_home(each) for each in (ann, ben)] == [False, True]
    body = SiteHeadquarters(SOUTH, KEY, (), b"", "Hospital", 4, "here")
    known.fold(op(9, body), body, None)
    assert [known.node_of_person(each) for each in (ann, ben)] == [NORTH, SOUTH]
    assert not known.is_home(ben)


def test_a_branch_knows_credentials_of_those_who_left_until_they_are_reset() -> None:
    directory = Directory()
    known = Sites(directory)
    for login, *bodies in (
        ("ann", PersonHome(NORTH)),
        ("ben", PersonHome(SOUTH, past=(NORTH,))),
        ("cat", PersonHome(b"", past=(NORTH, SOUTH)), PersonReset()),
        ("dan",),
    ):
        person = str(login).encode().ljust(16, b".")
        fold_person(directory, person, PersonProfile(str(login), "", ""), *bodies)
    assert [person.login for person in known.revealed(NORTH)] == ["ann", "ben"]
    assert [person.login for person in known.revealed(SOUTH)] == ["ben"]


def fold_person(directory: Directory, person: bytes, *bodies: BodyStruct) -> None:
    stream = Stream(StreamKind.PERSON, person)
    for number, body in enumerate(bodies, 1):
        directory.fold(op(number, body, stream), body, None)


NUMBER = st.integers(1, 3)
NODE = st.sampled_from((NORTH, SOUTH, HERE))
BODY: st.SearchStrategy[BodyStruct] = st.one_of(
    st.builds(invited, NUMBER, st.sampled_from(("north", "south")), st.binary(max_size=2)),
    st.builds(SiteJoined, NUMBER, NODE, st.just(KEY)),
    st.builds(SiteApproved, NUMBER, NODE),
    st.builds(SiteRevoked, NUMBER, st.just("")),
    st.builds(SiteReprovisioned, NUMBER, st.just(3)),
    st.builds(SiteHeadquarters, NODE, *(st.just(each) for each in (KEY, (), b"", "", 1, ""))),
    st.builds(LeaseGranted, *(st.just(each) for each in (1, "", 2, 3, 4, 5))),
    st.builds(ClockFix, NUMBER, NODE, *(st.just(each) for each in (1, 2, 3, 4))),
)


@given(st.lists(BODY, max_size=20), st.lists(BODY, max_size=4))
def test_a_rollback_puts_everything_back(before: list[BodyStruct], after: list[BodyStruct]) -> None:
    known = sites(*before)
    kept = state(known)
    undo: list[Callable[[], None]] = []
    for number, body in enumerate(after, 100):
        known.fold(op(number, body), body, undo.append)
    for each in reversed(undo):
        each()
    assert state(known) == kept


@st.composite
def decided(draw: st.DrawFn) -> list[BodyStruct]:
    """Draw what decisions let into the log: nobody joins or is approved out of turn."""
    bodies: list[BodyStruct] = []
    for body in draw(st.lists(BODY, max_size=24)):
        known = sites(*bodies)
        before = state(known)
        known.fold(op(len(bodies) + 1, body), body, None)
        if state(known) != before:
            bodies.append(body)
    return bodies


@given(decided())
def test_the_newest_of_each_register_tells_it_all(bodies: list[BodyStruct]) -> None:
    newest: dict[tuple[int, int], int] = {}
    for number, body in enumerate(bodies):
        kind = _KINDS[type(body)]
        newest[kind, getattr(body, SPECS[kind].item) if SPECS[kind].item else 0] = number
    loaded = sites()
    for number in sorted(newest.values()):
        loaded.fold(op(number + 1, bodies[number]), bodies[number], None)
    full = sites(*bodies)
    assert loaded.branches.keys() == full.branches.keys()
    for site, branch in full.branches.items():
        known = loaded.branches[site]
        assert (known.state, known.name, known.token_hash) == (
            branch.state,
            branch.name,
            branch.token_hash,
        )
        if branch.state in (State.JOINED, State.APPROVED):
            assert (known.node, known.joined_ms) == (branch.node, branch.joined_ms)
    assert (loaded.headquarters, loaded.lease) == (full.headquarters, full.lease)
    assert loaded.clock_fixes == full.clock_fixes
