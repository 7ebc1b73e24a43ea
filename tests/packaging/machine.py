"""A machine with what the package depends on and the built program, and nothing else.

No Python, no shell: only the C library and the zlib that the program's first instructions need.
Bubblewrap shows the program a root of its own; of the real machine it sees /proc, /dev and the one
folder it works in. The environment is empty: no PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND_SECONDS = 180
HOME = Path("/srv")

DEPENDS = ("libc6", "zlib1g")
"""The Debian packages that the program asks of a machine."""


def make_root(folder: Path) -> Path:
    """Fill a folder with the libraries of what the program depends on, and return it."""
    listed = subprocess.run(["dpkg", "-L", *DEPENDS], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        source = Path(name)
        if ".so" in source.name and source.is_file() and "gconv" not in source.parts:
            target = folder / source.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in ("dev", "proc", "tmp", "opt", "srv"):
        folder.joinpath(name).mkdir(exist_ok=True)
    return folder


class Machine:
    """Runs the program in a root.

    Args:
        root: what the program sees as /.
        folder: what it sees as /srv, its home; the only place it can write to.
        program: its path within the root.
        mounts: further folders that it sees, by their place within the root.
        before: words put before each command, such as for a network of its own.
        bwrap: the path of bubblewrap.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        program: Path,
        bwrap: str,
        mounts: dict[Path, Path] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.program = program
        self.log = folder / "server.log"
        self.environ = {"HOME": str(HOME)}
        bound = [word for place, real in (mounts or {}).items() for word in (str(real), str(place))]
        shown = [("--ro-bind", *bound[at : at + 2]) for at in range(0, len(bound), 2)]
        self._before = [
            *before,
            *(bwrap, "--ro-bind", str(root), "/", "--dev", "/dev", "--ro-bind", "/proc", "/proc"),
            *("--tmpfs", "/tmp", "--bind", str(folder), str(HOME), "--chdir", str(HOME)),
            *(word for words in shown for word in words),
            *("--die-with-parent", "--clearenv"),
        ]

    def words(self, *arguments: str) -> list[str]:
        """Return the whole command line that runs the program with arguments."""
        given = [word for name, value in self.environ.items() for word in ("--setenv", name, value)]
        return [*self._before, *given, "--", str(self.program), *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.words(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; return its stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command that prints one document."""
        document: dict[str, Any] = json.loads(self.ok(*arguments, "--json"))
        assert document["schema"]
        return document

    def serve(self, *arguments: str, data: str) -> Server:
        """Start a command that serves, wait until it is ready, and return it."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.words(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.ok("wait", "ready", "--data", data, "--timeout", "30")
        except BaseException:
            process.kill()
            process.wait(COMMAND_SECONDS)
            raise
        return Server(self, process, self.folder / data / "run" / "pid")


class Server:
    """A server that runs on a machine; use it in a ``with``, which stops it in good order."""

    def __init__(self, machine: Machine, process: subprocess.Popen[bytes], pid_file: Path) -> None:
        self.machine = machine
        self.process = process
        self.pid = int(pid_file.read_text("ascii"))

    def __enter__(self) -> Server:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as systemd does, and see that it ended well."""
        os.kill(self.pid, signal.SIGTERM)
        status = self.process.wait(COMMAND_SECONDS)
        assert status == 0, self.machine.log.read_text("utf-8")
