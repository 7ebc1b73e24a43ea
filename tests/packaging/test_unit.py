"""The service's unit takes from the program what it does not use, and nothing that it uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging import main_job
from tests.packaging.conftest import ROOT, Built
from tests.packaging.machine import COMMAND_SECONDS, Machine
from tests.system.cli_program import free_port

UNIT = ROOT / "packaging" / "debian" / "strongroom.service"
EXPOSURE_TENTHS = 15
"""The exposure that `systemd-analyze security` may find at most, in tenths: 1.5."""

Requires = Callable[[str, str], str]


def service(text: str) -> dict[str, list[str]]:
    """Return the settings of the unit's [Service], each with all of its values."""
    found: dict[str, list[str]] = {}
    section = re.split(r"^\[(\w+)\]$", text, flags=re.M)
    for line in section[section.index("Service") + 1].splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def exposure(analyze: str, unit: Path) -> int:
    """Return the status of systemd's own judgement: 0 when no more exposed than allowed."""
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS}", str(unit)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_the_unit_is_exposed_no_more_than_allowed(requires: Requires, tmp_path: Path) -> None:
    analyze = requires("systemd-analyze", "systemd")
    assert exposure(analyze, UNIT) == 0
    looser = tmp_path / "strongroom.service"
    looser.write_text(re.sub(r"(?m)^(NoNewPrivileges|CapabilityB).*", "", UNIT.read_text("utf-8")))
    assert exposure(analyze, looser) != 0


def test_systemd_understands_the_whole_unit(requires: Requires, tmp_path: Path) -> None:
    analyze = requires("systemd-analyze", "systemd")
    unit = tmp_path / "strongroom.service"
    unit.write_text(re.sub(r"(?m)^(Exec\w+)=\S+", r"\1=/bin/true", UNIT.read_text("utf-8")))
    command = [analyze, "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_keys_reach_no_disk_and_what_opens_them_comes_encrypted() -> None:
    found = service(UNIT.read_text("utf-8"))
    assert (found["LimitCORE"], found["MemorySwapMax"]) == (["0"], ["0"])
    assert found["LoadCredentialEncrypted"] == ["strongroom.wrap"]
    assert (found["Type"], found["WatchdogSec"]) == (["notify"], ["60"])


def calls(analyze: str, filters: list[str]) -> set[str]:
    """Return the system calls that lines of SystemCallFilter= leave, as systemd reads them."""
    allowed: set[str] = set()
    for line in filters:
        listed = set(line.removeprefix("~").split())
        named = {each for each in listed if not each.startswith("@")}
        for group in listed - named:
            named |= group_calls(analyze, group)
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def group_calls(analyze: str, group: str) -> set[str]:
    command = [analyze, "syscall-filter", "--no-pager", group]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [line.strip() for line in done.stdout.splitlines()[1:]]
    nested = [name for name in found if name.startswith("@")]
    plain = {name for name in found if name and not name.startswith(("@", "#"))}
    return plain.union(*(group_calls(analyze, name) for name in nested))


def test_the_lines_of_a_filter_add_and_take_away(requires: Requires) -> None:
    analyze = requires("systemd-analyze", "systemd")
    assert {"setrlimit", "fdatasync", "mlock"} <= calls(analyze, ["@system-service"])
    left = calls(analyze, ["@system-service", "~@resources mlock"])
    assert "fdatasync" in left
    assert left.isdisjoint({"setrlimit", "mlock", "@resources"})


@pytest.fixture
def trace(machine: Machine, built: Built, tmp_path: Path, requires: Requires) -> str:
    """Do the main job's chat on a server that is traced, without the sandbox; return the trace."""
    log, port = tmp_path / "trace", free_port()
    strace = [requires("strace", "strace"), "-f", "-qq", "-o", str(log)]
    program = [str(built.folder / "strongroom"), "serve", "--data", str(tmp_path / main_job.DATA)]
    invitations = main_job.found(machine, port)
    server = subprocess.Popen(
        [*strace, *program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}
    )
    try:
        machine.ok("wait", "ready", "--data", main_job.DATA, "--timeout", "60")
        main_job.join(machine, invitations)
        for carrier in main_job.CARRIERS:
            main_job.send(machine, carrier, f"Bed 4 is free ({carrier})")
        machine.json("backup", "create", str(tmp_path / "backup"), "--data", main_job.DATA)
        pid = int((tmp_path / main_job.DATA / "run" / "pid").read_text("ascii"))
        os.kill(pid, signal.SIGTERM)
        assert server.wait(COMMAND_SECONDS) == 0
    finally:
        server.kill()
        server.wait(COMMAND_SECONDS)
    return log.read_text("utf-8", "replace")


def test_the_sandbox_denies_nothing_that_the_program_does(trace: str, requires: Requires) -> None:
    unit = service(UNIT.read_text("utf-8"))
    used = set(re.findall(r"(?m)^\d+ +([a-z_0-9]+)\(", trace))
    assert {"fdatasync", "accept4", "mlock", "prctl"} <= used
    assert used - calls(requires("systemd-analyze", "systemd"), unit["SystemCallFilter"]) == set()
    families = set(re.findall(r"socket\((AF_\w+)", trace))
    assert families <= set(unit["RestrictAddressFamilies"][0].split())
    writable = r"mmap\([^)]*PROT_WRITE\|PROT_EXEC|mprotect\([^)]*PROT_EXEC"
    assert re.findall(writable, trace) == []
