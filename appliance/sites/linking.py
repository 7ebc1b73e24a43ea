"""Keep a site linked to the others: a branch to headquarters, headquarters to its branches.

The link itself (``sync``) knows how pieces travel. Here it is told what this site has, and what
happens on it is turned into what the site does: pieces are applied, history is asked for, notes
go to whoever they are for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from appliance.context import SITE, Actor
from appliance.core import Core
from appliance.sites import lineage, pending, proofs
from appliance.sites.audience import Audience
from appliance.sites.backlog import Backlog
from appliance.sites.comparing import Comparing
from appliance.sites.link_commands import NoteHistory, TakeIncarnation
from appliance.sites.peers import NotePeer
from appliance.sites.replica import NOTHING_MORE, BranchReplica, HeadquartersReplica
from appliance.sites.turn import AgainError, Turn
from store.arrivals import NO_CHAIN
from store.engine.contract import Engine
from store.errors import EquivocationError, LimitError, StoreError
from store.ids import Origin, Stream
from store.ports import Clock, Entropy
from store.segments import Statement, split_row
from sync import driver, frames, session
from sync.driver import Driver
from sync.errors import FENCING, FencedError, ForkedError, LinkError, RejectedError
from sync.pieces import NUMBERED, Cursors, Lane, Standing
from sync.reception import Reception

logger = logging.getLogger("strongroom.link")

HISTORY_OPERATIONS: Final = 500
"""Operations that one question for history asks for."""

PROVING_BACKLOG: Final = 512
"""Most operations that headquarters lacks while it is told of closed segments."""

HISTORIES: Final = 8
"""Questions for history that are open at one time."""

MAX_SEQ: Final = (1 << 64) - 1
"""Beyond every operation's number."""

