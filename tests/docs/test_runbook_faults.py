"""Each fault of the runbook is made for real; the entry's own commands, in order, end it.

The server's clock can be set by a file, its disk is small, its branch's headquarters can be
stopped. What the entries call by name (paths, the number of a request) is what there is here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from appliance.finding_kinds import LEDGER_FINDINGS
from store.tables import LEDGER
from tests.conftest import lacking
from tests.docs.markdown import ROOT
from tests.docs.test_runbook import FENCE
from tests.system.cli_program import COMMAND_SECONDS, PROGRAM, Demo, Office, free_port
from tests.system.test_cli_sites import Branch, opened

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
DISK_BYTES = 1_400 << 20
MAP_BYTES = 1 << 28
PATIENCE_SECONDS = 60.0
"""How long a server may take to notice a fault; it looks every second or less often."""

DAY_NS = 86_400 * 10**9

SET_CLOCK = """
import pathlib, time
real, file = time.time_ns, pathlib.Path({file!r})
time.time_ns = lambda: real() + int(file.read_text())
"""
"""Put before the program: its wall clock is off by as many ns as a file says."""


def commands(title: str) -> list[str]:
    """Return the commands of an entry, in their order."""
    text = RUNBOOK.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = []
    for match in FENCE.finditer(text):
        lines = textwrap.dedent(match["content"]).splitlines()
        if match["language"] == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += lines
    assert found, title
    return found


class House:
    """The demo on a disk of its own, with a clock that can be set, and what the entries name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.clock = folder / "clock"
        self.set_clock(0)
        self.demo = self.start()
        self.office = Office(folder)
        self.places = {
            "/mnt/evidence/strongroom": folder / "evidence" / "demo-data",
            "/var/lib/strongroom-keys": folder / "demo-keys",
            "/var/lib/strongroom": self.demo.data,
            **{f"/mnt/{name}": folder / name for name in ("evidence", "backup", "keys2", "keys3")},
            "/srv/new-keys": folder / "new-keys",
            "/srv/new": folder / "new",
            "site.key": folder / "site.key",
        }
        for name in ("evidence", "backup", "keys2", "keys3"):
            (folder / name).mkdir()
        self.request = 0

    def start(self) -> Demo:
        program = SET_CLOCK.format(file=str(self.clock)) + PROGRAM
        return Demo(self.folder, self.port, program)

    def stop(self) -> None:
        assert self.demo.stop() == 0, self.demo.log.read_text()

    def set_clock(self, offset_ns: int) -> None:
        new = self.clock.with_name("clock.new")
        new.write_text(str(offset_ns))
        new.replace(self.clock)

    def findings(self, *more: str) -> set[str]:
        return {each["id"] for each in self.json("doctor", *more)["findings"]}

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command, whatever its status."""
        document: dict[str, Any] = json.loads(self.office.run(*arguments, "--json").stdout)
        return document

    def figure(self, name: str) -> float:
        (told,) = re.findall(rf"(?m)^strongroom_{name} (\S+)$", self.office.ok("metrics"))
        return float(told)

    def until(self, *wanted: str) -> None:
        """Wait until the figures named are not 0."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if all(self.figure(name) for name in wanted):
                return
        raise AssertionError(wanted)

    def until_told(self, event: str, times: int) -> None:
        """Wait until the server's log tells of an event that often."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if self.demo.log.read_text().count(event) >= times:
                return
            self.office.ok("status")
        raise AssertionError(event)

    def follow(self, title: str, statuses: dict[str, int] | None = None) -> list[str]:
        """Run the commands of an entry; return them.

        ``statuses`` has the beginnings of those that do not end with status 0.
        """
        ran = commands(title)
        for command in ran:
            expected = [v for k, v in (statuses or {}).items() if command.startswith(k)]
            done = self.run(self.here(command))
            assert done.returncode == (expected or [0])[0], (command, done.stdout, done.stderr)
            if number := re.search(r"Request (\d+) ", done.stdout):
                self.request = int(number[1])
        return ran

    def here(self, command: str) -> str:
        """Return a command of the runbook as it is in this house."""
        for name, place in self.places.items():
            command = re.sub(rf"(?<![\w/]){name}(?![\w-])", str(place), command)
        if command.startswith("strongroom key-replica add"):
            command += " --allow-same-device"
        return command.replace("approve 7", f"approve {self.request} --yes")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(command)
        if program == "strongroom":
            return self.office.run(*arguments)
        if program == "systemctl":
            self.forget_replica()
            self.stop()
            self.demo = self.start()
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.run(  # noqa: S602 - the runbook's commands are ours, for a shell
            command, shell=True, capture_output=True, text=True, timeout=60, check=False
        )

    def forget_replica(self) -> None:
        """Take the line of the lost replica out of the settings, as the entry says."""
        file = self.demo.data / "strongroom.toml"
        lost = re.escape(str(self.folder / "keys2" / "strongroom"))
        file.write_text(re.sub(rf'"{lost}",?\s*', "", file.read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk."""
    if os.geteuid() != 0:
        lacking("a disk that can be filled takes root")
    made = tmp_path_factory.mktemp("disk")
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", made], check=True)
    yield made
    subprocess.run(["umount", made], check=True)


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRONGROOM_STORE_MAP_BYTES", str(MAP_BYTES))
        made = House(folder)
        yield made
        if made.demo.process.poll() is None:
            made.stop()


