"""Encrypt, authenticate and derive under the cipher suites, named by one byte in every value.

    number  AEAD                 nonce  PRF
    1       AES-256-GCM          12     HMAC-SHA-256 (RFC 2104)
    2       XChaCha20-Poly1305   24     BLAKE2b-256, keyed (RFC 7693)

    sealed value
    offset  size  type   meaning
    0       1     u8     suite
    1       n     bytes  random nonce, n by suite
    1+n     ...   bytes  ciphertext, then a tag of 16 bytes

No cipher object outlives a call: libraries keep copies of the key in them that nobody can wipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b, sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from store.errors import FormatError, IntegrityError

KEY_BYTES = 32
TAG_BYTES = 16

Prf = Callable[[bytes, bytes], bytes]
"""A pseudorandom function: (key of 32 bytes, input) -> 32 bytes."""

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * 32
_OUTER_REST = b"\x5c" * 32


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256 for a key of exactly 32 bytes.

    Every message sealed or opened pays for one or two of these. Written out, it takes little
    more than half the time of ``hmac.digest``, which sets up an OpenSSL context each time.
    """
    inner = sha256(key.translate(_INNER) + _INNER_REST + data).digest()
    return sha256(key.translate(_OUTER) + _OUTER_REST + inner).digest()


def _blake2b(key: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=32, key=key).digest()


class Suite(Protocol):
    """A cipher and a pseudorandom function that are used together.

    ``number`` is the byte stored, ``head`` the same as bytes; a nonce has ``nonce_bytes``;
    ``name`` is for people.
    """

    name: str
    number: int
    head: bytes
    nonce_bytes: int

    def prf(self, key: bytes, data: bytes, /) -> bytes:
        """Return 32 pseudorandom bytes."""
        ...

    def encrypt(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return ciphertext and tag."""
        ...

    def decrypt(self, key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """Return the plaintext; raises ``IntegrityError`` when the tag is wrong."""
        ...


class _AesGcm:
    name = "AES-256-GCM, HMAC-SHA-256"
    number = 1
    head = b"\x01"
    nonce_bytes = 12
    prf = staticmethod(hmac_sha256)

    @staticmethod
    def encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        return AESGCM(key).encrypt(nonce, plaintext, associated)

    @staticmethod
    def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, associated)
        except InvalidTag:
            raise IntegrityError("a sealed value fails its tag") from None


class _XChaCha:
    name = "XChaCha20-Poly1305, BLAKE2b-256"
    number = 2
    head = b"\x02"
    nonce_bytes = 24
    prf = staticmethod(_blake2b)

    @staticmethod
    def encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)

    @staticmethod
    def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, key)
        except CryptoError:
            raise IntegrityError("a sealed value fails its tag") from None


AES_GCM: Suite = _AesGcm()
XCHACHA: Suite = _XChaCha()
SUITES: Mapping[int, Suite] = {suite.number: suite for suite in (AES_GCM, XCHACHA)}

SEALING_BYTES_MAX: Final = 1 + max(suite.nonce_bytes for suite in SUITES.values()) + TAG_BYTES
"""Most bytes by which a sealed value is longer than its plaintext."""


def suite_of(number: int) -> Suite:
    """Return the suite stored as ``number``; raises ``FormatError`` when it is unknown."""
    suite = SUITES.get(number)
    if suite is None:
        raise FormatError(f"unknown suite {number}")
    return suite


def seal(suite: Suite, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return a sealed value; ``associated`` must state the suite and the value's place."""
    return suite.head + nonce + suite.encrypt(key, nonce, plaintext, associated)


def unseal(suite: Suite, key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open a sealed value whose key belongs to ``suite``.

    Raises ``FormatError`` for an unknown suite byte, ``IntegrityError`` for another suite than
    the key's (a key is never tried with a second one), a short value or a wrong tag.
    """
    if sealed[:1] != suite.head:
        suite_of(sealed[0] if sealed else 0)
        raise IntegrityError("a sealed value names another suite than its key's")
    start = 1 + suite.nonce_bytes
    if len(sealed) < start + TAG_BYTES:
        raise IntegrityError("a sealed value is too short")
    return suite.decrypt(key, sealed[1:start], sealed[start:], associated)
