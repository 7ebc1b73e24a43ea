"""Name every bound of the directory, with its unit."""

from __future__ import annotations

from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

PERSONS: Final = 200_000
"""People of one site, removed ones included; all are held in memory."""

LOGIN_CHARACTERS_MIN: Final = 2
LOGIN_CHARACTERS: Final = 64
NAME_CHARACTERS: Final = 100
"""Longest display name or unit, in code points."""

REASON_CHARACTERS: Final = 500
"""Longest reason of a privileged act, in code points."""

DEVICE_NAME_CHARACTERS: Final = 64

DEVICES_PER_PERSON: Final = 64
"""Devices with a valid token at one time; password sessions count until they end."""

DEVICES_KEPT: Final = 4 * DEVICES_PER_PERSON
"""Devices remembered of a person, with those whose time may be over; what ends first makes room."""

INVITES_PER_PERSON: Final = 10
"""Open invitations at one time."""

INVITES_KEPT: Final = 2 * INVITES_PER_PERSON
"""Invitations remembered of a person, with those whose time may be over."""

INVITE_HOURS: Final = 72
INVITE_HOURS_MAX: Final = 30 * 24

VERIFIER_CHARACTERS: Final = 256
"""Longest password verifier in PHC string form; ours has 97."""

CHALLENGES: Final = 1_024
"""Open challenges of signed requests; beyond it the oldest is forgotten."""

CHALLENGE_SECONDS: Final = 60.0

REQUEST_BYTES: Final = 16_384
"""Longest canonical request that is looked at."""

SESSIONS: Final = 100_000
"""Live sessions of the whole site."""

SESSIONS_PER_PERSON: Final = 32

FAILURES_PER_PAIR: Final = 5
"""Failed logins of one account from one address until that pair is locked."""

PAIR_WINDOW_SECONDS: Final = 24 * 3_600.0
"""Failures of a pair count until the next success, but no longer than this."""

FAILURES_PER_ADDRESS: Final = 50
ADDRESS_WINDOW_SECONDS: Final = 15 * 60.0
"""Failures from an address count for this long; a success of one account forgives no other."""

LOCK_SECONDS: Final = 15 * 60.0
TALLIES: Final = 65_536
"""Pairs, and as many addresses, remembered at one time (about 1 kB each at most)."""

IPV6_PREFIX_BITS: Final = 64
"""One subscriber commands at least this network: it counts as one address."""
