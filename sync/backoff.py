"""Say how long to wait before connecting again (sans-IO)."""

from __future__ import annotations

from sync.errors import Fault, LinkError
from sync.limits import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN

_DOUBLINGS_MAX = 16


def pause_seconds(error: LinkError, failures: int, chance: float) -> float:
    """Return the pause after a link that ended.

    It doubles with every failure in a row, and is spread between half and the whole, so that a
    thousand branches do not come back in the same second. Where a person has to act first it is
    the longest at once.

    Args:
        error: why it ended.
        failures: how many links in a row never stood, 0 when the last one did.
        chance: a random number from 0 to below 1.
    """
    longest = BACKOFF_SECONDS_MIN * 2.0 ** min(failures, _DOUBLINGS_MAX)
    if not error.retryable or (error.fault is Fault.PEER and failures):
        longest = BACKOFF_SECONDS_MAX
    return min(longest, BACKOFF_SECONDS_MAX) * (0.5 + chance / 2)
