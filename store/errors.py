"""Name every failure of the store, with its stable code."""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Root of the store's errors.

    ``code`` is stable and documented; ``retryable`` tells whether the same call may succeed
    later; ``hint`` is the operator's next step. Messages never carry content or keys.
    """

    code: ClassVar[str] = "store.failed"
    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = "See the log for the failing operation; run `strongroom doctor`."


class EngineError(StoreError):
    """The engine failed in a way that leaves the outcome of the last batch unknown."""

    code: ClassVar[str] = "store.engine_failed"
    hint: ClassVar[str] = "Check the disk and file permissions; the server stops on this error."


class EngineFullError(EngineError):
    """The map or the disk is full; nothing of the batch was applied."""

    code: ClassVar[str] = "store.map_full"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Free disk space or raise store.map_bytes, then restart."


class ReserveError(EngineFullError):
    """The map is full but for its reserve; nothing of the batch was even tried."""


class FencedError(EngineError):
    """Another writer took over; this one must stop."""

    code: ClassVar[str] = "store.fenced"
    hint: ClassVar[str] = "Another process has opened this data directory for writing."


class LimitError(StoreError):
    """A key, value or batch exceeds the contract's limits."""

    code: ClassVar[str] = "store.limit"


class BatchFullError(LimitError):
    """A batch has no room left for what its later commands want; in another there may be."""


class OverloadedError(StoreError):
    """The writer's queue is full; the command was not taken."""

    code: ClassVar[str] = "store.overloaded"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Retry after a pause."


class IntegrityError(StoreError):
    """Stored bytes contradict their commitment, MAC or chain."""

    code: ClassVar[str] = "store.integrity"
    hint: ClassVar[str] = "Stop, keep a copy of the data directory, run `strongroom check`."


class ForgedError(IntegrityError):
    """What came from another site is not signed by that site's key, or not what it signed."""

    code: ClassVar[str] = "store.forged"
    hint: ClassVar[str] = "Find out what that site is before its link is allowed again."


class EquivocationError(IntegrityError):
    """Another site said two different things under one number."""

    code: ClassVar[str] = "store.equivocation"
    hint: ClassVar[str] = "That site's log has forked: compare its heads before anything else."


class PartGoneError(StoreError):
    """The part's key was destroyed, or the part was dropped by scope."""

    code: ClassVar[str] = "store.part_gone"
    hint: ClassVar[str] = "This is final for destroyed parts."


class VaultLockedError(StoreError):
    """No valid root slot opens with the key directory and wrap given."""

    code: ClassVar[str] = "vault.locked"
    hint: ClassVar[str] = "Check the key directory and passphrase, or restore the key replica."


class FormatError(StoreError):
    """A record has a version, suite or layout that this build does not know."""

    code: ClassVar[str] = "store.format"
    hint: ClassVar[str] = "The data was written by a newer build; use that build."
