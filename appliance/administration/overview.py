"""Tell how the appliance is: status, configuration and figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.certificates import ca_fingerprint
from appliance.config_text import effective
from appliance.version import program_version


async def status(host: Host, arguments: Arguments) -> Answer:
    """Tell who this appliance is, since when it runs, and whether it is ready."""
    del arguments
    core = host.site.core
    now_ms = host.site.ports.clock.wall_ms()
    readiness = host.readiness()
    people = [person for person in core.directory.people() if person.is_active]
    return {
        "name": host.config.site.name or core.site_name,
        "version": program_version(),
        "ready": readiness.is_ready,
        "checks": dict(readiness.checks),
        "pid": os.getpid(),
        "started_at": host.started_ms,
        "uptime_seconds": max(0, now_ms - host.started_ms) // 1000,
        "addresses": list(host.addresses),
        "ca": ca_fingerprint(core),
        "node": core.log.node.hex(),
        "incarnation": core.incarnation,
        "operations": core.log.head.seq,
        "people": len(people),
        "sessions": len(host.gateway.sessions()),
    }


async def show_config(host: Host, arguments: Arguments) -> Answer:
    """Return the configuration that the running server uses; it holds no secret."""
    del arguments
    return {"config": effective(host.config)}


async def metrics(host: Host, arguments: Arguments) -> Answer:
    """Return the figures in Prometheus' text format."""
    del arguments
    return {"text": host.metrics()}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "status": Operation(Arguments, status),
    "config.show": Operation(Arguments, show_config),
    "metrics": Operation(Arguments, metrics),
}
