"""A slice decides again by itself: whatever places it is given, only what may end does."""

from __future__ import annotations

import pytest

from appliance.context import SITE
from appliance.disposal.commands import (
    ApproveRequest,
    ListHolds,
    RejectRequest,
    RequestDestruction,
    Selection,
    SignRequest,
    Slice,
)
from appliance.disposal.decide_slices import EXPIRY, ORDER, RECALL
from appliance.disposal.replies import SliceDone
from appliance.operations import Kind
from store.records import PartState, Record
from store.tables import LOG
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import is_gone, place
from transports.wire.errors import Refusal

POLICY = """
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
metadata = "keep"
[[rule]]
name = "trail"
class = "audit"
max = "30d"
metadata = "keep"
"""
Place = tuple[int, int]


@pytest.fixture
def house() -> Hospital:
    return Hospital("alice", "bob", policy=POLICY)


def cut(house: Hospital, cause: str, *places: Place, request: int = 0, run: int = 0) -> SliceDone:
    """Let the site's own service cut one slice."""
    done = house.do(SITE, Slice(run, cause, request, places))
    assert isinstance(done, SliceDone)
    return done


def ordered(house: Hospital) -> tuple[int, str]:
    """Let one officer ask for what alice wrote to be destroyed."""
    asked = house.officer("dave", RequestDestruction(Selection(persons=("alice",)), "art. 17"))
    house.officer("dave", SignRequest(asked.request, asked.digest))
    return asked.request, asked.digest


def old_title(house: Hospital) -> Place:
    """Name a group twice; return the place of the first renaming, which the second supersedes."""
    room = house.group("alice", "bob", title="first")
    house.change("alice", room, "rename", title="second")
    house.change("alice", room, "rename", title="third")
    titles = [op for op in house.ops if op.kind == Kind.CONVERSATION_TITLE]
    return titles[-2].origin, titles[-2].id.seq


def state(house: Hospital, at: Place) -> tuple[PartState, PartState]:
    with house.reading() as reader:
        record = Record.unpack(reader.get(LOG.key(*at)) or b"")
    return record.envelope_state, record.body_state


def test_an_order_ends_only_the_records_that_were_approved(house: Hospital) -> None:
    room = house.group("alice", "bob")
    meant, other = house.send("alice", room, "meant"), house.send("bob", room, "another's")
    request, digest = ordered(house)
    house.officer("erin", ApproveRequest(request, digest))
    done = cut(house, ORDER, place(house, other), place(house, meant), request=request)
    assert (done.records, done.held_back) == (1, 1)
    assert is_gone(house, meant) is False  # its envelope stays, as the policy says
    assert state(house, place(house, meant)) == (PartState.PRESENT, PartState.DESTROYED)
    assert state(house, place(house, other)) == (PartState.PRESENT, PartState.PRESENT)


@pytest.mark.parametrize("is_rejected", [True, False])
def test_an_order_that_two_have_not_agreed_to_ends_nothing(
    house: Hospital, is_rejected: bool
) -> None:
    message = house.send("alice", house.group("alice", "bob"), "meant")
    at = place(house, message)
    request, _ = ordered(house)
    if is_rejected:
        house.officer("erin", RejectRequest(request, "not now"))
    with pytest.raises(Refusal, match=r"approval\."):
        cut(house, ORDER, at, request=request)
    assert state(house, at) == (PartState.PRESENT, PartState.PRESENT)


def test_what_is_superseded_ends_by_age_alone(house: Hospital) -> None:
    at = old_title(house)
    house.pass_days(29)
    assert cut(house, EXPIRY, at).held_back == 1
    house.pass_days(2)
    assert cut(house, RECALL, at).held_back == 1
    assert state(house, at) == (PartState.PRESENT, PartState.PRESENT)
    assert cut(house, EXPIRY, at).run
    assert state(house, at) == (PartState.DESTROYED, PartState.DESTROYED)


def test_of_an_entry_of_the_audit_nothing_stays_whatever_a_rule_says_of_metadata(
    house: Hospital,
) -> None:
    house.officer("frank", ListHolds())
    (read,) = [op for op in house.ops if op.kind == Kind.PRIVILEGED_READ]
    house.pass_days(31)
    assert cut(house, EXPIRY, (read.origin, read.id.seq)).records == 1
    assert state(house, (read.origin, read.id.seq)) == (PartState.DESTROYED, PartState.DESTROYED)


def test_a_run_tells_its_first_generation_and_when_it_began(house: Hospital) -> None:
    room = house.group("alice", "bob")
    places = [place(house, house.send("alice", room, text)) for text in ("one", "two")]
    house.pass_days(31)
    first = cut(house, EXPIRY, places[0])
    begun = house.core.disposal.runs[first.run].intent
    house.clock.advance(1_000)
    assert cut(house, EXPIRY, places[1], run=first.run).run == first.run
    intent = house.core.disposal.runs[first.run].intent
    assert intent.generations == (begun.generations[0], begun.generations[1] + 1)
    assert (intent.started_ms, intent.piece) == (begun.started_ms, 2)
    assert intent.parts == begun.parts + 1
