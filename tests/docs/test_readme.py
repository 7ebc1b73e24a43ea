"""Run the README's commands as a newcomer would, and compare what they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SECONDS = 60
ANY = "…"


def examples() -> list[tuple[str, list[str]]]:
    """Return the README's commands with the lines each is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """Return a regular expression for said output: "…" is anything, alone it is any lines."""
    parts = [
        r"(?:.*\n)*" if line == ANY else ".*".join(map(re.escape, line.split(ANY))) + r"\n"
        for line in lines
    ]
    return "".join(parts)


def free_port() -> int:
    """Return a port that TCP and UDP both have."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        return int(tcp.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a checkout after ``make run`` made its environment."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "strongroom").symlink_to(Path(sys.executable).with_name("strongroom"))
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """The demo's port; it serves until the test's end, or until it was told to stop."""
    chosen = free_port()
    command = [".venv/bin/strongroom", "demo", "--listen", f"127.0.0.1:{chosen}"]
    log = folder / "demo.log"
    with log.open("wb") as out:
        demo = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        run(folder, ".venv/bin/strongroom wait ready --timeout 30")
        yield chosen
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
        assert demo.wait(SECONDS) == 0
    said = next(lines for command, lines in examples() if command == "make run")
    expected = pattern(said[1:]).replace("8443", str(chosen))
    assert re.fullmatch(expected, log.read_text(encoding="utf-8")), log.read_text()


def run(folder: Path, command: str) -> str:
    """Run one command in a shell and return what it printed, both streams."""
    environ = {**os.environ, "HOME": str(folder), "TZ": "UTC"}
    environ.pop("STRONGROOM_DATA", None)
    done = subprocess.run(  # noqa: S602 - the README's commands are ours, and quoted for a shell
        command,
        shell=True,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (command, done.returncode, done.stdout)
    return done.stdout


def test_every_command_prints_what_the_readme_says(folder: Path, port: int) -> None:
    link = ""
    ran = 0
    for command, lines in examples():
        if command.startswith("make "):
            continue
        real = re.sub(r"'strongroom://[^']*'", f"'{link}'", command)
        printed = run(folder, real)
        expected = pattern(lines).replace("8443", str(port))
        assert re.fullmatch(expected, printed), (command, printed)
        found = re.search(r"'(strongroom://[^']*)'", printed)
        link = found.group(1) if found else link
        ran += 1
    assert ran >= 10


def test_both_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command, _ in examples():
        if command.startswith("make "):
            assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.M)
