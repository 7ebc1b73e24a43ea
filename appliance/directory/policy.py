"""Say how long a sign-in lasts, by how it was made and on what kind of device.

method        device     idle        absolute
invite, site  personal   -           180 days
invite, site  shared     15 minutes  12 hours
password      personal   30 minutes  12 hours
password      shared     15 minutes  12 hours
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.directory.limits import DAY_MS, HOUR_MS, MINUTE_MS

INVITE: Final = "invite"
PASSWORD: Final = "password"  # noqa: S105 - the name of a method
SITE: Final = "site"


class Lifetime(NamedTuple):
    """How long a token lasts without a command (None: no limit) and at most, in ms."""

    idle_ms: int | None
    absolute_ms: int


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What an operator can set of the table above, in ms; the defaults are the table's."""

    idle_ms: int = 30 * MINUTE_MS
    shared_idle_ms: int = 15 * MINUTE_MS
    absolute_ms: int = 12 * HOUR_MS
    token_ms: int = 180 * DAY_MS

    def of(self, method: str, *, shared: bool) -> Lifetime:
        """Return the lifetime of a sign-in; a method not known here gets the shortest."""
        if shared or method not in (INVITE, PASSWORD, SITE):
            return Lifetime(self.shared_idle_ms, self.absolute_ms)
        if method == PASSWORD:
            return Lifetime(self.idle_ms, self.absolute_ms)
        return Lifetime(None, self.token_ms)
