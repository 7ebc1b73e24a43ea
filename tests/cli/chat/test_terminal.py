"""A terminal forgets what was typed when it is told to, and needs no readline."""

from __future__ import annotations

import builtins
import readline
import sys
from collections.abc import Iterator

import pytest

from cli.chat.terminal import PROMPT, Terminal


@pytest.fixture
def typed() -> Iterator[None]:
    """Have somebody type a line that readline remembers."""
    readline.clear_history()
    readline.add_history("bed 12: potassium 6.1")
    yield
    readline.clear_history()


@pytest.mark.usefixtures("typed")
def test_lines_that_were_typed_are_forgotten_before_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[int] = []

    def typing(prompt: str) -> str:
        found.append(readline.get_current_history_length())
        return prompt

    monkeypatch.setattr(builtins, "input", typing)
    terminal = Terminal()
    terminal.is_interactive = True
    terminal._read()
    terminal.forget()
    terminal._read()
    readline.add_history("more")
    terminal._read()
    assert found == [1, 0, 1]


def test_a_machine_without_readline_reads_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    monkeypatch.setattr(builtins, "input", lambda prompt: prompt)
    terminal = Terminal()
    terminal.is_interactive = True
    terminal.forget()
    assert terminal._read() == PROMPT
