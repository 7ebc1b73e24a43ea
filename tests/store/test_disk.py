"""Hold both disks to the port's promises, and the simulated one to its model of a crash."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.disk import MAX_FILE_BYTES, SECTOR_BYTES, FileDisk, MemoryDisk
from store.errors import EngineError, EngineFullError
from store.faults import CutAt, PowerCut
from store.ports import Disk

SHM = Path("/dev/shm")


@pytest.fixture(params=["file", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        yield MemoryDisk()
        return
    disk = FileDisk(tmp_path / "keys")
    yield disk
    disk.close()


def test_a_file_is_read_as_written(disk: Disk) -> None:
    assert disk.read("root.0") is None
    assert disk.names() == []
    disk.write("root.1", b"one")
    disk.write("root.0", b"abcdef")
    disk.write("root.0", b"XY", 2)
    assert disk.read("root.0") == b"abXYef"
    disk.sync("root.0")
    disk.sync("root.0")
    assert disk.read_back("root.0") == b"abXYef"
    assert disk.names() == ["root.0", "root.1"]


def test_writing_never_truncates_and_a_gap_is_zeros(disk: Disk) -> None:
    disk.write("slot", b"abc")
    disk.write("slot", b"z")
    disk.write("slot", b"end", 5)
    disk.sync("slot")
    assert disk.read("slot") == disk.read_back("slot") == b"zbc\0\0end"


def test_files_of_every_size_are_read_back(disk: Disk) -> None:
    for size in (0, 1, 511, 512, 4096, 4097, 10_000, MAX_FILE_BYTES):
        content = bytes(range(256)) * (size // 256 + 1)
        disk.write(f"size{size}", content[:size])
        disk.sync(f"size{size}")
        assert disk.read_back(f"size{size}") == content[:size]


def test_a_removed_file_is_gone(disk: Disk) -> None:
    disk.write("fence", b"12345")
    disk.remove("fence")
    disk.remove("fence")
    assert disk.read("fence") is None
    assert disk.names() == []
    disk.write("fence", b"6")
    disk.sync("fence")
    assert disk.read("fence") == b"6"


def test_a_missing_file_cannot_be_synced_or_read_back(disk: Disk) -> None:
    with pytest.raises(EngineError):
        disk.sync("nothing")
    with pytest.raises(EngineError):
        disk.read_back("nothing")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_only_plain_names_are_taken(disk: Disk, name: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        disk.read(name)
    with pytest.raises(ValueError, match="plain"):
        disk.write(name, b"x")
    with pytest.raises(ValueError, match="plain"):
        disk.remove(name)


def test_what_was_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = FileDisk(tmp_path / "keys")
    first.write("root.0", b"secret")
    first.sync("root.0")
    first.close()
    first.close()
    second = FileDisk(tmp_path / "keys")
    assert second.read("root.0") == second.read_back("root.0") == b"secret"
    second.close()


def test_directory_and_files_belong_to_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        disk = FileDisk(tmp_path / "keys")
        disk.write("root.0", b"secret")
    finally:
        os.umask(before)
    disk.close()
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "root.0").stat().st_mode) == 0o600


def test_links_and_special_files_are_refused(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "keys")
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (tmp_path / "keys" / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "keys" / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(EngineError):
            disk.read(name)
    with pytest.raises(EngineError):
        disk.write("link", b"x")
    assert (tmp_path / "elsewhere").read_bytes() == b"not ours"
    assert disk.names() == []
    disk.close()


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "keys")
    with (tmp_path / "keys" / "big").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(EngineError):
        disk.read("big")
    with pytest.raises(EngineError):
        disk.read_back("big")
    disk.close()


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "keys")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(EngineFullError):
            disk.write("slot", bytes(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        disk.close()


def test_a_parent_that_is_not_there_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        FileDisk(tmp_path / "no" / "such" / "place")


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="no file system in memory")
def test_a_file_system_in_memory_reads_back_too(tmp_path: Path) -> None:
    place = SHM / f"strongroom-test-{os.getpid()}"
    disk = FileDisk(place)
    try:
        disk.write("slot", b"x" * 5000)
        disk.sync("slot")
        assert disk.read_back("slot") == b"x" * 5000
    finally:
        disk.remove("slot")
        disk.close()
        place.rmdir()


def sectors(data: bytes) -> list[bytes]:
    return [data[start : start + SECTOR_BYTES] for start in range(0, len(data), SECTOR_BYTES)]


@given(
    old=st.binary(min_size=2048, max_size=2048),
    new=st.lists(st.binary(min_size=2048, max_size=2048), max_size=3),
    seed=st.integers(0, 1000),
)
def test_a_crash_leaves_a_mix_of_whole_sectors(old: bytes, new: list[bytes], seed: int) -> None:
    disk = MemoryDisk()
    disk.write("slot", old)
    disk.sync("slot")
    for content in new:
        disk.write("slot", content)
    disk.crash(Random(seed))
    found = disk.read("slot")
    assert found is not None
    assert found == disk.read_back("slot")
    for number, sector in enumerate(sectors(found)):
        assert sector in [sectors(content)[number] for content in (old, *new)]


def test_every_fate_of_an_unsynced_write_happens() -> None:
    fates = set()
    for seed in range(200):
        disk = MemoryDisk()
        disk.write("slot", b"o" * 1024)
        disk.sync("slot")
        disk.write("slot", b"n" * 1024)
        disk.crash(Random(seed))
        content = disk.read("slot")
        assert content is not None
        fates.add(content[::SECTOR_BYTES])
    assert fates == {b"oo", b"on", b"no", b"nn"}


def test_a_new_file_may_be_lost_until_it_is_synced() -> None:
    found = set()
    for seed in range(50):
        disk = MemoryDisk()
        disk.write("slot", b"n")
        disk.crash(Random(seed))
        found.add(tuple(disk.names()))
    assert found == {(), ("slot",)}


@given(content=st.binary(max_size=3000), seed=st.integers(0, 1000))
def test_what_was_synced_survives(content: bytes, seed: int) -> None:
    disk = MemoryDisk()
    disk.write("slot", content)
    disk.sync("slot")
    disk.crash(Random(seed))
    assert disk.read("slot") == content


def test_reading_back_shows_what_the_device_holds() -> None:
    disk = MemoryDisk()
    disk.write("slot", b"old")
    with pytest.raises(EngineError):
        disk.read_back("slot")
    disk.sync("slot")
    disk.write("slot", b"new")
    assert disk.read("slot") == b"new"
    assert disk.read_back("slot") == b"old"


def test_the_power_can_be_cut_at_every_step() -> None:
    def run(probe: CutAt) -> MemoryDisk:
        disk = MemoryDisk(probe=probe)
        try:
            disk.write("slot", b"1")
            disk.sync("slot")
            disk.remove("slot")
        except PowerCut:
            disk.crash(Random(4))
        return disk

    whole = CutAt()
    run(whole)
    assert whole.seen == ["write", "wrote", "sync", "synced", "remove", "removed"]
    assert [run(CutAt(step)).names() for step in (0, 3, 4, 5)] == [[], ["slot"], ["slot"], []]


def test_every_byte_ever_written_is_kept_when_asked() -> None:
    disk = MemoryDisk(retain=True)
    disk.write("slot", b"first")
    disk.write("slot", b"second")
    disk.remove("slot")
    assert disk.every_byte() == b"firstsecond"
    with pytest.raises(ValueError, match="retain"):
        MemoryDisk().every_byte()
