"""Check the log against itself: numbers, chain, commitments, sealings, segments, ledger, feeds.

Of another site's origin operations may be missing, and there is a chain only where a segment has
been attested. Nothing proves an origin that is partial but the site that vouched for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from store import canonical, feeds, merkle, notes, segments
from store import origins as origin_rows
from store.arrivals import NO_CHAIN, NOWHERE
from store.engine.contract import Reader
from store.errors import FormatError, IntegrityError, PartGoneError
from store.feeds import FeedHead
from store.ids import OpId
from store.ledger import LeafKind, Ledger, Reference, leaf_data, place, unpack_leaf
from store.limits import SEGMENT_OPS
from store.logreader import LogReader
from store.notes import Checkpoint, DayKey
from store.ops import Op
from store.origins import OriginRow
from store.records import AHEAD, LATE, QUARANTINED, Parts, PartState, Record
from store.segments import Statement
from store.skeleton import CHAIN_START, OpClass, Skeleton, chain, op_hash
from store.tables import CHECKPOINT, ESCROW, FEED, HEAD, LEDGER, LOG, SEGMENT, TIMELINE

_BROKEN = (FormatError, IntegrityError, PartGoneError)


class Problem(StrEnum):
    """What is wrong; stable names."""

    RECORD = "record unreadable"
    IDENTITY = "operation under another's number"
    GAP = "sequence number missing"
    CHAIN = "hash chain broken"
    POSITION = "position not after the one before"
    SEALING = "sealed part does not open"
    ENVELOPE = "envelope contradicts its commitment"
    BODY = "body contradicts its commitment"
    LANE = "operation in another lane than its kind's"
    STATE = "part present or absent against its state"
    KEY = "key of a destroyed part is still there"
    SEGMENT = "segment unreadable or out of order"
    ROOT = "segment contradicts its operations"
    SIGNATURE = "segment signature wrong"
    LEAF = "ledger leaf contradicts the log"
    UNLISTED = "ledger leaf missing"
    NODE = "ledger node missing or different"
    LEDGER = "ledger rows without a place"
    CHECKPOINT = "checkpoint contradicts the ledger or its key"
    FEED = "feed row missing or different"
    TIMELINE = "timeline row missing or different"
    HEAD = "feed head different"
    SURPLUS = "view rows without operations"


LaneOf = Callable[[Op], int]
"""Tells the lane that an operation must be in."""


class Finding(NamedTuple):
    """A contradiction at one operation (or segment, by its first); 0/0 for whole tables.

    A ledger's leaf is named by what it is about, a node by what the leaf that closed it is about,
    a checkpoint by what its last leaf is about.
    """

    origin: int
    seq: int
    problem: Problem


def verify(log: LogReader, reader: Reader, lane_of: LaneOf | None = None) -> Iterator[Finding]:
    """Yield every contradiction in the log; O(operations), one streaming pass.

    Lanes are compared only with ``lane_of`` to tell them. Nothing is raised for bad rows.
    Operations whose parts are gone are checked as far as what is left of them allows.
    """
    views = _Views(reader, lane_of)
    yield from _origins(log.origins, log, reader, views)
    for problem in views.finish():
        yield Finding(0, 0, problem)


def verify_unopened(reader: Reader) -> Iterator[Finding]:
    """Yield the contradictions that show without any key: numbers, chains, segments, ledgers.

    As ``verify``, for whoever has a copy of the store and not its keys.
    """
    yield from _origins(origin_rows.load(reader), None, reader, _Views(reader, None))


def _origins(
    origins: dict[int, OriginRow], log: LogReader | None, reader: Reader, views: _Views
) -> Iterator[Finding]:
    ledger_rows = 0
    for number, origin in origins.items():
        for seq, problem in _operations(log, reader, number, origin, views):
            yield Finding(number, seq, problem)
        if origin.is_own:
            tree = _Ledger(reader, number)
            for seq, problem in tree.check():
                yield Finding(number, seq, problem)
            ledger_rows += tree.rows
            for seq in _broken_checkpoints(reader, number, origin):
                yield Finding(number, seq, Problem.CHECKPOINT)
    if sum(1 for _ in reader.range(*LEDGER.span())) > ledger_rows:
        yield Finding(0, 0, Problem.LEDGER)


def _operations(
    log: LogReader | None, reader: Reader, number: int, origin: OriginRow, views: _Views
) -> Iterator[tuple[int, Problem]]:
    """Check an origin's rows; what is sealed in them only with a ``log`` to open it."""
    follow = _Follow(origin)
    closed = _Segments(reader, number, origin)
    for key, value in reader.range(*LOG.span(number)):
        seq = LOG.columns(key)[1]
        try:
            record = Record.unpack(value)
            skeleton = Skeleton.unpack(record.skeleton)
        except FormatError:
            views.miss()
            yield seq, Problem.RECORD
            continue
        digest = op_hash(record.skeleton)
        for problem in follow.step(seq, record, skeleton, digest):
            yield seq, problem
        if log is not None:
            for problem in _parts(log, reader, number, record, digest, views):
                yield seq, problem
        yield from closed.step(seq, digest, record.chain)
    yield from closed.finish()