Note = Callable[[bytes, bytes], None]
"""Takes a note of the layers above from a peer: its node, and the note's body."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """How a link is; ``since_ms`` (Unix ms) is when that began, 0: not since the start.

    ``error`` is the code of why it ended last, ``clock_ms`` how far the peer's clock was ahead.
    """

    is_up: bool = False
    since_ms: int = 0
    error: str = ""
    software: str = ""
    clock_ms: int = 0


class Links:
    """This site's links. Belongs to the trio thread.

    Args:
        core: the site's state.
        engine: where pieces are read from.
        clock: the clock port.
        entropy: the entropy port.
        execute: decides and commits a command.
        software: this program and its version.
        changed: told whenever a link came up or ended.
        reopen: told when the site has to be opened again, with its views written anew.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        clock: Clock,
        entropy: Entropy,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        *,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        software: str = "",
        changed: Callable[[], None] = lambda: None,
        reopen: Callable[[], None] = lambda: None,
    ) -> None:
        self._core = core
        self._engine = engine
        self._clock = clock
        self._execute = execute
        self._spawn = spawn
        self._changed = changed
        self._reopen = reopen
        self.notes: dict[str, Note] = {}
        """What takes the notes of each kind."""
        self.states: dict[bytes, LinkState] = {}
        """Node -> how its link is."""
        self.greetings: list[Callable[[bytes], None]] = []
        """Called with a peer's node whenever its link came up."""
        self.peers: dict[bytes, Standing] = {}
        """Node -> where it stands, as far as it has told and acknowledged since the start."""
        self.site = driver.Site(
            core.log.node,
            self._replica,
            self._handle,
            clock.wall_ms,
            entropy.bytes,
            software,
            self._missed,
        )
        self.reception = Reception(self.site)
        self._audience = Audience(core)
        self._upstream: Driver | None = None
        self._applied = 0
        """At a branch: the newest position here of which the link was told."""
        self._backlog: Backlog | None = None
        self._is_met = False
        self._questions: dict[int, Stream] = {}
        self._acknowledged: dict[Lane, int] = {}
        """At a branch: lane -> what headquarters has of the incarnation that is sent."""
        self._turn = Turn()
        self._has_succeeded = False
        self._unproven: dict[int, int] = {}
        """At a branch: incarnation -> from where on headquarters has asked for segments."""
        self.notes[proofs.WANTED] = self._segments_wanted
        self.notes[proofs.TOLD] = self._segments_told
        self._comparing = Comparing(core, engine, execute, self._ask_headquarters)
        self.notes[lineage.WANTED] = self._lineage_wanted
        self.notes[lineage.TOLD] = self._lineage_told

    def changed(self) -> None:
        """Something was committed that other sites may have to hear of."""
        if self.reception.links:
            with self._engine.snapshot() as reader:
                self._audience.look(reader)
            self.reception.changed(self._audience.news())
        elif self._upstream is not None:
            self._look_up(self._upstream)
            self._prove()

    def _look_up(self, link: Driver) -> None:
        """Let the link to headquarters go on if there is anything new here, made or arrived."""
        with self._engine.snapshot() as reader:
            applied = self._core.applied(reader)
        if applied != self._applied:
            self._applied = applied
            link.changed()
            self._ask()

    @property
    def waiting(self) -> int:
        """How many of this branch's operations headquarters does not have yet.

        Before the first link since the start that is an estimate: what headquarters has confirmed
        of lane CONTROL stands for all lanes.
        """
        if not self._core.sites.is_branch:
            return 0
        with self._engine.snapshot() as reader:
            if self._backlog is None:
                self._backlog = Backlog(pending.confirmed(reader, self._core.log))
            self._backlog.look(reader, self._core.log.head.origin)
        return len(self._backlog)

    @property
    def acknowledged(self) -> int:
        """The last own operation that headquarters has for sure, with all before it.

        0 before the first link since the start.
        """
        return self._backlog.upto if self._backlog is not None and self._is_met else 0

    def state(self, node: bytes) -> LinkState:
        """Return how the link to a peer is."""
        return self.states.get(node, LinkState())

    def note(self, node: bytes, kind: str, body: bytes) -> bool:
        """Send a note to a peer; False when it is not linked, or too much waits already."""
        link = self._upstream if self._core.sites.is_branch else self.reception.links.get(node)
        if link is None or not link.session.is_up:
            return False
        with link.order() as peer:
            try:
                peer.note(kind, body)
            except LimitError:
                return False
        return True

    def stop(self, node: bytes) -> None:
        """End the link to a branch, as when it is revoked."""
        link = self.reception.links.get(node)
        if link is not None:
            link.stop()

    def expel(self) -> None:
        """End the links of branches that are let in no more; O(linked branches)."""
        for node in list(self.reception.links):
            branch = self._core.sites.branch_of(node)
            if branch is None or not branch.is_approved:
                self.stop(node)

    # --- what the link asks and tells -------------------------------------------------------------

    def _replica(self, node: bytes) -> BranchReplica | HeadquartersReplica:
        if self._core.sites.is_branch:
            return BranchReplica(self._core, self._engine, self._execute, node, self._turn)
        return HeadquartersReplica(self._core, self._engine, self._execute, node, self._audience)

    def _handle(self, link: Driver, effect: session.Effect) -> None:
        node = link.session.peer_node
        match effect:
            case session.Up():
                self._came_up(link, node, effect)
            case session.Acknowledged(lane, cursor):
                self._advance(node, lane, cursor)
                if link is self._upstream and self._backlog is not None:
                    self._acknowledged[lane] = cursor
                    if self._turn.is_last(self._core.log):
                        self._backlog.acknowledged(lane, cursor)
                    else:
                        self._finish_turn(link)
                    self._prove()
                    self._changed()
            case session.Deliver(note):
                self._take_note(link, node, note)
            case session.Answered(have):
                self._answered(have.question, have.before, have.is_end)
            case session.Ended(error):
                self._ended(link, node, error.code)
                if isinstance(error, FENCING):
                    self.take_incarnation(error)

    def _advance(self, node: bytes, lane: Lane, cursor: int) -> None:
        """Note what a peer has durable."""
        standing = self.peers.get(node)
        if standing is not None:
            reached = standing.cursors._replace(**{lane.name.lower(): cursor})
            self.peers[node] = standing._replace(cursors=reached)

    def _stands(self, node: bytes, standing: Standing) -> None:
        """Note where a peer stands; a branch that sends an earlier incarnation does not say."""
        if NOTHING_MORE in standing.cursors:
            return
        log = self._core.log
        sent = self._turn.origin(log) if self._core.sites.is_branch else log.own
        if standing.peer != sent:
            standing = standing._replace(peer=sent, cursors=Cursors())
        self.peers[node] = standing
        self._remember(node)

    def _remember(self, node: bytes) -> None:
        """Write down where a peer stands, for a parcel after the next start."""
        standing = self.peers.get(node)
        if standing is None:
            return

        async def note() -> None:
            await self._execute(SITE, NotePeer(node, standing))

        self._spawn(note)

    def _take_note(self, link: Driver, node: bytes, note: frames.Note) -> None:
        take = self.notes.get(note.kind)
        if take is None:
            return
        try:
            take(node, note.body)
        except StoreError as error:
            link.stop(RejectedError(error.code))

    def _came_up(self, link: Driver, node: bytes, up: session.Up) -> None:
        now_ms = self._clock.wall_ms()
        self.states[node] = LinkState(True, now_ms, "", up.software, up.unix_ms - now_ms)
        logger.info("link.up", extra={"site": node.hex()})
        self._stands(node, up.peer)
        if self._core.sites.is_branch:
            self._upstream = link
            self._questions.clear()
            if self._is_compared_first(link, up.peer):
                return
            log = self._core.log
            of_turn = up.peer.cursors if up.peer.peer == self._turn.origin(log) else Cursors()
            self._acknowledged = dict(zip(NUMBERED, of_turn, strict=True))
            known = of_turn if self._turn.is_last(log) else Cursors()
            self._backlog, self._is_met = Backlog(min(known)), True
            with self._engine.snapshot() as reader:
                self._backlog.look(reader, log.head.origin)
            for lane, cursor in zip(NUMBERED, known, strict=True):
                self._backlog.acknowledged(lane, cursor)
            self._ask()
        else:
            self._want_segments(up.peer.origin)
        for greet in self.greetings:
            greet(node)
        self._changed()

    def _missed(self, error: LinkError) -> None:
        """Remember why headquarters was not reached."""
        node = self._core.sites.headquarters_node
        self.states[node] = replace(self.state(node), error=error.code)

    def _ended(self, link: Driver, node: bytes, code: str) -> None:
        if link is not self._upstream and self.reception.links.get(node) is not link:
            return
        before = self.state(node)
        since_ms = self._clock.wall_ms() if before.is_up else before.since_ms
        self.states[node] = replace(before, is_up=False, since_ms=since_ms, error=code)
        logger.warning("link.down", extra={"site": node.hex(), "error": code})
        if link is self._upstream:
            self._upstream = None
            self._unproven.clear()
        self._remember(node)
        self._changed()

    # --- incarnations -----------------------------------------------------------------------------

    def _finish_turn(self, link: Driver) -> None:
        """Connect again for the next incarnation, once headquarters has all of this one."""
        log = self._core.log
        with self._engine.snapshot() as reader:
            last = log.prefix(reader, self._turn.of(log)).seq
        if min(self._acknowledged.values()) >= last:
            self._turn.finish(log)
            link.stop(AgainError())

    def take_incarnation(self, error: FencedError | ForkedError) -> None:
        """Go on under a new incarnation, when it is this site that went back or was copied.

        Headquarters cannot go back while it runs: it heeds a branch that says so once only.
        """
        own, is_branch = self._core.log.own, self._core.sites.is_branch
        if error.incarnation != own.incarnation or (self._has_succeeded and not is_branch):
            return
        self._has_succeeded = True

        async def take() -> None:
            command = TakeIncarnation(own.incarnation, error.code, error.forgotten)
            await self._execute(SITE, command)
            self._turn.number, self._backlog = 0, None
            if not is_branch:
                self.reception.stop(AgainError())

        self._spawn(take)

    # --- comparing --------------------------------------------------------------------------------

    def _is_compared_first(self, link: Driver, peer: Standing) -> bool:
        """Begin to compare logs at a branch, where any are suspect; tell whether that is so."""
        if self._comparing.is_new(peer.origin):

            async def follow() -> None:
                await self._comparing.follow(peer.origin)
                link.stop(AgainError())

            self._spawn(follow)
            return True
        return self._comparing.begin(peer.peer)

    def _ask_headquarters(self, kind: str, body: bytes) -> None:
        self.note(self._core.sites.headquarters_node, kind, body)

    def _lineage_wanted(self, node: bytes, body: bytes) -> None:
        if self._core.sites.is_branch:
            return
        with self._engine.snapshot() as reader:
            told = lineage.answer(self._core, reader, node, body)
        self.note(node, lineage.TOLD, told.pack())

    def _lineage_told(self, node: bytes, body: bytes) -> None:
        link = self._upstream
        if node != self._core.sites.headquarters_node or link is None:
            return
        command = self._comparing.told(body)
        if command is None:
            return

        async def settle() -> None:
            settled = await self._comparing.settle(command)
            if settled.must_reopen:
                self._reopen()
            elif settled.is_over:
                link.stop(AgainError())

        self._spawn(settle)

    # --- proofs -----------------------------------------------------------------------------------

    def _want_segments(self, branch: Origin) -> None:
        with self._engine.snapshot() as reader:
            body = proofs.wanted(self._core, reader, branch)
        self.note(branch.node, proofs.WANTED, body)

    def _segments_wanted(self, node: bytes, body: bytes) -> None:
        if self._core.sites.is_branch and node == self._core.sites.headquarters_node:
            self._unproven = proofs.read_wanted(body)
            self._prove()

    def _prove(self) -> None:
        """Tell headquarters of closed segments whose operations it has, once it has asked.

        Not before nearly all operations are there: messages are waited for, proofs are not.
        """
        if self._backlog is not None and len(self._backlog) > PROVING_BACKLOG:
            return
        core, acknowledged = self._core, min(self._acknowledged.values(), default=0)
        for incarnation, first in list(self._unproven.items()):
            number = core.log.number_of(Origin(core.log.node, incarnation))
            if number is None or not core.log.is_own(number):
                continue
            turn = self._turn.of(core.log)
            last = acknowledged if number == turn else MAX_SEQ * (number < turn)
            with self._engine.snapshot() as reader:
                rows = tuple(proofs.following(core, reader, number, first, last))
            if rows and self.note(core.sites.headquarters_node, proofs.TOLD, b"".join(rows)):
                del self._unproven[incarnation]

    def _segments_told(self, node: bytes, body: bytes) -> None:
        if self._core.sites.is_branch:
            return
        command = proofs.TakeSegments(node, proofs.read_told(body))

        async def take() -> None:
            proven = await self._execute(SITE, command)
            link = self.reception.links.get(node)
            if proven.contradiction == EquivocationError.code and link is not None:
                first = Statement.unpack(split_row(command.rows[0])[0])
                link.stop(ForkedError(first.origin.incarnation, first.first, NO_CHAIN))
            elif proven.contradiction and link is not None:
                link.stop(RejectedError(proven.contradiction))
            elif proven.stored:
                newest = Statement.unpack(split_row(command.rows[-1])[0])
                self._want_segments(newest.origin)

        self._spawn(take)

    # --- history ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for the history that this branch owes itself, a few conversations at a time."""
        link = self._upstream
        if link is None or not link.session.is_up or len(self._questions) >= HISTORIES:
            return
        replica = self._replica(link.session.peer_node)
        assert isinstance(replica, BranchReplica)
        asked = set(self._questions.values())
        with link.order() as peer:
            for stream, before in replica.owed():
                if len(self._questions) >= HISTORIES:
                    return
                if stream not in asked:
                    number = peer.want(stream, before, HISTORY_OPERATIONS)
                    self._questions[number] = stream

    def _answered(self, question: int, before: int, is_end: bool) -> None:
        stream = self._questions.get(question)
        if stream is None:
            return

        async def note() -> None:
            await self._execute(SITE, NoteHistory(stream, before, is_end))
            self._questions.pop(question, None)
            self._ask()

        self._spawn(note)
