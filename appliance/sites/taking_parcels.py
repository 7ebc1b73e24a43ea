"""Take a parcel in: check all of it before anything changes, then apply it piece by piece.

The sender has signed the whole for this site. What it holds is judged as on a link; what was here
already changes nothing, however often and in whichever order parcels come.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.context import SITE, Actor
from appliance.operations import SecretSlot
from appliance.sites import history, lease, leasing, proofs, turn, upstream
from appliance.sites.commands import GrantLease
from appliance.sites.limits import PARCEL_CHAPTERS, PARCEL_NOTES
from appliance.sites.link_commands import NoteHistory, TakePiece
from appliance.sites.parcel_file import OpenedFile, is_signed
from appliance.sites.peers import NotePeer, Peer
from appliance.sites.suspects import suspects
from store import cursors
from store.engine.contract import Engine, Reader
from store.errors import FormatError
from store.ids import Origin, Stream, StreamKind
from sync import parcel
from sync.errors import FencedError, ForkedError, GapError, LinkError, RejectedError, VersionError
from sync.frames import Ack, Frame, Have, Hello, Note, Part, Want
from sync.limits import WANTS
from sync.pieces import NUMBERED, Lane, Piece, Standing
from transports.wire.errors import Refusal

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.parcel")

_NOTES: Final = (leasing.ASK, leasing.GRANT, proofs.WANTED, proofs.TOLD)


class Taken(NamedTuple):
    """What came of a parcel: who sent it, and how many of its operations were new here."""

    sender: bytes
    operations: int
    fresh: int


@dataclass(slots=True)
class Chapter:
    """One incarnation that a parcel tells of; ``known`` is what it takes to be here already."""

    standing: Standing
    known: dict[Lane, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Heard:
    """What a parcel has said beside pieces."""

    notes: dict[str, list[bytes]] = field(default_factory=dict)
    wants: list[Want] = field(default_factory=list)
    operations: int = 0
    fresh: int = 0


class Taker:
    """Takes parcels. Belongs to the trio thread; the arguments are those of ``Sender``."""

    def __init__(
        self,
        core: Core,
        engine: Engine,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        blocking: Callable[..., Awaitable[Any]],
    ) -> None:
        self._core = core
        self._engine = engine
        self._execute = execute
        self._blocking = blocking
        self.progress = (0, 0)
        """How many bytes were applied of how many."""

    async def take(self, path: Path) -> Taken:
        """Take a file in.

        Raises ``Refusal`` before anything has changed: "site.parcel_file", "site.parcel" for what
        is damaged, cut short or no parcel, "site.parcel_addressee", "site.parcel_sender",
        "site.revoked", "site.parcel_old", "site.parcel_unsettled" and "site.parcel_gap";
        ``FencedError`` and ``ForkedError`` when this site was set back or copied. "link.rejected"
        says that the sender's program is faulty: what came before that was applied.
        """
        seed = self._core.secrets[SecretSlot.SIGNING_SEED]
        file = await self._blocking(OpenedFile, path, self._core.log.node, seed)
        try:
            chapters = await self._blocking(self._survey, file)
            taken = await self._apply(file, chapters)
        except (RejectedError, FormatError) as error:
            raise Refusal(RejectedError.code) from error
        except GapError as error:  # a link was quicker, under another incarnation
            raise Refusal("site.parcel_gap") from error
        finally:
            file.close()
        extra = {"site": taken.sender.hex(), "operations": taken.fresh}
        logger.info("parcel.taken", extra=extra)
        return taken

    # --- checking ---------------------------------------------------------------------------------

    def _survey(self, file: OpenedFile) -> list[Chapter]:
        """Read all of it and return its chapters; raises as ``take``."""
        reader, chapters = parcel.Reader(), list[Chapter]()
        try:
            for chunk in file.chunks():
                for frame in reader.feed(chunk):
                    _note_beginning(chapters, frame)
            signed, signature = reader.end(self._core.log.node)
        except VersionError as error:
            raise Refusal(error.code) from error
        except LinkError as error:
            raise Refusal("site.parcel") from error
        if not is_signed(self._key_of(chapters), signed, signature):
            raise Refusal("site.parcel")
        with self._engine.snapshot() as snapshot:
            for chapter in chapters:
                self._judge(snapshot, chapter)
        return chapters

    def _key_of(self, chapters: list[Chapter]) -> bytes:
        """Return the key of the one site that sent it, if it is one of ours that is let in."""
        nodes = {chapter.standing.origin.node for chapter in chapters}
        sender, sites = nodes.pop(), self._core.sites
        if nodes:
            raise Refusal("site.parcel")
        if sites.headquarters is not None:
            if sender != sites.headquarters.node:
                raise Refusal("site.parcel_sender")
            return sites.headquarters.public_key
        branch = sites.branch_of(sender)
        if branch is None or not (branch.is_approved or branch.is_revoked):
            raise Refusal("site.parcel_sender")
        if branch.is_revoked:
            raise Refusal("site.revoked")
        return branch.public_key

    def _judge(self, reader: Reader, chapter: Chapter) -> None:
        """Refuse what does not follow what is here, or is of an order that ended."""
        standing, core = chapter.standing, self._core
        if core.sites.is_branch:
            self._expect_present(reader, standing)
        for lane, upto in chapter.known.items():
            if upto > self._cursor(reader, standing.origin, lane):
                raise Refusal("site.parcel_gap")

    def _expect_present(self, reader: Reader, standing: Standing) -> None:
        """At a branch: refuse what was made before headquarters, or this site, was restored."""
        log = self._core.log
        if standing.peer == log.own and max(standing.cursors) > log.head.seq:
            raise FencedError(log.own.incarnation, max(standing.cursors))
        if turn.is_forked(log, reader, standing):
            raise ForkedError(log.own.incarnation, standing.held, standing.held_chain)
        is_for_another = bool(standing.peer.node) and standing.peer != log.own
        if is_for_another or upstream.is_past(reader, standing.origin):
            raise Refusal("site.parcel_old")
        if suspects(reader) or upstream.followed(reader) not in (None, standing.origin):
            raise Refusal("site.parcel_unsettled")

    def _cursor(self, reader: Reader, origin: Origin, lane: Lane) -> int:
        """Return how far a lane of an origin has been applied here."""
        if self._core.sites.is_branch:
            is_followed = upstream.followed(reader) == origin
            return cursors.get(reader, cursors.PEER, lane) if is_followed else 0
        number = self._core.log.number_of(origin)
        return 0 if number is None else cursors.get(reader, number, lane)

    # --- applying ---------------------------------------------------------------------------------

    async def _apply(self, file: OpenedFile, chapters: list[Chapter]) -> Taken:
        """Apply its pieces, then what it says beside them."""
        reader, unpacker, heard = parcel.Reader(), parcel.Unpacker(), _Heard()
        sender = chapters[0].standing.origin.node
        chunks, origin, question = file.chunks(), chapters[0].standing.origin, None
        while (chunk := await self._blocking(partial(next, chunks, None))) is not None:
            self.progress = (file.done_bytes, file.size)
            for frame in reader.feed(chunk):
                if isinstance(frame, Hello):
                    origin = frame.stand.standing().origin
                elif isinstance(frame, Part):
                    piece = unpacker.add(frame)
                    if piece is not None:
                        await self._take_piece(sender, origin, piece, heard)
                elif isinstance(frame, Want):
                    question = frame
                    heard.wants.append(frame)
                elif isinstance(frame, Have):
                    await self._answered(question, frame)
                else:
                    _hear(heard, frame)
        if len(heard.wants) > WANTS:
            raise RejectedError("too many questions")
        await self._heed(sender, chapters[-1].standing, heard)
        return Taken(sender, heard.operations, heard.fresh)

    async def _take_piece(self, sender: bytes, origin: Origin, piece: Piece, heard: _Heard) -> None:
        with self._engine.snapshot() as snapshot:
            cursor = self._cursor(snapshot, origin, piece.lane) if piece.lane in NUMBERED else 0
        heard.operations += len(piece.entries)
        heard.fresh += sum(entry.number > cursor for entry in piece.entries)
        await self._execute(SITE, TakePiece(sender, origin, piece))

    async def _answered(self, question: Want | None, have: Have) -> None:
        """Note how far history came, unless more of it is owed by now than was asked for."""
        if question is None or question.question != have.question:
            raise RejectedError("an answer to no question")
        stream = Stream(StreamKind(question.stream_kind), question.stream_id)
        pseudonym = self._core.streams.pseudonym(stream)
        with self._engine.snapshot() as reader:
            owed = dict(history.owed(reader)).get(pseudonym or 0, 0)
        if question.before >= owed:
            await self._execute(SITE, NoteHistory(stream, have.before, have.is_end))

    async def _heed(self, sender: bytes, standing: Standing, heard: _Heard) -> None:
        """Do what its notes ask for, and remember how the sender stands."""
        for body in heard.notes.get(proofs.TOLD, ()):
            if self._core.sites.is_branch:
                break
            command = proofs.TakeSegments(sender, proofs.read_told(body))
            proven = await self._execute(SITE, command)
            if proven.contradiction:
                raise RejectedError(proven.contradiction)
        for body in heard.notes.get(leasing.GRANT, ()):
            if self._core.sites.is_branch:
                await self._grant(body)
        asked, wanted = (heard.notes.get(kind, [b""])[-1] for kind in (leasing.ASK, proofs.WANTED))
        wants = [] if self._core.sites.is_branch else heard.wants
        await self._execute(SITE, NotePeer(sender, standing, Peer(None, wants, asked, wanted)))

    async def _grant(self, body: bytes) -> None:
        try:
            command = GrantLease(lease.read_grant(body))
        except FormatError:
            raise RejectedError("a lease that does not hold") from None
        await self._execute(SITE, command)


def _note_beginning(chapters: list[Chapter], frame: Frame) -> None:
    if isinstance(frame, Hello):
        if len(chapters) == PARCEL_CHAPTERS:
            raise Refusal("site.parcel")
        chapters.append(Chapter(frame.stand.standing()))
    elif isinstance(frame, Ack) and frame.lane in NUMBERED:
        chapters[-1].known[Lane(frame.lane)] = frame.cursor


def _hear(heard: _Heard, frame: Frame) -> None:
    """Keep a note that is understood here."""
    if isinstance(frame, Note) and frame.kind in _NOTES:
        bodies = heard.notes.setdefault(frame.kind, [])
        if len(bodies) == PARCEL_NOTES:
            raise RejectedError("too many notes")
        bodies.append(frame.body)