def test_a_full_disk(house: House) -> None:
    misplaced = house.demo.data / "backup-2026-11-24"
    misplaced.mkdir()
    with (misplaced / "data").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES - (200 << 20))
    assert "disk.full" in house.findings()
    house.follow("The disk is full")
    assert not house.findings() & {"disk.full", "disk.low"}


def test_a_clock_that_jumped(house: House) -> None:
    house.set_clock(30 * DAY_NS)
    house.until("clock_suspended")
    assert "clock.suspended" in house.findings()
    house.set_clock(0)
    house.until_told("clock.jumped", 2)  # setting it right is a jump too
    house.follow("The clock jumped")
    assert "goes on" in house.office.ok("clock", "status")
    assert "clock.suspended" not in house.findings()


def test_a_key_replica_that_is_lost(house: House) -> None:
    house.run(house.here("strongroom key-replica add /mnt/keys2/strongroom"))
    shutil.rmtree(house.folder / "keys2")
    house.run("strongroom key-replica sync")
    assert "keys.replica_behind" in house.findings()
    house.follow("A key replica is lost", {"strongroom key-replica status": 1})
    (replica,) = house.json("key-replica", "status")["replicas"]
    assert (replica["directory"], replica["in_step"]) == (
        str(house.folder / "keys3" / "strongroom"),
        True,
    )
    assert not house.findings() & {"keys.replica_behind", "keys.no_replica"}


def test_a_backup_that_nobody_made(house: House) -> None:
    assert "backup.none" in house.findings()
    house.follow("The newest backup is old")
    assert not house.findings() & {"backup.none", "backup.old"}


class North:
    """A branch of the house whose clock can be set, with sue, who is at home there."""

    def __init__(self, house: House, folder: Path) -> None:
        self.branch: Branch = opened(house.office, house.demo, folder, "north")
        sue = ("user", "create", "sue", "--name", "Sue", "--site", "north", "--as", "grace")
        house.office.ok(*sue)
        self.clock = folder / "branch-clock"

    @contextmanager
    def serving(self, offset_ns: int, boot: str) -> Iterator[subprocess.Popen[str]]:
        """Serve with a clock that is off, after a start of the machine of this name."""
        self.clock.write_text(str(offset_ns))
        started = self.clock.with_name("boot")
        started.write_text(boot)
        set_boot = f"import store.clocks\nstore.clocks._BOOT_ID = pathlib.Path({str(started)!r})\n"
        program = SET_CLOCK.format(file=str(self.clock)) + set_boot + PROGRAM
        words = ("serve", "--data", str(self.branch.data), "--log-format", "json")
        with subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env=self.branch.strongroom.environ,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                self.branch.run("wait", "ready", "--timeout", "40")
                yield server
            finally:
                server.terminate()

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command there, whatever its status."""
        where = ("--data", str(self.branch.data), "--json")
        told: dict[str, Any] = json.loads(self.branch.strongroom.run(*arguments, *where).stdout)
        return told

    def findings(self) -> set[str]:
        return {each["id"] for each in self.json("doctor")["findings"]}


def until_event(server: subprocess.Popen[str], name: str) -> None:
    """Read a server's log until it tells of an event."""
    assert server.stderr is not None
    for line in server.stderr:
        if json.loads(line)["event"] == name:
            return
    raise AssertionError(name)


