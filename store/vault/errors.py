"""Name the failures that only the vault has; the shared ones are in ``store.errors``."""

from __future__ import annotations

from typing import ClassVar

from store.errors import StoreError


class EffaceError(StoreError):
    """A root slot could not be overwritten, or did not read back as zeros."""

    code: ClassVar[str] = "vault.efface_failed"
    hint: ClassVar[str] = "Check the key directory's disk; nothing was destroyed or confirmed."


class StaleSnapshotError(StoreError):
    """The snapshot is of another generation than the vault's root; take a new one."""

    code: ClassVar[str] = "vault.stale_snapshot"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Repeat the read on a new snapshot."


class UnsupportedTierError(StoreError):
    """This build cannot keep roots in, and efface them from, such a device."""

    code: ClassVar[str] = "vault.tier_unsupported"
    hint: ClassVar[str] = "Use the tier `file`; every certificate names its residual risk."
