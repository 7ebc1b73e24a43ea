"""Define the alarms for Prometheus; ``docs/strongroom.rules.yml`` is made from this table.

Each alarm has an entry of the runbook, says so, and asks for figures of ``appliance.metrics``.
``up`` is Prometheus' own figure: whether it could reach the server.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from appliance.backup_age import WARNING_SECONDS
from appliance.doctor import DISK_WARNING_BYTES, MAP_WARNING_SHARE
from appliance.doctor_listen import CERTIFICATE_WARNING
from appliance.health import DISK_FLOOR_BYTES
from appliance.sites.limits import AGED_MS, EXPIRED_MS


class Alert(NamedTuple):
    """One alarm: when it is raised, after how long, how grave it is, and what it says."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    runbook: str
    """Its heading in ``docs/runbook.md``."""


ALERTS: Final = (
    Alert(
        "StrongroomDown",
        'up{job="strongroom"} == 0',
        "1m",
        "critical",
        "The server does not answer.",
        "The server is down",
    ),
    Alert(
        "StrongroomNotReady",
        "strongroom_ready == 0",
        "1m",
        "critical",
        "The server runs and cannot serve.",
        "The server is not ready",
    ),
    Alert(
        "StrongroomRestarts",
        "resets(strongroom_up_seconds[1h]) > 2",
        "0m",
        "warning",
        "The server was started more than twice within an hour.",
        "The server is down",
    ),
    Alert(
        "StrongroomDiskLow",
        f"strongroom_disk_free_bytes < {DISK_WARNING_BYTES}",
        "5m",
        "warning",
        "Less than 1 GiB is free on the data's disk.",
        "The disk is full",
    ),
    Alert(
        "StrongroomDiskFull",
        f"strongroom_disk_free_bytes < {DISK_FLOOR_BYTES}",
        "0m",
        "critical",
        "Less than 256 MiB are free on the data's disk: the server is not ready.",
        "The disk is full",
    ),
    Alert(
        "StrongroomMapFull",
        f"strongroom_store_used_bytes / strongroom_store_map_bytes > {MAP_WARNING_SHARE}",
        "5m",
        "warning",
        "More than 80 % of store.map_bytes is in use.",
        "The map is full",
    ),
    Alert(
        "StrongroomClockJumped",
        "strongroom_clock_suspended == 1",
        "0m",
        "critical",
        "The clock jumped: nothing is destroyed until two officers confirm the time.",
        "The clock jumped",
    ),
    Alert(
        "StrongroomClockDiffers",
        "abs(timestamp(strongroom_wall_timestamp_seconds) - strongroom_wall_timestamp_seconds)"
        " > 30",
        "5m",
        "warning",
        "The server's clock differs from Prometheus' by more than 30 seconds.",
        "The clock jumped",
    ),
    Alert(
        "StrongroomCertificateExpires",
        f"strongroom_certificate_expires_timestamp_seconds - time()"
        f" < {CERTIFICATE_WARNING.total_seconds():.0f}",
        "1h",
        "warning",
        "The TLS certificate ends within 14 days.",
        "The certificate expires",
    ),
    Alert(
        "StrongroomCertificateExpired",
        "strongroom_certificate_expires_timestamp_seconds - time() <= 0",
        "0m",
        "critical",
        "The TLS certificate has ended: no client connects.",
        "The certificate expires",
    ),
    Alert(
        "StrongroomKeyReplicaLost",
        "strongroom_key_replicas_behind > 0",
        "5m",
        "critical",
        "A key replica does not follow: destruction is not complete without it.",
        "A key replica is lost",
    ),
    Alert(
        "StrongroomNoKeyReplica",
        "strongroom_key_replicas == 0",
        "1h",
        "warning",
        "There is no key replica: no backup can be restored.",
        "A key replica is lost",
    ),
    Alert(
        "StrongroomBackupOld",
        "strongroom_wall_timestamp_seconds - strongroom_backup_timestamp_seconds"
        f" > {WARNING_SECONDS}",
        "1h",
        "warning",
        "The newest backup is more than two days old, or there is none.",
        "The newest backup is old",
    ),
    Alert(
        "StrongroomContradiction",
        "strongroom_contradictions > 0",
        "0m",
        "critical",
        "Stored data contradicts its proofs.",
        "Stored data contradicts its proofs",
    ),
    Alert(
        "StrongroomLedgerMismatch",
        "strongroom_ledger_contradictions > 0",
        "0m",
        "critical",
        "The ledger of privileged acts is not what the log says: treat it as an attack.",
        "The ledger does not match",
    ),
    Alert(
        "StrongroomNotExamined",
        "strongroom_wall_timestamp_seconds - strongroom_examined_timestamp_seconds > 691200"
        " and strongroom_up_seconds > 691200",
        "1h",
        "warning",
        "Nobody has asked for `strongroom doctor --deep` for eight days.",
        "Stored data contradicts its proofs",
    ),
    Alert(
        "StrongroomDestructionWaits",
        "strongroom_destruction_runs_incomplete > 0",
        "1d",
        "warning",
        "A destruction waits for a key replica since a day.",
        "Destruction waits",
    ),
    Alert(
        "StrongroomBranchSilent",
        "strongroom_site_branches - strongroom_site_links > 0",
        "1h",
        "warning",
        "A branch was not linked for an hour: its line is cut, or it was stolen.",
        "A branch is stolen",
    ),
    Alert(
        "StrongroomBranchCutOff",
        f"strongroom_site_lease_age_seconds >= {AGED_MS // 1_000}",
        "5m",
        "warning",
        "This branch was not confirmed by headquarters for a day: it grants nothing.",
        "A branch is cut off",
    ),
    Alert(
        "StrongroomLeaseExpired",
        f"strongroom_site_lease_age_seconds >= {EXPIRED_MS // 1_000}",
        "0m",
        "critical",
        "This branch's lease is over: it destroys nothing.",
        "A lease is over",
    ),
    Alert(
        "StrongroomRefusesClients",
        "rate(strongroom_tcp_refused_total[5m]) > 1 or rate(strongroom_quic_refused_total[5m]) > 1",
        "5m",
        "warning",
        "More than one connection per second is refused for lack of room.",
        "Clients cannot connect",
    ),
    Alert(
        "StrongroomFailures",
        "increase(strongroom_tcp_failed_total[1h]) > 0"
        " or increase(strongroom_quic_failed_total[1h]) > 0",
        "0m",
        "warning",
        "An error of the program has ended a client's connection.",
        "Clients cannot connect",
    ),
    Alert(
        "StrongroomSlowCommits",
        "rate(strongroom_commit_seconds_total[5m])"
        " / rate(strongroom_writer_commits_total[5m]) > 0.25",
        "10m",
        "warning",
        "A commit takes more than a quarter of a second.",
        "Sending is slow",
    ),
    Alert(
        "StrongroomQueueGrows",
        "strongroom_writer_queue > 1000",
        "5m",
        "warning",
        "More than 1,000 commands wait for the writer.",
        "Sending is slow",
    ),
)

HEADER: Final = """\
# Alarms for Prometheus: put this file where rule_files points to. Made from the code; a change
# would be lost with the next version. What to do is told in the runbook, under the heading named.
groups:
  - name: strongroom
    rules:
"""


def rules() -> str:
    """Return the file of rules, as YAML."""
    return HEADER + "".join(map(_rule, ALERTS))


def _rule(alert: Alert) -> str:
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: {_quoted(alert.expression)}\n"
        f"        for: {alert.wait}\n"
        f"        labels: {{severity: {alert.severity}}}\n"
        f"        annotations:\n"
        f"          summary: {_quoted(alert.summary)}\n"
        f"          runbook: {_quoted(f'docs/runbook.md, {alert.runbook}')}\n"
    )


def _quoted(text: str) -> str:
    """Return text as a YAML scalar: JSON's strings are YAML's too."""
    return json.dumps(text)
