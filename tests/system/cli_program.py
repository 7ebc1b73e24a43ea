"""Run the command line as people do: processes, in a folder of their own, with real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from click.testing import CliRunner

from cli.main import root

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; sys.argv[0] = 'strongroom'; from cli.main import main; main()"
COMMAND_SECONDS = 60


def free_port() -> int:
    """Return a port that is free for TCP and UDP at this moment."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            port: int = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port


class Strongroom:
    """The program, called in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("STRONGROOM")},
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "STRONGROOM_LIMITS_SENDS_PER_SECOND": "10000",
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; returns its stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Run a command that prints one document."""
        document: dict[str, Any] = json.loads(self.ok(*arguments, "--json", stdin=stdin))
        return document

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that prints one document per line."""
        return [json.loads(line) for line in self.ok(*arguments, "--json").splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on; its output is piped."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class Office(Strongroom):
    """The program, called in the folder of a running demo by who administers and decides.

    Commands over the administration socket run in this process, which saves most of their time;
    who chats is a process of its own.
    """

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        if arguments[0] == "chat":
            return super().run(*arguments, stdin=stdin)
        data = {"STRONGROOM_DATA": str(self.folder / "demo-data"), "LC_ALL": "C.UTF-8"}
        done = CliRunner().invoke(root, list(arguments), input=stdin, env=data)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Demo:
    """A running demo organisation; ``program`` is what Python runs for its server."""

    def __init__(self, folder: Path, port: int, program: str = PROGRAM) -> None:
        self.strongroom = Strongroom(folder)
        self.port = port
        self.log = folder / "server.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "demo", "--listen", f"127.0.0.1:{port}"],
                cwd=folder,
                env=self.strongroom.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        done = self.strongroom.run("wait", "ready", "--timeout", "40")
        if done.returncode != 0:
            self.process.kill()
            raise AssertionError((done.stderr, self.log.read_text()))

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.strongroom.folder / "demo-data"

    def stop(self) -> int:
        """Stop in good order; returns the status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(COMMAND_SECONDS)

    def kill(self) -> None:
        """Stop as a power cut does."""
        self.process.kill()
        self.process.wait(COMMAND_SECONDS)


def finish(process: subprocess.Popen[str]) -> None:
    """End a process that was started, and close its pipes."""
    process.kill()
    process.wait(COMMAND_SECONDS)
    for pipe in (process.stdout, process.stderr):
        _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()
