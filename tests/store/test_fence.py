"""The fence tells every rollback it can, and never takes a plain crash for one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.disk import MemoryDisk
from store.errors import EngineError
from store.faults import CutAt, PowerCut
from store.fence import FILE_NAME, SECTOR_BYTES, Breach, Fence, Record, State
from store.ids import Origin
from store.limits import FENCE_BLOCK

HERE = Origin(b"n" * 16, 77)
MACHINE = b"m" * 16
SERIAL = 6
"""Offset of a record's serial."""


def started(disk: MemoryDisk) -> Fence:
    fence = Fence(disk)
    fence.start(HERE)
    return fence


def test_a_new_fence_has_one_block() -> None:
    disk = MemoryDisk()
    assert Fence(disk).limit == 0
    assert Fence(disk).origin is None
    assert started(disk).limit == FENCE_BLOCK
    assert Fence(disk).breach(HERE, 0) is None
    assert Fence(disk).origin == HERE


def test_a_missing_fence_is_a_breach() -> None:
    assert Fence(MemoryDisk()).breach(HERE, 5) is Breach.MISSING


def test_another_origin_is_a_breach() -> None:
    disk = MemoryDisk()
    started(disk)
    assert Fence(disk).breach(Origin(HERE.node, 78), 0) is Breach.OTHER_ORIGIN
    assert Fence(disk).breach(Origin(b"o" * 16, 77), 0) is Breach.OTHER_ORIGIN


def test_a_running_fence_allows_one_block_behind_its_limit() -> None:
    disk = MemoryDisk()
    started(disk).reserve(3_000, 2_999)
    limit = 2_999 + FENCE_BLOCK
    fence = Fence(disk)
    assert fence.limit == limit
    assert fence.breach(HERE, limit + 1) is Breach.AHEAD
    assert fence.breach(HERE, limit) is None
    assert fence.breach(HERE, 2_999) is None
    assert fence.breach(HERE, 2_998) is Breach.BEHIND


def test_a_batch_longer_than_a_block_is_covered() -> None:
    disk = MemoryDisk()
    fence = started(disk)
    fence.reserve(5 * FENCE_BLOCK, 10)
    assert fence.limit == 5 * FENCE_BLOCK


@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_a_clean_stop_allows_nothing_but_its_number(last: int, found: int) -> None:
    disk = MemoryDisk()
    started(disk).stop(last)
    expected = None if found == last else Breach.CHANGED
    assert Fence(disk).breach(HERE, found) is expected


def test_stopping_again_writes_nothing() -> None:
    disk = MemoryDisk()
    fence = started(disk)
    fence.stop(9)
    disk.probe = CutAt(0)
    fence.stop(9)
    Fence(disk).stop(9)


def test_a_changed_machine_is_a_breach_only_where_both_are_readable() -> None:
    disk = MemoryDisk()
    Fence(disk, MACHINE).start(HERE)
    assert Fence(disk, MACHINE).breach(HERE, 0) is None
    assert Fence(disk, b"x" * 16).breach(HERE, 0) is Breach.MACHINE
    assert Fence(disk).breach(HERE, 0) is None
    Fence(disk).stop(0)
    assert Fence(disk, MACHINE).breach(HERE, 0) is None


def test_a_short_generation_id_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Fence(MemoryDisk(), b"short")


@given(
    st.sampled_from(State),
    st.integers(0, (1 << 64) - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(1, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    st.data(),
)
def test_records_come_back_and_flipped_bits_do_not(
    state: State, serial: int, node: bytes, inc: int, number: int, data: st.DataObject
) -> None:
    record = Record(state, serial, Origin(node, inc), number, MACHINE)
    packed = record.pack()
    assert Record.unpack(packed + bytes(SECTOR_BYTES)) == record
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    flipped = bytearray(packed)
    flipped[bit // 8] ^= 1 << bit % 8
    assert Record.unpack(bytes(flipped)) is None
    assert Record.unpack(packed[:-1]) is None


def test_a_damaged_newest_record_leaves_the_one_before() -> None:
    disk = MemoryDisk()
    fence = started(disk)
    fence.reserve(1_025, 1_024)
    data = disk.read(FILE_NAME) or b""
    newest = max((0, SECTOR_BYTES), key=lambda at: data[at + SERIAL : at + SERIAL + 8])
    disk.write(FILE_NAME, bytes(80), newest)
    assert Fence(disk).limit == FENCE_BLOCK


class Site:
    """A site that numbers operations behind a fence, and what of it is durable."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.durable = 0
        self.fence = started(self.disk)

    def batch(self, size: int) -> None:
        seq = self.durable
        for _ in range(size):
            seq += 1
            if seq > self.fence.limit:
                self.fence.reserve(seq, self.durable)
        self.durable = seq

    def restart(self) -> None:
        self.fence = Fence(self.disk)
        assert self.fence.breach(HERE, self.durable) is None


def run(site: Site, sizes: list[int]) -> None:
    for size in sizes:
        if size:
            site.batch(size)
        else:
            site.fence.stop(site.durable)
            site.restart()


@given(
    st.lists(st.integers(0, FENCE_BLOCK), min_size=1, max_size=8),
    st.integers(0, 2**32),
    st.data(),
)
def test_no_crash_point_looks_like_a_rollback(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    counting = CutAt()
    whole = Site()
    whole.disk.probe = counting
    run(whole, sizes)
    if not counting.count:
        return
    site = Site()
    site.disk.probe = CutAt(data.draw(st.integers(0, counting.count - 1)))
    with pytest.raises(PowerCut):
        run(site, sizes)
    site.disk.probe = None
    site.disk.crash(Random(seed))
    site.restart()
    run(site, sizes)


@given(st.lists(st.integers(1, FENCE_BLOCK), min_size=1, max_size=8), st.data())
def test_a_store_more_than_a_block_back_is_always_noticed(
    sizes: list[int], data: st.DataObject
) -> None:
    site = Site()
    run(site, sizes)
    if site.fence.limit <= FENCE_BLOCK:
        return
    back = data.draw(st.integers(0, site.fence.limit - FENCE_BLOCK - 1))
    assert Fence(site.disk).breach(HERE, back) is Breach.BEHIND


def test_a_failed_write_changes_nothing_in_memory() -> None:
    disk = MemoryDisk()
    fence = started(disk)

    def full(step: str) -> None:
        raise EngineError(step)

    disk.probe = full
    with pytest.raises(EngineError):
        fence.reserve(1_025, 1_024)
    assert fence.limit == FENCE_BLOCK
    disk.probe = None
    fence.reserve(1_025, 1_024)
    assert Fence(disk).limit == 1_024 + FENCE_BLOCK


def test_the_record_is_the_published_one() -> None:
    vectors = json.loads(Path(__file__).with_name("log_vectors.json").read_text("utf-8"))
    vector = vectors["fence"]
    record = Record(
        State(vector["state"]),
        vector["serial"],
        Origin(bytes.fromhex(vector["node"]), vector["inc"]),
        vector["number"],
        bytes.fromhex(vector["machine"]),
    )
    assert record.pack().hex() == vector["record"]
