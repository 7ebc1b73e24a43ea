"""A lane's stream refers to what came before, and no bomb goes off."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pieces import Author
from sync import columns
from sync.errors import LimitError, MalformedError
from sync.packing import Packer, Unpacker


@given(st.lists(st.lists(st.binary(max_size=500), max_size=3), max_size=6))
def test_pieces_come_back_one_by_one(pieces: list[list[bytes]]) -> None:
    packer, unpacker = Packer(), Unpacker()
    for blocks in pieces:
        plain = b"".join(blocks)
        assert unpacker.unpack(packer.pack(*blocks), len(plain)) == plain


def test_a_piece_like_the_one_before_is_small() -> None:
    packer, data = Packer(), Random(1).randbytes(2_000)
    assert len(packer.pack(data)) > 2_000
    assert len(packer.pack(data)) < 50


def test_the_names_of_a_whole_branch_are_sent_once_and_not_in_each_piece() -> None:
    """200 people and 260 conversations have 660 names of 16 bytes."""
    author, packer = Author(1, people=200, conversations=260), Packer()
    sizes = [len(packer.pack(*columns.encode(author.piece(415)))) for _ in range(6)]
    names = (2 * 200 + 260) * 16
    assert sizes[0] - max(sizes[1:]) > names / 3, sizes


def test_a_bomb_is_stopped_at_its_announced_size() -> None:
    packed = Packer().pack(bytes(200_000_000))
    assert len(packed) < 30_000
    with pytest.raises(LimitError):
        Unpacker().unpack(packed, 65_536)


def test_a_stream_that_wants_more_memory_than_agreed_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(b"x") + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(MalformedError):
        Unpacker().unpack(packed, 100)


def test_a_stream_that_ends_is_refused() -> None:
    with pytest.raises(MalformedError):
        Unpacker().unpack(zstandard.compress(b"abc"), 100)


@given(st.binary(min_size=4, max_size=100))
def test_garbage_is_an_error_or_nothing(data: bytes) -> None:
    with suppress(MalformedError, LimitError):
        assert len(Unpacker().unpack(data, 1_000)) <= 1_000
