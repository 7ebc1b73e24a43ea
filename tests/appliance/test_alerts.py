"""Every alarm is raised when it should be and not before, by Prometheus' own judge."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.alerts import ALERTS, rules
from appliance.metrics import CATALOGUE, PREFIX, kind_of, render
from appliance.server import Appliance
from appliance.site import Site, data_ports
from store.vault import NoWrap
from tests.appliance.test_network import LISTEN, MAP_BYTES
from tests.appliance.test_reload import own_files, with_files
from tests.docs.markdown import ROOT, sections

Requires = Callable[[str, str], str]

FOREIGN = {"up"}
"""Figures that are not ours: Prometheus makes them."""

DAY = 86_400

RAISED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "StrongroomDown": ({'up{job="strongroom"}': "0x120"}, {'up{job="strongroom"}': "1x120"}),
    "StrongroomNotReady": ({"ready": "0x120"}, {"ready": "1x120"}),
    "StrongroomRestarts": (
        {"up_seconds": "1x70 2 1 2 1 2 1x60"},
        {"up_seconds": "1x70 2 1 2 1 1 1x60"},
    ),
    "StrongroomDiskLow": ({"disk_free_bytes": "1e9x120"}, {"disk_free_bytes": "2e9x120"}),
    "StrongroomDiskFull": ({"disk_free_bytes": "2e8x120"}, {"disk_free_bytes": "3e8x120"}),
    "StrongroomMapFull": (
        {"store_used_bytes": "81x120", "store_map_bytes": "100x120"},
        {"store_used_bytes": "79x120", "store_map_bytes": "100x120"},
    ),
    "StrongroomClockJumped": ({"clock_suspended": "1x120"}, {"clock_suspended": "0x120"}),
    "StrongroomClockDiffers": (
        {"wall_timestamp_seconds": "31+60x120"},
        {"wall_timestamp_seconds": "29+60x120"},
    ),
    "StrongroomCertificateExpires": (
        {"certificate_expires_timestamp_seconds": f"{14 * DAY}x120"},
        {"certificate_expires_timestamp_seconds": f"{15 * DAY}x120"},
    ),
    "StrongroomCertificateExpired": (
        {"certificate_expires_timestamp_seconds": "6000x120"},
        {"certificate_expires_timestamp_seconds": "9000x120"},
    ),
    "StrongroomKeyReplicaLost": (
        {"key_replicas_behind": "1x120"},
        {"key_replicas_behind": "0x120"},
    ),
    "StrongroomNoKeyReplica": ({"key_replicas": "0x120"}, {"key_replicas": "1x120"}),
    "StrongroomBackupOld": (
        {
            "wall_timestamp_seconds": f"{20 * DAY}x120",
            "backup_timestamp_seconds": f"{18 * DAY - 1}x120",
        },
        {
            "wall_timestamp_seconds": f"{20 * DAY}x120",
            "backup_timestamp_seconds": f"{18 * DAY}x120",
        },
    ),
    "StrongroomBranchSilent": (
        {"site_branches": "2x120", "site_links": "1x120"},
        {"site_branches": "2x120", "site_links": "1x100 2x20"},
    ),
    "StrongroomBranchCutOff": (
        {"site_lease_age_seconds": f"{DAY}x120"},
        {"site_lease_age_seconds": f"{DAY - 1}x120"},
    ),
    "StrongroomLeaseExpired": (
        {"site_lease_age_seconds": f"{7 * DAY}x120"},
        {"site_lease_age_seconds": f"{7 * DAY - 1}x120"},
    ),
    "StrongroomLedgerMismatch": (
        {"ledger_contradictions": "1x120", "contradictions": "1x120"},
        {"ledger_contradictions": "0x120", "contradictions": "1x120"},
    ),
    "StrongroomContradiction": ({"contradictions": "1x120"}, {"contradictions": "0x120"}),
    "StrongroomNotExamined": (
        {
            "wall_timestamp_seconds": f"{20 * DAY}x120",
            "examined_timestamp_seconds": f"{11 * DAY}x120",
            "up_seconds": f"{9 * DAY}x120",
        },
        {
            "wall_timestamp_seconds": f"{20 * DAY}x120",
            "examined_timestamp_seconds": "0x120",
            "up_seconds": f"{7 * DAY}x120",
        },
    ),
    "StrongroomDestructionWaits": (
        {"destruction_runs_incomplete": "1x1500"},
        {"destruction_runs_incomplete": "1x1200 0x300"},
    ),
    "StrongroomRefusesClients": (
        {"tcp_refused_total": "0+61x120"},
        {"tcp_refused_total": "0+59x120", "quic_refused_total": "0+59x120"},
    ),
    "StrongroomFailures": (
        {"quic_failed_total": "0x60 1x60"},
        {"quic_failed_total": "7x120", "tcp_failed_total": "7x120"},
    ),
    "StrongroomSlowCommits": (
        {"commit_seconds_total": "0+26x120", "writer_commits_total": "0+100x120"},
        {"commit_seconds_total": "0+24x120", "writer_commits_total": "0+100x120"},
    ),
    "StrongroomQueueGrows": ({"writer_queue": "1001x120"}, {"writer_queue": "1000x120"}),
}
"""For each alarm series that raise it, and series that almost do; a sample each minute."""


def named(expression: str) -> set[str]:
    """Return the figures that an expression asks for."""
    plain = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", expression)
    words = re.findall(r"\b[a-z_]+\b(?!\s*\()", plain)
    return {word for word in words if word not in {"and", "or"}}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alarm_asks_for_figures_that_there_are(alert: Any) -> None:
    asked = named(alert.expression) - FOREIGN
    assert {name.removeprefix(PREFIX) for name in asked} <= set(CATALOGUE)
    assert all(name.startswith(PREFIX) for name in asked)
    assert asked or alert.name == "StrongroomDown"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alarm_has_its_entry_in_the_runbook(alert: Any) -> None:
    titles = {each.title for each in sections(ROOT / "docs" / "runbook.md")}
    assert alert.runbook in titles
    assert alert.summary.endswith(".")
    assert alert.severity in {"warning", "critical"}


def test_an_expression_that_asks_for_something_else_is_seen() -> None:
    found = named('rate(strongroom_nothing[5m]) > 1 and up{job="x"} == 0')
    assert found == {"strongroom_nothing", "up"}


def judged(tmp_path: Path, promtool: str) -> str:
    """Let promtool try every pair of series; returns what it says."""
    (tmp_path / "rules.yml").write_text(rules())
    tests = []
    for alert in ALERTS:
        for series, is_raised in zip(RAISED[alert.name], (True, False), strict=True):
            at = "25h" if "d" in alert.wait else "2h"
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": name if name.startswith("up{") else PREFIX + name, "values": it}
                        for name, it in series.items()
                    ],
                    "alert_rule_test": [
                        {
                            "eval_time": at,
                            "alertname": alert.name,
                            "exp_alerts": [expected(alert)] if is_raised else [],
                        }
                    ],
                }
            )
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(document))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expected(alert: Any) -> dict[str, Any]:
    labels = {"severity": alert.severity}
    if alert.name == "StrongroomDown":
        labels["job"] = "strongroom"
    notes = {"summary": alert.summary, "runbook": f"docs/runbook.md, {alert.runbook}"}
    return {"exp_labels": labels, "exp_annotations": notes}


def test_every_alarm_is_raised_when_it_should_be_and_not_before(
    tmp_path: Path, requires: Requires
) -> None:
    assert set(RAISED) == {alert.name for alert in ALERTS}
    assert judged(tmp_path, requires("promtool", "prometheus")) == ""


def test_promtool_finds_nothing_wrong_with_the_rules(tmp_path: Path, requires: Requires) -> None:
    promtool = requires("promtool", "prometheus")
    (tmp_path / "rules.yml").write_text(rules())
    command = [promtool, "check", "rules", "--lint-fatal", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.fixture
def figures(tmp_path: Path) -> str:
    """What a server with real sockets, files and a certificate of its own tells Prometheus."""
    site = Site.create(
        data_ports(tmp_path / "data", tmp_path / "keys", MAP_BYTES), NoWrap(), name="Figures"
    )
    own_files(tmp_path, site, LISTEN.names)

    async def main() -> str:
        appliance = Appliance(site, with_files(tmp_path), data_dir=tmp_path / "data")
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            await trio.testing.wait_all_tasks_blocked()
            text = render(appliance)
            await appliance.drain()
        return text

    return trio.run(main)


def test_promtool_finds_nothing_wrong_with_the_figures(figures: str, requires: Requires) -> None:
    promtool = requires("promtool", "prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=figures, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_server_tells_every_figure_of_the_table_in_one_place(figures: str) -> None:
    types = dict(re.findall(r"^# TYPE strongroom_([a-z_]+) ([a-z]+)$", figures, re.MULTILINE))
    waiting = {"key_replica_lag_seconds", "oldest_record_seconds"}
    waiting |= {"site_waiting", "site_lease_age_seconds"}  # at a branch
    assert set(CATALOGUE) - set(types) <= waiting
    assert types == {name: kind_of(name) for name in types}
    assert figures.count("# TYPE") == len(types)


def test_large_figures_keep_their_digits(figures: str) -> None:
    (told,) = re.findall(r"^strongroom_wall_timestamp_seconds (.+)$", figures, re.MULTILINE)
    assert float(told) > 1_700_000_000
    assert len(told.partition(".")[0]) == 10
    assert f"strongroom_store_map_bytes {MAP_BYTES}\n" in figures
