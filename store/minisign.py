"""Verify signatures in minisign's format, as release files and upgrade bundles carry them.

A public key file has two lines, a comment and base64 of:

    offset  size  type   meaning
    0       2     bytes  "Ed"
    2       8     bytes  the key's id
    10      32    bytes  Ed25519 public key

A signature file has four: a comment, base64 of the signature, the trusted comment, and base64 of
the 64-byte Ed25519 signature over the signature (64 bytes) || the trusted comment's text:

    offset  size  type   meaning
    0       2     bytes  "ED": of the BLAKE2b-512 hash of the data; "Ed": of the data
    2       8     bytes  the key's id
    10      64    bytes  Ed25519 signature

Format: https://jedisct1.github.io/minisign/ (sections on the format of keys and signatures).
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import ClassVar, Final, NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from store.errors import StoreError

FILE_BYTES: Final = 4_096
"""Longest key or signature file that is read, in bytes."""

KEY_ALGORITHM: Final = b"Ed"
HASHED: Final = b"ED"
UNTRUSTED: Final = "untrusted comment: "
TRUSTED: Final = "trusted comment: "

_ID_BYTES = 8
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_BASE64 = r"([A-Za-z0-9+/]+={0,2})"
_KEY_FILE = re.compile(rf"(?:{UNTRUSTED}[^\n]*\n)?{_BASE64}\n?")
_SIGNATURE_FILE = re.compile(rf"{UNTRUSTED}[^\n]*\n{_BASE64}\n{TRUSTED}([^\n]*)\n{_BASE64}\n?")


class SignatureError(StoreError):
    """A signature is missing, malformed, or not by the key it has to be by."""

    code: ClassVar[str] = "signature.invalid"
    hint: ClassVar[str] = "Do not use the file; get it, and the key, again by a way you trust."


class PublicKey(NamedTuple):
    """Who may sign: the key's id (8 bytes) and the Ed25519 key (32 bytes)."""

    id: bytes
    key: bytes

    def text(self) -> str:
        """Return the public key file."""
        line = base64.b64encode(KEY_ALGORITHM + self.id + self.key).decode("ascii")
        return f"{UNTRUSTED}minisign public key {self.name}\n{line}\n"

    @property
    def name(self) -> str:
        """The id as minisign prints it."""
        return self.id[::-1].hex().upper()


def read_public(text: str) -> PublicKey:
    """Read a public key file, or its second line alone; raises ``SignatureError``."""
    found = _KEY_FILE.fullmatch(text)
    data = _decoded(found[1], len(KEY_ALGORITHM) + _ID_BYTES + _KEY_BYTES) if found else b""
    if data[:2] != KEY_ALGORITHM:
        raise SignatureError("this is no public key in minisign's format")
    return PublicKey(data[2 : 2 + _ID_BYTES], data[2 + _ID_BYTES :])


def verify(public: PublicKey, data: bytes, signature: str) -> str:
    """Return the trusted comment of a signature of ``data``.

    Raises ``SignatureError`` when the signature is malformed, by another key, or wrong.
    """
    found = _SIGNATURE_FILE.fullmatch(signature) if len(signature) <= FILE_BYTES else None
    if found is None:
        raise SignatureError("this is no signature in minisign's format")
    head = _decoded(found[1], len(HASHED) + _ID_BYTES + _SIGNATURE_BYTES)
    whole = _decoded(found[3], _SIGNATURE_BYTES)
    algorithm, key_id, signed = head[:2], head[2 : 2 + _ID_BYTES], head[2 + _ID_BYTES :]
    if algorithm not in (HASHED, KEY_ALGORITHM):
        raise SignatureError("the signature is of an unknown kind")
    if key_id != public.id:
        raise SignatureError("the signature is by another key")
    message = prehashed(data) if algorithm == HASHED else data
    if not (
        _is_signed(public.key, message, signed)
        and _is_signed(public.key, signed + found[2].encode("utf-8"), whole)
    ):
        raise SignatureError("the signature is wrong")
    return found[2]


def prehashed(data: bytes) -> bytes:
    """Return what a signature of kind "ED" signs."""
    return hashlib.blake2b(data).digest()


def _decoded(text: str, size: int) -> bytes:
    """Return base64's bytes; raises ``SignatureError`` unless there are ``size``."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != size:
        raise SignatureError("a key or signature in minisign's format has another length")
    return data


def _is_signed(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(data, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
