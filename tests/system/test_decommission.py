"""A real site is ended by two officers: what it proves is left, and nothing opens any more."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_program import COMMAND_SECONDS, Demo, Office, Strongroom, free_port


def failed(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, json.loads(done.stderr.splitlines()[-1])["code"]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path, free_port())
    yield made
    if made.process.poll() is None:
        made.kill()


def test_a_site_is_ended_and_nothing_brings_it_back(demo: Demo, tmp_path: Path) -> None:
    office, auditor = Office(tmp_path), Strongroom(tmp_path)
    office.json("chat", "--as", "alice", "--to", "bob", "--send", "until the end")
    office.json("key-replica", "add", str(tmp_path / "replica"), "--allow-same-device")
    office.json("backup", "create", str(tmp_path / "backup"))
    name = office.json("status")["name"]
    known = office.json("conversation", "list", "alice")["conversations"]
    chart = next(each for each in known if each["kind"] == "direct")
    file = ("conversation", "file", chart["conversation"], "--class", "record", "--as", "dave")
    office.json(*file)

    ask = ("decommission", "request", "--reason", "we close", "--as", "dave")
    assert failed(office.run(*ask, "--json")) == (6, "decommission.minimum")
    number = str(office.json(*ask, "--transferred")["request"])
    end = str(tmp_path / "end.txt")
    run = ("decommission", "run", number, "-o", end, "--as", "dave")
    yes = ("--yes-destroy-everything", name)
    assert failed(office.run(*run, *yes, "--json")) == (6, "approval.unapproved")
    office.json("decommission", "approve", number, "--yes", "--as", "erin")
    assert failed(office.run(*run, "--json")) == (2, "cli.usage")
    other = ("--yes-destroy-everything", "Another Hospital")
    assert failed(office.run(*run, *other, "--json")) == (2, "cli.usage")
    assert not Path(end).exists()

    done = office.json(*run, *yes)
    assert done["certificate"] == end
    assert demo.process.wait(COMMAND_SECONDS) == 0

    verify = ("audit", "verify", end, "--ledger", f"{end}.ledger", "--key", f"{end}.key")
    proved = auditor.json(*verify, "--closing", f"{end}.closing")
    assert (proved["cause"], proved["state"], proved["closed"]) == ("decommission", "CLOSING", True)
    note = Path(f"{end}.closing")
    assert (demo.data / "decommissioned").read_text() == note.read_text()
    note.write_text(note.read_text().replace("root.1", "root.2"))
    assert failed(auditor.run(*verify, "--closing", f"{end}.closing", "--json")) == (
        5,
        "audit.broken",
    )

    for command in (("serve",), ("check",), ("doctor",)):
        dead = auditor.run(*command, "--data", str(demo.data), "--json")
        assert failed(dead) == (6, "store.decommissioned"), command
    assert failed(auditor.run(*ask, "--data", str(demo.data), "--json"))[0] == 6
    (demo.data / "decommissioned").unlink()
    dead = auditor.run("serve", "--data", str(demo.data), "--json")
    assert failed(dead) == (6, "store.decommissioned")
    (demo.data / "decommissioned.certificate").unlink()
    dead = auditor.run("serve", "--data", str(demo.data), "--json")
    assert failed(dead) == (4, "vault.locked")

    shutil.rmtree(demo.data)
    new = ("--data", "new", "--keys", "new-keys", "--replica", "replica", "--key", f"{end}.key")
    restored = auditor.run("restore", "backup", *new, "--json")
    assert restored.returncode != 0
    assert not (tmp_path / "new" / "store").exists()
