"""Read lines from a terminal while lines are written to it; plain where it is not capable.

On a capable terminal a new line is written above the prompt, and what has been typed so far is
written again below it. A dumb terminal, a screen reader's line or a pipe gets lines, one after
the other, and nothing that moves the cursor.
"""

from __future__ import annotations

import os
import sys
import termios
from types import ModuleType, TracebackType
from typing import Any, Self

import trio

from cli.output import printable

PROMPT = "> "

_CLEAR_LINE = "\r\x1b[K"


def _line_editor() -> ModuleType | None:
    """Import GNU readline, which gives input() editing and a history; the machine may lack it.

    Its licence is not for us to pass on, so the built program takes the system's.
    """
    try:
        import readline
    except ImportError:
        return None
    return readline


class Terminal:
    """Standard input and output; use it in a ``with``, which restores the terminal's mode."""

    def __init__(self) -> None:
        self.is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._is_capable = self.is_interactive and os.environ.get("TERM", "dumb") != "dumb"
        self._is_prompting = False
        self._mode: list[Any] | None = None
        self._is_to_forget = False

    def __enter__(self) -> Self:
        """Remember the terminal's mode."""
        if self.is_interactive:
            _line_editor()
            self._mode = termios.tcgetattr(sys.stdin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the terminal's mode: a thread may still be reading a line."""
        if self._mode is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._mode)
        if self._is_prompting:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def show(self, text: str) -> None:
        """Write lines; nothing in them steers the terminal."""
        safe = printable(text, breaks=True)
        if self._is_capable and self._is_prompting:
            editor = _line_editor()
            typed = editor.get_line_buffer() if editor else ""
            sys.stdout.write(f"{_CLEAR_LINE}{safe}\n{PROMPT}{typed}")
        else:
            sys.stdout.write(safe + "\n")
        sys.stdout.flush()

    def forget(self) -> None:
        """Forget what was typed, which the arrow keys bring back, before the next line is read.

        What stands on the screen stays there: that is the terminal's own memory.
        """
        self._is_to_forget = True

    async def line(self) -> str | None:
        """Return the next line typed, without its end; None at the end of input."""
        self._is_prompting = self.is_interactive
        try:
            return await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        finally:
            self._is_prompting = False

    def _read(self) -> str | None:
        if self.is_interactive:
            self._forget()
            try:
                return input(PROMPT)
            except EOFError:
                return None
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def _forget(self) -> None:
        """Clear the history of lines, in the thread that reads them: no other may touch it."""
        if self._is_to_forget:
            self._is_to_forget = False
            if editor := _line_editor():
                editor.clear_history()
