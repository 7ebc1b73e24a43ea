"""Append operations to this site's log.

One call appends one operation: it is numbered, timed, committed to, chained, sealed, and
shown in FEED, TIMELINE and HEAD, all in the transaction given; a privileged one, and each
segment that closes, gets its leaf in the ledger there too. What is kept in memory beside the
rows goes back with a rollback. ``pos`` counts the operations applied in this store and
keeps growing when the site takes a new incarnation; clients are told the incarnation.

What other sites made is received likewise, under its own origin's number and the next ``pos``
here (``store.arrivals``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from store import (
    arrivals,
    attestation,
    canonical,
    feeds,
    hlc,
    ledger,
    logcheck,
    ops,
    order,
    records,
    segments,
    shipping,
    skeleton,
)
from store import envelope as envelopes
from store import origins as origin_rows
from store.arrivals import Arrival
from store.attestation import Prefix
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.envelope import Envelope
from store.errors import EquivocationError, IntegrityError, LimitError
from store.fence import Breach, Fence
from store.heads import META_KEY, LogMeta, last_row
from store.ids import ID_BYTES, OpId, Origin, Stream, StreamKind
from store.ledger import LeafKind, Ledger, Reference
from store.limits import BODY_BYTES
from store.logcheck import Finding, LaneOf
from store.logreader import LogReader, UnknownOpError
from store.ops import Draft, Entry, Op, Remnant
from store.order import Placed
from store.origins import UNKNOWN_KEY, OriginRow
from store.ports import Entropy
from store.records import Record
from store.segments import OpenSegment, Sign, Statement
from store.shipping import Shipment
from store.skeleton import CHAIN_START, OpClass
from store.streams import Streams, feed_stream
from store.tables import LOG, ORIGIN, SEGMENT, TENANT
from store.vault import Vault

__all__ = [
    "Draft",
    "Entry",
    "Finding",
    "Head",
    "Op",
    "OpClass",
    "OpLog",
    "Remnant",
    "UnknownOpError",
]

_INC_BYTES = 8


class Head(NamedTuple):
    """Where this site's own log stands; ``origin`` is its local number."""

    origin: int
    incarnation: int
    seq: int
    chain: bytes
    pos: int


class _Tip(NamedTuple):
    """What every operation changes: last seq, chain and time of the origin, last pos."""

    seq: int
    chain: bytes
    t: int
    pos: int


