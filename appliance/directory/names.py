"""Clean and judge what people are called: login names, display names, units, reasons.

Login names are ASCII on purpose: lower-case letters, digits, ``.``, ``_`` and ``-``, with a
letter or digit at both ends. What is typed is folded first (NFKC, then case), so full-width
letters work, and no look-alike letter of another script can make a second "alice". Display
names are free text in any script, without the characters that could make one text look like
another or break a line.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from appliance.directory.limits import LOGIN_CHARACTERS, LOGIN_CHARACTERS_MIN, NAME_CHARACTERS
from transports.wire.errors import Refusal

RESERVED: Final = frozenset(
    ("all", "everyone", "here", "me", "nobody", "site", "strongroom", "system")
)
"""Words that mean something else where a login name may stand."""

ID_PREFIX: Final = "id:"
"""Begins a reference to a person by id, in hex, where a login name may stand."""

_LOGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")

_FORBIDDEN: Final = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Categories no text may contain: controls, surrogates, private and unassigned, line breaks."""

_INVISIBLE_ALLOWED: Final = frozenset("\u200c\u200d")
"""Joiners, which some scripts need; every other format character (Cf) is refused."""


def login_key(text: str) -> str:
    """Return the form under which a login name is looked up; never raises.

    Anything longer than a login name can be gives "", which nobody is called.
    """
    if len(text) > LOGIN_CHARACTERS:
        return ""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def clean_login(text: str) -> str:
    """Return the login name to store; raises ``Refusal`` ("person.login")."""
    login = login_key(text)
    fits = LOGIN_CHARACTERS_MIN <= len(login) <= LOGIN_CHARACTERS
    if not fits or _LOGIN.fullmatch(login) is None or login in RESERVED:
        raise Refusal("person.login")
    return login


def clean_name(text: str) -> str:
    """Return the display name to store; raises ``Refusal`` ("person.name")."""
    name = _clean(text, NAME_CHARACTERS)
    if not name:
        raise Refusal("person.name")
    return name


def clean_text(text: str, characters: int) -> str:
    """Return one line of optional text of at most ``characters``.

    Raises ``Refusal`` ("request.invalid").
    """
    cleaned = _clean(text, characters)
    if cleaned is None:
        raise Refusal("request.invalid")
    return cleaned


def _clean(text: str, characters: int) -> str | None:
    if len(text) > characters:
        return None
    cleaned = unicodedata.normalize("NFC", text).strip()
    if len(cleaned) > characters or not all(map(_is_plain, cleaned)):
        return None
    return cleaned


def _is_plain(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cf":
        return character in _INVISIBLE_ALLOWED
    return category not in _FORBIDDEN
