"""Decide what people at a branch are told of its line to headquarters (sans-IO)."""

from __future__ import annotations

from typing import Final

from appliance.sites.limits import LINE_SECONDS
from transports.wire.schema import Site

REACHABLE: Final = "reachable"
UNREACHABLE: Final = "unreachable"


class Line:
    """The line of a branch; ``now`` in seconds that never go back.

    Args:
        since_ms: when headquarters was heard of last, Unix ms; 0: never.
    """

    def __init__(self, since_ms: int) -> None:
        self.told = Site(UNREACHABLE, since_ms)
        """What people were told last."""
        self._told_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether headquarters is reachable."""
        return self.told.headquarters == REACHABLE

    def seen(self, *, is_connected: bool, waiting: int, now_ms: int, now: float) -> Site | None:
        """Take how the line is now; return what is to be told, None when that is nothing new.

        A change is told at once, another number of waiting operations every ``LINE_SECONDS``, and
        that none waits any more at once too.
        """
        told = self.told
        if is_connected != self.is_connected:
            state = REACHABLE if is_connected else UNREACHABLE
            return self._tell(Site(state, now_ms, waiting), now)
        if waiting == told.waiting or (waiting and now - self._told_at < LINE_SECONDS):
            return None
        return self._tell(Site(told.headquarters, told.since, waiting), now)

    def _tell(self, site: Site, now: float) -> Site:
        self.told, self._told_at = site, now
        return site
