"""Hold disk space that is given back when a full disk would keep destruction from working.

A file of real blocks lies beside the data. Whoever must write on a full disk lets it go, and it
is made again once there is room. On file systems that compress or copy on write the blocks may
not be real; `doctor` names those.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

BALLAST_BYTES: Final = 64 << 20
"""Size of the ballast beside a store, in bytes: two of the largest batches."""

BALLAST_MAP_SHARE: Final = 1_024
"""A small map has a small ballast: at most one part in so many of it."""

FILE_NAME: Final = "ballast"

_FREE_SHARE = 2
"""The ballast is made when so many times its size is free: it must not fill the disk itself."""

_FILE_MODE = 0o600
_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the file system's own blocks are."""


def ballast_bytes(map_bytes: int) -> int:
    """Return the size of the ballast that goes with a map of this size."""
    return min(BALLAST_BYTES, map_bytes // BALLAST_MAP_SHARE)


class Ballast:
    """A file of ``size`` bytes in ``directory``; a size of 0 stands for none. One thread."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._path = directory / FILE_NAME
        self._size = size
        self.is_whole = False
        """Whether the space is held now."""

    @property
    def is_missing(self) -> bool:
        """Whether there should be a ballast and is none."""
        return bool(self._size) and not self.is_whole

    def establish(self) -> bool:
        """Hold the space, if there is plenty; tell whether it is held. Never raises ``OSError``."""
        if self.is_whole or not self._size:
            return self.is_whole
        with suppress(OSError):
            self.is_whole = self._is_there() or self._make()
        return self.is_whole

    def release(self) -> bool:
        """Give the space back; tell whether there was any."""
        if not self.is_whole:
            return False
        self.is_whole = False
        try:
            os.truncate(self._path, 0)
            self._path.unlink()
            _sync(self._directory)  # a journal may hand blocks out again only after its commit
        except OSError:
            return False
        return True

    def _is_there(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return status.st_size == self._size <= status.st_blocks * _BLOCK_BYTES

    def _make(self) -> bool:
        """Allocate the blocks anew; whatever half of a file there was goes first."""
        self._path.unlink(missing_ok=True)
        free = os.statvfs(self._directory)
        if free.f_bavail * free.f_frsize < _FREE_SHARE * self._size:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, _FILE_MODE)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.fsync(descriptor)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
