"""Lay out a parcel: what one site has for another, as frames of the link in a file (sans-IO).

A parcel is for two sites without a line between them. It holds one or more *chapters*, each of
one incarnation of the sender's log, and what else the link would carry:

    frame                    meaning
    Hello                    begins a chapter: who sends it, and where that site stands
    Ack, one for each lane   up to where the receiver is taken to have the lane already
    Part                     pieces, as on the link; one zstd stream for each lane
    Note                     for the layers above
    Want                     from a branch: a question; from headquarters: what is answered next
    Have                     the answer is whole

After the last frame stand 64 bytes: the sender's Ed25519 signature over ``signed_bytes``. It names
the receiver, so that whoever gets a parcel cannot pass it on to another site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final

from sync import frames
from sync.channel import Channel, State, parts
from sync.errors import MalformedError, UnexpectedError, VersionError
from sync.frames import Ack, Frame, FrameReader, Have, Hello, Note, Part, Want
from sync.packing import Packer
from sync.pieces import NUMBERED, Cursors, Lane, Piece

SIGNATURE_BYTES: Final = 64

_LABEL: Final = b"strongroom/parcel/1"

_ALLOWED: Final = (Hello, Ack, Part, Note, Want, Have)


def signed_bytes(receiver: bytes, digest: bytes) -> bytes:
    """Return what the sender signs: the receiver's NodeId, and the SHA-256 of all frames."""
    return _LABEL + receiver + digest


class Writer:
    """Writes one parcel; ``write`` gets its bytes, in order."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = sha256()
        self._packers = {lane: Packer() for lane in Lane}
        self._told: dict[Lane, int] = {}
        self._read: dict[Lane, int] = {}

    def begin(self, hello: Hello, known: Cursors) -> None:
        """Begin a chapter; the receiver is taken to have each lane up to ``known``."""
        self.say(hello)
        for lane, cursor in zip(NUMBERED, known, strict=True):
            self.say(Ack(lane, cursor))
            self._told[lane] = self._read[lane] = cursor

    def say(self, frame: Frame) -> None:
        """Write one frame."""
        self._put(frames.encode(frame))

    def add(self, piece: Piece) -> None:
        """Write a piece; one that holds nothing is told with the next of its lane that does."""
        if piece.lane not in NUMBERED:
            self._tell(piece)
            return
        self._read[piece.lane] = piece.upto
        if piece.entries or piece.own:
            self._tell(piece._replace(after=self._told[piece.lane]))
            self._told[piece.lane] = piece.upto

    def finish(self) -> None:
        """End a chapter: tell how far lanes were read of which the last held nothing."""
        for lane, upto in self._read.items():
            if upto > self._told[lane]:
                self._tell(Piece(lane, self._told[lane], upto))
                self._told[lane] = upto

    def end(self, sign: Callable[[bytes], bytes], receiver: bytes) -> None:
        """Sign the parcel; nothing follows."""
        self._write(sign(signed_bytes(receiver, self._digest.digest())))

    def _tell(self, piece: Piece) -> None:
        for part in parts(piece, self._packers[piece.lane])[1]:
            self._put(part)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._write(data)


class Reader:
    """Reads the frames of one parcel, and holds its last 64 bytes back: the signature."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._digest = sha256()
        self._tail = b""
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each frame that is complete with these bytes.

        Raises:
            LimitError: a frame is too long.
            MalformedError: one does not hold.
            UnexpectedError: one has no place in a parcel.
            VersionError: the sender speaks no version that is known here.
        """
        data = self._tail + data
        body, self._tail = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        self._digest.update(body)
        for frame in self._frames.feed(body):
            self._check(frame)
            yield frame

    def end(self, receiver: bytes) -> tuple[bytes, bytes]:
        """Return what the sender has signed and its signature; ``MalformedError`` if cut."""
        if len(self._tail) < SIGNATURE_BYTES or not self._frames.is_between or not self._is_begun:
            raise MalformedError("a parcel that is cut short")
        return signed_bytes(receiver, self._digest.digest()), self._tail

    def _check(self, frame: Frame) -> None:
        if not isinstance(frame, _ALLOWED) or not (self._is_begun or isinstance(frame, Hello)):
            raise UnexpectedError(f"{type(frame).__name__} in a parcel")
        self._is_begun = True
        if isinstance(frame, Hello) and not frame.lowest <= frames.VERSION <= frame.highest:
            raise VersionError(f"the parcel speaks {frame.lowest} to {frame.highest}")


class Unpacker:
    """Puts the pieces of a parcel together again."""

    def __init__(self) -> None:
        self._channel = Channel(tuple(Lane), State.LIVE, 0.0)

    def add(self, part: Part) -> Piece | None:
        """Take a part and return the piece once it is whole; raises as ``Channel.add_part``."""
        arrival = self._channel.add_part(part)
        if arrival is None:
            return None
        self._channel.release(arrival.piece.lane, arrival.plain_bytes)
        return arrival.piece
