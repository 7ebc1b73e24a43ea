"""Lay a piece out in columns, so that what is alike stands together and compresses (sans-IO).

An entry's envelope is taken apart: persons, devices and conversations become numbers of a table
in the piece, times and counters differences from the ones before. The receiver puts the same
bytes together again. An envelope that would not come back bit for bit, because a newer build
appended fields to it, is carried as it is. Salts are random and stand apart, before everything
else, so that they spoil no statistics of the compression.

    offset  size  type   meaning
    0       4     u32    length n of the salts
    4       n     bytes  salts, 16 bytes each
    4+n     m     bytes  one msgpack array: ``_Columns``

    bits of ``shapes``, one byte for each entry
    0-1  class of the operation
    2    0
    3-4  envelope: 0 absent, 1 in columns, 2 as it is
    5    the body is there
    6-7  stream: 0 none, 1 the conversation of the envelope, 2 told in ``streams``

    bits of ``marks``, one byte for each entry
    0    it is in its conversation's timeline
    1    its time is ahead of headquarters' clock
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from store import envelope as envelopes
from store.canonical import COMMIT_BYTES, SALT_BYTES
from store.envelope import Envelope
from store.errors import FormatError
from store.ids import ID_BYTES, OpId, Origin, Stream, StreamKind
from store.limits import BODY_BYTES, CANONICAL_BYTES
from store.shipping import Shipment
from store.skeleton import OpClass
from sync.errors import LimitError, MalformedError
from sync.limits import PIECE_BYTES_MAX, PIECE_ENTRIES, PIECE_ORIGINS
from sync.pieces import Entry, Lane, Own, Piece

_UNUSED: Final = 4
_SPLIT: Final = 1 << 3
_VERBATIM: Final = 2 << 3
_ENVELOPE: Final = 3 << 3
_BODY: Final = 1 << 5
_BY_CONVERSATION: Final = 1 << 6
_STREAM: Final = 3 << 6
_TOLD: Final = 2 << 6
_CLASS: Final = 3

_IN_TIMELINE: Final = 1
_AHEAD: Final = 2

_U64 = (1 << 64) - 1
_SIGN = 1 << 63

_T = TypeVar("_T")

_Size: TypeAlias = Annotated[int, Meta(ge=0)]
_Numbers: TypeAlias = Annotated[list[int], Meta(max_length=PIECE_ENTRIES)]
_Sizes: TypeAlias = Annotated[list[_Size], Meta(max_length=PIECE_ENTRIES)]
_Origins: TypeAlias = Annotated[list[tuple[bytes, _Size]], Meta(max_length=PIECE_ORIGINS)]


class _Columns(msgspec.Struct, array_like=True):
    """The columns; those of envelopes have a value for each entry that is in columns."""

    lane: int
    after: _Size
    upto: _Size
    origins: _Origins = []
    own: Annotated[list[_Size], Meta(max_length=3 * PIECE_ENTRIES)] = []
    shapes: bytes = b""
    marks: bytes = b""
    numbers: _Numbers = []
    origin: _Sizes = []
    seqs: _Numbers = []
    ids: bytes = b""
    streams: Annotated[list[_Size], Meta(max_length=2 * PIECE_ENTRIES)] = []
    kinds: _Sizes = []
    actors: _Sizes = []
    devices: _Sizes = []
    conversations: _Sizes = []
    counters: _Numbers = []
    millis: _Numbers = []
    ticks: _Sizes = []
    floors: Annotated[list[int | None], Meta(max_length=PIECE_ENTRIES)] = []
    seens: _Numbers = []
    targets: _Numbers = []
    target_origins: _Sizes = []
    others: _Origins = []
    verbatim: Annotated[list[bytes], Meta(max_length=PIECE_ENTRIES)] = []
    body_sizes: _Sizes = []
    bodies: bytes = b""
    commits: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)


def encode(piece: Piece) -> tuple[bytes, bytes]:
    """Return a piece's bytes before compression: the salts, and everything else.

    Raises:
        ValueError: an entry is not what ``Shipment`` promises, or the piece is too large.
    """
    if len(piece.entries) > PIECE_ENTRIES or len(piece.origins) > PIECE_ORIGINS:
        raise ValueError("a piece has too many entries")
    salts, columns = _Splitter(piece).split()
    head, rest = len(salts).to_bytes(4) + salts, _encoder.encode(columns)
    if len(head) + len(rest) > PIECE_BYTES_MAX:
        raise ValueError("a piece is too large")
    return head, rest


def decode(data: bytes) -> Piece:
    """Put a piece together again.

    Raises:
        MalformedError: the columns do not make a piece.
        LimitError: there is too much of something.
    """
    if len(data) > PIECE_BYTES_MAX:
        raise LimitError("a piece is too large")
    size = int.from_bytes(data[:4])
    try:
        columns = _decoder.decode(memoryview(data)[4 + size :])
        return _Joiner(columns, data[4 : 4 + size]).join()
    except (msgspec.MsgspecError, FormatError, ValueError, IndexError):
        raise MalformedError("the columns do not make a piece") from None


def _difference(value: int, before: int) -> int:
    """Return ``value - before`` modulo 2^64, as a signed number."""
    return ((value - before + _SIGN) & _U64) - _SIGN


class _State:
    """What both ends know after the same entries, so that differences stay small.

    ``seqs`` is by origin and ``targets`` by target origin: the last seq. ``counters`` is by device.
    ``floors`` is by conversation: the last floor and key.
    """

    def __init__(self, after: int) -> None:
        self.number = after
        self.millis = 0
        self.seen = 0
        self.seqs: dict[int, int] = {}
        self.targets: dict[int, int] = {}
        self.counters: dict[int, int] = {}
        self.floors: dict[int, tuple[int, int]] = {}


class _Splitter:
    """Takes one piece apart."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._state = _State(piece.after)
        self._columns = _Columns(piece.lane, piece.after, piece.upto)
        self._ids: dict[bytes, int] = {b"": 0}
        self._origins = {origin: n for n, origin in enumerate(piece.origins)}
        self._others: list[Origin] = []
        self._salts: list[bytes] = []
        self._bodies: list[bytes] = []
        self._commits: list[bytes] = []

    def split(self) -> tuple[bytes, _Columns]:
        """Return the salts and the columns."""
        piece, columns = self._piece, self._columns
        columns.origins = [(origin.node, origin.incarnation) for origin in piece.origins]
        columns.own = [number for own in piece.own for number in own]
        columns.shapes = bytes([self._add(entry) for entry in piece.entries])
        columns.marks = bytes([_marks(entry.shipment) for entry in piece.entries])
        self._sort_ids()
        columns.others = [(origin.node, origin.incarnation) for origin in self._others]
        columns.bodies = b"".join(self._bodies)
        columns.commits = b"".join(self._commits)
        return b"".join(self._salts), columns

    def _sort_ids(self) -> None:
        """Put the table of ids in their own order, as in the piece before: so runs are alike."""
        columns, order = self._columns, sorted(self._ids)
        columns.ids = b"".join(order)
        places = {self._ids[each]: place for place, each in enumerate(order)}
        for column in (columns.actors, columns.devices, columns.conversations):
            column[:] = map(places.__getitem__, column)
        columns.streams[1::2] = map(places.__getitem__, columns.streams[1::2])

    def _add(self, entry: Entry) -> int:
        """Add one entry to the columns and return its shape."""
        state, columns, shipment = self._state, self._columns, entry.shipment
        columns.numbers.append(_difference(entry.number, state.number))
        state.number = entry.number
        columns.origin.append(entry.origin)
        columns.seqs.append(_difference(shipment.seq, state.seqs.get(entry.origin, 0)))
        state.seqs[entry.origin] = shipment.seq
        shape = int(shipment.op_class)
        envelope = _splittable(shipment.envelope) if shipment.envelope else None
        shape |= self._add_envelope(shipment, envelope)
        shape |= self._add_stream(shipment.stream, envelope)
        return shape | self._add_body(shipment)

    def _add_envelope(self, shipment: Shipment, envelope: Envelope | None) -> int:
        if not shipment.envelope:
            if shipment.salt or shipment.body is not None:
                raise ValueError("what has no envelope travels bare")
            self._commit(shipment.envelope_commit)
            return 0
        if len(shipment.salt) != SALT_BYTES or shipment.envelope_commit:
            raise ValueError("an envelope travels with its salt")
        self._salts.append(shipment.salt)
        if envelope is None:
            self._columns.verbatim.append(shipment.envelope)
            return _VERBATIM
        self._add_fields(envelope)
        return _SPLIT

    def _add_fields(self, envelope: Envelope) -> None:
        columns, state = self._columns, self._state
        device, conversation = self._id(envelope.device), self._id(envelope.conversation)
        columns.kinds.append(envelope.kind)
        columns.actors.append(self._id(envelope.actor))
        columns.devices.append(device)
        columns.conversations.append(conversation)
        columns.counters.append(_difference(envelope.counter, state.counters.get(device, 0)))
        state.counters[device] = envelope.counter
        millis = envelope.t >> 16
        columns.millis.append(millis - state.millis)
        state.millis = millis
        columns.ticks.append(envelope.t & 0xFFFF)
        columns.floors.append(_floor_code(state, conversation, envelope.t, envelope.floor))
        columns.seens.append(_difference(envelope.seen, state.seen))
        state.seen = envelope.seen
        self._add_target(envelope.target)

    def _add_target(self, target: bytes) -> None:
        columns, state = self._columns, self._state
        if not target:
            columns.target_origins.append(0)
            return
        node, incarnation, seq = OpId.unpack(target)
        origin = Origin(node, incarnation)
        number = self._origins.get(origin)
        if number is None:
            number = self._origins[origin] = len(self._piece.origins) + len(self._others)
            self._others.append(origin)
        columns.target_origins.append(number + 1)
        columns.targets.append(_difference(seq, state.targets.get(number, 0)))
        state.targets[number] = seq

    def _add_stream(self, stream: Stream | None, envelope: Envelope | None) -> int:
        if stream is None:
            return 0
        if (
            envelope is not None
            and stream.kind is StreamKind.CONVERSATION
            and stream.id == envelope.conversation
        ):
            return _BY_CONVERSATION
        self._columns.streams += (stream.kind, self._id(stream.id))
        return _TOLD

    def _add_body(self, shipment: Shipment) -> int:
        if shipment.body is None:
            self._commit(shipment.body_commit)
            return 0
        if shipment.body_commit:
            raise ValueError("a body travels without its commitment")
        self._columns.body_sizes.append(len(shipment.body))
        self._bodies.append(shipment.body)
        return _BODY

    def _commit(self, commit: bytes) -> None:
        if len(commit) != COMMIT_BYTES:
            raise ValueError("what does not travel has a commitment")
        self._commits.append(commit)

    def _id(self, value: bytes) -> int:
        if value and len(value) != ID_BYTES:
            raise ValueError("an id has 16 bytes")
        return self._ids.setdefault(value, len(self._ids))


