"""Render the appliance's figures in the Prometheus text format; no person is in any label."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from appliance.network import RealNetwork

if TYPE_CHECKING:
    from appliance.server import Appliance

PREFIX: Final = "strongroom_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """One figure: name without prefix, type, help, value, and what tells it from others."""

    name: str
    kind: str
    help: str
    value: float
    label: str = ""


def metrics(appliance: Appliance) -> Iterator[Metric]:
    """Yield every figure as it is now."""
    gateway, core = appliance.gateway, appliance.site.core
    usage = resource.getrusage(resource.RUSAGE_SELF)
    engine = appliance.site.ports.engine.stats()
    writer = appliance.site.writer.stats()
    counters = gateway.counters
    yield Metric("up_seconds", "gauge", "Time since the start.", appliance.up_seconds)
    yield Metric("ready", "gauge", "1 when /readyz answers 200.", appliance.readiness().is_ready)
    yield Metric("cpu_seconds_total", "counter", "CPU used.", usage.ru_utime + usage.ru_stime)
    yield Metric("peak_memory_bytes", "gauge", "Peak resident size.", usage.ru_maxrss * 1024)
    yield Metric("connections", "gauge", "Open client connections.", gateway.connections)
    yield Metric("sessions", "gauge", "Connections that have signed in.", len(gateway.roster))
    yield Metric("people_online", "gauge", "Persons with a session.", gateway.roster.people)
    yield Metric("sessions_behind", "gauge", "Sessions catching up.", len(gateway.catch_up))
    yield Metric("connections_total", "counter", "Connections opened.", counters.connections)
    yield Metric("sign_ins_total", "counter", "Successful sign-ins.", counters.sign_ins)
    yield Metric("commands_total", "counter", "Commands answered.", counters.commands)
    yield Metric("refusals_total", "counter", "Errors sent to clients.", counters.refused)
    yield Metric("events_total", "counter", "Events handed to sessions.", gateway.fanout.events)
    yield Metric("writer_commands_total", "counter", "Commands decided.", writer.commands)
    yield Metric("writer_commits_total", "counter", "Durable commits.", writer.commits)
    yield Metric("writer_queue", "gauge", "Commands waiting.", writer.queued)
    yield Metric("commit_seconds_total", "counter", "Time in commits.", writer.commit_ns / 1e9)
    yield Metric("log_position", "gauge", "Operations applied here.", core.log.head.pos)
    yield Metric("store_used_bytes", "gauge", "Bytes of the map in use.", engine.used_bytes)
    yield Metric("store_map_bytes", "gauge", "Size of the map.", engine.capacity_bytes)
    yield Metric("people", "gauge", "Persons in the directory.", len(core.directory))
    yield from _disposal(appliance)
    yield from _replicas(appliance)
    if isinstance(appliance.network, RealNetwork):
        for name, value in appliance.network.figures().items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield Metric(name, kind, f"Transport figure {name}.", value)


def _disposal(appliance: Appliance) -> Iterator[Metric]:
    """Yield the figures of retention; the age of the oldest record is worth an alarm."""
    core = appliance.site.core
    known, service = core.disposal, appliance.disposal
    confirmed = sum(run.confirmed is not None for run in known.runs.values())
    destroyed = sum(each.destroyed for each in service.progress)
    yield Metric("policy_version", "gauge", "Version of the policy.", known.policies.number)
    yield Metric("holds", "gauge", "Active legal holds.", len(known.active))
    open_requests = sum(request.is_open for request in known.requests.values())
    yield Metric("requests_open", "gauge", "Requests that are not over.", open_requests)
    yield Metric("destruction_runs_total", "counter", "Confirmed runs.", confirmed)
    yield Metric("records_destroyed_total", "counter", "Records ended since start.", destroyed)
    yield Metric("clock_suspended", "gauge", "1 while destruction waits.", known.is_suspended)
    yield Metric("ledger_leaves", "gauge", "Leaves of the ledger.", core.log.ledger.size)
    for name, seconds in service.oldest_seconds().items():
        label = f'class="{name}"'
        help_text = "Age of the oldest surviving record, by days."
        yield Metric("oldest_record_seconds", "gauge", help_text, seconds, label)
    for status in appliance.replicas.statuses:
        lag = status.lag_seconds(core.reading().wall_ms)
        if lag is not None:
            label = f'identity="{status.identity.hex()[:8]}"'
            yield Metric("key_replica_lag_seconds", "gauge", "Since it followed.", lag, label)


def _replicas(appliance: Appliance) -> Iterator[Metric]:
    statuses = appliance.replicas.statuses
    now_ms, generation = appliance.site.ports.clock.wall_ms(), appliance.site.vault.generation
    behind = sum(status.is_behind(now_ms) for status in statuses)
    oldest = min((status.synced_ms for status in statuses), default=now_ms)
    yield Metric("key_generation", "gauge", "Root keys that there have been.", generation)
    yield Metric("key_replicas", "gauge", "Key replicas.", len(statuses))
    yield Metric("key_replicas_behind", "gauge", "Key replicas that do not follow.", behind)
    lag = max(0, now_ms - oldest) / 1000
    yield Metric("key_replica_lag_seconds", "gauge", "Age of the oldest key replica.", lag)


def render(appliance: Appliance) -> str:
    """Return the figures as text."""
    lines: list[str] = []
    told = ""
    for metric in metrics(appliance):
        name = PREFIX + metric.name
        if name != told:
            lines.append(f"# HELP {name} {metric.help}")
            lines.append(f"# TYPE {name} {metric.kind}")
            told = name
        sample = f"{name}{{{metric.label}}}" if metric.label else name
        lines.append(f"{sample} {float(metric.value):g}")
    return "\n".join(lines) + "\n"
