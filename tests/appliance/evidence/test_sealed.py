"""Sealed files: they open for their recipient, whole, or not at all."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.evidence import sealed
from appliance.evidence.sealed import (
    CHUNK_BYTES,
    MAGIC,
    START,
    Mark,
    SealedFileError,
    Sealer,
    open_sealed,
    public_key_of,
    seal_whole,
)

PRIVATE, OTHER = b"p" * 32, b"q" * 32
PUBLIC = public_key_of(PRIVATE)


def opened(data: bytes, key: bytes = PRIVATE) -> bytes:
    return b"".join(open_sealed(io.BytesIO(data).read, key))


def blocks(data: bytes) -> list[bytes]:
    """Cut a sealed file behind its magic into its blocks."""
    found, at = [], len(MAGIC)
    while at < len(data):
        _, size = struct.unpack_from(">BI", data, at)
        found.append(data[at : at + 5 + size])
        at += 5 + size
    return found


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5]
)
def test_what_was_sealed_comes_back(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    file = seal_whole(PUBLIC, data)
    assert opened(file) == data
    assert size < CHUNK_BYTES - 1 or data[:64] not in file


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=200), st.sampled_from("afr")), max_size=8))
def test_it_goes_on_after_interruptions(steps: list[tuple[bytes, str]]) -> None:
    """A adds, f flushes and notes the mark, r cuts back to the mark and begins a new segment."""
    file = bytearray()
    sealer = Sealer(PUBLIC, file.extend, START)
    mark: Mark = sealer.flush()
    saved, added = b"", b""
    for data, step in steps:
        if step == "a":
            sealer.add(data)
            added += data
        elif step == "f":
            mark, saved, added = sealer.flush(), saved + added, b""
        else:
            del file[mark.size :]
            added = b""
            sealer = Sealer(PUBLIC, file.extend, mark)
    assert sealer.finish().size == len(file)
    assert opened(bytes(file)) == saved + added


def test_another_recipient_cannot_open_it() -> None:
    with pytest.raises(SealedFileError):
        opened(seal_whole(PUBLIC, b"secret"), OTHER)


FILE = seal_whole(PUBLIC, b"one two three" * 9)


def test_a_file_that_was_cut_short_is_refused() -> None:
    for size in range(len(FILE)):
        with pytest.raises(SealedFileError):
            opened(FILE[:size])


@given(st.integers(0, len(FILE) * 8 - 1))
def test_no_bit_can_be_changed(bit: int) -> None:
    changed = bytearray(FILE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealedFileError):
        opened(bytes(changed))


def test_nothing_can_be_appended() -> None:
    with pytest.raises(SealedFileError):
        opened(FILE + b"\0")
    with pytest.raises(SealedFileError):
        opened(FILE + FILE[len(MAGIC) :])


def test_segments_and_chunks_cannot_be_dropped_moved_or_repeated() -> None:
    file = bytearray()
    mark = START
    for text in (b"one", b"two", b"three"):
        sealer = Sealer(PUBLIC, file.extend, mark)
        sealer.add(text)
        mark = sealer.flush()
        sealer.add(text.upper())
        mark = sealer.flush()
    Sealer(PUBLIC, file.extend, mark).finish()
    parts = blocks(bytes(file))
    assert opened(bytes(file)) == b"oneONEtwoTWOthreeTHREE"
    assert MAGIC + b"".join(parts) == file
    for place in range(len(parts) - 1):
        swapped = [*parts[:place], parts[place + 1], parts[place], *parts[place + 2 :]]
        for changed in (parts[:place] + parts[place + 1 :], swapped, [parts[place], *parts]):
            with pytest.raises(SealedFileError):
                opened(MAGIC + b"".join(changed))


def test_two_files_share_no_key() -> None:
    assert seal_whole(PUBLIC, b"x") != seal_whole(PUBLIC, b"x")


def test_a_block_larger_than_any_is_refused_before_it_is_read() -> None:
    with pytest.raises(SealedFileError, match="damaged"):
        opened(MAGIC + struct.pack(">BI", 2, 1 << 31))
    assert sealed.SealedFileError.code == "evidence.sealed"
