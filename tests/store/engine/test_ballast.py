"""The ballast holds real blocks, gives them back, and never fills the disk itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from store.engine.ballast import BALLAST_BYTES, Ballast, ballast_bytes

SIZE = 1 << 20


def test_a_ballast_is_of_real_blocks_and_private(tmp_path: Path) -> None:
    held = Ballast(tmp_path, SIZE)
    assert held.is_missing
    assert held.establish()
    status = (tmp_path / "ballast").stat()
    assert status.st_size == SIZE <= status.st_blocks * 512
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert not held.is_missing


def test_a_ballast_is_given_back_once(tmp_path: Path) -> None:
    held = Ballast(tmp_path, SIZE)
    assert not held.release()
    held.establish()
    assert held.release()
    assert not held.release()
    assert held.is_missing
    assert not (tmp_path / "ballast").exists()


def test_a_ballast_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    Ballast(tmp_path, SIZE).establish()
    number = (tmp_path / "ballast").stat().st_ino
    again = Ballast(tmp_path, SIZE)
    assert again.establish()
    assert (tmp_path / "ballast").stat().st_ino == number


@pytest.mark.parametrize("size", [0, SIZE // 2, SIZE])
def test_a_ballast_of_another_size_or_without_blocks_is_made_anew(
    tmp_path: Path, size: int
) -> None:
    (tmp_path / "ballast").touch()
    os.truncate(tmp_path / "ballast", size)
    assert Ballast(tmp_path, SIZE).establish()
    status = (tmp_path / "ballast").stat()
    assert status.st_size == SIZE <= status.st_blocks * 512


def test_a_ballast_waits_until_there_is_plenty_of_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(f_bavail=2 * SIZE // 4096 - 1, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: free)
    held = Ballast(tmp_path, SIZE)
    assert not held.establish()
    assert not (tmp_path / "ballast").exists()
    free.f_bavail += 1
    assert held.establish()


def test_a_place_that_cannot_be_written_has_none(tmp_path: Path) -> None:
    held = Ballast(tmp_path / "no such directory", SIZE)
    assert not held.establish()
    assert not held.release()


def test_no_ballast_is_wanted_where_its_size_is_zero(tmp_path: Path) -> None:
    held = Ballast(tmp_path, 0)
    assert not held.establish()
    assert not held.is_missing
    assert list(tmp_path.iterdir()) == []


def test_a_small_map_has_a_small_ballast() -> None:
    assert ballast_bytes(1 << 36) == BALLAST_BYTES
    assert ballast_bytes(1 << 26) == 1 << 16
