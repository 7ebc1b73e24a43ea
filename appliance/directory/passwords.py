"""Judge new passwords: long enough, not common, nothing of the person or the site in them.

Nothing here repeats the password, not even in an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from appliance.directory.guessing import guess_bits
from transports.wire.errors import Refusal

CHARACTERS_MIN: Final = 15
"""Shortest password that stands alone (NIST SP 800-63B-4), in code points after NFKC."""

CHARACTERS_MAX: Final = 256
COMMON_BITS: Final = 36.0
"""What can be guessed in 2^36 tries, by a list of words and patterns, is common."""

PERSONAL_CHARACTERS: Final = 4
"""Words about the person or site from this length may not occur at all."""

PERSONAL_BITS: Final = 2.0

_FORBIDDEN: Final = frozenset(("Cc", "Cs", "Cn", "Co", "Zl", "Zp"))


class Weakness(StrEnum):
    """Why a password is refused."""

    SHORT = "short"
    LONG = "long"
    COMMON = "common"
    PERSONAL = "personal"
    UNREADABLE = "unreadable"
    """It holds characters that keyboards do not type."""


def weakness(password: str, about: Iterable[str] = ()) -> Weakness | None:
    """Return why this is no password to accept, or None when it is one; up to 25 ms of CPU.

    ``about`` holds what others know: login and display name, unit, name of the site.
    """
    if len(password) > CHARACTERS_MAX:
        return Weakness.LONG
    text = unicodedata.normalize("NFKC", password)
    if any(unicodedata.category(each) in _FORBIDDEN for each in text):
        return Weakness.UNREADABLE
    if len(text) < CHARACTERS_MIN:
        return Weakness.SHORT
    if len(text) > CHARACTERS_MAX:
        return Weakness.LONG
    known = _words(about)
    lower = text.casefold()
    if any(len(word) >= PERSONAL_CHARACTERS and word in lower for word in known):
        return Weakness.PERSONAL
    if guess_bits(text, dict.fromkeys(known, PERSONAL_BITS)) < COMMON_BITS:
        return Weakness.COMMON
    return None


def check(password: str, about: Iterable[str] = ()) -> None:
    """Raise ``Refusal`` ("auth.password_weak") when ``weakness`` finds one."""
    if weakness(password, about) is not None:
        raise Refusal("auth.password_weak")


def _words(about: Iterable[str]) -> set[str]:
    words = set()
    for text in about:
        folded = unicodedata.normalize("NFKC", text).casefold()
        parts = re.split(r"[\W_]+", folded)
        words |= {part for part in (*parts, "".join(parts)) if len(part) >= 2}
    return words
