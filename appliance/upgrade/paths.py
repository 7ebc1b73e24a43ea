"""Change directories durably: sync their entries, exchange two of them in one step."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from store.errors import EngineError

_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100


def exchange(one: Path, other: Path) -> None:
    """Let two paths of one file system change places, durably; see renameat2(2).

    Raises ``EngineError``, also where the file system cannot do it (ext4, xfs, btrfs, tmpfs can).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(one), os.fsencode(other))
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise EngineError(f"exchanging {one} and {other}: {reason}")
    for directory in {one.parent, other.parent}:
        sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable; raises ``OSError``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
