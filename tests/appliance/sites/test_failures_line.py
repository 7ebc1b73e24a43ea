"""Lines and machines that fail, clocks that lie, and what people do at two sites at once.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from appliance.context import SITE
from appliance.limits import SEEN_AHEAD_MS
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain
from appliance.operations import Kind, PersonCreated, PersonProfile, SiteRevoked
from appliance.positions import format_key
from appliance.sites.link_commands import Taken, TakePiece
from store import hlc
from store.errors import EngineFullError
from store.faults import CutAt, PowerCut
from store.ids import Stream, StreamKind
from store.limits import CLOCK_AHEAD_MS
from sync.errors import GapError
from sync.pieces import NUMBERED, Lane, Piece
from tests.appliance.sites import invariants
from tests.appliance.sites.cases import (
    begin,
    home,
    in_conversation,
    new_organisation,
    say,
    smuggle,
    texts,
)
from tests.appliance.sites.harness import BUDGET_BYTES, Organisation
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Body

YEAR_MS = 365 * 24 * 3_600_000


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def next_piece(organisation: Organisation, lane: Lane, after: int | None = None) -> Piece:
    """Return what the first branch sends next in a lane, or what follows a number."""
    up, down = organisation.replicas(organisation.branches[0])
    start = down.standing().cursors[lane] if after is None else after
    for above in NUMBERED[:lane]:
        while (piece := up.read(above, up._read[above], BUDGET_BYTES)) is not None:
            assert piece.upto > piece.after
    found = up.read(lane, start, BUDGET_BYTES)
    assert found is not None
    return found


def take(organisation: Organisation, piece: Piece) -> int:
    """Let headquarters take a piece of the first branch; return the lane's cursor."""
    branch = organisation.branches[0]
    taken = organisation.hub.do(SITE, TakePiece(branch.node, branch.core.log.own, piece))
    assert isinstance(taken, Taken)
    return taken.cursor


def prove(organisation: Organisation) -> None:
    """Prove that all sites agree, that nothing is lost and nothing is there twice."""
    organisation.settle()
    organisation.compare()
    organisation.check()
    invariants.all_but_proofs(place.site for place in organisation.places)


def test_01_a_piece_that_comes_twice_has_its_effect_once(organisation: Organisation) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "once")
    piece = next_piece(organisation, Lane.MESSAGES)
    assert take(organisation, piece) == take(organisation, piece) == piece.upto
    assert texts(organisation.hub, "ann", conv) == ["once"]
    prove(organisation)


def test_01_a_piece_that_comes_before_the_one_it_follows_is_refused(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "first")
    first = next_piece(organisation, Lane.MESSAGES)
    say(organisation, "bea", conv, "second")
    second = next_piece(organisation, Lane.MESSAGES, after=first.upto)
    with pytest.raises(GapError):
        take(organisation, second)
    take(organisation, first)
    take(organisation, second)
    assert texts(organisation.hub, "ann", conv) == ["first", "second"]
    prove(organisation)


def test_02_what_was_applied_and_not_acknowledged_is_recognised_when_it_is_sent_again(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "once")
    take(organisation, next_piece(organisation, Lane.MESSAGES))
    organisation.branches[0].crash(Random(2))
    take(organisation, next_piece(organisation, Lane.MESSAGES, after=0))
    assert texts(organisation.hub, "ann", conv) == ["once"]
    prove(organisation)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", [0, 1], ids=["before the commit", "before the acknowledgement"])
def test_03_headquarters_loses_power_while_it_takes_a_piece(
    organisation: Organisation, step: int
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "once")
    piece, hub = next_piece(organisation, Lane.MESSAGES), organisation.hub
    hub.medium.probe = CutAt(step)
    with pytest.raises(PowerCut):
        take(organisation, piece)
    hub.medium.probe = None
    hub.crash(Random(3))
    prove(organisation)
    assert texts(hub, "ann", conv) == ["once"]


def test_05_headquarters_with_a_full_disk_acknowledges_nothing_and_goes_on_with_room(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "kept at the branch")
    piece, medium = next_piece(organisation, Lane.MESSAGES), organisation.hub.medium
    before, medium.capacity_bytes = medium.capacity_bytes, medium.used_bytes
    with pytest.raises(EngineFullError):
        take(organisation, piece)
    assert texts(organisation.hub, "ann", conv) == []
    medium.capacity_bytes = before
    prove(organisation)
    assert texts(organisation.hub, "ann", conv) == ["kept at the branch"]


