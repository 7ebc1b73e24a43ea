"""Keys that can be destroyed on their own, and the sealing of records under them."""

from store.vault.effacement import EffacementTier, Evidence
from store.vault.errors import EffaceError, StaleSnapshotError, UnsupportedTierError
from store.vault.hardening import harden
from store.vault.limits import AUDIT, CONTROL, STANDARD
from store.vault.slots import RootSlots
from store.vault.switch import Switch
from store.vault.vault import Locator, Vault, generation_of
from store.vault.wrap import Argon2Cost, CredentialWrap, NoWrap, PassphraseWrap, Wrap

__all__ = [
    "AUDIT",
    "CONTROL",
    "STANDARD",
    "Argon2Cost",
    "CredentialWrap",
    "EffaceError",
    "EffacementTier",
    "Evidence",
    "Locator",
    "NoWrap",
    "PassphraseWrap",
    "RootSlots",
    "StaleSnapshotError",
    "Switch",
    "UnsupportedTierError",
    "Vault",
    "Wrap",
    "generation_of",
    "harden",
]
