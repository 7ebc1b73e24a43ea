"""Run the appliance as a process of its own, as an operator would, and wait until it serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

STOP_SECONDS: Final = 30.0
PROGRAM: Final = "from cli.main import main; main()"
WRAPPER: Final = "STRONGROOM_BENCH_WRAPPER"
"""Variable with a program's path that is run as ``WRAPPER serve ...`` instead: a profiler."""


class Server(NamedTuple):
    """A server that serves."""

    pid: int
    host: str
    port: int


def command(data: Path, port: int) -> list[str]:
    """Return the command that serves a data directory on a port of this machine."""
    program = os.environ.get(WRAPPER)
    start = [program] if program else ["-c", PROGRAM]
    where = ["--data", str(data), "--listen", f"127.0.0.1:{port}"]
    return [sys.executable, *start, "serve", *where, "--json"]


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """Serve the organisation under ``directory``; stopped by SIGTERM at the end."""
    process = subprocess.Popen(
        command(directory / "data", 0), stdout=subprocess.PIPE, text=True, cwd=directory
    )
    assert process.stdout is not None
    try:
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError("the server did not start")
        host, _, port = json.loads(answer)["addresses"][0].rpartition(":")
        yield Server(process.pid, host, int(port))
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a server in good order; kill it when that takes too long."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
