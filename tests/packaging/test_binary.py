"""The built program does what the installed one does, and its build says what a machine lacks."""

import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "packaging" / "build_binary.py"

BUILD_SECONDS = 300
COMMAND_SECONDS = 60


def test_the_build_names_the_debian_packages_a_machine_lacks(tmp_path: Path) -> None:
    ldd = shutil.which("ldd")
    assert ldd is not None
    (tmp_path / "ldd").symlink_to(ldd)
    done = subprocess.run(  # noqa: PLW1510 (the status is looked at)
        [sys.executable, BUILD, "--dist", tmp_path / "dist", "--work", tmp_path / "build"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 1, done.stderr
    assert "binutils (objdump, objcopy)" in done.stderr
    assert not (tmp_path / "dist").exists()


class Program:
    """The built program, run in a folder of its own with nothing of this checkout in reach."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}

    def run(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: PLW1510 (the status is looked at)
            [str(self.path), *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json"))
        assert document["schema"]
        return document

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "server.log").open("wb")
        with log:
            return subprocess.Popen(
                [str(self.path), *arguments],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
            )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("binary")
    command = [sys.executable, str(BUILD), "--dist", f"{folder}/dist", "--work", f"{folder}/build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)  # noqa: PLW1510 (looked at)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / "strongroom" / "strongroom"


@pytest.fixture
def program(
    test_all: None, requires: Callable[[str, str], str], request: pytest.FixtureRequest
) -> Program:
    requires("objdump", "binutils")
    path: Path = request.getfixturevalue("built")
    folder: Path = request.getfixturevalue("tmp_path")
    return Program(path, folder)


def test_the_program_says_its_version(program: Program) -> None:
    assert program.json("version")["version"] == importlib.metadata.version("strongroom")


def test_the_program_helps(program: Program) -> None:
    answer = program.run("--help")
    for command in ("init", "serve", "check", "chat"):
        assert command in answer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("carrier", ["quic", "websocket"])
def test_two_people_chat_through_the_program(program: Program, carrier: str) -> None:
    server = program.start("demo", "--listen", f"127.0.0.1:{free_port()}")
    try:
        program.run("wait", "ready", "--timeout", "30")
        to_bob = ("chat", "--as", "alice", "--to", "bob", "--carrier", carrier)
        program.json(*to_bob, "--send", "Bed 4 is free")
        history = ("chat", "--as", "bob", "--with", "alice", "--carrier", carrier)
        assert program.json(*history, "--history", "1")["text"] == "Bed 4 is free"
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(COMMAND_SECONDS)
    assert status == 0, (program.folder / "server.log").read_text("utf-8")
