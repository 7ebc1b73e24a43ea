"""A drill beside a running server: people chat on, and even a drill that is killed harms nobody."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_program import COMMAND_SECONDS, Demo, Office, finish, free_port


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path, free_port())
    office = Office(tmp_path)
    office.ok("key-replica", "add", str(tmp_path / "replica"), "--allow-same-device")
    office.ok("chat", "--as", "alice", "--to", "bob", "--send", "before")
    office.ok("chat", "--as", "carol", "--to", "bob", "--send", "from carol")
    (tmp_path / "backups").mkdir()
    office.ok("backup", "create", str(tmp_path / "backups" / "one"))
    yield made
    assert made.stop() == 0, made.log.read_text()


def test_a_drill_beside_the_server_counts_what_would_be_lost(demo: Demo) -> None:
    office = Office(demo.strongroom.folder)
    office.ok("chat", "--as", "alice", "--to", "bob", "--send", "since")
    request = office.json(
        "destroy", "request", "--person", "carol", "--reason", "asked", "--as", "dave"
    )["request"]
    office.ok("destroy", "approve", str(request), "--yes", "--as", "erin")
    office.ok("destroy", "run", str(request), "--as", "dave")
    report = demo.strongroom.json("drill", "restore", "backups")
    assert report["findings"] == []
    assert report["missing"] == report["live_operations"] - report["operations"] > 0
    assert report["rpo_seconds"] >= 0
    assert report["destroyed"] > 0
    assert report["revived"] == 0
    assert report["live_ledger_size"] > report["ledger_size"] > 0
    said = office.ok("chat", "--as", "bob", "--with", "alice", "--history", "9")
    assert "since" in said
    assert not (demo.data / "drill").exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_drill_that_is_asked_to_end_cleans_up(demo: Demo, how: signal.Signals) -> None:
    drill = demo.strongroom.start("drill", "restore", "backups")
    assert drill.stderr is not None
    while "copying" not in (line := drill.stderr.readline()):
        assert line
    drill.send_signal(how)
    assert drill.wait(COMMAND_SECONDS) == 130
    finish(drill)
    assert not (demo.data / "drill").exists()


def test_what_a_killed_drill_leaves_is_sealed_and_doctor_removes_it(demo: Demo) -> None:
    office = Office(demo.strongroom.folder)
    drill = demo.strongroom.start("drill", "restore", "backups")
    assert drill.stderr is not None
    while "checking log" not in (line := drill.stderr.readline()):
        assert line
    os.kill(drill.pid, signal.SIGKILL)
    finish(drill)
    scratch = demo.data / "drill"
    assert scratch.stat().st_mode & 0o777 == 0o700
    assert not (scratch / "keys").exists()
    found = json.loads(office.run("doctor", "--json").stdout)["findings"]
    assert "drill.leftover" in {each["id"] for each in found}
    assert not scratch.exists()
    found = json.loads(office.run("doctor", "--json").stdout)["findings"]
    assert "drill.leftover" not in {each["id"] for each in found}
