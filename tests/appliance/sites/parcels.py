"""Carry parcels between the sites of a hand-carried organisation, in files of a folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from appliance.sites.sending_parcels import Sender, Sent
from appliance.sites.taking_parcels import Taken, Taker
from store.clocks import SeededEntropy
from tests.appliance.sites.harness import OrganisationOf, Place

ROUNDS = 4
"""Trips of a stick to and fro in which everything must have arrived: history takes two."""


class Courier:
    """Takes parcels to and fro; every file has a name of its own."""

    def __init__(self, organisation: OrganisationOf[Place], folder: Path) -> None:
        self.organisation = organisation
        self.folder = folder
        self._names = map(str, itertools.count())

    def export(self, place: Place, other: Place, *, is_all: bool = False) -> Path:
        """Return the file that a site wrote for another."""
        return self.sent(place, other, is_all=is_all)[0]

    def sent(self, place: Place, other: Place, *, is_all: bool = False) -> tuple[Path, Sent]:
        """Return the same, and what it holds."""
        path = self.folder / next(self._names)
        means = _means(place)
        entropy = SeededEntropy(int(path.name))
        sender = Sender(*means[:2], place.clock, entropy, *means[2:], "test")
        return path, trio.run(lambda: sender.send(other.node, path, is_all=is_all))

    def bring(self, path: Path, place: Place) -> Taken:
        """Let a site take a file in."""
        taken = trio.run(Taker(*_means(place)).take, path)
        place.meet()
        return taken

    def round(self, branch: Place) -> int:
        """Carry one parcel each way; return how many operations were new."""
        hub = self.organisation.hub
        up = self.bring(self.export(branch, hub), hub)
        return up.fresh + self.bring(self.export(hub, branch), branch).fresh

    def settle(self) -> None:
        """Carry parcels until everything has come."""
        for _ in range(ROUNDS):
            for branch in self.organisation.branches:
                self.round(branch)


def _means(place: Place) -> tuple[Any, Any, Any, Callable[..., Any]]:
    async def execute(actor: Any, command: Any) -> Any:
        return place.do(actor, command)

    async def blocking(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    return place.core, place.site.ports.engine, execute, blocking
