"""Make, read and hash invitation codes and device tokens.

A code is 20 characters of Crockford's base 32 (100 random bits), shown in groups of five. The
site stores SHA-256 of codes and tokens: both carry enough randomness that a plain hash is safe.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_CHARACTERS: Final = 20
GROUP_CHARACTERS: Final = 5
CODE_ENTROPY_BYTES: Final = 13
"""Random bytes that ``make_code`` takes; 100 of their 104 bits are used."""

TOKEN_BYTES: Final = 32
"""Random bytes of a device token."""

HASH_BYTES: Final = 32

_READ: Final = {
    **{letter: letter for letter in ALPHABET},
    **{letter.lower(): letter for letter in ALPHABET},
    **dict.fromkeys("oO", "0"),
    **dict.fromkeys("iIlL", "1"),
}
_CONTEXT: Final = b"strongroom/invite/1"


def make_code(entropy: bytes) -> str:
    """Turn ``CODE_ENTROPY_BYTES`` random bytes into a code, in groups."""
    value = int.from_bytes(entropy, "big")
    letters = "".join(ALPHABET[(value >> 5 * n) & 31] for n in range(CODE_CHARACTERS))
    groups = range(0, CODE_CHARACTERS, GROUP_CHARACTERS)
    return "-".join(letters[at : at + GROUP_CHARACTERS] for at in groups)


def read_code(text: str) -> str | None:
    """Return the 20 letters of a code as typed, or None when it cannot be one.

    Case, hyphens and spaces do not matter; O reads as 0, I and L as 1.
    """
    if len(text) > 4 * CODE_CHARACTERS:
        return None
    letters = [_READ.get(letter, "") for letter in text if letter not in " -"]
    code = "".join(letters)
    return code if len(code) == len(letters) == CODE_CHARACTERS else None


def code_hash(text: str) -> bytes:
    """Return what the site stores of a code; all texts that are no code share one hash."""
    return sha256(_CONTEXT + (read_code(text) or "").encode("ascii")).digest()


def token_hash(token: bytes) -> bytes:
    """Return what the site stores of a device token."""
    return sha256(token).digest()
