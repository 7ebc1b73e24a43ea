"""Say bytes in English words, for people who read them to each other over a telephone.

The list is BIP-39's: 2,048 words that differ in their first four letters, so a word tells
eleven bits and a misheard one is rarely another of the list.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Final

from mnemonic import Mnemonic

FINGERPRINT_WORDS: Final = 6
"""Words of a fingerprint: 66 bits, too many to look for a second key that has the same."""

_WORD_BITS: Final = 11


@cache
def _list() -> Mnemonic:
    return Mnemonic("english")


def spell(data: bytes) -> str:
    """Return 16 or 32 bytes as 12 or 24 words, the last with a checksum."""
    return _list().to_mnemonic(data)


def read(text: str) -> bytes | None:
    """Return the bytes of such words, in any case and spacing; None for anything else."""
    words = text.lower().split()
    if not _list().check(" ".join(words)):
        return None
    return bytes(_list().to_entropy(words))


def fingerprint(*parts: bytes) -> str:
    """Return six words over the SHA-256 of the parts, each of a fixed length."""
    value = int.from_bytes(sha256(b"strongroom/words/1" + b"".join(parts)).digest(), "big")
    every = _list().wordlist
    chosen = (every[(value >> _WORD_BITS * n) % len(every)] for n in range(FINGERPRINT_WORDS))
    return " ".join(chosen)
