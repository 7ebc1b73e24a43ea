"""Read the log: single operations, ranges of an origin, and everything in the order applied.

Needs no writer: the checks of a stopped server read through it as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from store import envelope as envelopes
from store import ops, order
from store import origins as origin_rows
from store.engine.contract import Reader
from store.errors import IntegrityError, PartGoneError, StoreError
from store.ids import OpId, Origin, Stream
from store.ops import Entry, Op, Remnant
from store.origins import OriginRow
from store.records import AHEAD, TIMELINE, Parts, PartState, Record, lane_of
from store.shipping import Shipment
from store.skeleton import Skeleton, op_hash
from store.streams import Streams, feed_stream
from store.tables import LOG
from store.vault import Vault


class UnknownOpError(StoreError):
    """This site does not hold the operation asked for."""

    code: ClassVar[str] = "store.unknown_op"
    hint: ClassVar[str] = "Ask the site where the operation was made."


class LogReader:
    """The log as it can be read with the keys at hand.

    Safe from any thread, each with its own reader.
    """

    def __init__(self, vault: Vault, streams: Streams, origins: dict[int, OriginRow]) -> None:
        self._vault = vault
        self._streams = streams
        self._origins = origins
        self._numbers: dict[Origin, int] = {}
        self._rests: dict[int, list[int]] = {}
        for number in sorted(origins):
            self._index(number, origins[number])

    @classmethod
    def load(cls, reader: Reader, vault: Vault, streams: Streams) -> LogReader:
        """Make a reader of the log in this store."""
        return cls(vault, streams, origin_rows.load(reader))

    @property
    def origins(self) -> dict[int, OriginRow]:
        """The origins in this log by their local number (a copy)."""
        return dict(self._origins)

    def origin(self, number: int) -> Origin:
        """Return the origin that has a local number."""
        return self._origins[number].origin

    def is_own(self, origin: int) -> bool:
        """Tell whether an origin's number stands for an incarnation of this site."""
        return self._origins[origin].is_own

    def number_of(self, origin: Origin) -> int | None:
        """Return an origin's local number, the first if it has rests; None when it is unknown."""
        return self._numbers.get(origin)

    def number_at(self, number: int, seq: int) -> int:
        """Return the local number, the origin's first or that of a rest, that has ``seq``."""
        for rest in reversed(self._rests.get(number, ())):
            after = self._origins[rest].after
            if after is not None and seq > after:
                return rest
        return number

    def has_rest(self, number: int) -> bool:
        """Tell whether some of what is under this number counts no more."""
        return number in self._rests

    def numbers(self, number: int) -> tuple[int, ...]:
        """Return an origin's first local number, then those of its rests."""
        return (number, *self._rests.get(number, ()))

    def place_of(self, op_id: OpId) -> tuple[int, int] | None:
        """Return (origin number, seq) where an operation would be; None for unknown origins."""
        number = self._numbers.get(Origin(op_id.node, op_id.incarnation))
        return None if number is None else (self.number_at(number, op_id.seq), op_id.seq)

    def find(self, reader: Reader, op_id: OpId) -> tuple[int, int] | None:
        """Return (origin number, seq) of an operation in this log, or None."""
        place = self.place_of(op_id)
        return None if place is None or reader.get(LOG.key(*place)) is None else place

    def read(self, reader: Reader, origin: int, seq: int) -> Op:
        """Return one operation, opened; its ``body`` is None when that part is gone.

        Raises ``UnknownOpError`` when it is not in the log, ``PartGoneError`` when its
        envelope is gone, ``IntegrityError`` or ``FormatError`` when it does not open.
        """
        value = reader.get(LOG.key(origin, seq))
        if value is None:
            raise UnknownOpError("the log has no such operation")
        entry = self.entry(reader, origin, Record.unpack(value))
        if isinstance(entry, Remnant):
            raise PartGoneError("the operation's envelope is gone")
        return entry

    def reveal(self, reader: Reader, origin: int, seq: int) -> Op:
        """Return one operation as ``read`` does, with a body that is kept for a hold alone.

        For those who may read evidence; nobody else is shown it.
        """
        op = self.read(reader, origin, seq)
        if op.body is not None:
            return op
        record = Record.unpack(reader.get(LOG.key(origin, seq)) or b"")
        parts = self.parts(reader, record, op.op_hash)
        return self.assemble(
            origin, record, Skeleton.unpack(record.skeleton), op.op_hash, parts, reveals=True
        )

    def scan(
        self, reader: Reader, origin: int, first: int = 1, last: int | None = None
    ) -> Iterator[Entry]:
        """Yield an origin's operations from ``first`` to ``last``, both included.

        Raises as ``read`` does, but yields a ``Remnant`` where the envelope is gone.
        """
        for _seq, record in self.records(reader, origin, first, last):
            yield self.entry(reader, origin, record)

    def replay(self, reader: Reader) -> Iterator[Entry]:
        """Yield every operation of every origin in the order applied here, as ``scan`` does.

        Those of other sites all came after the index of the order was begun.
        """
        start = order.start(reader)
        own = [number for number, row in sorted(self._origins.items()) if row.is_own]
        for number in own:
            for entry in self.scan(reader, number):
                if start is not None and entry.pos >= start:
                    break
                yield entry
        if start is None:
            return
        for row in order.after(reader, start - 1):
            value = reader.get(LOG.key(row.origin, row.seq))
            if value is None:
                raise IntegrityError("the order names an operation that the log does not have")
            yield self.entry(reader, row.origin, Record.unpack(value))

    def records(
        self, reader: Reader, origin: int, first: int = 1, last: int | None = None
    ) -> Iterator[tuple[int, Record]]:
        """Yield (seq, row) of an origin, nothing opened; raises ``FormatError``."""
        end = LOG.span(origin)[1] if last is None else LOG.key(origin, last + 1)
        for key, value in reader.range(LOG.key(origin, first), end):
            yield LOG.columns(key)[1], Record.unpack(value)

    def entry(self, reader: Reader, origin: int, record: Record) -> Entry:
        """Open one row of the log; raises as ``read`` does, a gone envelope excepted."""
        digest = op_hash(record.skeleton)
        skeleton = Skeleton.unpack(record.skeleton)
        if record.envelope_state is PartState.PRESENT:
            parts = self.parts(reader, record, digest)
            return self.assemble(origin, record, skeleton, digest, parts)
        return Remnant(
            skeleton.id,
            origin,
            skeleton.op_class,
            digest,
            record.pos,
            record.locator.stream,
            record.envelope_state,
        )

    def lane(
        self, reader: Reader, origin: int, lane: int, after: int, most_rows: int
    ) -> Iterator[tuple[int, Record]]:
        """Yield (seq, row) of an origin's operations of one lane behind ``after``, nothing opened.

        Looks at ``most_rows`` rows at most, of which those of other lanes cost little. Raises
        ``FormatError``.
        """
        span = LOG.key(origin, after + 1), LOG.span(origin)[1]
        for key, value in reader.range(*span, limit=most_rows):
            if lane_of(value) == lane:
                yield LOG.columns(key)[1], Record.unpack(value)

    def ship(self, reader: Reader, origin: int, record: Record) -> Shipment:
        """Return an operation as it leaves for another site, with all of it that is here.

        Raises ``IntegrityError`` or ``FormatError`` for a row that does not open, and
        ``PartGoneError`` when its key went since the row was read.
        """
        digest, bones = op_hash(record.skeleton), Skeleton.unpack(record.skeleton)
        op_class, seq = bones.op_class, bones.id.seq
        if bones.id[:2] != self._origins[origin].origin:
            raise IntegrityError("an operation under another origin's number")
        if record.envelope_state is not PartState.PRESENT:
            return Shipment(
                seq, op_class, None, b"", b"", None, bones.envelope_commit, bones.body_commit
            )
        salt, envelope, body = self.parts(reader, record, digest)
        return Shipment(
            seq,
            op_class,
            self._stream(record),
            salt,
            envelope,
            body,
            body_commit=bones.body_commit if body is None else b"",
            in_timeline=record.flags & TIMELINE != 0,
            is_ahead=record.flags & AHEAD != 0,
        )

    def parts(self, reader: Reader, record: Record, digest: bytes) -> Parts:
        """Open the sealing of a row whose op_hash is ``digest``; raises as ``read`` does."""
        plaintext = self._vault.unseal(reader, record.locator, record.sealed, digest)
        return Parts.unpack(plaintext)

    def has_key(self, reader: Reader, record: Record) -> bool:
        """Tell whether the key of a row's sealing still exists."""
        return self._vault.has_key(reader, record.locator)

    def assemble(
        self,
        origin: int,
        record: Record,
        skeleton: Skeleton,
        digest: bytes,
        parts: Parts,
        *,
        reveals: bool = False,
    ) -> Op:
        """Put an opened row together; raises ``IntegrityError`` or ``FormatError``.

        ``reveals``: with a body that nobody sees, since it is kept for a hold alone.
        """
        stream = self._stream(record)
        envelope = envelopes.decode(parts.envelope)
        is_hidden = record.body_state is PartState.ESCROWED and not reveals
        named = feed_stream(stream, envelope.conversation)
        feed = record.locator.stream if named is stream else self._streams.pseudonym(named)
        if feed is None:
            raise IntegrityError("an operation of a conversation without a stream")
        return ops.build(
            skeleton.id,
            origin,
            skeleton.op_class,
            envelope,
            stream,
            record.locator.stream,
            feed,
            None if is_hidden else parts.body,
            digest,
            record.pos,
            record.flags,
        )

    def _index(self, number: int, row: OriginRow) -> None:
        """Let an origin be found, or a rest with the number that it continues."""
        if row.after is None:
            self._numbers[row.origin] = number
        else:
            self._rests.setdefault(self._numbers[row.origin], []).append(number)

    def _stream(self, record: Record) -> Stream:
        stream = self._streams.stream(record.locator.stream)
        if stream is None:
            raise IntegrityError("an operation of a stream without a name")
        return stream
