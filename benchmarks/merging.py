"""merge: what branches did on their own, taken in by headquarters, durably.

Ten branches write, headquarters takes their pieces as they come off the line (compression and
frames are the ``link``'s), one commit for each. All sites have real files; only headquarters' work
is timed. ``STRONGROOM_BENCH_OPS`` says how many operations, a million if it is not set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from appliance.site import Site, data_ports
from benchmarks.branches import Branch, Carrier, enrol, settle_in
from benchmarks.measure import MICRO, Result, percentile, revision, rss_mib
from benchmarks.organisation import Founding
from store.vault import NoWrap

OPERATIONS: Final = int(os.environ.get("STRONGROOM_BENCH_OPS", "1000000"))
BRANCHES: Final = 10
PEOPLE: Final = 20
GROUPS: Final = 25
ROUND: Final = 5_120
"""Messages that a branch sends before another one does."""

MAP_BYTES: Final = 64 << 30


class Merge:
    """Headquarters and its branches; figures of what headquarters did."""

    def __init__(self, directory: Path) -> None:
        self.hub = _new(directory / "hub")
        founding = Founding(self.hub)
        self.branches: list[tuple[Branch, Carrier]] = []
        for number in range(1, BRANCHES + 1):
            ports = data_ports(directory / f"{number}", directory / f"{number}-keys", MAP_BYTES)
            branch = enrol(self.hub, ports, number)
            people = settle_in(founding, self.hub, branch, PEOPLE)
            carrier = Carrier(self.hub, founding, branch)
            carrier.bring()
            branch.open_groups(people, GROUPS)
            self.branches.append((branch, carrier))
        self.ops = 0
        self.cpu_seconds = 0.0
        self.commits: list[float] = []

    def round(self) -> None:
        """Let each branch write a round, and headquarters take it."""
        for branch, carrier in self.branches:
            branch.talk(ROUND)
            for data in carrier.sent():
                began, cpu = time.perf_counter(), time.process_time()
                piece = carrier.take(data)
                self.cpu_seconds += time.process_time() - cpu
                self.commits.append(time.perf_counter() - began)
                self.ops += len(piece.entries)

    def close(self) -> None:
        """Close all sites."""
        for branch, _carrier in self.branches:
            branch.site.close()
        self.hub.close()


def run(carrier: str, directory: Path) -> Result:
    """Merge, and compare the last tenth with the first."""
    merge = Merge(directory)
    merge.round()
    start_mib, first = rss_mib(os.getpid(), "RssAnon"), merge.cpu_seconds / merge.ops
    last = first
    while merge.ops < OPERATIONS:
        ops, cpu = merge.ops, merge.cpu_seconds
        merge.round()
        last = (merge.cpu_seconds - cpu) / (merge.ops - ops)
    end_mib = rss_mib(os.getpid(), "RssAnon")
    merge.close()
    return Result(
        "merge",
        carrier,
        merge.ops,
        round(merge.cpu_seconds / merge.ops * MICRO, 2),
        0.0,
        round(percentile(merge.commits, 0.50) * 1e3, 3),
        round(percentile(merge.commits, 0.99) * 1e3, 3),
        round(rss_mib(os.getpid()), 1),
        revision(),
        {
            "first_round_us_per_op": round(first * MICRO, 2),
            "last_round_us_per_op": round(last * MICRO, 2),
            "pieces": len(merge.commits),
            "taking_seconds": round(sum(merge.commits), 1),
            "growth_mib": round(end_mib - start_mib, 1),
        },
    )


def _new(directory: Path) -> Site:
    keys = directory.with_name(f"{directory.name}-keys")
    return Site.create(data_ports(directory, keys, MAP_BYTES), NoWrap(), name="House")
