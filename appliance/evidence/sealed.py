"""Encrypt an export to one recipient while it is written, so that nothing of it lies in clear.

A file is a run of blocks. A *segment* block begins a stream with a random key, sealed to the
recipient's X25519 key; *chunks* follow, encrypted with XChaCha20-Poly1305 (libsodium's
secretstream), the last one marked as final. An export that was interrupted goes on in a new
segment: keys are never written down, so the old stream cannot be continued.

    file
    offset  size  type   meaning
    0       15    bytes  "strongroom/seal"
    15      1     u8     version: 1
    16      n     blocks

    block
    offset  size  type   meaning
    0       1     u8     kind: 1 segment, 2 chunk
    1       4     u32    size of what follows
    5       n     bytes  kind 1: sealed key (80) and secretstream header (24)
                         kind 2: ciphertext of at most 64 KiB, and 17 bytes

Big-endian. The associated data of each chunk is the running hash over all bytes of the file
before the chunk's block: ``SHA-256(hash || block)``, beginning with the file's first 16 bytes.
So no block can be dropped, moved or repeated, and an end that is missing is seen. Whoever has
the public key can make another file, though: who wrote an export is shown by the signature in
its last line, not by its encryption.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import ClassVar, Final, NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from store.errors import StoreError

CHUNK_BYTES: Final = 65_536
"""Most plaintext in one chunk."""

KEY_BYTES: Final = 32
MAGIC: Final = b"strongroom/seal" + b"\x01"

_SEGMENT: Final = 1
_CHUNK: Final = 2
_BLOCK: Final = struct.Struct(">BI")
_SEALED_KEY_BYTES: Final = KEY_BYTES + bindings.crypto_box_SEALBYTES
_SEGMENT_BYTES: Final = (
    _SEALED_KEY_BYTES + bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
)
_LARGEST_CHUNK: Final = CHUNK_BYTES + bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_State = bindings.crypto_secretstream_xchacha20poly1305_state
_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class SealedFileError(StoreError):
    """The file does not open: another recipient's, damaged, cut short, or no sealed export."""

    code: ClassVar[str] = "evidence.sealed"
    hint: ClassVar[str] = "Check the key file; ask for the export again."


class Mark(NamedTuple):
    """How far a file is written, in bytes, and the hash over it: all that going on takes."""

    size: int
    chain: bytes


START: Final = Mark(0, bytes(32))


class Sealer:
    """Encrypts a run of bytes; ``write`` gets the ciphertext, in order.

    Args:
        recipient: the X25519 public key (32 bytes).
        write: takes bytes to append to the file.
        mark: where the file ends; ``START`` for a new one.
    """

    def __init__(self, recipient: bytes, write: Callable[[bytes], object], mark: Mark) -> None:
        self._write = write
        self._mark = mark
        self._buffer = bytearray()
        self._state = _State()
        if mark == START:
            self._put(MAGIC)
        key = bindings.crypto_secretstream_xchacha20poly1305_keygen()
        header = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        sealed = SealedBox(PublicKey(recipient)).encrypt(key)
        self._put(_BLOCK.pack(_SEGMENT, _SEGMENT_BYTES) + sealed + header)

    def add(self, data: bytes) -> None:
        """Encrypt ``data``; what does not fill a chunk waits."""
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:
            self._chunk(CHUNK_BYTES, _MESSAGE)

    def flush(self) -> Mark:
        """Write what waits as a chunk of its own; return where the file now ends."""
        if self._buffer:
            self._chunk(len(self._buffer), _MESSAGE)
        return self._mark

    def finish(self) -> Mark:
        """Write the final chunk; nothing can be added any more."""
        self._chunk(len(self._buffer), _FINAL)
        return self._mark

    def _chunk(self, size: int, tag: int) -> None:
        plain = bytes(self._buffer[:size])
        del self._buffer[:size]
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, plain, self._mark.chain, tag
        )
        self._put(_BLOCK.pack(_CHUNK, len(sealed)) + sealed)

    def _put(self, block: bytes) -> None:
        self._write(block)
        self._mark = Mark(self._mark.size + len(block), _after(self._mark.chain, block))


def open_sealed(read: Callable[[int], bytes], private_key: bytes) -> Iterator[bytes]:
    """Yield the plaintext of a sealed file, chunk by chunk; each was authenticated.

    ``read`` returns that many bytes, fewer at the end. Raises ``SealedFileError``: then what
    was yielded so far is not the whole.
    """
    box = SealedBox(PrivateKey(private_key))
    if read(len(MAGIC)) != MAGIC:
        raise SealedFileError("this is no sealed export, or one of another version")
    chain = _after(START.chain, MAGIC)
    state: _State | None = None
    for kind, body in _blocks(read):
        if kind == _SEGMENT:
            state = _begin(box, body)
        else:
            plain, tag = _pull(state, body, chain)
            yield plain
            if tag == _FINAL:
                if read(1):
                    raise SealedFileError("something follows the end of the sealed export")
                return
        chain = _after(chain, _BLOCK.pack(kind, len(body)) + body)
    raise SealedFileError("the sealed export is cut short")


def seal_whole(recipient: bytes, data: bytes) -> bytes:
    """Return a sealed file that holds ``data``."""
    parts: list[bytes] = []
    sealer = Sealer(recipient, parts.append, START)
    sealer.add(data)
    sealer.finish()
    return b"".join(parts)


def public_key_of(private_key: bytes) -> bytes:
    """Return the public key (32 bytes) of a recipient."""
    return bytes(PrivateKey(private_key).public_key)


def _after(chain: bytes, block: bytes) -> bytes:
    return sha256(chain + block).digest()


def _blocks(read: Callable[[int], bytes]) -> Iterable[tuple[int, bytes]]:
    while head := read(_BLOCK.size):
        if len(head) < _BLOCK.size:
            raise SealedFileError("the sealed export is cut short")
        kind, size = _BLOCK.unpack(head)
        is_known = (kind == _SEGMENT and size == _SEGMENT_BYTES) or (
            kind == _CHUNK and size <= _LARGEST_CHUNK
        )
        if not is_known:
            raise SealedFileError("the sealed export is damaged")
        body = read(size)
        if len(body) < size:
            raise SealedFileError("the sealed export is cut short")
        yield kind, body


def _begin(box: SealedBox[PrivateKey], body: bytes) -> _State:
    """Return the state of a segment's stream."""
    try:
        key = box.decrypt(body[:_SEALED_KEY_BYTES])
        state = _State()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(
            state, body[_SEALED_KEY_BYTES:], key
        )
    except (CryptoError, ValueError):
        raise SealedFileError("the export is sealed to another key, or damaged") from None
    return state


def _pull(state: _State | None, body: bytes, chain: bytes) -> tuple[bytes, int]:
    if state is None:
        raise SealedFileError("the sealed export is damaged")
    try:
        return bindings.crypto_secretstream_xchacha20poly1305_pull(state, body, chain)
    except (CryptoError, RuntimeError, ValueError):
        raise SealedFileError("the sealed export is damaged") from None
