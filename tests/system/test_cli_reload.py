"""A running server takes a changed configuration by command and by signal, or stays as it was."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli_program import PROGRAM, Strongroom, finish, free_port


class Server:
    """A server as a process, its settings file and its log."""

    def __init__(self, folder: Path) -> None:
        self.strongroom = Strongroom(folder)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(40)
        self.strongroom.environ["NOTIFY_SOCKET"] = str(folder / "notify")
        address = ("--host", "127.0.0.1", "--port", str(free_port()))
        self.strongroom.json("init", "--data", "org", "--name", "City hospital", *address)
        self.settings = folder / "org" / "strongroom.toml"
        self.first = self.settings.read_text()
        arguments = ("serve", "--data", "org", "--json", "--log-format", "json")
        self.process: subprocess.Popen[str] = self.strongroom.start(*arguments)
        self.strongroom.ok("wait", "ready", "--data", "org", "--timeout", "40")
        assert self.told_systemd() == b"READY=1"

    def set(self, text: str) -> None:
        """Make the settings what they were first, and this."""
        self.settings.write_text(f"{self.first}\n{text}")

    def told_systemd(self) -> bytes:
        """Return the next thing that systemd would be told."""
        return self.notified.recv(256)

    def event(self, name: str) -> dict[str, Any]:
        """Read the log until this event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            record: dict[str, Any] = json.loads(line)
            if record["event"] == name:
                return record
        raise AssertionError(name)

    def in_force(self) -> dict[str, Any]:
        """Return what the server says that it uses."""
        shown = self.strongroom.json("config", "show", "--running", "--data", "org")
        config: dict[str, Any] = shown["config"]
        return config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("reload"))
    yield made
    finish(made.process)
    made.notified.close()


def test_what_differs_is_shown_and_a_reload_takes_what_it_can(server: Server) -> None:
    assert server.strongroom.run("config", "diff", "--data", "org").returncode == 0
    server.set("[sessions]\nidle_seconds = 600\n[store]\nmap_bytes = 1073741824\n")
    shown = server.strongroom.run("config", "diff", "--data", "org", "--json")
    assert shown.returncode == 1
    changes = {each["name"]: each for each in json.loads(shown.stdout)["changes"]}
    idle = changes["sessions.idle_seconds"]
    assert (idle["old"], idle["new"], idle["takes"]) == (1800, 600, "reload")
    assert changes["store.map_bytes"]["takes"] == "restart"
    done = server.strongroom.json("reload", "--data", "org")
    assert (done["changed"], done["waiting"]) == (["sessions.idle_seconds"], ["store.map_bytes"])
    assert done["certificate_until"]
    assert server.in_force()["sessions"]["idle_seconds"] == 600
    left = server.strongroom.run("config", "diff", "--data", "org")
    assert left.stdout.count("\n") == 1
    assert left.stdout.startswith("store.map_bytes: ")


def test_two_files_are_compared_without_a_server(server: Server) -> None:
    other = server.strongroom.folder / "other.toml"
    other.write_text("[log]\nlevel = 'error'\n")
    done = server.strongroom.run("config", "diff", str(other), "--data", "elsewhere", "--json")
    assert done.returncode == 1
    (change,) = json.loads(done.stdout)["changes"]
    assert (change["name"], change["old"], change["new"]) == ("log.level", "info", "error")
    same = server.strongroom.run("config", "diff", str(server.settings), "--data", "org")
    assert (same.returncode, same.stdout) == (0, "No difference.\n")


def test_a_signal_reloads_too_and_the_log_says_so(server: Server) -> None:
    server.set("[sessions]\nidle_seconds = 700\n")
    server.process.send_signal(signal.SIGHUP)
    told = server.event("server.signal")
    assert told["signal"] == "SIGHUP"
    assert "sessions.idle_seconds" in server.event("config.reloaded")["changed"]
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", server.told_systemd())
    assert server.told_systemd() == b"READY=1"
    assert server.in_force()["sessions"]["idle_seconds"] == 700


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sessions]\nidel_seconds = 5\n", "did you mean sessions.idle_seconds?"),
        ("[sessions]\nidle_seconds = 5\n[log]\nlevel = 'debug'\n", "60 to 86,400"),
        ("[tls]\ncertificate = 'no.pem'\n", "tls.key: is needed too"),
        ("[sessions\n", "strongroom.toml: not TOML"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(server: Server, text: str, told: str) -> None:
    before = server.in_force()
    server.set(text)
    refused = server.strongroom.run("reload", "--data", "org", "--json")
    error = json.loads(refused.stderr)
    assert (refused.returncode, error["code"]) == (78, "config.invalid")
    assert told in error["message"]
    server.process.send_signal(signal.SIGHUP)
    assert server.event("config.refused")["error"] == "config.invalid"
    assert server.in_force() == before


def test_a_server_on_a_terminal_stops_when_the_terminal_goes(tmp_path: Path) -> None:
    strongroom = Strongroom(tmp_path)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "demo", "--listen", f"127.0.0.1:{free_port()}"],
        cwd=tmp_path,
        env=strongroom.environ,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        strongroom.ok("wait", "ready", "--timeout", "40")
        process.send_signal(signal.SIGHUP)
        assert process.wait(40) == 0
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
