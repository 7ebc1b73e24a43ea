"""Run one link between two sites, either end: who is there, lanes, cursors, farewells (sans-IO).

A link has two connections: channel 0 carries the numbered lanes, channel 1 history. A branch
dials both, headquarters answers. On each the branch says Hello first and headquarters Welcome (or
Fence, or Fork); after that both ends do the same:

- *Send*: whenever a connection takes more, answers go first, then the lane whose turn it is. A
  piece is read from the replica when its lane has credit and nothing else queued. Nothing is sent
  twice on one link; the next one goes on from the cursors that the peer tells.
- *Take*: pieces are given to the layers above one at a time for each channel, in the order in which
  they arrived. What is durable is acknowledged, and gives the peer new credit.

Whatever breaks a rule ends the link with an error that says who is at fault. ``FRAMES`` says what
may come when. Each event returns what is to be done about it; bytes leave by ``pull``. Whoever
drives this calls ``pull`` after every event, at ``pull_due`` and whenever a connection has room,
and ``tick`` at ``due``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import Any, Final

from store.errors import StoreError
from store.ids import Stream
from sync import frames
from sync.channel import Arrival, Channel, State
from sync.effects import Acknowledged, Answered, Deliver, Effect, Ended, Lost, Moment, Take, Up
from sync.errors import (
    FarewellError,
    FencedError,
    ForkedError,
    LimitError,
    LinkError,
    LostError,
    MalformedError,
    StoppedError,
    StrangerError,
    UnexpectedError,
    VersionError,
)
from sync.frames import (
    Ack,
    Bye,
    Credit,
    Fence,
    Fork,
    Frame,
    Have,
    Hello,
    Note,
    Part,
    Ping,
    Pong,
    Stand,
    Want,
    Welcome,
)
from sync.limits import BULK_IDLE_SECONDS, LANE_WINDOW_BYTES, WANTS
from sync.pieces import NUMBERED, Cursors, Lane, Standing
from sync.sending import Chapter, Counts, LinkedReplica, Sender

MAIN: Final = 0
BULK: Final = 1
LANES: Final[dict[int, tuple[Lane, ...]]] = {MAIN: NUMBERED, BULK: (Lane.HISTORY,)}
"""Channel -> what it carries."""


class Role(Enum):
    """Which end this is."""

    BRANCH = auto()
    HEADQUARTERS = auto()


class Session:
    """One link.

    Args:
        role: which end this is.
        replica: this site, towards the peer.
        peer_node: who the peer has proved to be, 16 bytes.
        session: 16 random bytes that the branch made for this link.
        software: this program and its version.
    """

    def __init__(
        self, role: Role, replica: LinkedReplica, *, peer_node: bytes, session: bytes, software: str
    ) -> None:
        self.role = role
        self.session = session
        self.peer_node = peer_node
        self.error: LinkError | None = None
        self.counts = Counts()
        self._replica = replica
        self._software = software
        self._channels: dict[int, Channel] = {}
        self._sender = Sender(replica, self.counts)
        self._acks: dict[Lane, int] = {}
        self._questions: dict[int, Want] = {}
        self._next_question = 1
        self._moment = Moment(0.0, 0)
        self._effects: list[Effect] = []

    # --- events -------------------------------------------------------------------------------

    def opened(self, channel: int, moment: Moment) -> list[Effect]:
        """A connection stands; there is at most one for each channel."""
        return self._run(moment, lambda: self._open(channel))

    def received(self, channel: int, data: bytes, moment: Moment) -> list[Effect]:
        """Bytes arrived."""
        return self._run(moment, lambda: self._receive(channel, data))

    def closed(self, channel: int, moment: Moment) -> list[Effect]:
        """A connection ended, whoever ended it."""
        return self._run(moment, lambda: self._close(channel))

    def taken(self, take: Take, cursor: int, moment: Moment) -> list[Effect]:
        """The piece that was to be taken is durable; ``cursor`` is its lane's."""
        return self._run(moment, lambda: self._taken(take, cursor))

    def failed(self, error: Exception, moment: Moment) -> list[Effect]:
        """The layers above could not do something: the link ends."""
        return self._run(moment, lambda: self._end(blame(error)))

    def changed(self) -> None:
        """There may be something new to read."""
        self._sender.changed()

    def tick(self, moment: Moment) -> list[Effect]:
        """Do what the time asks for."""
        return self._run(moment, self._tick)

    def due(self) -> float:
        """Return when ``tick`` has something to do, in seconds."""
        if self.error is not None:
            return inf
        dues = [channel.due() for channel in self._channels.values()]
        return min([*dues, self._bulk_ends_at()], default=inf)

    def pull_due(self) -> float:
        """Return when ``pull`` of the main connection has something more to give, in seconds."""
        return self._sender.quiet_until(self._channels[MAIN]) if self.is_up else inf

    # --- orders -------------------------------------------------------------------------------

    def note(self, kind: str, body: bytes) -> None:
        """Send a note to the layers above at the peer.

        Raises:
            LimitError: too much waits already.
            LostError: the link is not up.
        """
        if not self.is_up:
            raise LostError("the link is not up")
        self._channels[MAIN].say(Note(kind, body))

    def want(self, stream: Stream, before: int, limit: int) -> int:
        """Ask for history and return the question's number; it is asked again after a break.

        Raises:
            LimitError: too many questions are open.
        """
        if len(self._questions) >= WANTS:
            raise LimitError("too many open questions")
        number, self._next_question = self._next_question, self._next_question + 1
        want = self._questions[number] = Want(number, stream.kind, stream.id, before, limit)
        if self._is_live(BULK):
            self._channels[BULK].say(want)
        return number

    def stop(self, moment: Moment, error: LinkError | None = None) -> list[Effect]:
        """End the link from here."""
        return self._run(moment, lambda: self._end(error or StoppedError()))

    @property
    def is_up(self) -> bool:
        """Whether both ends know each other."""
        return self.error is None and self._is_live(MAIN)

    def has_channel(self, channel: int) -> bool:
        """Tell whether a connection stands, as far as this end knows."""
        return channel in self._channels

    @property
    def open_questions(self) -> int:
        """How many questions for history wait for their answer."""
        return len(self._questions)

    @property
    def wants_bulk(self) -> bool:
        """Whether a branch should open channel 1."""
        return self.is_up and bool(self._questions) and BULK not in self._channels

    @property
    def round_trip(self) -> float:
        """The last round trip measured on the main connection, in seconds; 0 before."""
        return self._channels[MAIN].pace.round_trip if MAIN in self._channels else 0.0

    # --- sending ------------------------------------------------------------------------------

    def pull(self, channel: int, room: int, moment: Moment) -> bytes:
        """Return whole frames for a connection, at least one if there is any.

        Args:
            channel: which connection.
            room: how many bytes it takes now; the last frame may go beyond that.
            moment: when.
        """
        self._moment = moment
        found: list[bytes] = []
        while room > 0 and channel in self._channels:
            data = self._next(channel)
            if not data:
                break
            found.append(data)
            room -= len(data)
        output = b"".join(found)
        self.counts.sent_bytes += len(output)
        return output

    def _next(self, number: int) -> bytes:
        channel = self._channels[number]
        if self.error is None and number == MAIN and self._acks:
            lane, cursor = self._acks.popitem()
            return frames.encode(Ack(lane, cursor))
        data = channel.next_words()
        if data or channel.state is not State.LIVE or self.error is not None:
            return data
        if number == BULK:
            self._sender.fill_history(channel)
        else:
            self._sender.fill(channel, self._moment.now)
        return channel.next_part(self._moment.now) or channel.next_words()

    # --- connections --------------------------------------------------------------------------

    def _open(self, number: int) -> None:
        state = State.GREETING if self.role is Role.BRANCH else State.AWAITING
        channel = self._channels[number] = Channel(LANES[number], state, self._moment.now)
        if self.role is Role.BRANCH:
            stand = Stand.of(self._replica.standing())
            version, window = frames.VERSION, LANE_WINDOW_BYTES
            unix_ms = self._moment.unix_ms
            hello = (version, version, self.session, number, stand, unix_ms, window)
            channel.say(Hello(*hello, self._software))

    def _receive(self, number: int, data: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None or self.error is not None:
            return
        self.counts.received_bytes += len(data)
        for frame in channel.read(data, self._moment.now):
            if channel.state is State.ENDED:
                return
            handle = FRAMES[channel.state].get(type(frame))
            if handle is None:
                raise UnexpectedError(f"{type(frame).__name__} while {channel.state.name}")
            handle(self, channel, frame)

    def _close(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        if number == MAIN:
            self._end(LostError("the connection ended"))
            return
        self._sender.forget_questions()
        if self.error is None:
            self._effects.append(Lost(number))

    def _bulk_ends_at(self) -> float:
        """Return when a branch ends the connection for history, which costs pings."""
        if self.role is not Role.BRANCH or BULK not in self._channels or self._questions:
            return inf
        return self._channels[BULK].used_at + BULK_IDLE_SECONDS

    def _tick(self) -> None:
        if self._moment.now >= self._bulk_ends_at():
            self._close(BULK)
        for number, channel in list(self._channels.items()):
            try:
                channel.tick(self._moment.now)
            except LostError:
                if number == MAIN:
                    raise
                self._close(number)

    def _run(self, moment: Moment, event: Callable[[], None]) -> list[Effect]:
        """Let one event happen; what goes wrong ends the link. Returns the effects."""
        self._moment = moment
        try:
            event()
        except (LinkError, StoreError) as error:
            self._end(blame(error))
        effects, self._effects = self._effects, []
        return effects

    def _end(self, error: LinkError) -> None:
        if self.error is not None:
            return
        self.error = error
        last = _last_words(error)
        for channel in self._channels.values():
            channel.last_words(last)
        self._effects.append(Ended(error))

    def _is_live(self, number: int) -> bool:
        return number in self._channels and self._channels[number].state is State.LIVE

    # --- frames -------------------------------------------------------------------------------

    def _hello(self, channel: Channel, hello: Hello) -> None:
        """Headquarters: judge who is there and answer."""
        if not hello.lowest <= frames.VERSION <= hello.highest:
            raise VersionError(f"the branch speaks {hello.lowest} to {hello.highest}")
        if self._channels.get(hello.channel) is not channel or hello.session != self.session:
            raise UnexpectedError("a Hello for another connection")
        mine = self._begin(channel, hello.stand, hello.window_bytes)
        stand, unix_ms = Stand.of(mine), self._moment.unix_ms
        welcome = Welcome(frames.VERSION, stand, unix_ms, LANE_WINDOW_BYTES, self._software)
        channel.say(welcome)
        self._welcomed(channel, hello, frames.VERSION)

    def _welcome(self, channel: Channel, welcome: Welcome) -> None:
        """A branch: headquarters has accepted us."""
        if welcome.version != frames.VERSION:
            raise VersionError(f"headquarters chose {welcome.version}")
        self._begin(channel, welcome.stand, welcome.window_bytes)
        self._welcomed(channel, welcome, welcome.version)

    def _begin(self, channel: Channel, stand: Stand, window_bytes: int) -> Standing:
        """Compare the standings, and let the lanes go on from the peer's cursors."""
        if stand.node != self.peer_node:
            raise StrangerError("it says to be another site than it has proved to be")
        mine, theirs = self._replica.standing(), stand.standing()
        for outgoing in channel.outgoing.values():
            outgoing.credit_bytes = window_bytes
        if channel is self._channels.get(MAIN):
            _compare(self.role, mine, theirs)
            self._replica.begin(theirs)
            self._sender.resume(theirs.cursors if theirs.peer == mine.origin else Cursors())
        return mine

    def _welcomed(self, channel: Channel, said: Hello | Welcome, version: int) -> None:
        channel.state = State.LIVE
        if channel is self._channels.get(MAIN):
            up = Up(said.stand.standing(), said.time_ms, said.software, version)
            self._effects.append(up)
        else:
            for want in self._questions.values():
                channel.say(want)

    def _fence(self, channel: Channel, fence: Fence) -> None:
        del channel
        self._end(FencedError(fence.incarnation, fence.seq))

    def _fork(self, channel: Channel, fork: Fork) -> None:
        del channel
        self._end(ForkedError(fork.incarnation, fork.seq, fork.chain))

    def _part(self, channel: Channel, part: Part) -> None:
        arrival = channel.add_part(part)
        if arrival is not None:
            channel.inbox.append(arrival)
            self._take_next(channel)

    def _have(self, channel: Channel, have: Have) -> None:
        if have.question not in self._questions:
            raise UnexpectedError("an answer to no question")
        channel.inbox.append(have)
        self._take_next(channel)

    def _take_next(self, channel: Channel) -> None:
        """Hand on what is at the head of the inbox, unless something is being taken."""
        while channel.inbox and channel.taking is None:
            head = channel.inbox[0]
            if isinstance(head, Arrival):
                channel.taking = take = Take(self._number(channel), head.piece)
                self._effects.append(take)
            else:
                channel.inbox.popleft()
                if self._questions.pop(head.question, None) is not None:
                    self._effects.append(Answered(head))

    def _taken(self, take: Take, cursor: int) -> None:
        channel = self._channels.get(take.channel)
        if channel is None or channel.taking is not take or self.error is not None:
            return
        arrival = channel.inbox.popleft()
        assert isinstance(arrival, Arrival), "only a piece is being taken"
        channel.taking = None
        self.counts.taken_ops += len(arrival.piece.entries)
        self.changed()
        lane = arrival.piece.lane
        if lane in NUMBERED:
            # A link before this one may have made more durable than was ever sent over this one.
            self._acks[lane] = min(cursor, arrival.piece.upto)
        credit = channel.release(lane, arrival.plain_bytes)
        if credit is not None:
            channel.say(Credit(lane, credit))
        self._take_next(channel)

    def _number(self, channel: Channel) -> int:
        return next(number for number, each in self._channels.items() if each is channel)

    def _ack(self, channel: Channel, ack: Ack) -> None:
        if channel is not self._channels.get(MAIN):
            raise MalformedError("a lane without numbers")
        lane = self._sender.acknowledged(ack)
        self._effects.append(Acknowledged(lane, ack.cursor))

    def _credit(self, channel: Channel, credit: Credit) -> None:
        outgoing = channel.outgoing.get(credit.lane)  # type: ignore[call-overload]
        if outgoing is None:
            raise MalformedError("a lane that this connection does not carry")
        outgoing.credit_bytes = max(outgoing.credit_bytes, credit.total_bytes)

    def _note(self, channel: Channel, note: Note) -> None:
        del channel
        self._effects.append(Deliver(note))

    def _want(self, channel: Channel, want: Want) -> None:
        if channel is not self._channels.get(BULK):
            raise UnexpectedError("a question in the wrong place")
        self._sender.asked(want)

    def _ping(self, channel: Channel, ping: Ping) -> None:
        channel.say(Pong(ping.token))

    def _pong(self, channel: Channel, pong: Pong) -> None:
        channel.answered(pong, self._moment.now)

    def _bye(self, channel: Channel, bye: Bye) -> None:
        del channel
        self._end(FarewellError(bye.code))


_Handler = Callable[[Session, Channel, Any], None]

_GREETING: dict[type[Frame], _Handler] = {
    Welcome: Session._welcome,
    Fence: Session._fence,
    Fork: Session._fork,
    Bye: Session._bye,
}
_AWAITING: dict[type[Frame], _Handler] = {
    Hello: Session._hello,
    Fence: Session._fence,
    Fork: Session._fork,
    Bye: Session._bye,
}
_LIVE: dict[type[Frame], _Handler] = {
    Part: Session._part,
    Ack: Session._ack,
    Credit: Session._credit,
    Note: Session._note,
    Want: Session._want,
    Have: Session._have,
    Ping: Session._ping,
    Pong: Session._pong,
    Fence: Session._fence,
    Fork: Session._fork,
    Bye: Session._bye,
}
FRAMES: Final[dict[State, dict[type[Frame], _Handler]]] = {
    State.GREETING: _GREETING,
    State.AWAITING: _AWAITING,
    State.LIVE: _LIVE,
    State.ENDED: {},
}
"""What may come in which state of a connection; everything else ends the link."""


def blame(error: Exception) -> LinkError:
    """Return the link's error for one of the layers above."""
    if isinstance(error, LinkError):
        return error
    code = error.code if isinstance(error, StoreError) else type(error).__name__
    return LinkError(code)


def _last_words(error: LinkError) -> Frame:
    if isinstance(error, FencedError):
        return Fence(error.incarnation, error.seq)
    if isinstance(error, ForkedError):
        return Fork(error.incarnation, error.seq, error.chain)
    return Bye(error.code)


def _compare(role: Role, mine: Standing, theirs: Standing) -> None:
    """Refuse a branch's log that ends before what headquarters has of it: it was set back.

    Raises:
        FencedError: as each end finds it.
    """
    branch, applied = (mine, theirs) if role is Role.BRANCH else (theirs, mine)
    known = max(applied.cursors)
    if applied.peer == branch.origin and known > branch.seq:
        raise FencedError(branch.origin.incarnation, known)


__all__ = [
    "BULK",
    "FRAMES",
    "LANES",
    "MAIN",
    "Acknowledged",
    "Answered",
    "Chapter",
    "Counts",
    "Deliver",
    "Effect",
    "Ended",
    "LinkedReplica",
    "Lost",
    "Moment",
    "Role",
    "Session",
    "Take",
    "Up",
    "blame",
]
