"""Implement the small-file disk port: a directory, and a simulated disk that can lose power."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from store.errors import EngineError, EngineFullError
from store.faults import Probe

SECTOR_BYTES: Final = 512
"""The unit in which a device writes all or nothing."""

MAX_FILE_BYTES: Final = 1 << 20
"""Largest file of this port, in bytes: these are slots and fences, not data."""

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _checked(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError("a disk takes plain file names")
    return name


@contextmanager
def _disk_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = EngineFullError if error.errno in _FULL_ERRORS else EngineError
        raise kind(f"{operation} failed: {os.strerror(error.errno or 0)}") from error


class FileDisk:
    """A directory of the operating system, for a few small files.

    Every failing call raises ``EngineFullError`` (disk or quota full) or ``EngineError``. A name
    with a slash is a ``ValueError``. Symbolic links are not followed. Not thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, making it (mode 0700) when it is absent; its parent must exist."""
        # A file stays open from its write to its sync: an error of the writeback in between is
        # then reported to this descriptor and cannot be missed.
        self._unsynced: dict[str, int] = {}
        self._linked: set[str] = set()
        with _disk_errors("opening the directory"):
            if not path.exists():
                path.mkdir(mode=_DIRECTORY_MODE)
                _sync_directory(path.parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._directory = os.open(path, flags)

    def read(self, name: str) -> bytes | None:
        """Return the whole file, or None when it does not exist."""
        with _disk_errors("reading a file"):
            try:
                descriptor = self._open(name, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                return _read_all(descriptor)
            finally:
                os.close(descriptor)

    def write(self, name: str, data: bytes, offset: int = 0) -> None:
        """Write in place (creating the file, mode 0600); never truncates, never renames."""
        with _disk_errors("writing a file"):
            descriptor = self._unsynced.get(name)
            if descriptor is None:
                descriptor = self._open(name, os.O_WRONLY | os.O_CREAT)
                self._unsynced[name] = descriptor
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written

    def sync(self, name: str) -> None:
        """Return once the file's bytes and its directory entry are durable."""
        with _disk_errors("syncing a file"):
            descriptor = self._unsynced.pop(name, None)
            if descriptor is None:
                descriptor = self._open(name, os.O_WRONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if name not in self._linked:
                os.fsync(self._directory)
                self._linked.add(name)

    def read_back(self, name: str) -> bytes:
        """Return the file as the device has it, bypassing caches where the system allows.

        Reads with O_DIRECT; a file system without it is asked to drop its cached pages first.
        """
        with _disk_errors("reading a file back"):
            try:
                descriptor = self._open(name, os.O_RDONLY | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return self._read_dropping_cache(name)
            try:
                return _read_direct(descriptor)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return self._read_dropping_cache(name)
            finally:
                os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove the file durably; no error when it is absent."""
        with _disk_errors("removing a file"):
            descriptor = self._unsynced.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)
            self._linked.discard(name)
            try:
                os.unlink(_checked(name), dir_fd=self._directory)
            except FileNotFoundError:
                return
            os.fsync(self._directory)

    def names(self) -> list[str]:
        """Return the names of the regular files present, sorted."""
        with _disk_errors("listing the directory"), os.scandir(self._directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def close(self) -> None:
        """Close the directory; what was not synced stays as durable as it was. Idempotent."""
        for descriptor in self._unsynced.values():
            os.close(descriptor)
        self._unsynced.clear()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _open(self, name: str, flags: int) -> int:
        return os.open(
            _checked(name),
            flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,  # a FIFO must not hang us
            _FILE_MODE,
            dir_fd=self._directory,
        )

    def _read_dropping_cache(self, name: str) -> bytes:
        descriptor = self._open(name, os.O_RDWR)
        try:
            os.fsync(descriptor)  # dirty pages are not dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return _read_all(descriptor)
        finally:
            os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_bytes(descriptor: int) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise EngineError("a name in the directory is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise EngineError(f"a file in the directory is larger than {MAX_FILE_BYTES} bytes")
    return status.st_size


def _read_all(descriptor: int) -> bytes:
    pieces: list[bytes] = []
    left = _file_bytes(descriptor)
    offset = 0
    while left > 0:
        piece = os.pread(descriptor, left, offset)
        if not piece:
            break
        pieces.append(piece)
        left, offset = left - len(piece), offset + len(piece)
    return b"".join(pieces)


def _read_direct(descriptor: int) -> bytes:
    """Read a whole file into a page-aligned buffer, as O_DIRECT demands."""
    size = _file_bytes(descriptor)
    if not size:
        return b""
    aligned = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    with mmap.mmap(-1, aligned) as buffer:
        if os.preadv(descriptor, [buffer], 0) < size:
            raise EngineError("reading a file back came up short")
        return buffer[:size]


class _SimulatedFile:
    """What the device holds of one file, and what it has only been told."""

    def __init__(self) -> None:
        self.durable: bytes | None = None
        self.cached = b""
        self.unsynced: list[bytes] = []
        """The whole file after each write since the last sync, oldest first."""

    def write(self, data: bytes, offset: int) -> None:
        base = self.cached.ljust(offset, b"\0")
        self.cached = base[:offset] + data + base[offset + len(data) :]
        self.unsynced.append(self.cached)

    def sync(self) -> None:
        self.durable = self.cached
        self.unsynced.clear()

    def crash(self, rng: Random) -> None:
        """Keep of each sector any of its contents since the last sync; or lose a new file."""
        if self.unsynced and (self.durable is not None or rng.random() < 0.5):
            versions = [self.durable or b"", *self.unsynced]
            size = len(rng.choice(versions))
            self.durable = b"".join(
                rng.choice(versions)[start : start + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0")
                for start in range(0, size, SECTOR_BYTES)
            )[:size]
        self.cached = self.durable or b""
        self.unsynced.clear()


class MemoryDisk:
    """A simulated directory whose unsynced writes are lost or torn when the power fails.

    ``probe`` sees every step (see ``store.faults``). With ``retain`` every byte ever written is
    kept for forensic tests. Removing is durable at once, as the port promises.
    """

    def __init__(self, *, probe: Probe | None = None, retain: bool = False) -> None:
        self.probe = probe
        self._retained: list[bytes] | None = [] if retain else None
        self._files: dict[str, _SimulatedFile] = {}

    def read(self, name: str) -> bytes | None:
        """Return the whole file as last written, or None when it does not exist."""
        file = self._files.get(_checked(name))
        return None if file is None else file.cached

    def write(self, name: str, data: bytes, offset: int = 0) -> None:
        """Write in place, creating the file; not durable before ``sync``."""
        self._step("write")
        if offset + len(data) > MAX_FILE_BYTES:
            raise EngineFullError("writing a file failed: it would be too large")
        if self._retained is not None:
            self._retained.append(bytes(data))
        self._files.setdefault(_checked(name), _SimulatedFile()).write(bytes(data), offset)
        self._step("wrote")

    def sync(self, name: str) -> None:
        """Make the file and its entry durable; ``EngineError`` when it does not exist."""
        file = self._file(name)
        self._step("sync")
        file.sync()
        self._step("synced")

    def read_back(self, name: str) -> bytes:
        """Return what the device holds durably; ``EngineError`` when there is nothing."""
        durable = self._file(name).durable
        if durable is None:
            raise EngineError("reading a file back failed: it was never synced")
        return durable

    def remove(self, name: str) -> None:
        """Remove the file durably; no error when it is absent."""
        self._step("remove")
        self._files.pop(_checked(name), None)
        self._step("removed")

    def names(self) -> list[str]:
        """Return the names present, sorted."""
        return sorted(self._files)

    def close(self) -> None:
        """Do nothing: a simulated directory holds nothing open."""

    def crash(self, rng: Random) -> None:
        """Cut the power: unsynced sectors are kept or lost as ``rng`` decides."""
        for name in sorted(self._files):
            file = self._files[name]
            file.crash(rng)
            if file.durable is None:
                del self._files[name]

    def every_byte(self) -> bytes:
        """Return all data ever written, in order; needs ``retain``."""
        if self._retained is None:
            raise ValueError("this disk was not told to retain")
        return b"".join(self._retained)

    def _file(self, name: str) -> _SimulatedFile:
        file = self._files.get(_checked(name))
        if file is None:
            raise EngineError("no such file on the simulated disk")
        return file

    def _step(self, name: str) -> None:
        if self.probe is not None:
            self.probe(name)
