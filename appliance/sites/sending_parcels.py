"""Write a parcel for another site: what it lacks, as far as this side knows, and what is asked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.context import SITE, Actor
from appliance.sites import lease, leasing, peers, proofs
from appliance.sites.commands import RecordGrant
from appliance.sites.limits import PARCEL_HISTORY
from appliance.sites.parcel_file import ParcelFile
from appliance.sites.peers import NOBODY, Peer
from appliance.sites.replica import BranchReplica, HeadquartersReplica
from appliance.sites.suspects import suspects
from appliance.sites.turn import Turn, turns
from store.engine.contract import Engine
from store.errors import FormatError
from store.ids import Origin, Stream, StreamKind
from store.ports import Clock, Entropy
from store.segments import Statement, split_row
from sync import frames
from sync.frames import Have, Hello, Note, Stand, Want
from sync.limits import PIECE_BYTES, WANT_LIMIT, WANTS
from sync.parcel import Writer
from sync.pieces import NUMBERED, Cursors, Lane, Standing
from transports.wire.errors import Refusal

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.parcel")

SESSION_BYTES: Final = 16

MAX_SEQ: Final = (1 << 64) - 1


class Sent(NamedTuple):
    """What a parcel holds: operations, whole answers about history, and its size."""

    operations: int
    histories: int
    size_bytes: int


class Sender:
    """Writes parcels. Belongs to the trio thread.

    Args:
        core: the site's state.
        engine: where pieces are read from.
        clock: the clock port.
        entropy: the entropy port.
        execute: decides and commits a command.
        blocking: runs what takes long.
        software: this program and its version.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        clock: Clock,
        entropy: Entropy,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        blocking: Callable[..., Awaitable[Any]],
        software: str,
    ) -> None:
        self._core = core
        self._engine = engine
        self._clock = clock
        self._entropy = entropy
        self._execute = execute
        self._blocking = blocking
        self._software = software
        self.progress = (0, 0)
        """How many numbers of lanes were read of how many."""

    async def send(
        self, node: bytes, path: Path, live: Standing | None = None, *, is_all: bool
    ) -> Sent:
        """Write a file for a site; it holds all that this side has for it with ``is_all``.

        ``live`` is where the site stood on the link, if it was linked since the start.

        Raises ``Refusal``: "site.unknown" for a site that is not let in, "site.parcel_exists",
        "site.parcel_file", "site.parcel_unsettled" at a branch whose logs are to be compared
        first; ``ForkedError`` when the sites' logs contradict each other.
        """
        public_key = self._public_key(node)
        with self._engine.snapshot() as reader:
            if suspects(reader):
                raise Refusal("site.parcel_unsettled")
            peer = peers.get(reader, node)
        known = NOBODY if is_all else (live or peer.standing)
        file = await self._blocking(ParcelFile, path, node, public_key)
        try:
            sent = await self._write(Writer(file.write), node, peer, known)
            size = await self._blocking(file.finish)
        except BaseException:
            file.drop()
            raise
        logger.info("parcel.sent", extra={"site": node.hex(), "operations": sent.operations})
        return sent._replace(size_bytes=size)

    def _public_key(self, node: bytes) -> bytes:
        headquarters = self._core.sites.headquarters
        if headquarters is not None and headquarters.node == node:
            return headquarters.public_key
        branch = self._core.sites.branch_of(node)
        if branch is None or not branch.is_approved:
            raise Refusal("site.unknown")
        return branch.public_key

    async def _write(self, writer: Writer, node: bytes, peer: Peer, known: Standing) -> Sent:
        operations = histories = 0
        for replica in self._replicas(node, known):
            operations += await self._chapter(writer, replica, known)
        if isinstance(replica, BranchReplica):
            for frame in self._questions(replica, peer):
                await self._blocking(writer.say, frame)
        else:
            writer.say(Note(proofs.WANTED, self._segments_wanted(node)))
            histories = await self._answers(writer, replica, peer)
            await self._grant(writer, node, peer)
        await self._blocking(writer.end, self._core.sign, node)
        return Sent(operations, histories, 0)

    def _replicas(
        self, node: bytes, known: Standing
    ) -> Iterator[BranchReplica | HeadquartersReplica]:
        """Yield what is read for the peer: at a branch one for each incarnation that is due."""
        means = (self._core, self._engine, self._execute, node)
        if not self._core.sites.is_branch:
            replica = HeadquartersReplica(*means)
            replica.begin(known._replace(origin=replica.standing().peer))
            yield replica
            return
        with self._engine.snapshot() as reader:
            due = turns(self._core.log, reader, known)
        for number in due:
            branch = BranchReplica(*means, Turn(number), compares=False)
            branch.begin(known)
            yield branch

    async def _chapter(
        self, writer: Writer, replica: BranchReplica | HeadquartersReplica, known: Standing
    ) -> int:
        """Write what follows what is known; return how many operations that are."""
        standing, version = replica.standing(), frames.VERSION
        after = known.cursors if known.peer == standing.origin else Cursors()
        session, now_ms = self._entropy.bytes(SESSION_BYTES), self._clock.wall_ms()
        stand = Stand.of(standing)
        writer.begin(Hello(version, version, session, 0, stand, now_ms, 0, self._software), after)
        head, operations = replica.head(Lane.CONTROL), 0
        self.progress = (0, sum(max(0, head - cursor) for cursor in after))
        for lane, start in zip(NUMBERED, after, strict=True):
            cursor = start
            while cursor < head:
                piece = replica.read(lane, cursor, PIECE_BYTES)
                if piece is None:
                    break
                await self._blocking(writer.add, piece)
                done, total = self.progress
                self.progress = (done + piece.upto - cursor, total)
                cursor = piece.upto
                operations += len(piece.entries)
        await self._blocking(writer.finish)
        return operations

    # --- from a branch ----------------------------------------------------------------------------

    def _questions(self, replica: BranchReplica, peer: Peer) -> Iterator[frames.Frame]:
        """Yield what a branch asks, and the proofs that headquarters wants."""
        core = self._core
        yield Note(leasing.ASK, lease.write_ask(lease.ask(core.reading(), core.sites.applied)))
        for number, (stream, before) in enumerate(replica.owed()[:WANTS], start=1):
            yield Want(number, stream.kind, stream.id, before, WANT_LIMIT)
        yield from self._statements(proofs.read_wanted(peer.wanted))

    def _statements(self, wanted: dict[int, int]) -> Iterator[Note]:
        """Yield rows of closed segments from where headquarters has no proof."""
        core = self._core
        for number, row in core.log.origins.items():
            first = wanted.get(row.origin.incarnation, 1)
            while row.is_own:
                with self._engine.snapshot() as reader:
                    rows = list(proofs.following(core, reader, number, first, MAX_SEQ))
                if not rows:
                    break
                yield Note(proofs.TOLD, b"".join(rows))
                first = Statement.unpack(split_row(rows[-1])[0]).end

    # --- from headquarters ------------------------------------------------------------------------

    def _segments_wanted(self, node: bytes) -> bytes:
        core = self._core
        numbers = [number for number, row in core.log.origins.items() if row.origin.node == node]
        newest = core.log.origins[max(numbers)].origin if numbers else Origin(node, 0)
        with self._engine.snapshot() as reader:
            return proofs.wanted(core, reader, newest)

    async def _answers(self, writer: Writer, replica: HeadquartersReplica, peer: Peer) -> int:
        """Answer the questions for history of the branch's last parcel."""
        for want in peer.wants:
            writer.say(want)
            before, is_end, left = want.before, False, PARCEL_HISTORY
            while not is_end and left > 0:
                stream = Stream(StreamKind(want.stream_kind), want.stream_id)
                chapter = replica.history(stream, before, WANT_LIMIT, PIECE_BYTES)
                is_end = chapter is None or chapter.is_end
                if chapter is not None:
                    await self._blocking(writer.add, chapter.piece)
                    left -= len(chapter.piece.entries)
                    before = chapter.before
            writer.say(Have(want.question, before, is_end))
        return len(peer.wants)

    async def _grant(self, writer: Writer, node: bytes, peer: Peer) -> None:
        """Grant the lease that the branch's last parcel asked for; it counts from its asking."""
        if not peer.asked:
            return
        try:
            asked = lease.read_ask(peer.asked)
        except FormatError:
            return
        granted = await self._execute(SITE, RecordGrant(node, asked))
        writer.say(Note(leasing.GRANT, lease.write_grant(granted)))
