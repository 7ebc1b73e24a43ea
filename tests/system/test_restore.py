"""A running site is backed up, lost with its keys, and brought back by command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.system.cli_program import Demo, Strongroom, finish, free_port


def test_a_running_site_is_backed_up_lost_and_brought_back(tmp_path: Path) -> None:
    port = free_port()
    demo = Demo(tmp_path, port)
    strongroom: Strongroom = demo.strongroom
    strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "before the backup")
    strongroom.json("key-replica", "add", "replica", "--allow-same-device")
    made = strongroom.json("backup", "create", "backup")
    assert [each["in_step"] for each in made["replicas"]] == [True]
    strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "after the backup")
    strongroom.ok("audit", "key", "-o", "site.key")
    verified = strongroom.json("backup", "verify", "backup", "--key", "site.key")
    assert (verified["ok"], verified["pinned"]) == (True, True)
    assert demo.stop() == 0
    shutil.copytree(demo.data / "profiles", tmp_path / "profiles")
    for lost in ("demo-data", "demo-keys"):
        shutil.rmtree(tmp_path / lost)

    new = ("--data", "new", "--keys", "new-keys", "--replica", "replica", "--key", "site.key")
    told = strongroom.json("restore", "backup", *new)
    assert told["operations"] == told["surviving"] == made["pos"]
    assert told["lost_at_least"] > 0
    assert told["incarnation"] != made["incarnation"]
    server = strongroom.start("serve", "--data", "new", "--listen", f"127.0.0.1:{port}", "--json")
    try:
        assert server.stdout is not None
        server.stdout.readline()
        strongroom.ok("wait", "ready", "--data", "new", "--timeout", "30")
        bob = ("--as", "bob", "--profile", "profiles/bob", "--data", "new")
        (found,) = strongroom.lines("chat", *bob, "--with", "alice", "--history", "5")
        assert found["text"] == "before the backup"
        status = strongroom.json("key-replica", "status", "--data", "new")
        assert [each["in_step"] for each in status["replicas"]] == [True]
        found = json.loads(strongroom.run("doctor", "--deep", "--data", "new", "--json").stdout)
        graver = [each["id"] for each in found["findings"] if each["severity"] != "notice"]
        assert graver == ["clock.suspended"]  # until two officers have looked
    finally:
        finish(server)
