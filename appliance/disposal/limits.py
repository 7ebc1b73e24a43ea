"""Bound what policy, holds and destruction take at a time, each with its unit."""

from __future__ import annotations

from typing import Final

SLICE_RECORDS: Final = 128
"""Records that one command of a run destroys: others wait for the writer meanwhile."""

SLICE_OPERATIONS: Final = 4_096
"""Operations of one slice, with all that targets its records."""

SCAN_RECORDS: Final = 20_000
"""Records that a run finds before it goes on destroying; then it looks again."""

SCAN_PIECE: Final = 8
"""Records that a run looks at until it lets the other threads go on for as long."""

PATIENCE: Final = 200
"""How many times as long as a slice of an expiry has taken the writer is left to others, while
others write at all: so few of their commands meet a slice that 99 in 100 notice nothing."""

COUNTED_DAYS: Final = 500
"""Pairs of class and day in one run; beyond them counts are by spans of ``SPAN_DAYS``."""

SPAN_DAYS: Final = 31

WIPED_RANGES: Final = 500
"""Ranges of timeline keys in one ``conversation.wiped``."""

LABELS_PER_CONVERSATION: Final = 32

PAST_FILINGS: Final = 200
"""Earlier classes and labels of one conversation: each may hold a minimum that runs."""

ACTIVE_HOLDS: Final = 10_000
"""Holds at one time."""

HOLDS_PER_SITE: Final = 1_000_000
"""Numbers of holds that each site has to give: those of branch 3 begin at 3,000,001."""

OPEN_REQUESTS: Final = 1_000
"""Requests that are neither done nor over, at one time."""

ORDER_RECORDS: Final = 1_000_000
"""Records of one order; larger ones are split by dates."""

REVIEW_HOURS_MAX: Final = 30 * 24
"""Longest time-box of a review, in hours."""

TRAIL_ENTRIES: Final = 500
"""Entries of the trail in one answer."""

RUNS_LISTED: Final = 1_000

BUCKET_RECORDS: Final = 5
"""Counts below this are not told in certificates."""

LEDGER_LINES: Final = 5_000
"""Lines of one page of the ledger export."""
