"""Say how long a sign-in lasts, by how it was made and on what kind of device.

method        device     idle        absolute
invite, site  personal   -           180 days
invite, site  shared     15 minutes  12 hours
password      personal   30 minutes  12 hours
password      shared     15 minutes  12 hours
"""

from __future__ import annotations

from typing import Final, NamedTuple

from appliance.directory.limits import DAY_MS, HOUR_MS, MINUTE_MS

INVITE: Final = "invite"
PASSWORD: Final = "password"  # noqa: S105 - the name of a method
SITE: Final = "site"


class Lifetime(NamedTuple):
    """How long a token lasts without a command (None: no limit) and at most, in ms."""

    idle_ms: int | None
    absolute_ms: int


_SHARED: Final = Lifetime(15 * MINUTE_MS, 12 * HOUR_MS)
_PASSWORD: Final = Lifetime(30 * MINUTE_MS, 12 * HOUR_MS)
_TOKEN: Final = Lifetime(None, 180 * DAY_MS)


def lifetime(method: str, *, shared: bool) -> Lifetime:
    """Return the lifetime of a sign-in; a method not known here gets the shortest."""
    if shared or method not in (INVITE, PASSWORD, SITE):
        return _SHARED
    return _PASSWORD if method == PASSWORD else _TOKEN
