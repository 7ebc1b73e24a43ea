"""People at a terminal: a conversation in it, and the questions of `init`."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_program import PROGRAM, Demo, Strongroom, free_port

WAIT_SECONDS = 30.0


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Typist:
    """A program in a pseudo-terminal, and somebody who types."""

    def __init__(self, strongroom: Strongroom, *arguments: str, term: str = "xterm") -> None:
        self._terminal, self._program_side = pty.openpty()
        self.mode = termios.tcgetattr(self._program_side)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=strongroom.folder,
            env={**strongroom.environ, "TERM": term},
            stdin=self._program_side,
            stdout=self._program_side,
            stderr=self._program_side,
            start_new_session=True,
            # Who starts the tests in the background has the signal ignored, which is inherited.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread of ours is in the child
        )
        self.screen = ""
        self._seen = 0

    def sees(self, text: str) -> None:
        """Read until a text appears after what was seen before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.screen[self._seen :]:
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self._terminal], [], [], max(0.0, left))
            assert readable, (text, self.screen)
            self.screen += os.read(self._terminal, 65_536).decode("utf-8", "replace")
        self._seen = self.screen.index(text, self._seen) + len(text)

    def types(self, text: str) -> None:
        """Type; a line ends in a line feed."""
        os.write(self._terminal, text.encode())

    def ends(self) -> int:
        """Wait for the program's end, reading what it still writes."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.screen
            readable, _, _ = select.select([self._terminal], [], [], 0.05)
            if readable:
                self.screen += os.read(self._terminal, 65_536).decode("utf-8", "replace")
        return self.process.returncode

    def close(self) -> None:
        """End the program if it still runs."""
        self.process.kill()
        self.process.wait(WAIT_SECONDS)
        os.close(self._terminal)
        os.close(self._program_side)

    @property
    def mode_now(self) -> list[object]:
        """The terminal's present mode."""
        return termios.tcgetattr(self._program_side)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"), free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_message_arrives_while_one_types_and_the_terminal_is_left_as_it_was(
    demo: Demo, term: str
) -> None:
    typist = Typist(demo.strongroom, "chat", "--as", "bob", "--with", "alice", term=term)
    try:
        typist.sees("-- alice")
        typist.sees("> ")
        typist.types("half")
        typist.sees("half")
        text = f"come to {term}"
        demo.strongroom.ok("chat", "--as", "alice", "--to", "bob", "--send", text)
        typist.sees(f"alice: {text}")
        typist.types(" done\n")
        typist.sees("bob: half done")
        assert ("\x1b[K" in typist.screen) is (term == "xterm")
        typist.types("/quit\n")
        assert typist.ends() == 0
        assert typist.mode_now == typist.mode
    finally:
        typist.close()
    history = ("chat", "--as", "alice", "--with", "bob", "--history", "1")
    (found,) = demo.strongroom.lines(*history)
    assert (found["text"], found["from"]) == ("half done", "bob")


def test_ctrl_c_leaves_the_chat_and_the_terminal_as_it_was(demo: Demo) -> None:
    typist = Typist(demo.strongroom, "chat", "--as", "carol")
    try:
        typist.sees("/quit leaves.")
        typist.sees("> ")
        typist.process.send_signal(2)
        assert typist.ends() == 130, typist.screen
        assert typist.mode_now == typist.mode
    finally:
        typist.close()


def test_init_asks_for_what_is_missing(tmp_path: Path) -> None:
    typist = Typist(Strongroom(tmp_path), "init", "--data", "org", "--allow-same-device")
    try:
        typist.sees("Name of the organisation")
        typist.types("City hospital\n")
        typist.sees("Key directory")
        typist.types(f"{tmp_path}/keys\n")
        typist.sees("Key replica")
        typist.types(f"{tmp_path}/replica\n")
        typist.sees("Names and addresses")
        typist.types("chat.example 10.0.0.5\n")
        for login in ("ann", "ben", "cho"):
            typist.sees("Login of the first")
            typist.types(f"{login}\n")
        assert typist.ends() == 0, typist.screen
    finally:
        typist.close()
    assert "City hospital is ready." in typist.screen
    assert "strongroom://chat.example:8443/join" in typist.screen
    assert 'names = ["chat.example", "10.0.0.5"]' in (tmp_path / "org/strongroom.toml").read_text()
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["root.0", "root.1"]
    assert (tmp_path / "replica" / "root.0").exists()