class _Follow:
    """What the next row of an origin must continue."""

    def __init__(self, origin: OriginRow) -> None:
        self._origin = origin
        self._seq = 0
        self._pos: dict[int, int] = {}
        self._chain = CHAIN_START

    def step(
        self, seq: int, record: Record, skeleton: Skeleton, digest: bytes
    ) -> Iterator[Problem]:
        """Check one row against the one before; a broken link is reported once."""
        if skeleton.id != OpId(*self._origin.origin, seq):
            yield Problem.IDENTITY
        if self._origin.is_own:
            yield from self._follow(seq, record, digest)
        if not self._origin.is_partial:
            yield from self._rise(record)

    def _follow(self, seq: int, record: Record, digest: bytes) -> Iterator[Problem]:
        """Check what is so only of operations made here."""
        if seq != self._seq + 1:
            yield Problem.GAP
        elif record.chain != chain(self._chain, digest):
            yield Problem.CHAIN
        if record.flags & (AHEAD | LATE | QUARANTINED):
            yield Problem.STATE
        self._seq, self._chain = seq, record.chain

    def _rise(self, record: Record) -> Iterator[Problem]:
        """Check that positions rise; those of another site do so lane by lane."""
        lane = 0 if self._origin.is_own else record.lane
        if record.pos <= self._pos.get(lane, 0):
            yield Problem.POSITION
        self._pos[lane] = record.pos


def _parts(
    log: LogReader, reader: Reader, number: int, record: Record, digest: bytes, views: _Views
) -> Iterator[Problem]:
    """Check what is sealed against its commitments, and the views that show it."""
    if record.envelope_state is PartState.DESTROYED:
        try:
            if log.has_key(reader, record):
                yield Problem.KEY
        except (FormatError, IntegrityError):  # the epoch's row: nobody can tell
            yield Problem.SEALING
        return
    if record.envelope_state is not PartState.PRESENT:
        if record.locator != NOWHERE:
            views.miss()
        return
    skeleton = Skeleton.unpack(record.skeleton)
    try:
        parts = log.parts(reader, record, digest)
        op = log.assemble(number, record, skeleton, digest, parts)
        canonical.decode(parts.envelope)
    except _BROKEN:
        views.miss()
        yield Problem.SEALING
        return
    envelope_commit = canonical.commit("envelope", parts.envelope_salt, parts.envelope)
    if envelope_commit != skeleton.envelope_commit:
        yield Problem.ENVELOPE
    is_sealed = record.body_state in (PartState.PRESENT, PartState.ESCROWED)
    place = ESCROW.key(number, skeleton.id.seq)
    is_hidden = record.body_state is PartState.ESCROWED
    if (parts.body is None) is is_sealed or (is_hidden and reader.get(place) is None):
        yield Problem.STATE
    if not _is_committed_body(parts, skeleton):
        yield Problem.BODY
    yield from views.step(op)


def _is_committed_body(parts: Parts, skeleton: Skeleton) -> bool:
    if parts.body is None:
        return True
    return canonical.commit("body", parts.salt, parts.body) == skeleton.body_commit


