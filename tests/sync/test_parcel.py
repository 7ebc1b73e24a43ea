"""A parcel: read as it was written, in whatever chunks; nothing else than a parcel is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from store.ids import Origin
from sync import frames, parcel
from sync.errors import LinkError, MalformedError, UnexpectedError, VersionError
from sync.frames import Ack, Frame, Hello, Note, Part, Ping, Stand
from sync.pieces import NUMBERED, Cursors, Lane, Own, Piece, Standing

KEY = SigningKey(b"k" * 32)
RECEIVER = b"r" * 16
ORIGIN = Origin(b"n" * 16, 7)
STAND = Stand.of(Standing(ORIGIN, 3, bytes(32), Origin(b"", 0), Cursors()))
HELLO = Hello(frames.VERSION, frames.VERSION, b"s" * 16, 0, STAND, 0, 0, "test")
KNOWN = Cursors(4, 3, 2, 1)


def sign(data: bytes) -> bytes:
    return bytes(KEY.sign(data).signature)


def written(*pieces: Piece, last: Frame | None = None) -> bytes:
    found: list[bytes] = []
    writer = parcel.Writer(found.append)
    writer.begin(HELLO, KNOWN)
    for piece in pieces:
        writer.add(piece)
    writer.finish()
    if last is not None:
        writer.say(last)
    writer.end(sign, RECEIVER)
    return b"".join(found)


def read(data: bytes, sizes: Iterator[int] | None = None) -> tuple[list[Frame], list[Piece]]:
    """Return frames and pieces; the signature is checked at the end."""
    reader, unpacker = parcel.Reader(), parcel.Unpacker()
    found: list[Frame] = []
    pieces: list[Piece] = []
    while data:
        size = len(data) if sizes is None else next(sizes)
        for frame in reader.feed(data[:size]):
            found.append(frame)
            piece = unpacker.add(frame) if isinstance(frame, Part) else None
            if piece is not None:
                pieces.append(piece)
        data = data[size:]
    KEY.verify_key.verify(*reader.end(RECEIVER))
    return found, pieces


def check(data: bytes, receiver: bytes = RECEIVER) -> None:
    """Read frames and check the signature, as the first reading of a file does."""
    reader = parcel.Reader()
    list(reader.feed(data))
    KEY.verify_key.verify(*reader.end(receiver))


def run(lane: Lane, after: int, upto: int) -> Piece:
    return Piece(lane, after, upto, own=(Own(after + 1, after + 1, upto - after),))


@given(
    st.lists(st.tuples(st.sampled_from(NUMBERED), st.integers(1, 5), st.booleans()), max_size=12),
    st.lists(st.integers(1, 90), min_size=1),
)
def test_pieces_come_back_and_cover_the_same_numbers_in_whatever_chunks(
    steps: list[tuple[Lane, int, bool]], sizes: list[int]
) -> None:
    reached, given_pieces = dict(zip(NUMBERED, KNOWN, strict=True)), []
    for lane, step, is_empty in steps:
        after = reached[lane]
        reached[lane] = after + step
        piece = run(lane, after, after + step)
        given_pieces.append(piece._replace(own=()) if is_empty else piece)

    def again() -> Iterator[int]:
        while True:
            yield from sizes

    found, pieces = read(written(*given_pieces), again())
    assert found[: 1 + len(NUMBERED)] == [
        HELLO,
        *(Ack(lane, cursor) for lane, cursor in zip(NUMBERED, KNOWN, strict=True)),
    ]
    told = dict(zip(NUMBERED, KNOWN, strict=True))
    for piece in pieces:
        assert piece.after == told[piece.lane], "no gap and no overlap"
        told[piece.lane] = piece.upto
    assert told == reached
    assert [own for piece in pieces for own in piece.own] == [
        own for piece in given_pieces for own in piece.own
    ]


@given(st.data())
def test_every_bit_is_signed(data: Any) -> None:
    whole = written(run(Lane.CONTROL, 4, 9), last=Note("lease.ask", b"body"))
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((BadSignatureError, LinkError)):
        check(bytes(broken))


def test_the_signature_is_for_one_receiver() -> None:
    check(written())
    with pytest.raises(BadSignatureError):
        check(written(), b"x" * 16)


@pytest.mark.parametrize("cut", [1, 64, 65, 70, 10_000])
def test_what_is_cut_short_is_no_parcel(cut: int) -> None:
    whole = written(run(Lane.CONTROL, 4, 9))
    with pytest.raises((MalformedError, BadSignatureError)):
        check(whole[: max(0, len(whole) - cut)])


def test_only_frames_of_a_parcel_are_in_one() -> None:
    with pytest.raises(UnexpectedError):
        read(written(last=Ping(1)))
    with pytest.raises(UnexpectedError):
        list(parcel.Reader().feed(frames.encode(Ack(0, 1)) + bytes(64)))


def test_a_parcel_of_a_version_that_is_not_known_here_is_told_as_such() -> None:
    later = Hello(frames.VERSION + 1, frames.VERSION + 2, b"s" * 16, 0, STAND, 0, 0, "later")
    with pytest.raises(VersionError):
        list(parcel.Reader().feed(frames.encode(later) + bytes(64)))
