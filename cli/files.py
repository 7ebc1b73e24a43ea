"""Write what a command was asked to put into a file: whole, or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644

STDOUT: Final = "-"


def save(path: Path, lines: Iterable[str], *, mode: int = PUBLIC) -> None:
    """Write texts one after the other; ``-`` is stdout. An older file is replaced at the end.

    Nothing is left of a file that could not be finished. Raises ``OSError``.
    """
    if str(path) == STDOUT:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    part = path.with_name(path.name + ".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(part, flags, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