class OpLog(LogReader):
    """The log of this site, with the end that grows.

    Appending is for the writer's thread alone, with ``before_commit`` once for each batch;
    reading is safe from any thread. ``breach`` says why opening took a new incarnation.
    """

    breach: Breach | None = None

    def __init__(
        self,
        vault: Vault,
        streams: Streams,
        fence: Fence,
        entropy: Entropy,
        sign: Sign,
        origins: dict[int, OriginRow],
    ) -> None:
        super().__init__(vault, streams, origins)
        self._fence = fence
        self._entropy = entropy
        self._sign = sign
        # Set by _adopt or _begin before anything is appended.
        self._number = 0
        self._origin = Origin(b"", 0)
        self._tip = _Tip(0, CHAIN_START, 0, 0)
        self._open = OpenSegment(self._origin, 1, segments.FIRST_PREVIOUS)
        self._ledger = Ledger(0)
        self._limit = 0
        self._batch_seq = 0
        self._keeps_order = False
        self._saved = (-1, -1)

    @classmethod
    def create(
        cls,
        txn: Txn,
        vault: Vault,
        streams: Streams,
        fence: Fence,
        *,
        entropy: Entropy,
        sign: Sign,
        verify_key: bytes,
    ) -> OpLog:
        """Begin the log of a new site, whose NodeId comes from its Ed25519 ``verify_key``.

        ``sign`` makes signatures that ``verify_key`` checks. The fence is written at once.
        """
        log = cls(vault, streams, fence, entropy, sign, {})
        log._begin(txn, skeleton.node_id(TENANT, verify_key), verify_key)
        return log

    @classmethod
    def open(
        cls,
        txn: Txn,
        vault: Vault,
        streams: Streams,
        fence: Fence,
        *,
        entropy: Entropy,
        sign: Sign,
    ) -> OpLog:
        """Open the log at its end; commit ``txn`` before anything else is written.

        A ledger that is missing, of this or an earlier incarnation, is built from the log. If
        the fence tells that the store went back, ``breach`` says so and the log goes on under
        a new incarnation. Raises ``FormatError`` for rows of another build and
        ``IntegrityError`` when rows that must exist do not.
        """
        log = cls(vault, streams, fence, entropy, sign, origin_rows.load(txn))
        log._adopt(txn)
        log._adopt_ledgers(txn)
        log._keeps_order = order.start(txn) is not None
        log.breach = fence.breach(log._origin, log._tip.seq)
        if log.breach is not None:
            log.renew(txn)
        return log

    @property
    def head(self) -> Head:
        """The end of the log as appended to so far, committed or not."""
        tip = self._tip
        return Head(self._number, self._origin.incarnation, tip.seq, tip.chain, tip.pos)

    @property
    def node(self) -> bytes:
        """This site's NodeId."""
        return self._origin.node

    @property
    def own(self) -> Origin:
        """This site with its present incarnation."""
        return self._origin

    @property
    def ledger(self) -> Ledger:
        """The ledger of the present incarnation, with what was appended, committed or not."""
        return self._ledger

    def append(self, txn: Txn, draft: Draft, now_ms: int) -> Op:
        """Append one operation; O(1). ``now_ms`` is the wall clock in Unix milliseconds.

        Raises ``ValueError`` for a draft with a malformed field or a time out of range,
        ``LimitError`` for a body that is too long, and what engine, vault and fence raise;
        then nothing was appended, and the caller rolls back.
        """
        if len(draft.body) > BODY_BYTES:
            raise LimitError("an operation's body is too long")
        tip = self._tip
        seq = tip.seq + 1
        if seq > self._limit:
            self._reserve(seq)
        feed = self._feed(txn, draft, now_ms)
        feed_head = feeds.head(txn, feed) if feed else feeds.EMPTY
        t, floor = draft.times or (hlc.tick(tip.t, now_ms), max(feed_head.key, draft.floor))
        envelope = Envelope(
            draft.kind,
            draft.actor,
            draft.device,
            draft.counter,
            t,
            floor,
            draft.conversation,
            draft.target,
            draft.seen,
        )
        op_id = OpId(*self._origin, seq)
        bones, plaintext = self._commit(draft, op_id, envelope)
        digest = skeleton.op_hash(bones)
        stream = draft.stream or Stream(StreamKind.CONVERSATION, digest[:ID_BYTES])
        pseudonym = self._streams.ensure(txn, stream, now_ms)
        flags = records.lane_flags(draft.lane)
        if ops.is_in_timeline(
            draft.stream,
            draft.op_class,
            draft.conversation,
            draft.target,
            asks=draft.in_timeline,
        ):
            flags |= records.TIMELINE
        op = ops.build(
            op_id,
            self._number,
            draft.op_class,
            envelope,
            stream,
            pseudonym,
            feed or pseudonym,
            draft.body,
            digest,
            tip.pos + 1,
            flags,
        )
        chain = skeleton.chain(tip.chain, digest)
        locator, sealed = self._vault.seal(
            txn, pseudonym, draft.retention_class, plaintext, digest, now_ms
        )
        row = records.pack(flags, bones, chain, op.pos, locator, sealed)
        txn.put(LOG.key(self._number, seq), row)
        feeds.show(txn, op, feed_head)
        if draft.op_class is OpClass.PRIVILEGED:
            reference = Reference(LeafKind.OP, self._number, seq)
            self._ledger.append(txn, ledger.leaf_for_op(digest), reference)
        self._advance(txn, _Tip(seq, chain, max(tip.t, op.t), op.pos), digest, now_ms)
        if self._keeps_order:
            order.put(txn, Placed(op.pos, op.origin, seq, op.lane, op.feed))
        return op

    def keep_order(self, txn: Txn) -> None:
        """Index the log by position from here on; see ``store.order``. Idempotent."""
        if not self._keeps_order:
            order.begin(txn, self._tip.pos + 1)
            txn.on_rollback(partial(setattr, self, "_keeps_order", False))
            self._keeps_order = True

    def add_origin(
        self, txn: Txn, origin: Origin, verify_key: bytes = UNKNOWN_KEY, *, is_whole: bool
    ) -> int:
        """Return the local number of another site's origin, giving it one if needed.

        ``is_whole``: all of it comes here, and ``verify_key`` (Ed25519, 32 bytes) proves it; else
        somebody vouches for what comes. Raises ``IntegrityError`` when it is known as another.
        """
        row = OriginRow(origin, verify_key, is_own=False, is_partial=not is_whole)
        known = self._numbers.get(origin)
        if known is not None:
            if self._origins[known] != row:
                raise IntegrityError("an origin is known with another key or purpose")
            return known
        return self._put_origin(txn, row)

    def add_rest(self, txn: Txn, number: int, after: int) -> int:
        """Give what follows ``after`` of a known origin a number of its own, and return that.

        What is here of it beyond ``after`` counts no more, and stays where it is.
        """
        known = self._origins[number]
        row = OriginRow(known.origin, known.verify_key, is_own=False, is_partial=True, after=after)
        return self._put_origin(txn, row)

    def _put_origin(self, txn: Txn, row: OriginRow) -> int:
        self.keep_order(txn)
        number = max(self._origins) + 1
        txn.put(ORIGIN.key(number), row.pack())
        txn.on_rollback(partial(self._forget_origin, number, row))
        self._origins[number] = row
        self._index(number, row)
        return number

    def receive(
        self,
        txn: Txn,
        number: int,
        shipment: Shipment,
        *,
        retention_class: int,
        now_ms: int,
        lane: int,
        is_quarantined: bool = False,
        late: bool = False,
    ) -> Entry | None:
        """Log an operation of another site's origin; O(1). None when it brings nothing new.

        The caller decides class, lane (0 to 3) and quarantine by ``shipping.envelope_of``. A row
        that is here already keeps its lane and position; its dropped parts are filled in. Raises
        ``FormatError`` for a shipment that no site makes, ``EquivocationError`` for one that is
        another operation than the one here, ``IntegrityError`` for an origin of this site, and
        what engine and vault raise; then the caller rolls back.
        """
        origin = self._foreign(number)
        bones, digest = shipping.bones(origin.origin, shipment)
        value = txn.get(LOG.key(number, shipment.seq))
        known = None if value is None else Record.unpack(value)
        if known is not None and known.skeleton != bones:
            raise EquivocationError("two operations of one name")
        if known is not None and not arrivals.brings_news(known, shipment):
            return None
        arrival = Arrival(
            number,
            origin,
            shipment,
            bones,
            digest,
            known,
            self._tip.pos + 1 if known is None else known.pos,
            retention_class,
            now_ms,
            lane,
            is_quarantined,
            late,
        )
        envelope = shipping.envelope_of(shipment)
        self._observe(txn, arrival, envelope)
        if envelope is None:
            entry: Entry = arrivals.log_bare(txn, arrival)
        else:
            entry = arrivals.log(txn, self._vault, self._streams, arrival, envelope)
        feed = entry.feed if isinstance(entry, Op) and not is_quarantined else 0
        order.put(txn, Placed(entry.pos, number, shipment.seq, lane, feed))
        return entry

    def refill(
        self, txn: Txn, number: int, shipment: Shipment, *, retention_class: int, now_ms: int
    ) -> Entry | None:
        """Fill in a dropped part of one of this site's own operations; None when there is none.

        Raises as ``receive``.
        """
        origin = self._origins[number]
        bones, digest = shipping.bones(origin.origin, shipment)
        value = txn.get(LOG.key(number, shipment.seq))
        known = None if value is None else Record.unpack(value)
        envelope = shipping.envelope_of(shipment)
        if known is None or envelope is None or not arrivals.brings_news(known, shipment):
            return None
        if known.skeleton != bones:
            raise EquivocationError("two operations of one name")
        here = known.pos, retention_class, now_ms, known.lane, False, False
        arrival = Arrival(number, origin, shipment, bones, digest, known, *here)
        return arrivals.log(txn, self._vault, self._streams, arrival, envelope)

    def attest(self, txn: Txn, number: int, statement_row: bytes) -> bool:
        """Prove a closed segment of a whole origin; see ``store.attestation``."""
        origin = self._foreign(number)
        if not origin.is_whole:
            raise IntegrityError("nothing proves an origin of which only a part comes")
        return attestation.attest(txn, number, origin, statement_row)

    def before_commit(self, txn: Txn, now_ms: int) -> None:
        """Finish a batch: close a due segment, note newest time and position. Once for each batch.

        What was appended up to here counts as durable from the next batch on, unless this
        transaction is rolled back.
        """
        self.close_due_segment(txn, now_ms)
        present = (self._tip.t, self._tip.pos)
        if present != self._saved:
            txn.put(META_KEY, LogMeta(self._number, *present).pack())
            txn.on_rollback(partial(self._undo_batch, self._batch_seq, self._saved))
            self._batch_seq = self._tip.seq
            self._saved = present

    def is_segment_due(self, now_ms: int) -> bool:
        """Tell whether the open segment should be closed even if nothing else is to be done."""
        return self._open.is_due(now_ms)

    def close_due_segment(self, txn: Txn, now_ms: int) -> bool:
        """Close the open segment if it has been open for 60 s; tell whether it was.

        Full segments close by themselves.
        """
        if not self._open.is_due(now_ms):
            return False
        txn.on_rollback(partial(self._undo, self._tip, self._open, len(self._open.hashes)))
        self._close_segment(txn)
        return True

    def renew(self, txn: Txn) -> None:
        """Go on under a new incarnation: after a restore, a clone, or proof of a rollback.

        Numbers start at 1 again, positions and time go on. The fence is written at once: if
        ``txn`` is not committed, nothing can be appended until ``renew`` is called again.
        """
        self._begin(txn, self._origin.node, self._origins[self._number].verify_key)

    def note_lost(self, txn: Txn, incarnation: int) -> None:
        """Note an incarnation of this site that is lost with all its operations. Idempotent."""
        lost = Origin(self._origin.node, incarnation)
        if self.number_of(lost) is None:
            key = self._origins[self._number].verify_key
            self._put_origin(txn, OriginRow(lost, key, is_own=True))

    def close(self) -> None:
        """Mark a clean stop in the fence, when everything appended has been committed."""
        self._fence.stop(self._tip.seq)
        self._limit = 0

    def prefix(self, reader: Reader, number: int) -> Prefix:
        """Return how far an origin is here without a hole, and its hash chain there.

        One seek for an origin of this site; for others see ``store.attestation``.
        """
        if self._origins[number].is_own:
            seq, last = last_row(reader, number)
            return Prefix(seq, last.chain if last else CHAIN_START)
        return attestation.prefix(reader, number)

    def verify(self, reader: Reader, lane_of: LaneOf | None = None) -> Iterator[Finding]:
        """Yield everything in the log that contradicts itself; see ``store.logcheck``."""
        return logcheck.verify(self, reader, lane_of)

    def _feed(self, txn: Txn, draft: Draft, now_ms: int) -> int:
        """Return the pseudonym of the feed, 0 for a conversation that begins here."""
        if draft.stream is not None:
            feed = feed_stream(draft.stream, draft.conversation)
            return self._streams.ensure(txn, feed, now_ms)
        if draft.conversation:
            raise ValueError("malformed")
        return 0

    def _commit(self, draft: Draft, op_id: OpId, envelope: Envelope) -> tuple[bytes, bytes]:
        """Return the skeleton with fresh commitments, and what is to be sealed."""
        encoded = envelopes.encode(envelope)
        salt = self._entropy.bytes(canonical.SALT_BYTES)
        bones = skeleton.pack(
            draft.op_class,
            op_id,
            canonical.commit("envelope", canonical.envelope_salt(salt), encoded),
            canonical.commit("body", salt, draft.body),
        )
        return bones, records.whole(salt, encoded, draft.body)

    def _advance(self, txn: Txn, tip: _Tip, digest: bytes, now_ms: int) -> None:
        segment = self._open
        txn.on_rollback(partial(self._undo, self._tip, segment, len(segment.hashes)))
        self._tip = tip
        if segment.append(digest, now_ms):
            self._close_segment(txn)

    def _close_segment(self, txn: Txn) -> None:
        first = self._open.first
        row, self._open = self._open.close(self._sign)
        txn.put(SEGMENT.key(self._number, first), row)
        leaf = ledger.leaf_for_segment(segments.split_row(row)[0])
        self._ledger.append(txn, leaf, Reference(LeafKind.SEGMENT, self._number, first))

    def _undo(self, tip: _Tip, segment: OpenSegment, count: int) -> None:
        del segment.hashes[count:]
        self._tip, self._open = tip, segment

    def _undo_batch(self, batch_seq: int, saved: tuple[int, int]) -> None:
        self._batch_seq, self._saved = batch_seq, saved

    def _foreign(self, number: int) -> OriginRow:
        origin = self._origins[number]
        if origin.is_own:
            raise IntegrityError("a site's own operations do not come from another")
        return origin

    def _observe(self, txn: Txn, arrival: Arrival, envelope: Envelope | None) -> None:
        """Take the arrival's position, and its time as far as that is believed."""
        tip = self._tip
        t = tip.t
        if envelope and not arrivals.is_ahead(envelope, arrival):
            t = hlc.observe(t, envelope.t, arrival.now_ms)
        txn.on_rollback(partial(self._undo, tip, self._open, len(self._open.hashes)))
        self._tip = tip._replace(t=t, pos=max(tip.pos, arrival.pos))

    def _forget_origin(self, number: int, row: OriginRow) -> None:
        del self._origins[number]
        first = self._numbers[row.origin]
        if first == number:
            del self._numbers[row.origin]
            return
        self._rests[first].remove(number)
        if not self._rests[first]:
            del self._rests[first]

    def _reserve(self, seq: int) -> None:
        if self._fence.origin != self._origin:
            raise IntegrityError("the site has not taken its new incarnation")
        if seq > self._fence.limit:
            self._fence.reserve(seq, self._batch_seq)
        self._limit = self._fence.limit

    def _begin(self, txn: Txn, node: bytes, verify_key: bytes) -> None:
        """Start an incarnation of this site, in the fence before the rows."""
        origin = Origin(node, _random_incarnation(self._entropy))
        number = max(self._origins, default=0) + 1
        row = OriginRow(origin, verify_key, is_own=True)
        self._fence.start(origin)
        txn.put(ORIGIN.key(number), row.pack())
        present = (self._tip.t, self._tip.pos)
        txn.put(META_KEY, LogMeta(number, *present).pack())
        before = (self._number, self._origin, self._tip, self._open, self._ledger)
        txn.on_rollback(partial(self._undo_begin, number, *before))
        txn.on_rollback(partial(self._undo_batch, self._batch_seq, self._saved))
        self._origins[number] = row
        self._numbers[origin] = number
        self._number, self._origin = number, origin
        self._tip = _Tip(0, CHAIN_START, self._tip.t, self._tip.pos)
        self._open = OpenSegment(origin, 1, segments.FIRST_PREVIOUS)
        self._ledger = Ledger(number)
        self._batch_seq, self._saved = 0, present
        self._limit = 0

    def _undo_begin(
        self,
        number: int,
        before: int,
        origin: Origin,
        tip: _Tip,
        segment: OpenSegment,
        ledger_before: Ledger,
    ) -> None:
        del self._origins[number], self._numbers[self._origin]
        self._number, self._origin, self._tip, self._open = before, origin, tip, segment
        self._ledger = ledger_before
        self._limit = 0

    def _adopt(self, reader: Reader) -> None:
        """Take up the log where its rows end."""
        self._number, t, pos = LogMeta.read(reader)
        if self._number not in self._origins:
            raise IntegrityError("the log's own origin has no row")
        self._origin = self._origins[self._number].origin
        seq, last = last_row(reader, self._number)
        self._tip = _Tip(seq, last.chain if last else CHAIN_START, t, pos)
        self._batch_seq, self._saved = seq, (t, pos)
        self._open = self._reopen_segment(reader)

    def _adopt_ledgers(self, txn: Txn) -> None:
        for number, row in self._origins.items():
            if row.is_own:
                adopted = ledger.adopt(txn, number)
                if number == self._number:
                    self._ledger = adopted

    def _reopen_segment(self, reader: Reader) -> OpenSegment:
        """Gather the operations that no segment covers yet; it is due at once."""
        segment = OpenSegment(self._origin, 1, segments.FIRST_PREVIOUS)
        for _key, value in reader.range(*SEGMENT.span(self._number), reverse=True, limit=1):
            data, _signature = segments.split_row(value)
            statement = Statement.unpack(data)
            segment = OpenSegment(self._origin, statement.end, segments.digest(data))
        for _seq, record in self.records(reader, self._number, segment.first):
            segment.append(skeleton.op_hash(record.skeleton), now_ms=0)
        return segment


def _random_incarnation(entropy: Entropy) -> int:
    """Return a random Inc; 0 is not one."""
    return int.from_bytes(entropy.bytes(_INC_BYTES), "big") or 1
