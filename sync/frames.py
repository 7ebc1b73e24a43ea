"""Encode what two sites say to each other: frames, version 1 (sans-IO).

    offset  size  type   meaning
    0       1     u8     what the frame is (``TYPES``)
    1       3     u24    length n of the body, at most ``FRAME_BYTES``
    4       n     bytes  body: one msgpack array of the fields, in the order of the class

Fields are only ever appended: those behind the known ones are ignored, and a frame of an unknown
type is skipped. So a newer build talks to an older one. Every field has a bound; what exceeds it
ends the link.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from store.ids import ID_BYTES, Origin
from sync.errors import LimitError, MalformedError
from sync.limits import (
    FRAME_BYTES,
    NOTE_BYTES,
    NOTE_KIND_BYTES,
    PART_BYTES,
    PIECE_BYTES_MAX,
    SOFTWARE_BYTES,
    WANT_LIMIT,
)
from sync.pieces import NUMBERED, Cursors, Standing

VERSION = 1
HEAD_BYTES = 4
CODE_BYTES = 64

Number: TypeAlias = Annotated[int, Meta(ge=0)]
"""An integer below 2^64, as msgpack carries it."""

Id: TypeAlias = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_MaybeId: TypeAlias = Annotated[bytes, Meta(max_length=ID_BYTES)]
_Chain: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Cursors: TypeAlias = Annotated[
    list[Number], Meta(min_length=len(NUMBERED), max_length=2 * len(NUMBERED))
]


class _Frame(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What all frames have in common."""


class Stand(_Frame, frozen=True):
    """A ``Standing`` as it travels."""

    node: Id
    incarnation: Number
    seq: Number
    chain: _Chain
    peer_node: _MaybeId
    peer_incarnation: Number
    cursors: _Cursors
    held: Number = 0
    held_chain: Annotated[bytes, Meta(max_length=32)] = b""

    @classmethod
    def of(cls, standing: Standing) -> Stand:
        """Return the form that travels."""
        origin, peer = standing.origin, standing.peer
        cursors = list(standing.cursors)
        held = standing.held, standing.held_chain
        return cls(*origin, standing.seq, standing.chain, *peer, cursors, *held)

    def standing(self) -> Standing:
        """Return what the replica understands; cursors of lanes to come are left out."""
        cursors = Cursors(*self.cursors[: len(NUMBERED)])
        origin = Origin(self.node, self.incarnation)
        peer = Origin(self.peer_node, self.peer_incarnation)
        return Standing(origin, self.seq, self.chain, peer, cursors, self.held, self.held_chain)


class Hello(_Frame, frozen=True):
    """The first frame of each connection that a branch opens.

    ``session`` is 16 random bytes, the same for all connections of one link; ``channel`` says
    which of them this is. ``time_ms`` is Unix time, ``window_bytes`` what may be on its way in
    each lane at first.
    """

    lowest: Number
    highest: Number
    session: Id
    channel: Annotated[int, Meta(ge=0, le=255)]
    stand: Stand
    time_ms: Number
    window_bytes: Number
    software: Annotated[str, Meta(max_length=SOFTWARE_BYTES)]


class Welcome(_Frame, frozen=True):
    """Headquarters' answer: the version it chose, and where it stands."""

    version: Number
    stand: Stand
    time_ms: Number
    window_bytes: Number
    software: Annotated[str, Meta(max_length=SOFTWARE_BYTES)]


class Fence(_Frame, frozen=True):
    """Instead of a welcome: more is known of this incarnation than the site has itself."""

    incarnation: Number
    seq: Number


class Fork(_Frame, frozen=True):
    """Instead of a welcome: another history is known of this incarnation."""

    incarnation: Number
    seq: Number
    chain: _Chain


class Part(_Frame, frozen=True):
    """Some bytes of one piece, in a lane's stream.

    ``plain_bytes`` is the size of the piece before compression in its first part, 0 in others.
    """

    lane: Annotated[int, Meta(ge=0, le=255)]
    plain_bytes: Annotated[int, Meta(ge=0, le=PIECE_BYTES_MAX)]
    is_last: bool
    data: Annotated[bytes, Meta(max_length=PART_BYTES)]


