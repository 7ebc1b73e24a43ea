"""Tell how the appliance is: status, configuration and figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.certificates import ca_fingerprint
from appliance.config_text import effective
from appliance.reload import Change, in_force, plan
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
    return {"config": effective(in_force(host))}


async def diff(host: Host, arguments: Arguments) -> Answer:
    """Return what in the configuration the server has not taken; empty without a file."""
    del arguments
    return {"changes": [each.as_json() for each in not_taken(host)]}


def not_taken(host: Host) -> tuple[Change, ...]:
    """Return how the configuration differs from what the server uses.

    Raises ``ConfigError`` when it has a mistake.
    """
    return () if host.reread is None else plan(in_force(host), host.reread()).changes


async def reload(host: Host, arguments: Arguments) -> Answer:
    """Take the configuration and the certificate as they are now; all of it, or nothing."""
    del arguments
    done = host.reload()
    until = host.health.certificate_until
    return {
        "changed": done.changed,
        "waiting": done.waiting,
        "certificate_until": "" if until is None else f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }


async def metrics(host: Host, arguments: Arguments) -> Answer:
    """Return the figures in Prometheus' text format."""
    del arguments
    return {"text": host.metrics()}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "status": Operation(Arguments, status),
    "config.show": Operation(Arguments, show_config),
    "config.diff": Operation(Arguments, diff),
    "reload": Operation(Arguments, reload),
    "metrics": Operation(Arguments, metrics),
}
