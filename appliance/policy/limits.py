"""Name every bound of policy, holds, approvals and the clock, each with its unit."""

from __future__ import annotations

from typing import Final

from appliance.policy.durations import DAY_MS, HOUR_MS, MINUTE_MS

# --- policies ---------------------------------------------------------------------------------

RULES: Final = 100
"""Rules of one policy."""

CLASSES: Final = 64
"""Retention classes of one policy, beside the built-in ones."""

NAME_CHARACTERS: Final = 32
"""Longest name of a rule or class; ASCII."""

SELECTOR_CHARACTERS: Final = 100
"""Longest unit or label, in code points."""

BASIS_CHARACTERS: Final = 200
"""Longest legal basis of a rule, in code points."""

POLICY_BYTES: Final = 49_152
"""Longest canonical encoding of a policy, in bytes; leaves room in an operation's body."""

TEXT_BYTES: Final = 262_144
"""Longest policy file that is read, in bytes of UTF-8."""

BOUNDS_CACHED: Final = 16_384
"""Combinations of selectors whose bounds are remembered; beyond it all are forgotten."""

# --- predicates -------------------------------------------------------------------------------

PREDICATE_VALUES: Final = 1_000
"""Values of one field of a predicate."""

HOLD_TOLERANCE_MS: Final = DAY_MS
"""How much a hold's dates are widened at both ends: no clock error lets it miss a record."""

# --- approvals --------------------------------------------------------------------------------

COOLING_MS_MAX: Final = 90 * DAY_MS
"""Longest cooling-off that a policy may set."""

EXPIRES_MS_MIN: Final = HOUR_MS
EXPIRES_MS_MAX: Final = 90 * DAY_MS
"""Bounds of the time after which a request that nobody approved ends."""

# --- the clock --------------------------------------------------------------------------------

JUMP_MS: Final = 5 * MINUTE_MS
"""A wall clock this far from where it is expected is still adopted; any further is a jump."""

DRIFT_PPM: Final = 200
"""How fast a machine's uptime may run against true time, in millionths."""

ANCHOR_MS: Final = HOUR_MS
"""Time from one anchor to the next while the site writes, unless it stops before."""

SIGNED_AGE_MS: Final = JUMP_MS // 2
"""Oldest time of headquarters that may be used, and the largest step it makes unannounced."""

BORN_MARGIN_MS: Final = 2 * SIGNED_AGE_MS
"""Added to every bound on a birth: a step not announced, and what was lacking even after it."""
