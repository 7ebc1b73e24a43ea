"""Name every limit of the log and its encodings, with its unit."""

from __future__ import annotations

BODY_BYTES = 65_536
"""Longest body of one operation, in bytes; leaves room for the record in an engine value."""

CANONICAL_BYTES = 65_536
"""Longest canonical encoding that is read or made, in bytes."""

CANONICAL_DEPTH = 16
"""Deepest nesting of arrays in a canonical encoding, counting the outermost."""

SEGMENT_OPS = 512
"""Most operations in one segment."""

SEGMENT_MS = 60_000
"""Longest time a segment stays open after its first operation, in milliseconds."""

FENCE_BLOCK = 1_024
"""Sequence numbers that the boot fence reserves with one synced write."""

CLOCK_AHEAD_MS = 300_000
"""How far a foreign clock may be ahead and still advance ours, in milliseconds."""

REPLAY_PLACES = 1_000_000
"""Operations of other sites that a replay puts in order at once; twice 64 bytes for each."""

PSEUDONYM_TRIES = 8
"""Random pseudonyms tried before the entropy source counts as broken."""

NOTE_BYTES = 65_536
"""Longest signed note that is read or made, in bytes."""

NOTE_SIGNATURES = 32
"""Most signatures on one note."""
