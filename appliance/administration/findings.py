"""Gather what ``doctor`` and ``check`` report: the machine, the directories, the site, the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from appliance import backup_age, certificates, check, doctor, doctor_keys, doctor_listen, drill
from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.administration.overview import not_taken
from appliance.config import Config, ConfigError, key_directory
from appliance.finding_kinds import KINDS
from appliance.findings import Finding, Severity
from appliance.replicas import ReplicaStatus
from appliance.site import Site
from appliance.upgrade import revert
from store import reading
from store.engine.contract import Engine, Reader
from store.engine.lmdb import LmdbEngine

MEMORY_FINDINGS: Final = frozenset({"views.directory", "views.in_force", "views.sites"})
"""The comparisons of ``check`` with memory, which moves on while a server runs."""


MOMENTARY: Final = frozenset({"keys.root_missing", "keys.root_leftover"})
"""What a switch of the root shows for a moment, too."""

AGAIN_SECONDS: Final = 1.0
"""How long after the first look such a finding must still be there, in seconds."""


class Examine(Arguments, frozen=True):
    """How far to look; ``deep`` also verifies the log and rebuilds every view."""

    deep: bool = False


def entry_of(name: str) -> str:
    """Return where the documentation tells more of a finding; "" when its remedy says it all."""
    kind = KINDS.get(name)
    return f"docs/runbook.md, {kind.runbook}" if kind and kind.runbook else ""


def plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as JSON values, gravest first."""
    ordered = sorted(findings, key=lambda found: (-found.severity, found.id))
    return [
        {
            "id": found.id,
            "severity": found.severity.name.lower(),
            "evidence": found.evidence,
            "remedy": found.remedy,
            "runbook": entry_of(found.id),
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
    found += doctor.examine_branch(site)
    with site.ports.engine.snapshot() as reader:
        found += backup_age.examine(reader, site.ports.clock.wall_ms())
    found += doctor_keys.examine_slots(site.ports.keys, site.vault)
    if statuses is not None or not config.replicas.directories:
        found += doctor.examine_replicas(statuses or (), site.ports.clock.wall_ms())
    if data_dir is not None:
        found += drill.examine_leftovers(data_dir)
        found += revert.examine_leftovers(data_dir)
        key_dir = key_directory(config, data_dir)
        found += doctor.examine_directories(data_dir, key_dir)
        found.append(doctor_keys.examine_tier(key_dir, doctor.file_system(key_dir)))
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


def examine_pages(problems: Sequence[str]) -> list[Finding]:
    """Return a finding for what the engine's verifier says of the store's pages, if anything."""
    if not problems:
        return []
    evidence = f"{len(problems)} problems with pages: {'; '.join(problems[: check.SAMPLES])}"
    return [Finding("store.pages", Severity.INTEGRITY, evidence, check.RESTORE)]


def _verify(engine: Engine) -> list[str]:
    return engine.verify() if isinstance(engine, LmdbEngine) else []


async def examine(host: Host, arguments: Examine) -> Answer:
    """Look for problems, each with an id, a severity, evidence and a remedy."""
    found = await _seen_twice(host)
    found += _config(host)
    if host.identity is not None:
        identity, now_ms = host.identity.identity, host.site.ports.clock.wall_ms()
        found += doctor_listen.examine_certificate(identity, host.config, certificates.at(now_ms))
        found += doctor_listen.examine_files(identity, host.config, now_ms)
        found += await doctor_listen.examine_port(
            host.addresses, identity, is_quic=host.config.quic.enabled
        )
    if arguments.deep:
        pages = examine_pages(await trio.to_thread.run_sync(_verify, host.site.ports.engine))
        # What reads rows trusts the pages that they are on.
        found += pages or await trio.to_thread.run_sync(deep, host.site)
        host.health.examined(found, host.site.ports.clock.wall_ms())
    return {"findings": plain(found)}


async def _seen_twice(host: Host) -> list[Finding]:
    """Return what can be seen at once; of what a destruction shows for a moment, what stays."""

    def look() -> list[Finding]:
        statuses = host.replicas.statuses
        return shallow(host.site, host.config, host.health.data_dir, statuses)

    found = look()
    if any(each.id in MOMENTARY for each in found):
        await trio.sleep(AGAIN_SECONDS)
        found = look()
    return found


def _config(host: Host) -> list[Finding]:
    """Return a finding when the configuration file is not what the server uses."""
    try:
        changes = not_taken(host)
    except ConfigError as error:
        remedy = "Correct it: strongroom config check. The server would not start with it."
        return [Finding("config.invalid", Severity.WARNING, str(error), remedy)]
    if not changes:
        return []
    evidence = "not taken yet: " + ", ".join(each.setting.name for each in changes)
    remedy = "See strongroom config diff; take it with strongroom reload, or restart."
    return [Finding("config.not_taken", Severity.NOTICE, evidence, remedy)]


OPERATIONS: Final[Mapping[str, Operation]] = {"doctor": Operation(Examine, examine)}
