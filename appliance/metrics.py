"""Render the appliance's figures in the Prometheus text format; no person is in any label."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from appliance import backup_age
from appliance.disposal.decide_runs import COMPLETE
from appliance.network import RealNetwork

if TYPE_CHECKING:
    from appliance.server import Appliance

PREFIX: Final = "strongroom_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

CATALOGUE: Final[Mapping[str, str]] = {
    "up_seconds": "Time since the start.",
    "ready": "1 when /readyz answers 200.",
    "wall_timestamp_seconds": "The machine's clock, as Unix time.",
    "cpu_seconds_total": "CPU used.",
    "peak_memory_bytes": "Peak resident size.",
    "disk_free_bytes": "Free space on the data's disk.",
    "connections": "Open client connections.",
    "sessions": "Connections that have signed in.",
    "people_online": "Persons with a session.",
    "sessions_behind": "Sessions catching up.",
    "connections_total": "Connections opened.",
    "sign_ins_total": "Successful sign-ins.",
    "commands_total": "Commands answered.",
    "refusals_total": "Errors sent to clients.",
    "events_total": "Events handed to sessions.",
    "writer_commands_total": "Commands decided.",
    "writer_commits_total": "Durable commits.",
    "writer_queue": "Commands waiting.",
    "commit_seconds_total": "Time in commits.",
    "log_position": "Operations applied here.",
    "store_used_bytes": "Bytes of the map in use.",
    "store_map_bytes": "Size of the map.",
    "people": "Persons in the directory.",
    "certificate_expires_timestamp_seconds": "When the TLS certificate ends, as Unix time.",
    "examined_timestamp_seconds": "When `doctor --deep` ran last, as Unix time; 0: not yet.",
    "contradictions": "Findings of integrity in that examination.",
    "ledger_contradictions": "Those of them that concern the ledger.",
    "backup_timestamp_seconds": "When the newest backup was begun, as Unix time; 0: there is none.",
    "policy_version": "Version of the policy.",
    "holds": "Active legal holds.",
    "requests_open": "Requests that are not over.",
    "destruction_runs_total": "Confirmed runs.",
    "destruction_runs_incomplete": "Confirmed runs that wait for key replicas.",
    "records_destroyed_total": "Records ended since start.",
    "clock_suspended": "1 while destruction waits for two officers to confirm the time.",
    "ledger_leaves": "Leaves of the ledger.",
    "oldest_record_seconds": "Age of the oldest surviving record of a class, by days.",
    "site_branches": "At headquarters: branches that are approved and not revoked.",
    "site_links": "Links to other sites that are up.",
    "site_waiting": "At a branch: operations that headquarters does not have yet.",
    "site_lease_age_seconds": "At a branch: since headquarters confirmed its authority.",
    "key_generation": "Root keys that there have been.",
    "key_replicas": "Key replicas.",
    "key_replicas_behind": "Key replicas that do not follow.",
    "key_replica_lag_seconds": "Time since a key replica was in step, by its identity.",
    "tcp_connections": "Connections over TCP.",
    "tcp_accepted_total": "Connections over TCP that were taken.",
    "tcp_refused_total": "Connections over TCP beyond a limit.",
    "tcp_failed_total": "Connections over TCP that an error of ours has ended.",
    "quic_connections": "Connections over QUIC.",
    "quic_accepted_total": "Connections over QUIC that were taken.",
    "quic_refused_total": "Connections over QUIC beyond a limit.",
    "quic_retries_total": "Newcomers over QUIC that had to prove their address.",
    "quic_failed_total": "Connections over QUIC that an error of ours has ended.",
}
"""Every figure and what it is. A counter's name ends in ``_total``; all others are gauges."""


class Metric(NamedTuple):
    """One figure: its name without prefix, its value, and what tells it from others."""

    name: str
    value: float
    label: str = ""


def kind_of(name: str) -> str:
    """Return a figure's type."""
    return "counter" if name.endswith("_total") else "gauge"


