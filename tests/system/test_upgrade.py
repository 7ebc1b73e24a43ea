"""A running organisation is upgraded and goes back: by commands, with programs that start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.exits import Exit
from tests.appliance.upgrade.trees import PUBLIC, make_bundle, make_tree
from tests.system.cli_program import COMMAND_SECONDS, Demo, Office, free_port

NEW = "0.2.0"
OLD = "0.1.0"


class Machine:
    """A machine with an installed program, a running demo, and a bundle on a stick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.demo = Demo(folder, self.port)
        self.office = Office(folder)
        make_tree(folder / "opt" / "strongroom", OLD)
        (folder / "release.pub").write_text(PUBLIC.text())
        self.program = folder / "opt" / "strongroom"
        key = str(folder / "release.pub")
        self.nowhere = ("--data", str(folder / "nowhere"))
        assert self.office.json("upgrade", "trust", key, *self.at, *self.nowhere)

    @property
    def at(self) -> tuple[str, str]:
        return "--program", str(self.folder / "opt" / "strongroom")

    def bundle(self, *, steps: int = 0) -> str:
        """Put a bundle of the new version on the stick; with ``steps`` it has a newer schema."""
        tree = make_tree(self.folder / "new", NEW, release=2, steps=steps)
        make_bundle(self.folder / "bundle", tree, NEW, schema=(0, 1 + steps))
        return str(self.folder / "bundle")

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run the program that is in use, not the one that tests."""
        done = subprocess.run(
            [self.program / "strongroom", *arguments, "--data", self.demo.data, "--json"],
            env=self.office.environ,
            cwd=self.folder,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def say(self, text: str) -> None:
        self.office.ok("chat", "--as", "alice", "--to", "bob", "--send", text)

    def said(self) -> str:
        return self.office.ok("chat", "--as", "bob", "--with", "alice", "--history", "20")

    def restart(self) -> None:
        if self.demo.process.poll() is None:
            assert self.demo.stop() == 0, self.demo.log.read_text()
        self.demo = Demo(self.folder, self.port)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if made.demo.process.poll() is None:
        made.demo.stop()


def code(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, json.loads(done.stderr.splitlines()[-1])["code"]


def test_an_upgrade_and_back_loses_nothing_while_the_store_stays(machine: Machine) -> None:
    bundle = machine.bundle()
    machine.say("before")
    planned = machine.office.json("upgrade", "plan", bundle, *machine.at)
    assert (planned["version"], planned["new_version"], planned["problems"]) == (OLD, NEW, [])
    assert not (machine.folder / "demo-data-snapshots").exists()
    applied = machine.office.json("upgrade", "apply", bundle, *machine.at)
    assert machine.run("version")["version"] == NEW
    snapshot = Path(applied["snapshot"])
    assert snapshot.parent.stat().st_mode & 0o777 == 0o700
    assert machine.office.json("backup", "verify", str(snapshot))["ok"]
    machine.say("after")
    told = machine.office.json("upgrade", "rollback", "--dry-run", *machine.at)
    assert (told["store"], told["lost"], told["dry_run"]) == (False, 0, True)
    assert machine.run("version")["version"] == NEW
    machine.office.ok("upgrade", "rollback", *machine.at)
    assert machine.run("version")["version"] == OLD
    assert "before" in machine.said()
    assert "after" in machine.said()
    again = machine.office.run("upgrade", "rollback", *machine.at, "--json")
    assert code(again) == (Exit.REFUSED, "upgrade.nothing")
    machine.office.ok("upgrade", "apply", bundle, *machine.at)
    assert machine.run("version")["version"] == NEW


def test_going_back_with_the_store_revives_nothing_that_was_destroyed(machine: Machine) -> None:
    office = machine.office
    machine.say("kept and known")
    ended = office.json("user", "create", "ivan", "--name", "Ivan", "--invite", "--as", "grace")
    link = ended["invitation"]["link"]
    hello = ("--to", "alice", "--send", "Hello from Ivan")
    office.ok("chat", "--as", "ivan", "--join", link, *hello)
    with_ivan = ("chat", "--as", "alice", "--with", "ivan", "--history", "20")
    assert "Hello from Ivan" in office.ok(*with_ivan)
    office.ok("upgrade", "apply", machine.bundle(steps=1), *machine.at)
    request = office.json(
        "destroy", "request", "--person", "ivan", "--reason", "asked", "--as", "dave"
    )["request"]
    office.ok("destroy", "approve", str(request), "--yes", "--as", "erin")
    office.ok("destroy", "run", str(request), "--as", "dave")
    machine.say("said since")
    assert machine.demo.stop() == 0
    # The new program brings the store up, and from then on the old one refuses it.
    machine.run("check")
    refused = office.run("check", "--json")
    assert code(refused) == (Exit.REFUSED, "store.newer_schema")
    refused = office.run("upgrade", "rollback", *machine.at, "--json")
    assert code(refused) == (Exit.REFUSED, "upgrade.needs_store")
    assert machine.run("version")["version"] == NEW
    told = machine.run("upgrade", "rollback", "--store", *machine.at)
    assert told["lost"] == told["reverted"]["lost"] > 0
    assert told["reverted"]["destroyed_since"] > 0
    assert machine.run("version")["version"] == OLD
    machine.restart()
    said = machine.said()
    assert "kept and known" in said
    assert "said since" not in said
    assert "Hello from Ivan" not in office.run(*with_ivan).stdout
    assert machine.demo.stop() == 0
    checked = json.loads(office.run("check", "--json").stdout)
    graver = [each["id"] for each in checked["findings"] if each["severity"] != "notice"]
    assert graver == ["clock.suspended"]  # until two officers have looked


def test_what_is_in_the_way_is_refused_and_changes_nothing(machine: Machine) -> None:
    bundle = Path(machine.bundle())
    damaged = machine.folder / "damaged"
    damaged.write_bytes(bundle.read_bytes()[:-1] + b"\0")
    forged = machine.folder / "forged"
    forged.write_bytes(bundle.read_bytes().replace(b"counter 2\n", b"counter 9\n"))
    old = machine.folder / "old"
    make_bundle(old, machine.folder / "new", NEW, counter=1)
    cases = [
        (damaged, Exit.INTEGRITY, "upgrade.bundle"),
        (forged, Exit.DENIED, "signature.invalid"),
        (old, Exit.REFUSED, "upgrade.downgrade"),
    ]
    for path, status, expected in cases:
        done = machine.office.run("upgrade", "apply", str(path), *machine.at, "--json")
        assert code(done) == (status, expected)
    planned = machine.office.run("upgrade", "plan", str(old), *machine.at, "--json")
    assert planned.returncode == Exit.FAILED
    assert [each["code"] for each in json.loads(planned.stdout)["problems"]] == [
        "upgrade.downgrade"
    ]
    assert machine.run("version")["version"] == OLD
    snapshots = machine.folder / "demo-data-snapshots"
    assert not snapshots.exists() or not list(snapshots.iterdir())
    assert {path.name for path in (machine.folder / "opt" / "strongroom-versions").iterdir()} == {
        OLD,
        "lock",
        "release.pub",
    }


def test_a_package_is_adopted_only_while_nothing_runs_from_it(machine: Machine) -> None:
    make_tree(machine.folder / "usr" / "strongroom", OLD)
    key = str(machine.folder / "release.pub")
    trust = ("upgrade", "trust", key, "--program", str(machine.folder / "usr" / "strongroom"))
    assert code(machine.office.run(*trust, "--json")) == (Exit.FAILED, "cli.running")
    assert not (machine.folder / "usr" / "strongroom").is_symlink()
    assert machine.demo.stop() == 0
    machine.office.ok(*trust)
    assert (machine.folder / "usr" / "strongroom").is_symlink()


def test_without_a_pinned_key_no_bundle_is_taken(machine: Machine) -> None:
    (machine.folder / "opt" / "strongroom-versions" / "release.pub").unlink()
    done = machine.office.run("upgrade", "plan", machine.bundle(), *machine.at, "--json")
    assert code(done) == (Exit.REFUSED, "upgrade.no_key")