@pytest.fixture(scope="module")
def north(house: House, tmp_path_factory: pytest.TempPathFactory) -> North:
    return North(house, tmp_path_factory.mktemp("north"))


def test_a_lease_that_is_over(house: House, north: North) -> None:
    with north.serving(0, "first") as server:
        until_event(server, "link.up")
        assert north.branch.until(lease="fresh")
    house.demo.process.send_signal(signal.SIGSTOP)
    try:
        with north.serving(-DAY_NS, "second") as server:
            assert north.json("site", "status")["lease"] == "expired"
            assert "lease.no_destruction" in north.findings()
            north.clock.write_text("0")
            house.demo.process.send_signal(signal.SIGCONT)
            ran = commands("A lease is over")
            assert len(ran) == 3
            for command in ran[:2]:
                north.branch.run(*shlex.split(command)[1:])
            assert house.run(ran[2]).returncode == 0
            until_event(server, "link.up")
            assert north.branch.until(lease="fresh")
            assert "lease.no_destruction" not in north.findings()
    finally:
        house.demo.process.send_signal(signal.SIGCONT)


def test_a_branch_that_is_stolen(house: House, north: North) -> None:
    assert (house.figure("site_branches"), house.figure("site_links")) == (1, 0)
    house.follow("A branch is stolen")
    shown = house.json("site", "show", "north")
    assert shown["state"] == "revoked"
    users = {each["login"]: each for each in house.json("user", "list")["users"]}
    assert (users["sue"]["site"], users["sue"]["enrolled"]) == ("", False)
    assert house.figure("site_branches") == 0


def test_a_ledger_that_does_not_match(house: House) -> None:
    """The last: the house ends with it, and goes on from its backup."""
    shutil.rmtree(house.folder / "backup")
    for name in ("backup", "keys2"):
        (house.folder / name).mkdir(exist_ok=True)
    for command in (
        "key-replica add /mnt/keys2/strongroom",
        "backup create /mnt/backup/2026-11-24",
    ):
        assert house.run(house.here(f"strongroom {command}")).returncode == 0
    house.office.ok("audit", "key", "-o", str(house.folder / "site.key"))
    house.stop()
    forge(house.demo.data / "store")
    house.demo = house.start()
    found = house.findings("--deep")
    assert found & LEDGER_FINDINGS
    assert house.figure("ledger_contradictions") > 0
    # The restored data is found to be on this test's disk, which is memory: status 1, not 5.
    statuses = {"strongroom check --data /mnt/evidence": 5, "strongroom check --data /srv/new": 1}
    house.follow("The ledger does not match", statuses)
    assert house.demo.process.wait(COMMAND_SECONDS) == 0
    restored = ("check", "--data", str(house.folder / "new"))
    severities = {each["severity"] for each in house.json(*restored)["findings"]}
    assert "integrity" not in severities


def forge(store: Path) -> None:
    """Change one leaf of the ledger, as somebody with the disk in hand could."""
    with lmdb.open(str(store), map_size=MAP_BYTES) as env, env.begin(write=True) as txn:
        cursor = txn.cursor()
        assert cursor.set_range(LEDGER.span()[0])
        key, value = cursor.item()
        txn.put(key, bytes((value[0] ^ 1,)) + value[1:])
