"""Root slots: every torn, flipped or forged slot is told, and effacing leaves nothing."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import SeededEntropy
from store.disk import FileDisk, MemoryDisk
from store.errors import FormatError, VaultLockedError
from store.vault.errors import EffaceError
from store.vault.slots import SLOT_BYTES, SLOT_NAMES, RootSlots, decode_slot, encode_slot
from store.vault.suites import AES_GCM, SUITES, Suite
from store.vault.wrap import NoWrap, WrapParameters

ROOT = b"R" * 32
KEY = b"w" * 32


def parameters() -> WrapParameters:
    return NoWrap().parameters(SeededEntropy(0))


def slot(generation: int = 1, suite: Suite = AES_GCM, seed: int = 0) -> bytes:
    return encode_slot(generation, ROOT, suite, parameters(), KEY, SeededEntropy(seed))


def open_slot(data: bytes) -> bytes | None:
    found = decode_slot(data)
    return None if found is None else found.open(KEY)


def resigned(data: bytes) -> bytes:
    """Give a changed slot the digest that fits."""
    return data[:-32] + sha256(data[:-32]).digest()


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_a_slot_comes_back_with_its_root(suite: Suite) -> None:
    data = slot(2**63, suite)
    assert len(data) == SLOT_BYTES
    found = decode_slot(data)
    assert found is not None
    assert (found.generation, found.suite, found.wrap) == (2**63, suite, parameters())
    assert found.open(KEY) == ROOT


def test_another_wrapping_key_does_not_open() -> None:
    found = decode_slot(slot())
    assert found is not None
    with pytest.raises(VaultLockedError):
        found.open(b"v" * 32)


@given(st.integers(0, 8 * SLOT_BYTES - 1))
def test_a_flipped_bit_makes_a_slot_invalid(bit: int) -> None:
    data = bytearray(slot())
    data[bit // 8] ^= 1 << bit % 8
    assert decode_slot(bytes(data)) is None


@given(st.integers(0, 8 * (SLOT_BYTES - 32) - 1))
def test_a_flipped_bit_under_a_fitting_digest_never_opens(bit: int) -> None:
    data = bytearray(slot())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, VaultLockedError)):
        open_slot(resigned(bytes(data)))


@pytest.mark.parametrize("old", [bytes(SLOT_BYTES), slot(1, seed=1)], ids=["blank", "slot"])
@pytest.mark.parametrize("mask", range(1, 255))
def test_every_torn_slot_is_told(old: bytes, mask: int) -> None:
    new = slot(2, seed=2)
    pieces = [(new if mask >> n & 1 else old)[512 * n : 512 * (n + 1)] for n in range(8)]
    assert decode_slot(b"".join(pieces)) is None


@pytest.mark.parametrize("data", [None, b"", bytes(SLOT_BYTES), slot()[:-1], slot() + b"\0"])
def test_what_is_no_slot_is_none(data: bytes | None) -> None:
    assert decode_slot(data) is None


@pytest.mark.parametrize(("offset", "value"), [(0, 0), (8, 2), (9, 9), (10, 3), (36, 1)])
def test_a_whole_slot_of_unknown_format_is_an_error(offset: int, value: int) -> None:
    data = bytearray(slot())
    data[offset] = value
    with pytest.raises(FormatError):
        decode_slot(resigned(bytes(data)))


def test_one_lost_sector_of_the_fill_loses_the_root() -> None:
    data = bytearray(slot())
    data[1024:1536] = bytes(512)
    found = decode_slot(resigned(bytes(data)))
    assert found is not None
    with pytest.raises(VaultLockedError):
        found.open(KEY)


def test_no_key_shows_in_a_repr() -> None:
    text = repr(decode_slot(slot()))
    assert "generation=1" in text
    assert "sealed" not in text
    assert "fill" not in text


def test_effacing_overwrites_twice_and_is_checked() -> None:
    disk = MemoryDisk(retain=True)
    slots = RootSlots(disk)
    slots.write(0, slot())
    slots.efface(0, SeededEntropy("efface"))
    written = disk.every_byte()
    assert len(written) == 3 * SLOT_BYTES
    assert written[SLOT_BYTES : 2 * SLOT_BYTES] == SeededEntropy("efface").bytes(SLOT_BYTES)
    assert written[2 * SLOT_BYTES :] == bytes(SLOT_BYTES)
    assert slots.is_blank(0)
    assert slots.load() == (None, None)


def test_each_pass_of_effacing_is_synced() -> None:
    steps: list[str] = []
    slots = RootSlots(MemoryDisk(probe=steps.append))
    slots.efface(1, SeededEntropy(1))
    assert steps == ["write", "wrote", "sync", "synced"] * 2


class StubbornDisk(MemoryDisk):
    """A device that claims to have written the zeros and has not."""

    def read_back(self, name: str) -> bytes:
        return slot()


def test_a_device_that_keeps_the_slot_is_found() -> None:
    with pytest.raises(EffaceError, match=SLOT_NAMES[0]):
        RootSlots(StubbornDisk()).efface(0, SeededEntropy(1))


def test_an_absent_slot_is_not_blank() -> None:
    assert not RootSlots(MemoryDisk()).is_blank(0)


def test_a_blank_slot_is_durably_blank() -> None:
    disk = MemoryDisk()
    RootSlots(disk).write(0, slot())
    disk.write(SLOT_NAMES[0], bytes(SLOT_BYTES))
    assert RootSlots(disk).is_blank(0)
    disk.crash(Random(1))
    assert disk.read(SLOT_NAMES[0]) == bytes(SLOT_BYTES)


def test_slots_work_on_real_files(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "keys")
    slots = RootSlots(disk)
    slots.write(0, slot(5))
    slots.efface(1, SeededEntropy(1))
    first, second = slots.load()
    assert first is not None
    assert first.open(KEY) == ROOT
    assert second is None
    assert slots.is_blank(1)
    slots.efface(0, SeededEntropy(2))
    assert (tmp_path / "keys" / "root.0").read_bytes() == bytes(SLOT_BYTES)
    disk.close()
