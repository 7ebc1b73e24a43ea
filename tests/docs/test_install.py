"""The install guide's commands for a hospital, run without the package, bring two people together.

With the package, and for a branch, they are run by ``tests/packaging/test_install.py``.
"""

from __future__ import annotations

import itertools
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.test_guides import examples
from tests.docs.test_readme import pattern
from tests.packaging.scripts import script
from tests.system.cli_program import COMMAND_SECONDS, PROGRAM, Strongroom, free_port

minisign = script("minisign")

PACKAGE = "strongroom_0.1.0_amd64.deb"
NOT_HERE = "sudo dpkg -i"
"""What a test leaves out: it would change the machine."""

START = "sudo systemctl enable --now strongroom"
LINK = re.compile(r"--join '(strongroom://[^']*)'")


class Machine:
    """A folder in the place of a machine: its data, the files of the stick, a server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.program = Strongroom(folder)
        self.program.environ["STRONGROOM_DATA"] = str(folder / "data")
        self.server: subprocess.Popen[bytes] | None = None
        self.links: list[str] = []
        secret = minisign.generate()
        (folder / PACKAGE).write_bytes(b"the package")
        signature = minisign.sign(secret, b"the package", "strongroom 0.1.0 release 1")
        (folder / f"{PACKAGE}.minisig").write_text(signature)
        (folder / "strongroom-release.pub").write_text(secret.public.text())
        for login in ("admin", "officer"):
            (folder / f"{login}.passphrase").write_text(f"a long passphrase of {login}\n")

    def here(self, text: str) -> str:
        """Return a text of the guide as it is on this machine."""
        for theirs, ours in (
            ("/var/lib/strongroom", str(self.folder / "data")),
            ("chat.hospital.example:8443", f"127.0.0.1:{self.port}"),
            ("chat.hospital.example", f"127.0.0.1 --port {self.port}"),
        ):
            text = text.replace(theirs, ours)
        return text

    def run(self, command: str) -> str:
        """Run a command of the guide and return what it prints."""
        if command == START:
            return self.start()
        command = command.removeprefix("sudo ").removeprefix("runuser -u strongroom -- ")
        if "'LINK'" in command:
            command = command.replace("'LINK'", f"'{self.links.pop(0)}'")
        words = shlex.split(self.here(command))
        if words[0] == "strongroom":
            printed = self.program.ok(*words[1:])
            self.links += LINK.findall(printed) if words[1] == "init" else []
            return printed
        done = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def start(self) -> str:
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "serve", "--listen", f"127.0.0.1:{self.port}"],
                cwd=self.folder,
                env=self.program.environ,
                stdout=log,
                stderr=log,
            )
        self.program.ok("wait", "ready", "--timeout", "40")
        return ""

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(COMMAND_SECONDS) == 0


def of_the_hospital() -> Iterator[tuple[str, list[str]]]:
    """Yield the guide's commands as far as they need one machine; the rest boot containers."""
    return itertools.takewhile(lambda each: "site invite" not in each[0], examples("install.md"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.stop()


def test_the_guide_leads_from_the_stick_to_the_first_chat(
    machine: Machine, requires: Callable[[str, str], str]
) -> None:
    requires("minisign", "minisign")
    ran = []
    for command, lines in of_the_hospital():
        if command.startswith(NOT_HERE):
            continue
        printed = machine.run(command)
        assert re.fullmatch(pattern([*map(machine.here, lines)]), printed), (command, printed)
        ran.append(command)
    assert len(ran) == 7
    tail = ("--as", "officer", "--with", "admin", "--history", "9")
    said = machine.program.ok("chat", *tail)
    assert "Good morning to you" in said


def test_a_package_that_was_changed_is_not_installed(
    machine: Machine, requires: Callable[[str, str], str]
) -> None:
    requires("minisign", "minisign")
    (machine.folder / PACKAGE).write_bytes(b"another package")
    verify = next(command for command, _ in examples("install.md") if "minisign" in command)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        machine.run(verify)
    assert "Signature verification failed" in caught.value.stderr
