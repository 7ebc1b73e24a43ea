"""Answer the link: what is sent to a peer, and what becomes of what it sends.

One object for one peer, in the trio thread. Headquarters has one for each branch that is linked,
a branch has one for headquarters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.context import SITE, Actor
from appliance.core import Core
from appliance.sites import history, outlet, upstream
from appliance.sites.audience import Audience
from appliance.sites.link_commands import TakeControl, Taken, TakePiece
from appliance.sites.scope import Scope
from appliance.sites.suspects import suspects
from appliance.sites.turn import Turn
from store import cursors, order, reading
from store.engine.contract import Engine, Reader
from store.ids import Origin, Stream
from store.records import skeleton_of
from store.skeleton import op_hash
from store.tables import LOG
from sync.errors import FencedError
from sync.pieces import NUMBERED, Cursors, Lane, Piece, Standing
from sync.session import Chapter

Execute = Callable[[Actor, Any], Awaitable[Any]]
"""Decides and commits a command; returns its reply once it is durable."""

NOBODY = Origin(b"", 0)
"""The origin of a peer that has not been met."""


NOTHING_MORE = (1 << 63) - 1
"""A cursor beyond every number: nothing is to be sent."""


class SiteReplica(ABC):
    """What both directions share."""

    def __init__(self, core: Core, engine: Engine, execute: Execute, node: bytes) -> None:
        self._core = core
        self._engine = engine
        self._execute = execute
        self._node = node
        self._peer = NOBODY
        self._read = dict.fromkeys(NUMBERED, 0)
        """How far each lane has been read for the peer: no lane goes beyond the one before it."""

    def begin(self, peer: Standing) -> None:
        """Take note of where the peer stands, as a connection begins."""
        self._peer = peer.origin
        is_ours = peer.peer == self.standing().origin
        self._read = dict(zip(NUMBERED, peer.cursors if is_ours else Cursors(), strict=True))

    @abstractmethod
    def standing(self) -> Standing:
        """Return where this site stands towards this peer."""

    @abstractmethod
    def head(self, lane: Lane) -> int:
        """Return the newest number of a lane that ``read`` would cover; never blocks."""

    @abstractmethod
    def _piece(self, reader: Reader, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        """Read one piece from a snapshot."""

    def read(self, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        """Return what follows ``after`` in a lane, None when nothing does."""
        piece = reading.read(
            self._engine, lambda reader: self._piece(reader, lane, after, budget_bytes)
        )
        if piece is not None:
            self._read[lane] = max(self._read[lane], piece.upto)
        return piece

    def _limit(self, lane: Lane, head: int) -> int:
        """Return how far a lane may be read: causes are in the lanes before it."""
        return head if lane is Lane.CONTROL else min(head, self._read[Lane(lane - 1)])

    async def take(self, piece: Piece) -> int:
        """Apply a piece and return the lane's durable cursor.

        Raises ``sync.errors.GapError`` and ``RejectedError``, and what ends the link as our own
        failure.
        """
        taken = await self._execute(SITE, self.taking(piece))
        assert isinstance(taken, Taken)
        return taken.cursor

    def taking(self, piece: Piece) -> TakePiece:
        """Return the command that applies a piece of the peer."""
        return TakePiece(self._node, self._peer, piece)

    def _cursors(self, number: int) -> Cursors:
        with self._engine.snapshot() as reader:
            return Cursors(*(cursors.get(reader, number, lane) for lane in NUMBERED))

    def _standing(self, peer: Origin, applied: Cursors) -> Standing:
        head = self._core.log.head
        return Standing(self._core.log.own, head.seq, head.chain, peer, applied)


class BranchReplica(SiteReplica):
    """At a branch: sends its own log, one incarnation in each link; takes headquarters' order.

    ``compares``: nothing travels while a log is suspect. A file that is carried cannot ask, and
    carries what it can.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Execute,
        node: bytes,
        turn: Turn | None = None,
        *,
        compares: bool = True,
    ) -> None:
        super().__init__(core, engine, execute, node)
        self._compares = compares
        self._turn = turn or Turn()
        self._is_comparing = False
        """Logs are compared on this link, and nothing else travels."""

    def begin(self, peer: Standing) -> None:
        """Take note of where headquarters stands; raises ``AgainError`` for another incarnation."""
        super().begin(peer)
        with self._engine.snapshot() as reader:
            self._is_comparing = self._compares and bool(suspects(reader))
            if not self._is_comparing:
                self._turn.look(self._core.log, reader, peer)

    def standing(self) -> Standing:
        """Return where this branch stands towards headquarters.

        While an earlier incarnation is sent, or logs are compared, nothing is asked for: that is
        for the present one.
        """
        log = self._core.log
        with self._engine.snapshot() as reader:
            peer = upstream.followed(reader) or NOBODY
            if self._compares and suspects(reader):
                return self._standing(peer, Cursors(*[NOTHING_MORE] * len(NUMBERED)))
            if self._turn.is_last(log):
                held, digest = upstream.newest(reader)
                standing = self._standing(peer, self._cursors(cursors.PEER))
                return standing._replace(held=held, held_chain=digest)
            end = log.prefix(reader, self._turn.of(log))
        return Standing(
            self._turn.origin(log), *end, peer, Cursors(*[NOTHING_MORE] * len(NUMBERED))
        )

    def head(self, lane: Lane) -> int:
        """Return the newest own seq."""
        del lane
        if self._is_comparing:
            return 0
        if self._turn.is_last(self._core.log):
            return self._core.log.head.seq
        with self._engine.snapshot() as reader:
            return self._core.log.prefix(reader, self._turn.of(self._core.log)).seq

    def history(self, stream: Stream, before: int, limit: int, budget_bytes: int) -> Chapter | None:
        """Return None: headquarters has everything of a branch."""
        del stream, before, limit, budget_bytes
        return None

    def taking(self, piece: Piece) -> TakePiece:
        """Return the command that applies a piece: holds and orders may use the reserve."""
        if piece.lane is Lane.CONTROL:
            return TakeControl(self._node, self._peer, piece)
        return super().taking(piece)

    def owed(self) -> list[tuple[Stream, int]]:
        """Return the conversations whose history is to be asked for, and before which position."""
        if self._is_comparing:
            return []
        with self._engine.snapshot() as reader:
            found = list(history.owed(reader))
        named = ((self._core.streams.stream(each), before) for each, before in found)
        return [(stream, before) for stream, before in named if stream is not None]

    def _piece(self, reader: Reader, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        if self._is_comparing:
            return None
        limit, number = self._limit(lane, self.head(lane)), self._turn.of(self._core.log)
        return outlet.own_piece(self._core, reader, number, lane, after, limit, budget_bytes)


class HeadquartersReplica(SiteReplica):
    """At headquarters: sends a branch what is in its scope, takes its log."""

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Execute,
        node: bytes,
        audience: Audience | None = None,
    ) -> None:
        super().__init__(core, engine, execute, node)
        self._audience = audience
        self._scope = Scope(node, core.conversations, core.sites.node_of_person)

    def begin(self, peer: Standing) -> None:
        """Take note of where a branch stands; raises ``FencedError`` if this site was set back."""
        if peer.peer.node == self._core.log.node and self._was_set_back(peer):
            own, followed = self._core.log.own, peer.peer
            forgotten = 0 if followed == own else followed.incarnation
            raise FencedError(own.incarnation, peer.held, forgotten)
        super().begin(peer)

    def _was_set_back(self, peer: Standing) -> bool:
        """Tell whether a branch has followed this site's order further than it goes now.

        Or one that gives the positions to others, or one of an incarnation that is forgotten.
        """
        log = self._core.log
        if peer.peer != log.own:
            return log.number_of(peer.peer) is None
        if max((each for each in peer.cursors if each != NOTHING_MORE), default=0) > log.head.pos:
            return True
        with self._engine.snapshot() as reader:
            return bool(peer.held) and self._is_other(reader, peer.held, peer.held_chain)

    def _is_other(self, reader: Reader, pos: int, digest: bytes) -> bool:
        """Tell whether not that operation is at a position, as far as the order is kept."""
        start = order.start(reader)
        if start is None or pos < start:
            return False
        placed = next(order.after(reader, pos - 1, 1), None)
        if placed is None or placed.pos != pos:
            return True
        value = reader.get(LOG.key(placed.origin, placed.seq))
        return value is None or op_hash(skeleton_of(value)) != digest

    def standing(self) -> Standing:
        """Return where headquarters stands towards the branch: its newest incarnation here."""
        known = self._core.log.origins
        numbers = [number for number, row in known.items() if row.origin.node == self._node]
        if not numbers:
            return self._standing(NOBODY, Cursors())
        newest = max(numbers)
        standing = self._standing(known[newest].origin, self._cursors(newest))
        with self._engine.snapshot() as reader:
            end = self._core.log.prefix(reader, newest)
        return standing._replace(held=end.seq, held_chain=end.chain if end.seq else b"")

    def head(self, lane: Lane) -> int:
        """Return the newest position here."""
        del lane
        return self._core.log.head.pos

    def _piece(self, reader: Reader, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        limit, positions = self._limit(lane, self._core.applied(reader)), None
        if self._audience is not None and self._core.log.number_of(self._peer) is not None:
            # Of a branch under an incarnation not heard of yet, all before it concerns the branch.
            self._audience.look(reader)
            positions = self._audience.positions(self._node, lane, after, limit)
        place = self._scope, self._peer, lane, after, limit
        return outlet.scoped_piece(self._core, reader, *place, budget_bytes, positions)

    def history(self, stream: Stream, before: int, limit: int, budget_bytes: int) -> Chapter | None:
        """Return the newest operations of a conversation before a position of headquarters."""
        return reading.read(
            self._engine,
            lambda reader: history.chapter(
                self._core, reader, self._scope, stream, before, limit, budget_bytes
            ),
        )
