"""Check what only LMDB can get wrong: files, processes, meta pages, a full disk, kill -9."""

from __future__ import annotations

import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from store.engine.ballast import Ballast
from store.engine.lmdb import MAX_SNAPSHOTS, LmdbEngine
from store.errors import EngineError, EngineFullError, FencedError

MAP_BYTES = 64 << 20
KILLED_RUNS = 3
BATCHES_BEFORE_THE_KILL = 25


def open_engine(path: Path) -> LmdbEngine:
    return LmdbEngine(path / "data", map_bytes=MAP_BYTES)


def meta_transactions(path: Path) -> list[int]:
    """Read the transaction numbers of both meta pages from the file (MDB_meta of 0.9)."""
    raw = (path / "data" / "data.mdb").read_bytes()
    page, header = os.sysconf("SC_PAGE_SIZE"), 16
    offset = header + 4 + 4 + 8 + 8 + 2 * 48 + 8
    return [struct.unpack_from("=Q", raw, start + offset)[0] for start in (0, page)]


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        engine = open_engine(tmp_path)
    finally:
        os.umask(before)
    engine.close()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    files = sorted((tmp_path / "data").iterdir())
    assert [file.name for file in files] == ["data.mdb", "lock.mdb", "writer.lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_settling_renews_both_meta_pages(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    token = engine.acquire()
    engine.batch({b"\x10a": b"1"}, token)
    batch = max(meta_transactions(tmp_path))
    assert min(meta_transactions(tmp_path)) < batch
    engine.settle()
    assert min(meta_transactions(tmp_path)) > batch
    engine.settle()
    assert min(meta_transactions(tmp_path)) > batch + 2
    engine.close()


def test_a_second_process_may_read_but_not_write(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    engine.batch({b"\x10a": b"1"}, engine.acquire())
    code = f"""
from pathlib import Path
from store.engine.lmdb import LmdbEngine
from store.errors import FencedError
try:
    LmdbEngine(Path({str(tmp_path / "data")!r}), map_bytes={MAP_BYTES})
except FencedError as error:
    print(error)
reader = LmdbEngine(Path({str(tmp_path / "data")!r}), map_bytes={MAP_BYTES}, readonly=True)
with reader.snapshot() as snapshot:
    print(snapshot.get(b"\\x10a"))
try:
    reader.acquire()
except FencedError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.splitlines() == [
        "the store is open for writing in another process",
        "b'1'",
        "this store was opened for reading only",
    ]
    engine.batch({b"\x10b": b"2"}, engine.acquire())
    engine.close()


def test_a_second_writer_is_refused_in_one_process_too(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    with pytest.raises(FencedError):
        open_engine(tmp_path)
    engine.close()
    open_engine(tmp_path).close()


def test_reading_needs_a_store_that_exists(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        LmdbEngine(tmp_path / "data", map_bytes=MAP_BYTES, readonly=True)
    assert not (tmp_path / "data").exists()


def test_a_damaged_file_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    open_engine(tmp_path).close()
    data = tmp_path / "data" / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(b"\xff" * len(content))
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            open_engine(tmp_path)
        assert not isinstance(caught.value, FencedError)
    data.write_bytes(content)
    open_engine(tmp_path).close()


def test_a_path_that_cannot_be_made_is_an_engine_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    with pytest.raises(EngineError):
        open_engine(tmp_path)
    with pytest.raises(EngineError):
        LmdbEngine(tmp_path / "no" / "such" / "parent", map_bytes=MAP_BYTES)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let the kernel refuse the file's growth, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_the_batch_and_the_store_lives_on(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    token = engine.acquire()
    engine.batch({b"\x10a": b"1"}, token)
    size = (tmp_path / "data" / "data.mdb").stat().st_size
    many = {b"\x10b%d" % number: bytes(80_000) for number in range(10)}
    with files_no_larger_than(size + 100_000), pytest.raises(EngineFullError, match="disk"):
        engine.batch({**many, b"\x10a": None}, token)
    with engine.snapshot() as snapshot:
        assert dict(snapshot.range(b"\x10", b"\x11")) == {b"\x10a": b"1"}
    engine.batch(many, token)
    with engine.snapshot() as snapshot:
        assert len(list(snapshot.range(b"\x10", b"\x11"))) == 11
    engine.close()


def test_a_smaller_map_does_not_cut_the_data(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    rows = {b"\x10%d" % number: bytes(80_000) for number in range(20)}
    engine.batch(rows, engine.acquire())
    engine.close()
    engine = LmdbEngine(tmp_path / "data", map_bytes=1)
    with engine.snapshot() as snapshot:
        assert dict(snapshot.range(b"\x10", b"\x11")) == rows
    engine.close()


def test_the_file_is_sparse(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path / "data", map_bytes=1 << 40)
    engine.batch({b"\x10a": b"1"}, engine.acquire())
    assert (tmp_path / "data" / "data.mdb").stat().st_size < 1 << 20
    engine.close()


def test_too_many_snapshots_are_refused(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    snapshots = [engine.snapshot() for _ in range(MAX_SNAPSHOTS)]
    with pytest.raises(EngineError):
        engine.snapshot()
    snapshots.pop().close()
    engine.snapshot().close()
    engine.close()


def test_readers_in_other_threads_see_whole_batches_only(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    token = engine.acquire()
    keys = [b"\x10%d" % number for number in range(8)]
    stop = Event()
    broken: list[set[bytes | None]] = []

    def read() -> None:
        while not stop.is_set():
            with engine.snapshot() as snapshot:
                seen = {snapshot.get(key) for key in keys}
            if len(seen) != 1:
                broken.append(seen)

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        engine.batch(dict.fromkeys(keys, b"%d" % number), token)
    stop.set()
    for reader in readers:
        reader.join()
    engine.close()
    assert broken == []


def test_what_was_deleted_is_in_the_file_but_not_in_its_copy(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    token = engine.acquire()
    for size in (24, 400, 9_000):
        gone = {b"\x10%04d%05d" % (number, size): b"canary" * (size // 6) for number in range(60)}
        kept = {key + b"k": b"kept" * (size // 4) for key in gone}
        engine.batch(gone | kept, token)
        engine.batch(dict.fromkeys(gone), token)
    assert b"canary" in (tmp_path / "data" / "data.mdb").read_bytes()
    engine.copy(tmp_path / "copy")
    copied = (tmp_path / "copy" / "data.mdb").read_bytes()
    assert b"canary" not in copied
    assert copied.count(b"kept" * 6) >= 180
    engine.close()


def test_a_copy_is_private_and_reading_it_adds_no_file(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    engine.batch({b"\x10a": b"1"}, engine.acquire())
    before = os.umask(0)
    try:
        engine.copy(tmp_path / "copy")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    copy = LmdbEngine(tmp_path / "copy", readonly=True, is_still=True)
    with copy.snapshot() as snapshot:
        assert snapshot.get(b"\x10a") == b"1"
    copy.close()
    (file,) = (tmp_path / "copy").iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("data.mdb", 0o600)
    engine.close()


def test_writing_goes_on_while_a_copy_is_made(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    token = engine.acquire()
    keys = [b"\x10%04d" % number for number in range(400)]
    engine.batch(dict.fromkeys(keys, bytes(20_000)), token)
    copying = Thread(target=engine.copy, args=(tmp_path / "copy",))
    copying.start()
    batches = 0
    while copying.is_alive():
        batches += 1
        engine.batch(dict.fromkeys(keys[:4], b"%d" % batches), token)
    copying.join()
    copy = LmdbEngine(tmp_path / "copy", readonly=True, is_still=True)
    with copy.snapshot() as snapshot:
        assert len({snapshot.get(key) for key in keys[:4]}) == 1
        assert [key for key, _ in snapshot.range(b"\x10", b"\x11")] == keys
    copy.close()
    engine.close()


def test_a_copy_that_finds_no_room_says_so(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    engine.batch({b"\x10%d" % number: bytes(80_000) for number in range(20)}, engine.acquire())
    with files_no_larger_than(25 * 4_096), pytest.raises(EngineFullError):
        engine.copy(tmp_path / "copy")
    engine.copy(tmp_path / "another")
    engine.close()


class SpaceThatComesBack(Ballast):
    """A ballast whose release lets files grow again, as on a disk that was full."""

    def release(self) -> bool:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        return super().release()


def test_an_urgent_batch_on_a_full_disk_takes_the_ballast(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path / "data", map_bytes=MAP_BYTES, ballast_bytes=1 << 20)
    engine._ballast = SpaceThatComesBack(tmp_path / "data", 1 << 20)
    assert engine._ballast.establish()
    token = engine.acquire()
    size = (tmp_path / "data" / "data.mdb").stat().st_size
    many = {b"\x10b%d" % number: bytes(80_000) for number in range(10)}
    with files_no_larger_than(size + 100_000):
        with pytest.raises(EngineFullError, match="disk"):
            engine.batch(many, token)
        assert (tmp_path / "data" / "ballast").stat().st_size == 1 << 20
        engine.batch(many, token, urgent=True)
        assert not (tmp_path / "data" / "ballast").exists()
    with engine.snapshot() as snapshot:
        assert len(list(snapshot.range(b"\x10", b"\x11"))) == 10
    engine.batch({b"\x10a": b"1"}, token)
    assert (tmp_path / "data" / "ballast").stat().st_size == 1 << 20
    engine.close()


def test_an_urgent_batch_beyond_the_map_leaves_the_ballast(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path / "data", map_bytes=1 << 20, ballast_bytes=4_096)
    token = engine.acquire()
    many = {b"\x10b%d" % number: bytes(80_000) for number in range(20)}
    with pytest.raises(EngineFullError, match="map"):
        engine.batch(many, token, urgent=True)
    assert (tmp_path / "data" / "ballast").exists()
    engine.close()


WRITING_PROCESS = """
import sys
from pathlib import Path
from store.clocks import SystemClock
from store.engine.lmdb import LmdbEngine
from store.writer import Writer

def decide(txn, actor, command, now_ms):
    txn.put(b"\\x10%08d" % command, b"%d" % command * 20)
    txn.put(b"\\x20newest", b"%d" % command)
    return command

def deliver(completions):
    for completion in completions:
        assert completion.error is None
        sys.stdout.write(f"{completion.outcome}\\n")
    sys.stdout.flush()

engine = LmdbEngine(Path(sys.argv[1]), map_bytes=64 << 20)
writer = Writer(engine, decide, SystemClock(), deliver, failed=lambda error: sys.exit(9))
with engine.snapshot() as snapshot:
    number = int(snapshot.get(b"\\x20newest") or b"0")
writer.start()
while number < 200_000:
    number += 1
    try:
        writer.submit(None, number, None)
    except Exception:
        number -= 1
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(KILLED_RUNS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITING_PROCESS, os.fspath(tmp_path / "data")],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        received = b""
        for _ in range(BATCHES_BEFORE_THE_KILL):
            received += os.read(child.stdout.fileno(), 1 << 16)
        child.send_signal(signal.SIGKILL)
        received += child.stdout.read()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        lines = received[: received.rfind(b"\n") + 1].split()
        assert [int(line) for line in lines] == list(
            range(int(lines[0]), int(lines[0]) + len(lines))
        )
        acknowledged = int(lines[-1])
        engine = open_engine(tmp_path)
        with engine.snapshot() as snapshot:
            keys = [key for key, _ in snapshot.range(b"\x10", b"\x11")]
            newest = int(snapshot.get(b"\x20newest") or b"0")
        engine.close()
        assert keys == [b"\x10%08d" % number for number in range(1, newest + 1)]
        assert newest >= acknowledged
