"""Name the tiers in which a root is kept and effaced, and what an effacement has shown.

    tier    claim    residual risk
    file    clear    flash translation layers, copy-on-write file systems, snapshots of virtual
                     machines and storage networks may hold an older copy of the slot
    pkcs11  -        not in this build: a token that destroys a key object
    tpm2    -        not in this build: a TPM 2.0 that deletes a sealed index

A higher tier holds the roots in its device; all the rest of the vault stays the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from store.ports import Disk, Entropy
from store.vault.errors import UnsupportedTierError
from store.vault.slots import RootSlot, RootSlots

TIERS: Final = ("file", "pkcs11", "tpm2")


class EffacementTier(Protocol):
    """A place for two root slots, 0 and 1, of which each can be destroyed."""

    @property
    def tier(self) -> str:
        """The tier's name, as certificates state it."""
        ...

    def load(self) -> tuple[RootSlot | None, RootSlot | None]:
        """Read both slots as the device has them now."""
        ...

    def write(self, number: int, data: bytes) -> None:
        """Put a slot in place; durable on return."""
        ...

    def is_blank(self, number: int) -> bool:
        """Tell whether a slot is durably effaced."""
        ...

    def efface(self, number: int, entropy: Entropy) -> None:
        """Destroy a slot; raises ``EffaceError`` when the device does not show that it did."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen when a root ended; certificates state it.

    ``old_generation`` is the number of the newest root that ended, ``new_generation`` of the
    one that followed (None: none did). ``slots`` names what was effaced; ``is_verified`` tells
    that each was read back from the device as zeros.
    """

    old_generation: int
    new_generation: int | None
    tier: str
    slots: tuple[str, ...]
    is_verified: bool


def tier(name: str) -> Callable[[Disk], EffacementTier]:
    """Return what makes a tier's slots of a key directory.

    Raises ``UnsupportedTierError`` for every tier but ``file``.
    """
    if name == RootSlots.tier:
        return RootSlots
    known = "not in this build" if name in TIERS else "unknown"
    raise UnsupportedTierError(f"the effacement tier {name!r} is {known}")
