"""Write small private files so that they are whole, durable, and readable by their owner only."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.errors import ProfileError

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def private_directory(path: Path) -> None:
    """Make a directory, or check that it is the user's own; closes it to everybody else."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise ProfileError("The profile directory belongs to another user.")
        if found.st_mode & 0o077:
            path.chmod(PRIVATE_DIRECTORY)
    except OSError as error:
        raise ProfileError(f"The profile directory cannot be used: {error.strerror}.") from None


def read(path: Path) -> bytes | None:
    """Return a file's content; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"The profile cannot be read: {error.strerror}.") from None


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put ``content`` in place of a file, all of it or nothing, mode 0600.

    Args:
        path: the file.
        content: what it holds from now on.
        durable: return only when it survives a power cut.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(fresh, flags, PRIVATE_FILE)
        try:
            _write_all(descriptor, content)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise ProfileError(f"The profile cannot be written: {error.strerror}.") from None


def remove(path: Path) -> None:
    """Remove a file; no error when there is none."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ProfileError(f"The profile cannot be written: {error.strerror}.") from None


def sync_directory(path: Path) -> None:
    """Return once the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: one process at a time; waits for the others."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, PRIVATE_FILE)
    except OSError as error:
        raise ProfileError(f"The profile cannot be locked: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
