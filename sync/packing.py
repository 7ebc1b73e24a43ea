"""Compress a lane's pieces as one zstd stream, and read such a stream without trusting it.

Each lane of each connection has a stream of its own, flushed after every piece, so that a piece
can be read as soon as it has arrived and later ones may refer to it. A dictionary is never
trained: it would keep words of what was destroyed since.
"""

from __future__ import annotations

import zstandard

from sync.errors import LimitError, MalformedError
from sync.limits import COMPRESSION_LEVEL, UNPACK_SLICE_BYTES, WINDOW_LOG

_TABLE_LOG = 15
"""Size of the compressor's tables. They must remember the names of people and conversations from
one piece to the next: with 14, half as much, a branch of 200 people sends 57 bytes for each
operation, with 15 it sends 49, and with twice as much again only 1 less."""

_PARAMETERS = zstandard.ZstdCompressionParameters.from_level(
    COMPRESSION_LEVEL,
    window_log=WINDOW_LOG,
    hash_log=_TABLE_LOG,
    chain_log=_TABLE_LOG,
    write_content_size=False,
    write_checksum=False,
)


class Packer:
    """The sender's end of one lane's stream."""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(compression_params=_PARAMETERS).compressobj()

    def pack(self, *blocks: bytes) -> bytes:
        """Return the bytes that carry one piece, of which each block has statistics of its own."""
        return b"".join(map(self._pack_block, blocks))

    def _pack_block(self, block: bytes) -> bytes:
        packed = self._stream.compress(block)
        return packed + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


class Unpacker:
    """The receiver's end of one lane's stream."""

    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
        self._stream = decompressor.decompressobj()

    def unpack(self, packed: bytes, limit: int) -> bytes:
        """Return what some of the stream's bytes stand for, at most ``limit`` bytes.

        Raises:
            LimitError: they stand for more; nothing much of it was ever held.
            MalformedError: they are no such stream, or end it.
        """
        found: list[bytes] = []
        for start in range(0, len(packed), UNPACK_SLICE_BYTES):
            try:
                plain = self._stream.decompress(packed[start : start + UNPACK_SLICE_BYTES])
            except zstandard.ZstdError:
                raise MalformedError("not the stream of a lane") from None
            if self._stream.eof:
                raise MalformedError("a lane's stream does not end")
            limit -= len(plain)
            if limit < 0:
                raise LimitError("a piece becomes larger than it says")
            found.append(plain)
        return b"".join(found)