@pytest.mark.parametrize("wrong_ms", [-YEAR_MS, -240_000, 240_000])
def test_15_a_branch_whose_clock_is_wrong_converges_and_an_answer_follows_its_question(
    organisation: Organisation, wrong_ms: int
) -> None:
    conv = begin(organisation, "bea", "ann")
    clock = organisation.branches[0].clock
    clock.set_wall_ms(clock.wall_ms() + wrong_ms)
    say(organisation, "bea", conv, "question")
    organisation.settle()
    say(organisation, "ann", conv, "answer")
    organisation.settle()
    say(organisation, "bea", conv, "thanks")
    prove(organisation)
    assert texts(organisation.hub, "ann", conv) == ["question", "answer", "thanks"]


def test_15_what_headquarters_does_not_believe_is_hidden_at_every_other_site(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    ahead, other = organisation.branches
    # By the other branch's clock the time would be right; headquarters judges it for all.
    for place in (ahead, other):
        place.clock.set_wall_ms(place.clock.wall_ms() + 2 * CLOCK_AHEAD_MS)
    say(organisation, "bea", conv, "from the future")
    organisation.settle()
    assert texts(organisation.hub, "ann", conv) == []
    assert texts(other, "cat", conv) == []


def test_15_what_is_hidden_for_its_time_does_not_mark_later_messages_as_read(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    branch, hub = organisation.branches[0], organisation.hub
    branch.clock.set_wall_ms(branch.clock.wall_ms() + 2 * CLOCK_AHEAD_MS)
    say(organisation, "bea", conv, "from the future")
    organisation.settle()
    hub.read_all("ann", conv)
    hub.restart()
    hub.meet()
    say(organisation, "cat", conv, "now")
    organisation.settle()
    assert hub.unread("ann", conv) == 1
    hub.read_all("ann", conv)
    assert hub.unread("ann", conv) == 0


def test_an_urgent_message_that_was_passed_on_is_in_the_timeline_of_whoever_it_went_to(
    organisation: Organisation,
) -> None:
    for command in (
        CreateDuty("on-call", "On call"),
        AssignDuty("on-call", "ann"),
        SetChain("on-call", ("ann", "cat"), 60),
    ):
        organisation.hub.do(SITE, command)
    organisation.settle()
    branch = organisation.branches[0]
    frame = schema.Send(
        1, branch.number("bea"), Body("text", "bed 12"), to="duty:on-call", priority="urgent"
    )
    branch.by("bea", frame)
    branch.tick(61)
    organisation.settle()
    passed_on = branch.direct("bea", "cat")
    assert texts(branch, "bea", passed_on) == ["bed 12"]
    assert texts(organisation.branches[1], "cat", passed_on) == ["bed 12"]


def test_17_a_revoked_branch_is_heard_no_more(organisation: Organisation) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, "too late")
    piece = next_piece(organisation, Lane.MESSAGES)
    organisation.hub.append(Kind.SITE_REVOKED, SiteRevoked(1, "stolen"))
    with pytest.raises(Refusal) as caught:
        take(organisation, piece)
    assert caught.value.code == "site.unknown"
    assert texts(organisation.hub, "ann", conv) == []


def test_19_the_same_login_name_at_two_sites_stays_with_who_reaches_headquarters_first(
    organisation: Organisation,
) -> None:
    first, second = organisation.branches
    for number, branch in enumerate((first, second)):
        person = bytes([number + 1]) * 16
        stream = Stream(StreamKind.PERSON, person)
        branch.append(Kind.PERSON_CREATED, PersonCreated(person), stream)
        branch.append(Kind.PERSON_PROFILE, PersonProfile("dan", f"Dan {number}", ""), stream)
    while organisation.carry(first, Lane.CONTROL, is_up=True):
        pass
    prove(organisation)
    for place in organisation.places:
        found = place.core.directory.resolve("dan")
        assert found is not None
        assert found.name == "Dan 0"
        assert place.core.directory.resolve("dan@branch-2") is not None


def test_20_the_same_direct_conversation_opened_at_two_sites_is_one(
    organisation: Organisation,
) -> None:
    opened = [
        organisation.branches[0].direct("bea", "cat"),
        organisation.branches[1].direct("cat", "bea"),
    ]
    assert opened[0] == opened[1]
    say(organisation, "bea", opened[0], "from bea")
    say(organisation, "cat", opened[0], "from cat")
    prove(organisation)
    for login, place in zip(("bea", "cat"), organisation.branches, strict=True):
        assert sorted(texts(place, login, opened[0])) == ["from bea", "from cat"]


def test_25_a_message_that_comes_late_is_unread_though_later_ones_were_read(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    say(organisation, "cat", conv, "late")
    for place in organisation.places:
        place.clock.advance(60_000)
    say(organisation, "ann", conv, "early")
    branch = organisation.branches[0]
    for lane in NUMBERED:
        while organisation.carry(branch, lane, is_up=False):
            pass
    assert texts(branch, "bea", conv) == ["early"]
    branch.read_all("bea", conv)
    prove(organisation)
    assert texts(branch, "bea", conv) == ["late", "early"]
    assert branch.listed("bea")[conv].unread == 1
    branch.restart()
    assert branch.listed("bea")[conv].unread == 1


def test_26_a_recall_beats_an_edit_that_was_made_without_it(organisation: Organisation) -> None:
    conv = begin(organisation, "bea", "ann")
    branch = organisation.branches[0]
    name = say(organisation, "bea", conv, "first")
    edit = schema.Edit(1, branch.number("bea"), name, Body("text", "second"))
    branch.by("bea", edit)
    branch.by("bea", schema.Recall(1, branch.number("bea"), name))
    later = in_conversation(
        conv,
        Kind.EDIT,
        b"\x93\xa4text\xa5third\x90",
        target=bytes(name),
        actor=branch.people["bea"],
    )
    smuggle(branch, later)
    organisation.settle()
    shown = organisation.hub.history("ann", conv)
    assert [each.recalled for each in shown] == [True]


def test_27_who_joins_leaves_and_joins_while_history_comes_has_all_of_it(
    organisation: Organisation,
) -> None:
    reply = organisation.hub.by(
        "ann", schema.Open(1, "group", organisation.hub.ids("bea"), title="ward", history=True)
    )
    conv, hub = reply.conv, organisation.hub
    assert conv is not None
    organisation.settle()
    for number in range(12):
        say(organisation, "ann", conv, f"{number}")
    cat, branch = hub.ids("cat")[0], organisation.branches[1]
    for change in ("add", "remove", "add"):
        hub.by("ann", schema.Conv(1, conv, change, person=cat, role="member"))
        while organisation.carry(branch, Lane.CONTROL, is_up=False):
            pass
    prove(organisation)
    assert texts(branch, "cat", conv) == [f"{number}" for number in range(12)]


# --- 21: a roaming person -----------------------------------------------------------------------


def test_21_a_roaming_person_who_names_what_they_saw_keeps_their_order_at_both_sites(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    hub, branch = organisation.hub, organisation.branches[0]
    branch.clock.advance(60_000)  # its clock is ahead of headquarters', as clocks are
    seen = branch.by(
        "bea", schema.Send(1, branch.number("bea"), Body("text", "at home"), conv=conv)
    ).key
    again = schema.Send(1, 1_001, Body("text", "at headquarters"), conv=conv, after=seen)
    assert hub.by("bea", again).key > seen, "headquarters has not heard of the first yet"
    organisation.settle()
    for login in ("ann", "bea", "cat"):
        shown = texts(home(organisation, login), login, conv)
        assert shown == ["at home", "at headquarters"]
    organisation.compare()
    organisation.check()


def test_21_nobody_puts_a_message_beyond_what_any_clock_is_believed(
    organisation: Organisation,
) -> None:
    conv, hub = begin(organisation, "bea", "ann"), organisation.hub
    for ahead_ms, is_refused in ((SEEN_AHEAD_MS, False), (SEEN_AHEAD_MS + 1, True)):
        after = format_key((hub.clock.wall_ms() + ahead_ms) << hlc.COUNTER_BITS)
        frame = schema.Send(1, hub.number("ann"), Body("text", "far"), conv=conv, after=after)
        if is_refused:
            assert hub.refused("ann", frame) == "send.position"
        else:
            hub.by("ann", frame)
