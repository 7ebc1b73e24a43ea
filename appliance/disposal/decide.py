"""List the decisions about policy, holds, approvals, destruction and the trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.context import Context
from appliance.disposal import (
    decide_clock,
    decide_end,
    decide_holds,
    decide_orders,
    decide_policy,
    decide_requests,
    decide_reviews,
    decide_runs,
    decide_slices,
    decide_trail,
    ledgering,
)

DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    **decide_clock.DECISIONS,
    **decide_end.DECISIONS,
    **decide_holds.DECISIONS,
    **decide_orders.DECISIONS,
    **decide_policy.DECISIONS,
    **decide_requests.DECISIONS,
    **decide_reviews.DECISIONS,
    **decide_runs.DECISIONS,
    **decide_slices.DECISIONS,
    **decide_trail.DECISIONS,
    **ledgering.DECISIONS,
}
"""What ``appliance.core`` dispatches on beside the other rooms' decisions; these get the core."""
