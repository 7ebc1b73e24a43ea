"""Bound what the vault opens, caches and derives, and number the built-in retention classes."""

from __future__ import annotations

CONTROL = 0
"""Retention class of what steers a stream: no age rule applies to it."""

AUDIT = 1
"""Retention class of the audit stream."""

STANDARD = 2
"""Retention class of messages without a rule of their own."""

EPOCH_PARTS = 2_048
"""Parts sealed under one epoch; the largest possible cover then has 52 kB."""

EPOCHS_PER_SWITCH = 500
"""Epochs that one root switch punctures: bounds its covers and how long the writer is busy."""

CUT_EPOCHS = 100
"""Epochs that are cut at a time after a crash or a lost batch: others wait meanwhile."""

EMPTIED_PER_SWITCH = 32_768
"""Epochs that one root switch destroys as a whole; each leaves a row of 39 bytes."""

SWITCH_BYTES_MAX = 16 * 1_048_576
"""Most bytes of rows that one root switch writes: half of the engines' largest batch."""

EPOCH_AGE_MIN_MS = 3_600_000
"""Shortest time an epoch stays open, in milliseconds (1 hour)."""

EPOCH_AGE_MAX_MS = 31 * 86_400_000
"""Longest time an epoch stays open, in milliseconds (31 days)."""

EPOCH_AGE_SHARE = 64
"""An epoch stays open for this fraction of its class's maximum retention."""

EPOCH_SERIAL_MAX = 2**32 - 1
"""Last epoch serial of a stream (a u32)."""

OPEN_EPOCHS = 131_072
"""Epochs kept open for sealing at a time; the oldest is closed for another (about 30 MB)."""

SEED_CELLS = 65_536
"""32-byte seeds kept in locked memory (2 MiB): about 10,000 warm epochs."""

ARGON2_MEMORY_KIB_MAX = 1_048_576
"""Most argon2 memory a root slot may ask for, in KiB (1 GiB): slots come from a disk."""

ARGON2_PASSES_MAX = 64
"""Most argon2 passes a root slot may ask for."""

ARGON2_LANES_MAX = 64
"""Most argon2 lanes a root slot may ask for."""

CREDENTIAL_BYTES_MIN = 32
"""Shortest credential file, in bytes: it is used as a key, not stretched."""

CREDENTIAL_BYTES_MAX = 65_536
"""Longest credential file, in bytes."""
