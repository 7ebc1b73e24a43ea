"""Keys that can be destroyed on their own, and the sealing of records under them."""

from store.vault.errors import EffaceError, StaleSnapshotError
from store.vault.hardening import harden
from store.vault.limits import AUDIT, CONTROL, STANDARD
from store.vault.vault import Locator, Vault
from store.vault.wrap import Argon2Cost, CredentialWrap, NoWrap, PassphraseWrap, Wrap

__all__ = [
    "AUDIT",
    "CONTROL",
    "STANDARD",
    "Argon2Cost",
    "CredentialWrap",
    "EffaceError",
    "Locator",
    "NoWrap",
    "PassphraseWrap",
    "StaleSnapshotError",
    "Vault",
    "Wrap",
    "harden",
]