def metrics(appliance: Appliance) -> Iterator[Metric]:
    """Yield every figure as it is now."""
    gateway, core = appliance.gateway, appliance.site.core
    usage = resource.getrusage(resource.RUSAGE_SELF)
    engine = appliance.site.ports.engine.stats()
    writer = appliance.site.writer.stats()
    counters = gateway.counters
    yield Metric("up_seconds", appliance.up_seconds)
    yield Metric("ready", appliance.readiness().is_ready)
    yield Metric("cpu_seconds_total", usage.ru_utime + usage.ru_stime)
    yield Metric("peak_memory_bytes", usage.ru_maxrss * 1024)
    yield Metric("connections", gateway.connections)
    yield Metric("sessions", len(gateway.roster))
    yield Metric("people_online", gateway.roster.people)
    yield Metric("sessions_behind", len(gateway.catch_up))
    yield Metric("connections_total", counters.connections)
    yield Metric("sign_ins_total", counters.sign_ins)
    yield Metric("commands_total", counters.commands)
    yield Metric("refusals_total", counters.refused)
    yield Metric("events_total", gateway.fanout.events)
    yield Metric("writer_commands_total", writer.commands)
    yield Metric("writer_commits_total", writer.commits)
    yield Metric("writer_queue", writer.queued)
    yield Metric("commit_seconds_total", writer.commit_ns / 1e9)
    yield Metric("log_position", core.log.head.pos)
    yield Metric("store_used_bytes", engine.used_bytes)
    yield Metric("store_map_bytes", engine.capacity_bytes)
    yield Metric("people", len(core.directory))
    yield from _health(appliance)
    yield from _disposal(appliance)
    yield from _sites(appliance)
    yield from _replicas(appliance)
    if isinstance(appliance.network, RealNetwork):
        for name, value in appliance.network.figures().items():
            yield Metric(name, value)


def _health(appliance: Appliance) -> Iterator[Metric]:
    health = appliance.health
    yield Metric("wall_timestamp_seconds", appliance.site.ports.clock.wall_ms() / 1000)
    if health.data_dir is not None:
        yield Metric("disk_free_bytes", shutil.disk_usage(health.data_dir).free)
    if health.certificate_until is not None:
        until = health.certificate_until.timestamp()
        yield Metric("certificate_expires_timestamp_seconds", until)
    with appliance.site.ports.engine.snapshot() as reader:
        yield Metric("backup_timestamp_seconds", backup_age.newest_ms(reader) / 1000)
    yield Metric("examined_timestamp_seconds", health.examined_ms / 1000)
    yield Metric("contradictions", health.contradictions)
    yield Metric("ledger_contradictions", health.ledger_contradictions)


def _disposal(appliance: Appliance) -> Iterator[Metric]:
    """Yield the figures of retention; the age of the oldest record is worth an alarm."""
    core = appliance.site.core
    known, service = core.disposal, appliance.disposal
    confirmed = [run.confirmed for run in known.runs.values() if run.confirmed is not None]
    incomplete = sum(run.state != COMPLETE for run in confirmed)
    destroyed = sum(each.destroyed for each in service.progress)
    yield Metric("policy_version", known.policies.number)
    yield Metric("holds", len(known.active))
    open_requests = sum(request.is_open for request in known.requests.values())
    yield Metric("requests_open", open_requests)
    yield Metric("destruction_runs_total", len(confirmed))
    yield Metric("destruction_runs_incomplete", incomplete)
    yield Metric("records_destroyed_total", destroyed)
    yield Metric("clock_suspended", known.is_suspended)
    yield Metric("ledger_leaves", core.log.ledger.size)
    for name, seconds in service.oldest_seconds().items():
        label = f'class="{name}"'
        yield Metric("oldest_record_seconds", seconds, label)


def _sites(appliance: Appliance) -> Iterator[Metric]:
    core, links = appliance.site.core, appliance.links
    if not core.sites.is_branch:
        branches = core.sites.branches.values()
        yield Metric("site_branches", sum(branch.is_approved for branch in branches))
    yield Metric("site_links", sum(state.is_up for state in links.states.values()))
    if core.sites.is_branch:
        yield Metric("site_waiting", links.waiting)
        if core.sites.mark is not None:
            age_ms = core.sites.mark.at(core.reading()).age_ms
            yield Metric("site_lease_age_seconds", age_ms / 1000)


def _replicas(appliance: Appliance) -> Iterator[Metric]:
    statuses = appliance.replicas.statuses
    now_ms, generation = appliance.site.ports.clock.wall_ms(), appliance.site.vault.generation
    behind = sum(status.is_behind(now_ms) for status in statuses)
    yield Metric("key_generation", generation)
    yield Metric("key_replicas", len(statuses))
    yield Metric("key_replicas_behind", behind)
    for status in statuses:
        lag = status.lag_seconds(now_ms)
        if lag is not None:
            label = f'identity="{status.identity.hex()[:8]}"'
            yield Metric("key_replica_lag_seconds", lag, label)


def render(appliance: Appliance) -> str:
    """Return the figures as text."""
    lines: list[str] = []
    told = ""
    for metric in metrics(appliance):
        name = PREFIX + metric.name
        if name != told:
            lines.append(f"# HELP {name} {CATALOGUE[metric.name]}")
            lines.append(f"# TYPE {name} {kind_of(metric.name)}")
            told = name
        sample = f"{name}{{{metric.label}}}" if metric.label else name
        lines.append(f"{sample} {_number(metric.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """Return a number with all its digits: times and sizes have more than six."""
    return str(int(value)) if value == int(value) else repr(value)
