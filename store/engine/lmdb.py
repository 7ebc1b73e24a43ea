"""Keep the engine contract on LMDB 0.9: one unnamed database in a directory of its own."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

import lmdb

from store.engine.contract import EngineStats
from store.engine.fencing import SETTLE_KEY, TOKEN_KEY, check_batch, counter, counter_row
from store.errors import EngineError, EngineFullError, FencedError

DEFAULT_MAP_BYTES: Final = 64 << 30
"""Address space and largest size of the data file. The file is sparse: it grows as used."""

MAX_BATCH_BYTES: Final = 32 << 20
"""Largest batch, in key and value bytes: bounds the dirty pages held in memory."""

MAX_SNAPSHOTS: Final = 256
"""Snapshots open at one time, over all processes."""

FULL_PROBE_BYTES: Final = 64 << 10
"""Bytes written beside the data, to tell a full disk from a broken one."""

WRITER_LOCK_NAME: Final = "writer.lock"
DATA_NAME: Final = "data.mdb"

_ENGINE_0_9 = 0
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LmdbSnapshot:
    """A read transaction of LMDB. Its slot is reused, so opening one costs no system call."""

    __slots__ = ("_txn",)

    def __init__(self, txn: lmdb.Transaction[bytes]) -> None:
        self._txn = txn

    def get(self, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        try:
            return self._txn.get(key)
        except lmdb.Error as error:
            _raise("reading", error)

    def range(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs with ``start <= key < end``, descending if ``reverse``."""
        pairs = self._down(start, end) if reverse else self._up(start, end)
        return pairs if limit is None else islice(pairs, limit)

    def close(self) -> None:
        """Release the view; idempotent."""
        self._txn.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._txn.abort()

    def _up(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            cursor = self._txn.cursor()
            if not cursor.set_range(start):
                return
            for pair in cursor.iternext():
                if pair[0] >= end:
                    return
                yield pair
        except lmdb.Error as error:
            _raise("reading a range", error)

    def _down(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            cursor = self._txn.cursor()
            found = cursor.prev() if cursor.set_range(end) else cursor.last()
            if not found:
                return
            for pair in cursor.iterprev():
                if pair[0] < start:
                    return
                yield pair
        except lmdb.Error as error:
            _raise("reading a range", error)


class LmdbEngine:
    """The engine of a single site: one file, one writing process, any number of readers.

    Snapshots may be opened from any thread, batches from one thread at a time. Files are made
    with mode 0600 in a directory of mode 0700.
    """

    max_batch_bytes = MAX_BATCH_BYTES

    def __init__(
        self, path: Path, *, map_bytes: int = DEFAULT_MAP_BYTES, readonly: bool = False
    ) -> None:
        """Open the directory ``path``, making it unless ``readonly``; its parent must exist.

        Raises ``FencedError`` when another process has it open for writing, and
        ``EngineError`` when it cannot be opened. A map smaller than the data is enlarged.
        """
        self._path = path
        self._token = 0
        self._lock = -1
        self._readonly = readonly
        with _os_errors("opening the store"):
            if not readonly:
                path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
                self._lock = _lock_for_writing(path / WRITER_LOCK_NAME)
        try:
            is_new = not (path / DATA_NAME).exists()
            self._env = _open_environment(path, map_bytes, readonly=readonly)
            if is_new:
                # LMDB syncs its files but not the directory entries that lead to them.
                _sync_directory(path)
                _sync_directory(path.parent)
        except BaseException:
            self._unlock()
            raise

    def acquire(self) -> int:
        """Become the writer: return a fencing token larger than every earlier one, durably."""
        with self._writing("taking the writer's token") as txn:
            token = counter(txn.get(TOKEN_KEY)) + 1
            txn.put(TOKEN_KEY, counter_row(token))
        self._token = token
        return token

    def snapshot(self) -> LmdbSnapshot:
        """Open a view of the last committed batch, in under a microsecond."""
        try:
            return LmdbSnapshot(self._env.begin())
        except lmdb.Error as error:
            _raise("opening a snapshot", error)

    def batch(self, writes: Mapping[bytes, bytes | None], token: int) -> None:
        """Apply all ``writes`` atomically; durable on return. The GIL is free during fsync."""
        check_batch(writes, MAX_BATCH_BYTES)
        puts: list[tuple[bytes, bytes]] = []
        deletes: list[bytes] = []
        for key in sorted(writes):  # in key order each leaf page is found once
            value = writes[key]
            if value is None:
                deletes.append(key)
            else:
                puts.append((key, value))
        with self._writing("committing a batch") as txn:
            _check_token(txn, token)
            for key in deletes:
                txn.delete(key)
            if puts:
                txn.cursor().putmulti(puts)

    def settle(self) -> None:
        """Make both meta pages newer than the last batch, with two commits.

        An empty commit moves no meta page, so each of them changes a row.
        """
        for _ in range(2):
            with self._writing("settling") as txn:
                _check_token(txn, self._token)
                count = counter(txn.get(SETTLE_KEY)) + 1
                txn.put(SETTLE_KEY, counter_row(count))

    def stats(self) -> EngineStats:
        """Return the bytes of the pages in use (free pages not counted) and of the map."""
        try:
            stat, info = self._env.stat(), self._env.info()
        except lmdb.Error as error:
            _raise("reading sizes", error)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return EngineStats(used_bytes=pages * stat["psize"], capacity_bytes=info["map_size"])

    def close(self) -> None:
        """Close the files and give the writer's place free; open snapshots become invalid."""
        self._env.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def _writing(self, operation: str) -> Iterator[lmdb.Transaction[bytes]]:
        """Run one write transaction and name its failures."""
        if self._readonly:
            raise FencedError("this store was opened for reading only")
        try:
            with self._env.begin(write=True) as txn:
                yield txn
        except lmdb.MapFullError as error:
            raise EngineFullError(f"{operation}: the map is full") from error
        except lmdb.Error as error:
            if self._is_disk_full(error) and self._is_usable():
                raise EngineFullError(f"{operation}: the disk is full") from error
            _raise(operation, error)

    def _is_disk_full(self, error: lmdb.Error) -> bool:
        """Tell whether a failed commit lacked space; LMDB says EIO when a write came up short."""
        if error.code == errno.EIO:
            return _lacks_space(self._path)
        return error.code in _FULL_ERRORS

    def _is_usable(self) -> bool:
        """Tell whether LMDB still accepts writes: if not, a meta page was being written."""
        try:
            self._env.begin(write=True).abort()
        except lmdb.Error:
            return False
        return True


def _check_token(txn: lmdb.Transaction[bytes], token: int) -> None:
    if token <= 0 or counter(txn.get(TOKEN_KEY)) != token:
        raise FencedError("the writer's token is stale")


def _open_environment(path: Path, map_bytes: int, *, readonly: bool) -> lmdb.Environment:
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        env = lmdb.Environment(
            os.fspath(path),
            map_size=-(-map_bytes // page) * page,
            readonly=readonly,
            create=not readonly,
            mode=_FILE_MODE,
            writemap=False,
            meminit=True,  # unused parts of a page never carry what was in memory before
            readahead=_is_readahead_useful(path / DATA_NAME),
            max_readers=MAX_SNAPSHOTS,
            max_dbs=0,
            max_spare_txns=1,
            lib_version=_ENGINE_0_9,
        )
        env.reader_check()  # slots of readers that were killed
    except lmdb.Error as error:
        _raise("opening the store", error)
    return env


def _is_readahead_useful(data: Path) -> bool:
    """Tell whether the data fits well into memory; if not, reading ahead only evicts."""
    try:
        size = data.stat().st_size
    except FileNotFoundError:
        return True
    return size < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _lacks_space(directory: Path) -> bool:
    """Tell whether the data file can grow no further, by trying with an unnamed file."""
    try:
        offset = (directory / DATA_NAME).stat().st_size
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE)
        try:
            written = os.pwrite(descriptor, bytes(FULL_PROBE_BYTES), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno in _FULL_ERRORS
    return written < FULL_PROBE_BYTES


def _lock_for_writing(path: Path) -> int:
    """Take the exclusive lock that keeps a second writing process out."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FencedError("the store is open for writing in another process") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sync_directory(path: Path) -> None:
    with _os_errors("syncing a directory"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _os_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = EngineFullError if error.errno in _FULL_ERRORS else EngineError
        raise kind(f"{operation}: {os.strerror(error.errno or 0)}") from error


def _raise(operation: str, error: lmdb.Error) -> NoReturn:
    raise EngineError(f"{operation}: {error}") from error
