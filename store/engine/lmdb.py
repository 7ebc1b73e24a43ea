"""Keep the engine contract on LMDB 0.9: one unnamed database in a directory of its own."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self, TypeVar

import lmdb
import lmdb.verify

from store.engine.ballast import Ballast
from store.engine.contract import EngineStats
from store.engine.fencing import (
    SETTLE_KEY,
    TOKEN_KEY,
    check_batch,
    counter,
    counter_row,
    ordinary_bytes,
)
from store.errors import EngineError, EngineFullError, FencedError, ReserveError

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

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

_walk: Callable[[str], list[str]] = lmdb.verify.verify

T = TypeVar("T")

_ENGINE_0_9 = 0
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def verify_pages(path: Path) -> list[str]:
    """Walk every page of the last commit and the list of free pages; return what is wrong.

    For a store that nobody writes. It is read as bytes, not opened, so that no damage in it can
    damage us. O(store); raises ``EngineError`` when the file cannot be read.
    """
    with _os_errors("verifying the store"):
        try:
            return _walk(os.fspath(path))
        except lmdb.verify.VerifyError as error:
            return [str(error)]


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

    Args:
        path: the directory, made unless ``readonly``; its parent must exist.
        map_bytes: largest size of the data file; one smaller than the data is enlarged.
        readonly: open for reading only.
        is_still: nobody writes the file, it is a copy; then reading adds no file beside it.
            For ``readonly`` only.
        ballast_bytes: disk space held for urgent batches; 0 for none.
    """

    max_batch_bytes = MAX_BATCH_BYTES

    def __init__(
        self,
        path: Path,
        *,
        map_bytes: int = DEFAULT_MAP_BYTES,
        readonly: bool = False,
        is_still: bool = False,
        ballast_bytes: int = 0,
    ) -> None:
        """Open it.

        Raises ``FencedError`` when another process has it open for writing, and
        ``EngineError`` when it cannot be opened.
        """
        assert readonly or not is_still, "who writes must lock"
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
            self._env = _open_environment(path, map_bytes, readonly=readonly, locking=not is_still)
            if is_new:
                # LMDB syncs its files but not the directory entries that lead to them.
                _sync_directory(path)
                _sync_directory(path.parent)
            self._capacity_bytes = self._env.info()["map_size"]
            self._ordinary_bytes = ordinary_bytes(self._capacity_bytes)
            self._ballast = Ballast(path, 0 if readonly else ballast_bytes)
            self._ballast.establish()
        except BaseException:
            self._unlock()
            raise

    def acquire(self) -> int:
        """Become the writer: return a fencing token larger than every earlier one, durably."""
        self._token = self._with_ballast(self._take_token)
        return self._token

    def snapshot(self) -> LmdbSnapshot:
        """Open a view of the last committed batch, in under a microsecond."""
        try:
            return LmdbSnapshot(self._env.begin())
        except lmdb.Error as error:
            _raise("opening a snapshot", error)

    def batch(
        self, writes: Mapping[bytes, bytes | None], token: int, *, urgent: bool = False
    ) -> None:
        """Apply all ``writes`` atomically; durable on return. The GIL is free during fsync."""
        total = check_batch(writes, MAX_BATCH_BYTES)
        if urgent:
            self._with_ballast(lambda: self._apply(writes, token))
            return
        if total and self._would_touch_reserve(total):
            raise ReserveError("committing a batch: the map is full but for its reserve")
        self._apply(writes, token)
        if self._ballast.is_missing:
            self._ballast.establish()

    def _apply(self, writes: Mapping[bytes, bytes | None], token: int) -> None:
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
            self._with_ballast(self._touch)

    def copy(self, path: Path) -> None:
        """Copy the live rows into a new directory; the GIL is free while LMDB copies."""
        with _os_errors("copying the store"):
            path.mkdir(mode=_DIRECTORY_MODE)
        try:
            self._env.copy(os.fspath(path), compact=True)
        except lmdb.Error as error:
            if error.code in _FULL_ERRORS:
                raise EngineFullError("copying the store: the disk is full") from error
            _raise("copying the store", error)
        with _os_errors("copying the store"):
            data = path / DATA_NAME
            data.chmod(_FILE_MODE)
            _sync(data, os.O_RDONLY)
        _sync_directory(path)
        _sync_directory(path.parent)

    def verify(self) -> list[str]:
        """Return what ``verify_pages`` finds while writing goes on; O(store), any thread.

        An open snapshot keeps each page that the walk can reach from being used again. What one
        walk finds may still be two commits seen at once, so it counts when a second one finds
        something too.
        """
        with self.snapshot():
            return verify_pages(self._path) and verify_pages(self._path)

    def stats(self) -> EngineStats:
        """Return the bytes of the pages in use (free pages not counted) and of the map."""
        try:
            stat = self._env.stat()
        except lmdb.Error as error:
            _raise("reading sizes", error)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return EngineStats(pages * stat["psize"], self._capacity_bytes)

    def close(self) -> None:
        """Close the files and give the writer's place free; open snapshots become invalid."""
        self._env.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_token(self) -> int:
        with self._writing("taking the writer's token") as txn:
            token = counter(txn.get(TOKEN_KEY)) + 1
            txn.put(TOKEN_KEY, counter_row(token))
        return token

    def _touch(self) -> None:
        """Write a commit that changes a row and means nothing."""
        with self._writing("settling") as txn:
            _check_token(txn, self._token)
            txn.put(SETTLE_KEY, counter_row(counter(txn.get(SETTLE_KEY)) + 1))

    def _would_touch_reserve(self, batch_bytes: int) -> bool:
        """Tell whether so many more bytes would use what is kept for urgent batches.

        While the file has never grown near the reserve, one cheap look is enough; then the free
        pages in it count.
        """
        try:
            info = self._env.info()
        except lmdb.Error as error:
            _raise("reading sizes", error)
        left = self._ordinary_bytes - batch_bytes
        if info["last_pgno"] * PAGE_BYTES < left:
            return False
        return self.stats().used_bytes >= left

    def _with_ballast(self, work: Callable[[], T]) -> T:
        """Do some writing; on a full disk once more, with the ballast's space given back."""
        try:
            return work()
        except EngineFullError as error:
            if isinstance(error.__cause__, lmdb.MapFullError) or not self._ballast.release():
                raise
        return work()

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


def _open_environment(
    path: Path, map_bytes: int, *, readonly: bool, locking: bool
) -> lmdb.Environment:
    try:
        env = lmdb.Environment(
            os.fspath(path),
            map_size=-(-map_bytes // PAGE_BYTES) * PAGE_BYTES,
            readonly=readonly,
            lock=locking,
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
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
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
