"""Both ends of a link, cranked by hand: handshake, cursors, credit, and everything out of place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from store.errors import EngineFullError
from store.ids import Origin, Stream, StreamKind
from sync import columns, frames
from sync.channel import State
from sync.errors import Fault, FencedError, ForkedError, GapError, LinkError, RejectedError
from sync.frames import (
    Ack,
    Bye,
    Credit,
    Frame,
    FrameReader,
    Have,
    Hello,
    Note,
    Part,
    Ping,
    Pong,
    Want,
    Welcome,
)
from sync.limits import (
    BULK_IDLE_SECONDS,
    FRAME_CREDIT,
    FRAME_CREDIT_PER_SECOND,
    HANDSHAKE_SECONDS,
    KEEPALIVE_SECONDS,
    LANE_WINDOW_BYTES,
    SILENCE_SECONDS,
    WANTS,
)
from sync.packing import Packer
from sync.pieces import Entry, Lane, Piece, Standing
from sync.session import (
    BULK,
    FRAMES,
    MAIN,
    Acknowledged,
    Answered,
    Deliver,
    Effect,
    Ended,
    Lost,
    Moment,
    Role,
    Session,
    Take,
    Up,
)
from tests.sync.model_site import ModelReplica, shipment
from tests.sync.test_frames import EXAMPLES

BRANCH, HEADQUARTERS, SESSION = b"B" * 16, b"H" * 16, b"S" * 16
STREAM = Stream(StreamKind.CONVERSATION, b"c" * 16)
ROOM = 1 << 20
E = TypeVar("E", bound=Effect)


class End:
    """One session and what it asked for."""

    def __init__(self, role: Role) -> None:
        node, peer = (BRANCH, HEADQUARTERS) if role is Role.BRANCH else (HEADQUARTERS, BRANCH)
        self.replica = ModelReplica(node)
        self.session = Session(
            role, self.replica, peer_node=peer, session=SESSION, software=role.name
        )
        self.effects: list[Effect] = []
        self.now = 0.0
        self.reader = FrameReader()

    def moment(self) -> Moment:
        return Moment(self.now, int(self.now * 1000))

    def do(self, effects: list[Effect]) -> None:
        self.effects += effects

    def opened(self, channel: int = MAIN) -> None:
        self.do(self.session.opened(channel, self.moment()))

    def receive(self, data: bytes | Frame, channel: int = MAIN) -> None:
        data = data if isinstance(data, bytes) else frames.encode(data)
        self.do(self.session.received(channel, data, self.moment()))

    def pull(self, channel: int = MAIN) -> bytes:
        return self.session.pull(channel, ROOM, self.moment())

    def said(self, channel: int = MAIN) -> list[Frame]:
        """Return the frames that leave; the reader is of one channel only."""
        return list(self.reader.feed(self.pull(channel)))

    def of(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def take(self) -> None:
        """Take what is to be taken, at once."""
        for effect in self.of(Take):
            self.effects.remove(effect)
            for entry in effect.piece.entries:
                self.replica.got[effect.piece.lane].append(entry.shipment.body or b"")
            if effect.piece.lane in self.replica.cursors:
                self.replica.cursors[effect.piece.lane] = effect.piece.upto
            self.do(self.session.taken(effect, effect.piece.upto, self.moment()))

    @property
    def error(self) -> LinkError:
        (ended,) = self.of(Ended)
        assert self.session.error is ended.error
        return ended.error


def pair() -> tuple[End, End]:
    return End(Role.BRANCH), End(Role.HEADQUARTERS)


def exchange(branch: End, headquarters: End, channel: int = MAIN) -> None:
    """Carry bytes, and take pieces, until nothing moves."""
    moved = True
    while moved:
        moved = False
        for here, there in ((branch, headquarters), (headquarters, branch)):
            data = here.pull(channel)
            if data:
                moved = True
                there.receive(data, channel)
            there.take()


def linked() -> tuple[End, End]:
    branch, headquarters = pair()
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    assert branch.session.is_up
    assert headquarters.session.is_up
    return branch, headquarters


def in_state(state: State) -> End:
    if state is State.LIVE:
        return linked()[0]
    end = End(Role.HEADQUARTERS if state is State.AWAITING else Role.BRANCH)
    end.opened()
    if state is State.ENDED:
        end.do(end.session.stop(end.moment()))
        end.effects.clear()
    return end


def part(piece: Piece, packer: Packer | None = None, **changes: object) -> Part:
    blocks = columns.encode(piece)
    packed = (packer or Packer()).pack(*blocks)
    fields: dict[str, object] = {
        "lane": int(piece.lane),
        "plain_bytes": sum(map(len, blocks)),
        "is_last": True,
        "data": packed,
    }
    return Part(**(fields | changes))  # type: ignore[arg-type]


def piece(lane: Lane = Lane.MESSAGES, after: int = 0, size: int = 5) -> Piece:
    entry = Entry(after + 1, 0, shipment(after + 1, b"x" * size))
    return Piece(lane, after, after + 1, (Origin(BRANCH, 1),), (entry,))


ANSWERS = {Ack, Have, Pong, Hello, Want}
"""Frames of which the examples answer nothing that was asked, or belong to another connection."""


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", frames.TYPES.values(), ids=lambda kind: kind.__name__)
def test_each_frame_is_handled_or_ends_the_link_in_each_state(
    state: State, kind: type[Frame]
) -> None:
    frame = next(each for each in EXAMPLES.values() if type(each) is kind)
    end = in_state(state)
    end.receive(frame)
    codes = [ended.error.code for ended in end.of(Ended)]
    if state is State.ENDED:
        assert codes == []
    elif kind not in FRAMES[state] or kind in ANSWERS:
        assert codes == ["link.unexpected"]
    else:
        assert "link.unexpected" not in codes


# --- handshake --------------------------------------------------------------------------------


def test_both_ends_learn_where_the_other_stands() -> None:
    branch, headquarters = pair()
    branch.replica.add(Lane.CONTROL, b"one")
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    (up,) = headquarters.of(Up)
    assert up.peer == branch.replica.standing()._replace(peer=Origin(b"", 0))
    assert (up.software, up.version) == ("BRANCH", frames.VERSION)
    assert branch.of(Up)[0].peer.origin == headquarters.replica.origin


def test_a_link_goes_on_from_the_cursors_and_sends_nothing_twice() -> None:
    branch, headquarters = pair()
    for body in (b"one", b"two"):
        branch.replica.add(Lane.MESSAGES, body)
    headquarters.replica.peer = branch.replica.origin
    headquarters.replica.cursors[Lane.MESSAGES] = 1
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    assert headquarters.replica.got[Lane.MESSAGES] == [b"two"]


def test_another_incarnation_of_the_peer_is_read_from_the_beginning() -> None:
    branch, headquarters = pair()
    branch.replica.add(Lane.MESSAGES, b"one")
    headquarters.replica.peer = branch.replica.origin._replace(incarnation=99)
    headquarters.replica.cursors[Lane.MESSAGES] = 1
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    assert headquarters.replica.got[Lane.MESSAGES] == [b"one"]


def test_a_branch_that_was_set_back_is_fenced_and_learns_how_far_it_was() -> None:
    branch, headquarters = pair()
    headquarters.replica.peer = branch.replica.origin
    headquarters.replica.cursors[Lane.MESSAGES] = 7
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    for end in (branch, headquarters):
        assert isinstance(end.error, FencedError)
        assert (end.error.incarnation, end.error.seq) == (1, 7)


def test_a_branch_finds_by_itself_that_it_was_set_back() -> None:
    branch = in_state(State.GREETING)
    stand = Standing(
        Origin(HEADQUARTERS, 1),
        9,
        bytes(32),
        branch.replica.origin,
        (7, 0, 0, 0),  # type: ignore[arg-type]
    )
    branch.receive(Welcome(1, frames.Stand.of(stand), 0, 1_000, ""))
    assert isinstance(branch.error, FencedError)


def test_a_forked_log_is_told_to_the_branch() -> None:
    branch, headquarters = pair()

    def begin(peer: Standing) -> None:
        raise ForkedError(peer.origin.incarnation, 5, b"c" * 32)

    headquarters.replica.begin = begin  # type: ignore[method-assign]
    branch.opened()
    headquarters.opened()
    exchange(branch, headquarters)
    assert isinstance(branch.error, ForkedError)
    assert (branch.error.seq, branch.error.chain) == (5, b"c" * 32)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lowest": 2, "highest": 3}, "link.version"),
        ({"session": b"X" * 16}, "link.unexpected"),
        ({"channel": BULK}, "link.unexpected"),
        ({"stand": frames.Stand.of(ModelReplica(b"Z" * 16).standing())}, "link.stranger"),
    ],
)
def test_a_hello_that_does_not_fit_is_turned_away(changes: dict[str, object], code: str) -> None:
    stand = frames.Stand.of(ModelReplica(BRANCH).standing())
    fields: dict[str, object] = {
        "lowest": 1, "highest": 1, "session": SESSION, "channel": MAIN, "stand": stand,
        "time_ms": 0, "window_bytes": 1_000, "software": "",
    }  # fmt: skip
    headquarters = in_state(State.AWAITING)
    headquarters.receive(Hello(**(fields | changes)))  # type: ignore[arg-type]
    assert headquarters.error.code == code
    assert headquarters.error.fault is Fault.PEER
    assert headquarters.said() == [Bye(code)]


def test_a_welcome_of_a_version_that_was_not_offered_ends_the_link() -> None:
    branch = in_state(State.GREETING)
    stand = frames.Stand.of(ModelReplica(HEADQUARTERS).standing())
    branch.receive(Welcome(2, stand, 0, 1_000, ""))
    assert branch.error.code == "link.version"


def test_a_newer_branch_that_still_speaks_version_1_is_welcome() -> None:
    headquarters = in_state(State.AWAITING)
    stand = frames.Stand.of(ModelReplica(BRANCH).standing())
    headquarters.receive(Hello(1, 9, SESSION, MAIN, stand, 0, 1_000, "later"))
    assert headquarters.session.is_up


# --- sending and taking -----------------------------------------------------------------------


def test_pieces_are_taken_one_at_a_time_and_then_acknowledged() -> None:
    branch, headquarters = linked()
    packer = Packer()
    headquarters.receive(part(piece(after=0), packer))
    headquarters.receive(part(piece(after=1), packer))
    (first,) = headquarters.of(Take)
    assert headquarters.said() == []
    headquarters.take()
    assert [take.piece.after for take in headquarters.of(Take)] == [1]
    assert headquarters.said() == [Ack(Lane.MESSAGES, 1)]
    headquarters.do(headquarters.session.taken(first, 1, headquarters.moment()))
    assert headquarters.said() == []
    del branch


def test_acknowledgements_that_wait_are_told_once() -> None:
    _, headquarters = linked()
    packer = Packer()
    for after in range(3):
        headquarters.receive(part(piece(after=after), packer))
        headquarters.take()
    assert headquarters.said() == [Ack(Lane.MESSAGES, 3)]


def test_more_than_was_sent_over_this_link_is_never_acknowledged() -> None:
    """A piece of the link before this one may have become durable meanwhile."""
    _, headquarters = linked()
    headquarters.receive(part(piece(after=0)))
    (take,) = headquarters.of(Take)
    headquarters.do(headquarters.session.taken(take, 40, headquarters.moment()))
    assert headquarters.said() == [Ack(Lane.MESSAGES, 1)]


def test_a_lane_without_credit_waits_and_goes_on_with_it() -> None:
    branch, headquarters = pair()
    for _ in range(40):
        branch.replica.add(Lane.MESSAGES, b"x" * 30_000)
    branch.replica.add(Lane.CONTROL, b"first")
    branch.opened()
    headquarters.opened()
    for _ in range(200):
        headquarters.receive(branch.pull())
        branch.receive(headquarters.pull())
    held = sum(len(a.piece.entries[0].shipment.body or b"") for a in headquarters.of(Take))
    assert held <= LANE_WINDOW_BYTES
    exchange(branch, headquarters)
    assert len(headquarters.replica.got[Lane.MESSAGES]) == 40
    assert headquarters.replica.got[Lane.CONTROL] == [b"first"]


def test_a_piece_without_credit_ends_the_link() -> None:
    _, headquarters = linked()
    packer = Packer()
    for after in range(20):
        headquarters.receive(part(piece(after=after, size=60_000), packer))
    assert headquarters.error.code == "link.limit"


def test_empty_stretches_are_told_late_and_together() -> None:
    branch, headquarters = linked()
    for _ in range(5):
        branch.replica.add(Lane.RECEIPTS, b"r")
        branch.session.changed()
        exchange(branch, headquarters)
    assert headquarters.replica.cursors[Lane.CONTROL] == 0
    branch.now = branch.session.pull_due()
    exchange(branch, headquarters)
    assert headquarters.replica.cursors[Lane.CONTROL] == 5


@pytest.mark.parametrize(
    ("error", "code", "fault"),
    [
        (GapError(), "link.gap", Fault.LINE),
        (RejectedError("x"), "link.rejected", Fault.PEER),
        (EngineFullError(), "link.failed", Fault.HERE),
        (RuntimeError("secret"), "link.failed", Fault.HERE),
    ],
)
def test_what_cannot_be_taken_ends_the_link_and_says_whose_fault_it_is(
    error: Exception, code: str, fault: Fault
) -> None:
    branch, headquarters = linked()
    headquarters.receive(part(piece()))
    headquarters.do(headquarters.session.failed(error, headquarters.moment()))
    assert (headquarters.error.code, headquarters.error.fault) == (code, fault)
    assert "secret" not in str(headquarters.error)
    branch.receive(headquarters.pull())
    assert str(branch.error) == f"link.ended_by_peer: {code}"


# --- out of place -----------------------------------------------------------------------------

Attack = Callable[[End], None]


def _flood(end: End) -> None:
    for token in range(50_000):
        if end.session.error is None:
            end.receive(Ping(token))


def _chatter(end: End) -> None:
    for _ in range(FRAME_CREDIT + 1):
        if end.session.error is None:
            end.receive(Note("x", b""))


def _begin_twice(end: End) -> None:
    end.receive(part(piece(), is_last=False))
    end.receive(part(piece()))


def _lie_about_size(end: End) -> None:
    end.receive(part(piece(), plain_bytes=10))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (lambda end: end.receive(Ack(Lane.MESSAGES, 1)), "link.unexpected"),
        (lambda end: end.receive(Ack(Lane.HISTORY, 0)), "link.malformed"),
        (lambda end: end.receive(Ack(77, 0)), "link.malformed"),
        (lambda end: end.receive(Credit(Lane.HISTORY, 5)), "link.malformed"),
        (lambda end: end.receive(Pong(1)), "link.unexpected"),
        (lambda end: end.receive(Have(1, 0, True)), "link.unexpected"),
        (lambda end: end.receive(Want(1, 5, b"c" * 16, 0, 1)), "link.unexpected"),
        (lambda end: end.receive(Part(9, 5, True, b"")), "link.malformed"),
        (lambda end: end.receive(Part(2, 0, True, b"")), "link.malformed"),
        (lambda end: end.receive(Part(2, 5, True, b"")), "link.malformed"),
        (lambda end: end.receive(Part(2, 5, True, b"garbage")), "link.malformed"),
        (lambda end: end.receive(part(piece(Lane.CONTROL), lane=2)), "link.malformed"),
        (lambda end: end.receive(part(piece()._replace(upto=0, after=1))), "link.malformed"),
        (_begin_twice, "link.malformed"),
        (_lie_about_size, "link.limit"),
        (_flood, "link.limit"),
        (_chatter, "link.limit"),
        (lambda end: end.receive(bytes(100)), None),
        (lambda end: end.receive(b"\xff" * 100), "link.limit"),
    ],
)
def test_what_no_honest_site_sends_ends_the_link(attack: Attack, code: str | None) -> None:
    _, headquarters = linked()
    attack(headquarters)
    if code is None:
        assert headquarters.session.error is None
        return
    assert headquarters.error.code == code
    assert headquarters.error.fault is Fault.PEER
    assert headquarters.said() == [Bye(code)]
    headquarters.receive(Ping(1))
    assert headquarters.said() == []


# --- notes, history ---------------------------------------------------------------------------


def test_notes_go_both_ways() -> None:
    branch, headquarters = linked()
    branch.session.note("lease.ask", b"ask")
    headquarters.session.note("lease", b"given")
    exchange(branch, headquarters)
    assert headquarters.of(Deliver) == [Deliver(Note("lease.ask", b"ask"))]
    assert branch.of(Deliver) == [Deliver(Note("lease", b"given"))]


def test_no_note_leaves_while_the_link_is_down() -> None:
    with pytest.raises(LinkError):
        in_state(State.GREETING).session.note("lease.ask", b"")


def with_bulk() -> tuple[End, End]:
    branch, headquarters = linked()
    branch.opened(BULK)
    headquarters.opened(BULK)
    exchange(branch, headquarters, BULK)
    return branch, headquarters


def test_a_question_for_history_is_answered_newest_first_and_then_ended() -> None:
    branch, headquarters = with_bulk()
    headquarters.replica.past[STREAM] = [b"%d" % n for n in range(1, 101)]
    number = branch.session.want(STREAM, 101, 30)
    exchange(branch, headquarters, BULK)
    assert branch.replica.got[Lane.HISTORY] == [b"%d" % n for n in range(71, 101)]
    assert [(a.have.question, a.have.before, a.have.is_end) for a in branch.of(Answered)] == [
        (number, 71, False)
    ]
    branch.session.want(STREAM, 3, 30)
    branch.session.want(Stream(StreamKind.CONVERSATION, b"?" * 16), 9, 30)
    exchange(branch, headquarters, BULK)
    assert [a.have.is_end for a in branch.of(Answered)] == [False, True, True]
    assert branch.session.open_questions == 0


def test_a_question_is_asked_again_when_its_connection_broke() -> None:
    branch, headquarters = with_bulk()
    headquarters.replica.past[STREAM] = [b"%d" % n for n in range(1, 11)]
    branch.session.want(STREAM, 11, 30)
    for end in (branch, headquarters):
        end.do(end.session.closed(BULK, end.moment()))
        assert end.of(Lost) == [Lost(BULK)]
    assert branch.session.wants_bulk
    branch.opened(BULK)
    headquarters.opened(BULK)
    exchange(branch, headquarters, BULK)
    assert len(branch.of(Answered)) == 1


def test_open_questions_are_bounded_at_both_ends() -> None:
    branch, headquarters = with_bulk()
    for _ in range(WANTS):
        branch.session.want(STREAM, 1, 1)
    with pytest.raises(LinkError):
        branch.session.want(STREAM, 1, 1)
    for _ in range(WANTS + 1):
        headquarters.receive(Want(1, 5, b"c" * 16, 0, 1), BULK)
    assert headquarters.error.code == "link.limit"


# --- time -------------------------------------------------------------------------------------


def tick(end: End, now: float) -> None:
    end.now = now
    end.do(end.session.tick(end.moment()))


@pytest.mark.parametrize("state", [State.GREETING, State.AWAITING])
def test_a_peer_that_does_not_say_who_it_is_is_left(state: State) -> None:
    end = in_state(state)
    assert end.session.due() == HANDSHAKE_SECONDS
    tick(end, HANDSHAKE_SECONDS)
    assert end.error.code == "link.lost"


def test_a_silent_peer_is_asked_and_then_left() -> None:
    branch, headquarters = linked()
    branch.said()
    tick(branch, KEEPALIVE_SECONDS)
    (ping,) = branch.said()
    assert isinstance(ping, Ping)
    headquarters.receive(ping)
    branch.receive(headquarters.pull())
    assert branch.session.due() == 2 * KEEPALIVE_SECONDS
    tick(branch, 2 * KEEPALIVE_SECONDS)
    tick(branch, 2 * KEEPALIVE_SECONDS + SILENCE_SECONDS)
    assert branch.error.code == "link.lost"
    assert branch.error.fault is Fault.LINE


def test_frames_at_an_honest_rate_never_end_the_link() -> None:
    branch, headquarters = linked()
    for _ in range(2 * FRAME_CREDIT):
        headquarters.now += 1 / FRAME_CREDIT_PER_SECOND
        headquarters.receive(Note("x", b""))
    assert headquarters.session.error is None
    del branch


def test_a_branch_ends_the_connection_for_history_when_it_was_idle_for_long() -> None:
    branch, headquarters = with_bulk()
    headquarters.replica.past[STREAM] = [b"one"]
    branch.now = headquarters.now = 200.0
    branch.session.want(STREAM, 2, 1)
    exchange(branch, headquarters, BULK)
    tick(branch, 200.0 + BULK_IDLE_SECONDS - 1)
    assert branch.session.has_channel(BULK)
    tick(branch, 200.0 + BULK_IDLE_SECONDS)
    assert not branch.session.has_channel(BULK)
    assert branch.of(Lost) == [Lost(BULK)]
    assert not branch.session.wants_bulk


def test_a_connection_that_ends_ends_the_link() -> None:
    branch, _ = linked()
    branch.do(branch.session.closed(MAIN, branch.moment()))
    assert branch.error.code == "link.lost"
    assert branch.pull() == b""


def test_acknowledgements_reach_the_layers_above() -> None:
    branch, headquarters = linked()
    branch.replica.add(Lane.URGENT, b"now")
    branch.session.changed()
    exchange(branch, headquarters)
    assert Acknowledged(Lane.URGENT, 1) in branch.effects