class _Segments:
    """The closed segments of one origin, checked while its operations pass."""

    def __init__(self, reader: Reader, number: int, origin: OriginRow) -> None:
        self._rows = reader.range(*SEGMENT.span(number))
        self._origin = origin
        self._hashes: list[bytes] = []
        self._chain = CHAIN_START
        self._previous = segments.FIRST_PREVIOUS
        self._next = 1
        self._problems: list[tuple[int, Problem]] = []
        self._statement = self._advance()

    def step(self, seq: int, digest: bytes, link: bytes) -> Iterator[tuple[int, Problem]]:
        """Take in one operation, and finish the segment that ends with it.

        ``link`` is the chain in its row.
        """
        statement = self._statement
        if not self._origin.is_own:
            yield from self._follow(seq, digest, link)
        if statement is not None or self._origin.is_own:
            self._hashes.append(digest)
        if statement is not None and seq >= statement.end - 1:
            if merkle.root(self._hashes) != statement.root:
                self._problems.append((statement.first, Problem.ROOT))
            self._hashes = []
            self._statement = self._advance()
        elif statement is None and len(self._hashes) == SEGMENT_OPS:
            self._problems.append((seq, Problem.SEGMENT))
            self._hashes = []
        yield from self._taken()

    def _follow(self, seq: int, digest: bytes, link: bytes) -> Iterator[tuple[int, Problem]]:
        """Check the chain of another site's log: in the last row of each segment, in no other."""
        if self._statement is None:
            expected = NO_CHAIN
        else:
            self._chain = chain(self._chain, digest)
            expected = self._chain if seq == self._statement.end - 1 else NO_CHAIN
        if link != expected:
            yield seq, Problem.CHAIN

    def finish(self) -> Iterator[tuple[int, Problem]]:
        """Report segments that reach beyond the operations."""
        while self._statement is not None:
            self._problems.append((self._statement.first, Problem.ROOT))
            self._statement = self._advance()
        yield from self._taken()

    def _taken(self) -> list[tuple[int, Problem]]:
        problems, self._problems = self._problems, []
        return problems

    def _advance(self) -> Statement | None:
        """Read the next row that has a statement; note what is wrong with each."""
        for key, value in self._rows:
            first = SEGMENT.columns(key)[1]
            try:
                data, signature = segments.split_row(value)
                statement = Statement.unpack(data)
            except FormatError:
                self._problems.append((first, Problem.SEGMENT))
                continue
            named = (statement.origin, first, statement.first, statement.previous)
            place = (self._origin.origin, self._next, self._next, self._previous)
            if named != place or self._origin.is_partial:
                self._problems.append((first, Problem.SEGMENT))
            if not segments.is_signed(self._origin.verify_key, data, signature):
                self._problems.append((first, Problem.SIGNATURE))
            self._next, self._previous = statement.end, segments.digest(data)
            return statement
        return None


class _Ledger:
    """The ledger of one origin, compared with the log that it is about.

    ``rows`` counts the rows that the tree accounts for: all, if the leaves' numbers have a gap.
    Nodes are recomputed from leaves that the log bears out; above a leaf that it does not, they
    are taken as stored, so that one changed row is one finding.
    """

    def __init__(self, reader: Reader, number: int) -> None:
        self.rows = 0
        self._reader = reader
        self._number = number
        self._due = {
            LeafKind.OP: _Due(_privileged(reader, number)),
            LeafKind.SEGMENT: _Due(
                SEGMENT.columns(key)[1] for key, _ in reader.range(*SEGMENT.span(number))
            ),
        }
        self._last = (0, 0)
        self._peaks: list[bytes | None] = []
        self._is_whole = True

    def check(self) -> Iterator[tuple[int, Problem]]:
        """Yield what is wrong, by the operation or segment that it is about."""
        rows = self._reader.range(*LEDGER.span(self._number, 0))
        for expected, (key, value) in enumerate(rows):
            self.rows += 1
            index, seq, node = LEDGER.columns(key)[2], 0, None
            try:
                stored, reference = unpack_leaf(value)
                seq = reference.seq
                missed = self._follow(stored, reference)
                node = stored
                yield from ((missing, Problem.UNLISTED) for missing in missed)
            except _BROKEN:
                yield seq, Problem.LEAF
            if self._is_whole and index != expected:
                self._is_whole = False
                yield seq, Problem.LEAF
            yield from self._climb(index, node, seq)
        for due in self._due.values():
            yield from ((missing, Problem.UNLISTED) for missing in due.rest())
        if not self._is_whole:
            self.rows = sum(1 for _ in self._reader.range(*LEDGER.span(self._number)))

    def _follow(self, node: bytes, reference: Reference) -> list[int]:
        """Return what should have had a leaf before this one, which the log must bear out."""
        data = leaf_data(self._reader, reference)
        if reference.origin != self._number or data is None or merkle.leaf_hash(data) != node:
            self._due[reference.kind].skip(reference.seq)
            raise IntegrityError("a leaf that the log does not bear out")
        where = place(self._reader, reference)
        if where <= self._last:
            raise IntegrityError("a leaf out of order")
        self._last = where
        return self._due[reference.kind].until(reference.seq)

    def _climb(self, index: int, node: bytes | None, seq: int) -> Iterator[tuple[int, Problem]]:
        """Compare the subtrees that a leaf closes; ``node`` is None for a doubtful leaf."""
        level = 0
        while self._is_whole and index & 1:
            left, level, index = self._peaks.pop(), level + 1, index >> 1
            stored = self._reader.get(LEDGER.key(self._number, level, index))
            self.rows += stored is not None
            if left is None or node is None:
                node = stored
                continue
            node = merkle.node_hash(left, node)
            if stored != node:
                yield seq, Problem.NODE
        self._peaks.append(node)


