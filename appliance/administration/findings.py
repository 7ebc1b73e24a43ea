"""Gather what ``doctor`` and ``check`` report: the machine, the directories, the site, the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from appliance import check, doctor, drill
from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.config import Config, key_directory
from appliance.findings import Finding
from appliance.replicas import ReplicaStatus
from appliance.site import Site
from appliance.upgrade import revert
from store import reading
from store.engine.contract import Reader

MEMORY_FINDINGS: Final = frozenset({"views.directory", "views.in_force"})
"""The comparisons of ``check`` with memory, which moves on while a server runs."""


class Examine(Arguments, frozen=True):
    """How far to look; ``deep`` also verifies the log and rebuilds every view."""

    deep: bool = False


def plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as JSON values, gravest first."""
    ordered = sorted(findings, key=lambda found: (-found.severity, found.id))
    return [
        {
            "id": found.id,
            "severity": found.severity.name.lower(),
            "evidence": found.evidence,
            "remedy": found.remedy,
        }
        for found in ordered
    ]


def shallow(
    site: Site,
    config: Config,
    data_dir: Path | None,
    statuses: Sequence[ReplicaStatus] | None = None,
) -> list[Finding]:
    """Return what can be seen at once.

    ``data_dir`` is None in a simulation, ``statuses`` of the key replicas while no server runs:
    none of them follows then, and that is no finding.
    """
    found = [*doctor.examine_machine(), *doctor.examine_site(site, data_dir)]
    found += doctor.examine_disposal(site)
    if statuses is not None or not config.replicas.directories:
        found += doctor.examine_replicas(statuses or (), site.ports.clock.wall_ms())
    if data_dir is not None:
        found += doctor.examine_directories(data_dir, key_directory(config, data_dir))
        found += drill.examine_leftovers(data_dir)
        found += revert.examine_leftovers(data_dir)
    return found


def deep(site: Site) -> list[Finding]:
    """Verify the log and rebuild every view from it; O(log). Any thread.

    While a server writes, memory goes on as the snapshot that is examined stays: a difference
    between the two then says nothing, and is left out. A destruction meanwhile makes it begin
    anew; raises ``StaleSnapshotError`` when that happens too often.
    """
    core = site.core

    def examined(reader: Reader) -> list[Finding]:
        before = core.log.head.pos
        found = check.check(core, reader)
        if core.log.head.pos != before:
            found = [each for each in found if each.id not in MEMORY_FINDINGS]
        return found

    return reading.read(site.ports.engine, examined)


async def examine(host: Host, arguments: Examine) -> Answer:
    """Look for problems, each with an id, a severity, evidence and a remedy."""
    found = shallow(host.site, host.config, host.health.data_dir, host.replicas.statuses)
    if host.identity is not None:
        not_after = host.identity.identity.not_after
        found += doctor.examine_certificate(not_after, host.site.ports.clock.wall_ms())
    if arguments.deep:
        found += await trio.to_thread.run_sync(deep, host.site)
    return {"findings": plain(found)}


OPERATIONS: Final[Mapping[str, Operation]] = {"doctor": Operation(Examine, examine)}
