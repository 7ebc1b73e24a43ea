"""Send operations from one site to another, in this process: bytes on the line, time at both ends.

Two sessions joined by nothing; what a replica reads and takes is prepared and thrown away, so that
the time is the link's own: columns, compression, frames, lanes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import MICRO, Result, revision, rss_mib
from benchmarks.pieces import NODE, Author
from store.ids import Origin, Stream
from sync.pieces import Cursors, Lane, Piece, Standing
from sync.session import MAIN, Chapter, Effect, Moment, Role, Session, Take

PIECES: Final = 100
PIECE_OPS: Final = 512
LIVE_OPS: Final = 2_000
ROOM: Final = 16 * 1024
NOW: Final = Moment(0.0, 0)


class Prepared:
    """A site whose pieces are ready, or that takes everything."""

    def __init__(self, origin: Origin, pieces: list[Piece]) -> None:
        self._origin = origin
        self._pieces = {piece.after: piece for piece in pieces}
        self._head = pieces[-1].upto if pieces else 0

    def standing(self) -> Standing:
        return Standing(self._origin, self._head, bytes(32), Origin(b"", 0), Cursors())

    def begin(self, peer: Standing) -> None:
        del peer

    def head(self, lane: Lane) -> int:
        return self._head if lane is Lane.MESSAGES else 0

    def read(self, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        del lane, budget_bytes
        return self._pieces.get(after)

    async def take(self, piece: Piece) -> int:
        return piece.upto

    def history(self, stream: Stream, before: int, limit: int, budget_bytes: int) -> Chapter | None:
        del stream, before, limit, budget_bytes
        return None


class Ends:
    """Two sessions, the processor time of each, and what the first gave to its line."""

    def __init__(self, pieces: list[Piece]) -> None:
        peer = Origin(b"P" * 16, 1)
        sender, receiver = Prepared(NODE, pieces), Prepared(peer, [])
        ends = ((Role.BRANCH, sender, peer.node), (Role.HEADQUARTERS, receiver, NODE.node))
        self.sender, self.receiver = (
            Session(role, replica, peer_node=node, session=bytes(16), software="")
            for role, replica, node in ends
        )
        self.seconds = {self.sender: 0.0, self.receiver: 0.0}
        self.sent_bytes = 0
        self.taken_ops = 0
        for end in (self.sender, self.receiver):
            end.opened(MAIN, NOW)

    def run(self) -> None:
        """Carry everything."""
        is_moving = True
        while is_moving:
            is_moving = self._carry(self.sender, self.receiver)
            is_moving |= self._carry(self.receiver, self.sender)

    def _carry(self, here: Session, there: Session) -> bool:
        with self._timed(here):
            data = here.pull(MAIN, ROOM, NOW)
        if not data:
            return False
        if here is self.sender:
            self.sent_bytes += len(data)
        with self._timed(there):
            self._take(there, there.received(MAIN, data, NOW))
        return True

    def _take(self, end: Session, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Take):
                self.taken_ops += len(effect.piece.entries)
                self._take(end, end.taken(effect, effect.piece.upto, NOW))

    @contextmanager
    def _timed(self, end: Session) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[end] += time.process_time() - began


def carried(pieces: list[Piece]) -> Ends:
    """Carry some pieces; raises ``AssertionError`` when not all arrived."""
    ends = Ends(pieces)
    ends.run()
    assert ends.taken_ops == sum(len(piece.entries) for piece in pieces)
    return ends


def without_bodies(piece: Piece) -> Piece:
    """Return a piece with every body empty."""
    entries = tuple(
        entry._replace(shipment=entry.shipment._replace(body=b"")) for entry in piece.entries
    )
    return piece._replace(entries=entries)


def run(carrier: str, directory: Path) -> Result:
    """Run the workload; there is no carrier and nothing to store."""
    del directory
    author = Author()
    pieces = [author.piece(PIECE_OPS) for _ in range(PIECES)]
    ops = PIECES * PIECE_OPS
    ends = carried(pieces)
    bare = carried([without_bodies(piece) for piece in pieces])
    live_author = Author(2)
    live = carried([live_author.piece(1) for _ in range(LIVE_OPS)])
    return Result(
        "link",
        carrier,
        ops,
        round(ends.seconds[ends.sender] / ops * MICRO, 2),
        round(ends.seconds[ends.receiver] / ops * MICRO, 2),
        0.0,
        0.0,
        round(rss_mib(os.getpid()), 1),
        revision(),
        {
            "text_bytes_per_op": round(author.text_bytes / ops, 1),
            "bytes_per_op": round(ends.sent_bytes / ops, 1),
            "bytes_beyond_bodies": round(bare.sent_bytes / ops, 1),
            "bytes_live": round(live.sent_bytes / LIVE_OPS, 1),
            "live_sender_cpu_us_per_op": round(live.seconds[live.sender] / LIVE_OPS * MICRO, 1),
            "live_receiver_cpu_us_per_op": round(live.seconds[live.receiver] / LIVE_OPS * MICRO, 1),
        },
    )