def _marks(shipment: Shipment) -> int:
    """Return what the sender has decided about an operation when it took it in."""
    return _IN_TIMELINE * shipment.in_timeline | _AHEAD * shipment.is_ahead


def _splittable(data: bytes) -> Envelope | None:
    """Return the envelope when its fields alone give the same bytes again."""
    try:
        envelope = envelopes.decode(data)
    except FormatError:
        return None
    return envelope if envelopes.encode(envelope) == data else None


def _floor_code(state: _State, conversation: int, t: int, floor: int) -> int | None:
    """Return None for the floor of the last operation there, else how far it is from its key."""
    last_floor, last_key = state.floors.get(conversation, (0, 0))
    state.floors[conversation] = floor, max(t, floor + 1)
    return None if floor == last_floor else floor - last_key


class _Joiner:
    """Puts one piece together; any error among those that ``decode`` names may come."""

    def __init__(self, columns: _Columns, salts: bytes) -> None:
        self._columns = columns
        self._state = _State(columns.after)
        self._origins = [_origin(each) for each in columns.origins]
        self._targets = self._origins + [_origin(each) for each in columns.others]
        self._ids = [b"", *_cut(columns.ids, ID_BYTES)]
        self._salts = iter(_cut(salts, SALT_BYTES))
        self._commits = iter(_cut(columns.commits, COMMIT_BYTES))
        self._streams = iter(columns.streams)
        self._verbatim = iter(columns.verbatim)
        self._target_seqs = iter(columns.targets)
        self._bodies = _bodies(columns.body_sizes, columns.bodies)
        self._envelopes = self._join_envelopes()

    def join(self) -> Piece:
        """Return the piece; everything in the columns was needed for it."""
        columns = self._columns
        own = columns.own
        if len(own) % 3:
            raise ValueError
        shapes, marks = columns.shapes, columns.marks
        rows = zip(shapes, marks, columns.numbers, columns.origin, columns.seqs, strict=True)
        piece = Piece(
            Lane(columns.lane),
            columns.after,
            columns.upto,
            tuple(self._origins),
            tuple(self._join_entry(*row) for row in rows),
            tuple(Own(*own[n : n + 3]) for n in range(0, len(own), 3)),
        )
        self._check_empty()
        return piece

    def _check_empty(self) -> None:
        rests: tuple[Iterator[object], ...] = (
            self._salts,
            self._commits,
            self._streams,
            self._verbatim,
            self._target_seqs,
            self._bodies,
            self._envelopes,
        )
        for rest in rests:
            if next(rest, None) is not None:
                raise ValueError

    def _join_entry(self, shape: int, marks: int, number: int, origin: int, seq: int) -> Entry:
        state = self._state
        if shape & _UNUSED or marks > _IN_TIMELINE | _AHEAD:
            raise ValueError
        state.number = (state.number + number) & _U64
        if origin >= len(self._origins):
            raise ValueError
        state.seqs[origin] = seq = (state.seqs.get(origin, 0) + seq) & _U64
        salt = envelope = envelope_commit = body_commit = conversation = b""
        form = shape & _ENVELOPE
        if form == 0:
            envelope_commit = _next(self._commits)
        else:
            salt = _next(self._salts)
            if form == _SPLIT:
                envelope, conversation = _next(self._envelopes)
            elif form == _VERBATIM:
                envelope = _next(self._verbatim)
                if not 0 < len(envelope) <= CANONICAL_BYTES:
                    raise ValueError
            else:
                raise ValueError
        stream = self._join_stream(shape & _STREAM, conversation)
        body: bytes | None = None
        if not shape & _BODY:
            body_commit = _next(self._commits)
        elif form:
            body = _next(self._bodies)
        else:
            raise ValueError
        op_class = OpClass(shape & _CLASS)
        shipment = Shipment(
            seq,
            op_class,
            stream,
            salt,
            envelope,
            body,
            envelope_commit,
            body_commit,
            in_timeline=bool(marks & _IN_TIMELINE),
            is_ahead=bool(marks & _AHEAD),
        )
        return Entry(state.number, origin, shipment)

    def _join_stream(self, form: int, conversation: bytes) -> Stream | None:
        if form == 0:
            return None
        if form == _BY_CONVERSATION:
            if not conversation:
                raise ValueError
            return Stream(StreamKind.CONVERSATION, conversation)
        if form != _TOLD:
            raise ValueError
        kind, number = StreamKind(_next(self._streams)), _next(self._streams)
        if number == 0:
            raise ValueError
        return Stream(kind, self._ids[number])

    def _join_envelopes(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the bytes and the conversation of each envelope in columns."""
        columns, state, ids = self._columns, self._state, self._ids
        rows = zip(
            columns.kinds,
            columns.actors,
            columns.devices,
            columns.conversations,
            columns.counters,
            columns.millis,
            columns.ticks,
            columns.floors,
            columns.seens,
            columns.target_origins,
            strict=True,
        )
        for kind, actor, device, conversation, counter, ms, tick, code, seen, target in rows:
            state.counters[device] = counter = (state.counters.get(device, 0) + counter) & _U64
            state.millis += ms
            t = state.millis << 16 | tick
            last_floor, last_key = state.floors.get(conversation, (0, 0))
            floor = last_floor if code is None else last_key + code
            state.floors[conversation] = floor, max(t, floor + 1)
            state.seen = (state.seen + seen) & _U64
            fields = Envelope(
                kind,
                ids[actor],
                ids[device],
                counter,
                t,
                floor,
                ids[conversation],
                self._join_target(target) if target else b"",
                state.seen,
            )
            yield envelopes.encode(fields), fields.conversation

    def _join_target(self, number: int) -> bytes:
        origin = self._targets[number - 1]
        targets = self._state.targets
        targets[number - 1] = (targets.get(number - 1, 0) + _next(self._target_seqs)) & _U64
        return OpId(*origin, targets[number - 1]).pack()


def _next(items: Iterator[_T]) -> _T:
    """Return the next item; raises ``ValueError`` when there is none (also in a generator)."""
    for item in items:
        return item
    raise ValueError


def _origin(pair: tuple[bytes, int]) -> Origin:
    if len(pair[0]) != ID_BYTES:
        raise ValueError
    return Origin(*pair)


def _cut(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into slices of one size; raises ``ValueError`` when they do not come out even."""
    if len(data) % size or len(data) > PIECE_BYTES_MAX:
        raise ValueError
    return [data[start : start + size] for start in range(0, len(data), size)]


def _bodies(sizes: list[int], data: bytes) -> Iterator[bytes]:
    if sum(sizes) != len(data) or any(size > BODY_BYTES for size in sizes):
        raise ValueError
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
