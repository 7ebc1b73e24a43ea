"""Tell from when on a hold is in force everywhere, as headquarters can prove it.

A branch that has told that it applied the hold keeps what it covers. Of another one it is known
that it cannot destroy anything any more once its last lease is over, and that a new lease is not
for a branch that lacks the hold. So nothing is destroyed against it from the earlier of the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from appliance.disposal.limits import HOLDS_PER_SITE
from appliance.disposal.state import Hold
from appliance.sites import pending
from appliance.sites.limits import EXPIRED_MS, LEASE_DRIFT_MS
from store.engine.contract import Reader

if TYPE_CHECKING:
    from appliance.core import Core


class Coverage(NamedTuple):
    """A hold is in force everywhere from ``everywhere_ms`` on (Unix ms, 0: it is already).

    ``waits_for`` are the sites that have not told yet that they know it.
    """

    everywhere_ms: int
    waits_for: tuple[str, ...]


def coverage(core: Core, reader: Reader, hold: Hold, now_ms: int) -> Coverage:
    """Return from when on a hold is in force everywhere; at a branch, whether it is on its way."""
    sites = core.sites
    if sites.is_branch:
        is_own = hold.body.hold // HOLDS_PER_SITE == sites.number
        is_known = not is_own or hold.seq <= pending.confirmed(reader, core.log)
        return Coverage(0, () if is_known else ("headquarters",))
    waits: dict[str, int] = {}
    for branch in sites.branches.values():
        granted = sites.granted.get(branch.site)
        if granted is None or branch.site in core.disposal.across.lost:
            continue
        over_ms = granted.at_ms + EXPIRED_MS + LEASE_DRIFT_MS
        if granted.applied < hold.pos and over_ms > now_ms:
            waits[branch.name] = over_ms
    return Coverage(max(waits.values(), default=0), tuple(sorted(waits)))
