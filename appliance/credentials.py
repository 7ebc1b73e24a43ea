"""Hash and check passwords with argon2id: blocking calls, for a worker thread.

One call takes 64 MiB and some 100 ms of one core, so callers run few at a time. Passwords are
normalised (NFKC) first, so that the same text typed on another keyboard is the same password.
A verifier is a PHC string: ``$argon2id$v=19$m=65536,t=3,p=1$salt$hash``.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB: Final = 65_536
PASSES: Final = 3
LANES: Final = 1
HASH_BYTES: Final = 32
SALT_BYTES: Final = 16

PASSWORD_CHARACTERS: Final = 1_024
"""Longer input is no password of ours; it costs the same time as a wrong one."""

DUMMY_VERIFIER: Final = (
    "$argon2id$v=19$m=65536,t=3,p=1$P4EtYld/stmhKP0zCQHWYQ$"
    "pRgyUY5Ef52wfxKTnri9b/KOMwDG96Dd/p3uBG6nEOI"
)
"""Checked where there is no password, so that time does not tell who exists.

Made once from 32 random bytes that nobody kept.
"""

_HASHER: Final = PasswordHasher(
    time_cost=PASSES,
    memory_cost=MEMORY_KIB,
    parallelism=LANES,
    hash_len=HASH_BYTES,
    salt_len=SALT_BYTES,
    type=Type.ID,
)


def hash_password(password: str, salt: bytes) -> str:
    """Return the verifier of a password; ``salt`` is ``SALT_BYTES`` random bytes.

    Raises ``ValueError`` for another length of salt, and for text that is not Unicode.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError("a salt has 16 bytes")
    return _HASHER.hash(_secret(password), salt=salt)


def verify_password(verifier: str, password: str) -> bool:
    """Tell whether the password is the one; an empty verifier takes its time and says no."""
    wanted = verifier or DUMMY_VERIFIER
    usable = len(password) <= PASSWORD_CHARACTERS
    try:
        _HASHER.verify(wanted, _secret(password if usable else ""))
    except (VerificationError, InvalidHashError, ValueError):
        return False
    return usable and bool(verifier)


def needs_rehash(verifier: str) -> bool:
    """Tell whether a verifier was made with other costs than today's."""
    try:
        return _HASHER.check_needs_rehash(verifier)
    except InvalidHashError:
        return True


def _secret(password: str) -> bytes:
    try:
        return unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a password is Unicode text") from None
