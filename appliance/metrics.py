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
    """One figure: name without prefix, type, help, value."""

    name: str
    kind: str
    help: str
    value: float


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
    if isinstance(appliance.network, RealNetwork):
        for name, value in appliance.network.figures().items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield Metric(name, kind, f"Transport figure {name}.", value)


def render(appliance: Appliance) -> str:
    """Return the figures as text."""
    lines = []
    for metric in metrics(appliance):
        name = PREFIX + metric.name
        lines.append(f"# HELP {name} {metric.help}")
        lines.append(f"# TYPE {name} {metric.kind}")
        lines.append(f"{name} {float(metric.value):g}")
    return "\n".join(lines) + "\n"