class _Due:
    """Sequence numbers that must have a leaf, in ascending order."""

    def __init__(self, seqs: Iterator[int]) -> None:
        self._seqs = seqs
        self._next = next(seqs, None)

    def until(self, seq: int) -> list[int]:
        """Take ``seq``, and return those that were due before it."""
        missed = []
        while self._next is not None and self._next < seq:
            missed.append(self._next)
            self._next = next(self._seqs, None)
        self.skip(seq)
        return missed

    def skip(self, seq: int) -> None:
        """Take ``seq`` if it is the next."""
        if self._next == seq:
            self._next = next(self._seqs, None)

    def rest(self) -> Iterator[int]:
        """Yield what is still due."""
        while self._next is not None:
            yield self._next
            self._next = next(self._seqs, None)


def _privileged(reader: Reader, number: int) -> Iterator[int]:
    """Yield the sequence numbers of the privileged operations, as far as rows can be read."""
    for key, value in reader.range(*LOG.span(number)):
        try:
            skeleton = Skeleton.unpack(Record.unpack(value).skeleton)
        except FormatError:
            continue
        if skeleton.op_class is OpClass.PRIVILEGED:
            yield LOG.columns(key)[1]


def _broken_checkpoints(reader: Reader, number: int, origin: OriginRow) -> Iterator[int]:
    """Yield where a checkpoint is not of this tree, or not signed by a certified key."""
    name = notes.log_name(origin.origin)
    certified: set[DayKey] = set()
    for key, value in reader.range(*CHECKPOINT.span(number)):
        size = CHECKPOINT.columns(key)[1]
        try:
            kept = notes.read_row(key, value)
            if kept.day_key not in certified and notes.is_certified(
                kept.day_key, origin.origin.node, origin.verify_key
            ):
                certified.add(kept.day_key)
            said = notes.open_checkpoint(kept.note, kept.day_key.public_key)
            root = Ledger(number).root_at(reader, size)
            holds = said == Checkpoint(name, size, root) and kept.day_key in certified
        except _BROKEN:
            holds = False
        if not holds:
            yield _subject(reader, number, size - 1)


def _subject(reader: Reader, number: int, index: int) -> int:
    """Return what a leaf is about, 0 if there is no such leaf."""
    value = reader.get(LEDGER.key(number, 0, index)) if index >= 0 else None
    try:
        return unpack_leaf(value)[1].seq if value else 0
    except FormatError:
        return 0


class _Views:
    """The rows of FEED, TIMELINE and HEAD that the operations seen so far account for."""

    def __init__(self, reader: Reader, lane_of: LaneOf | None) -> None:
        self._reader = reader
        self._lane_of = lane_of
        self._heads: dict[int, FeedHead] = {}
        self._feed_rows = 0
        self._timeline_rows = 0
        self._unknown = 0

    def miss(self) -> None:
        """Count an operation whose rows cannot be told: not here any more, or unreadable."""
        self._unknown += 1

    def step(self, op: Op) -> Iterator[Problem]:
        """Compare one operation's rows; one that is quarantined has none."""
        if self._lane_of is not None and op.lane != self._lane_of(op):
            yield Problem.LANE
        if op.is_quarantined:
            return
        before = self._heads.get(op.feed, feeds.EMPTY)
        self._heads[op.feed] = before.after(op.pos, feeds.believed_key(op))
        self._feed_rows += 1
        key, value = feeds.feed_row(op)
        if self._reader.get(key) != value:
            yield Problem.FEED
        if op.in_timeline:
            self._timeline_rows += 1
            key, value = feeds.timeline_row(op)
            if self._reader.get(key) != value:
                yield Problem.TIMELINE

    def finish(self) -> Iterator[Problem]:
        """Compare the heads, and look for rows that no operation accounts for.

        Operations that cannot be opened may account for as many further rows.
        """
        for feed, expected in self._heads.items():
            found = self._reader.get(HEAD.key(feed))
            if found != expected.pack() and not self._unknown:
                yield Problem.HEAD
        counts = (
            (FEED, self._feed_rows),
            (TIMELINE, self._timeline_rows),
            (HEAD, len(self._heads)),
        )
        for layout, expected_rows in counts:
            found_rows = sum(1 for _ in self._reader.range(*layout.span()))
            if found_rows > expected_rows + self._unknown:
                yield Problem.SURPLUS