class Ack(_Frame, frozen=True):
    """What is durable of a numbered lane."""

    lane: Annotated[int, Meta(ge=0, le=255)]
    cursor: Number


class Credit(_Frame, frozen=True):
    """How many bytes of a lane's pieces, before compression, may be begun since the start."""

    lane: Annotated[int, Meta(ge=0, le=255)]
    total_bytes: Number


class Note(_Frame, frozen=True):
    """What the layers above tell each other: leases, for example."""

    kind: Annotated[str, Meta(min_length=1, max_length=NOTE_KIND_BYTES)]
    body: Annotated[bytes, Meta(max_length=NOTE_BYTES)]


class Want(_Frame, frozen=True):
    """Ask for history of one stream: at most ``limit`` operations before the key ``before``."""

    question: Number
    stream_kind: Annotated[int, Meta(ge=0, le=255)]
    stream_id: Id
    before: Number
    limit: Annotated[int, Meta(ge=1, le=WANT_LIMIT)]


class Have(_Frame, frozen=True):
    """An answer is whole: it reaches back to ``before``; ``is_end``: there is nothing older."""

    question: Number
    before: Number
    is_end: bool


class Ping(_Frame, frozen=True):
    """Ask for an answer at once; whatever was sent before it has then arrived."""

    token: Number


class Pong(_Frame, frozen=True):
    """Answer a ping."""

    token: Number


class Bye(_Frame, frozen=True):
    """The last frame: why the link ends, a code of ``sync.errors``."""

    code: Annotated[str, Meta(max_length=CODE_BYTES)]


Frame: TypeAlias = (
    Hello | Welcome | Fence | Fork | Part | Ack | Credit | Note | Want | Have | Ping | Pong | Bye
)

TYPES: dict[int, type[Frame]] = {
    1: Hello,
    2: Welcome,
    3: Fence,
    4: Fork,
    5: Part,
    6: Ack,
    7: Credit,
    8: Note,
    9: Want,
    10: Have,
    11: Ping,
    12: Pong,
    13: Bye,
}
"""The number of each frame on the line; a number is never used again."""

_NUMBERS = {kind: number for number, kind in TYPES.items()}
_DECODERS = {number: msgspec.msgpack.Decoder(kind) for number, kind in TYPES.items()}
_encode = msgspec.msgpack.Encoder().encode


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes; raises ``ValueError`` when it is longer than ``FRAME_BYTES``."""
    body = _encode(frame)
    if len(body) > FRAME_BYTES:
        raise ValueError("a frame is too long")
    return bytes((_NUMBERS[type(frame)],)) + len(body).to_bytes(3) + body


class FrameReader:
    """Cuts a stream of bytes into frames; holds at most one that is not complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether no frame has begun that is not complete."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each frame that is complete with these bytes; unknown types are left out.

        Raises:
            LimitError: a frame is longer than ``FRAME_BYTES``.
            MalformedError: a frame of a known type is not what its class says.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEAD_BYTES:
                length = int.from_bytes(buffer[start + 1 : start + HEAD_BYTES])
                if length > FRAME_BYTES:
                    raise LimitError("a frame is too long")
                end = start + HEAD_BYTES + length
                if len(buffer) < end:
                    break
                number, body = buffer[start], bytes(buffer[start + HEAD_BYTES : end])
                start = end
                if number in _DECODERS:
                    yield _decode(number, body)
        finally:
            del buffer[:start]


def _decode(number: int, body: bytes) -> Frame:
    try:
        return _DECODERS[number].decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MalformedError(f"a {TYPES[number].__name__} that does not hold") from None


def peek_hello(data: bytes) -> Hello | None:
    """Return the Hello at the beginning of a connection, None while it is not complete.

    Raises:
        LimitError, MalformedError: the bytes do not begin with a Hello.
    """
    if data[:1] and data[0] != _NUMBERS[Hello]:
        raise MalformedError("a connection begins with a Hello")
    if len(data) < HEAD_BYTES:
        return None
    length = int.from_bytes(data[1:HEAD_BYTES])
    if length > FRAME_BYTES:
        raise LimitError("a frame is too long")
    body = data[HEAD_BYTES : HEAD_BYTES + length]
    if len(body) < length:
        return None
    hello = _decode(data[0], body)
    assert isinstance(hello, Hello)
    return hello
